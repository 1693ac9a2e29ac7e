"""What the commands print: JSON, tables, a line of progress. Names and values are escaped, colours only go to a terminal."""

import contextlib
import datetime
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from milepost.sdk.strict_json import strict_json
from milepost.sdk.terminal import Screen, Style, duration, pad, printable, width

STATES: Final[dict[str, Style]] = {
    "running": "accent",
    "finished": "good",
    "failed": "bad",
    "crashed": "bad",
    "preempted": "warn",
}
_GAP: Final = "  "
_LEAST: Final = 8
_SAY_EVERY_S: Final = 0.2


class Cell(NamedTuple):
    """Text of a table with a style."""

    text: str
    style: Style | None = None


class Column(NamedTuple):
    """A column of a table.

    give: whether its cells may be cut on a narrow screen, down to `_LEAST` cells.
    drop: 0 for a column that always stays; of the others the highest goes first when cutting is not enough.
    """

    title: str
    right: bool = False
    give: bool = False
    drop: int = 0


def screen() -> Screen:
    """Standard output as it is now."""
    return Screen(sys.stdout)


def say(text: str = "") -> None:
    """One or more lines on standard output, as they are: whoever calls has escaped names and values."""
    if sys.stdout is not None:  # a process may be started without one
        sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """A line on standard error."""
    if sys.stderr is not None:
        sys.stderr.write(printable(text) + "\n")


def shown(text: str) -> str:
    """Text of a user's on one line, escaped."""
    return printable(text)


def say_json(value: Any) -> None:
    """A JSON document: UTF-8, NaN and infinities as text."""
    say(strict_json(value, indent=2).decode())


def table(columns: Sequence[Column], rows: Sequence[Sequence[Cell | str]], indent: int = 0) -> str:
    """The lines of a table, fitted to the terminal; whole where nobody looks at it on one."""
    here = screen()
    cells = [[_cell(each) for each in row] for row in rows]
    widths = [max([width(title), *(width(row[i].text) for row in cells)]) for i, (title, *_) in enumerate(columns)]
    shown = list(range(len(columns)))
    if here.is_terminal:
        shown = _fit(columns, widths, here.width - indent)

    def line(texts: Sequence[Cell]) -> str:
        parts = []
        for i in shown:
            text = pad(here.fit(texts[i].text, widths[i]), widths[i], "right" if columns[i].right else "left")
            style = texts[i].style
            parts.append(here.paint(text, style) if style else text)
        return (" " * indent + _GAP.join(parts)).rstrip()

    return "\n".join([line([Cell(column.title, "dim") for column in columns]), *map(line, cells)])


def _cell(given: Cell | str) -> Cell:
    return Cell(printable(given.text), given.style) if isinstance(given, Cell) else Cell(printable(given))


def _fit(columns: Sequence[Column], widths: list[int], room: int) -> list[int]:
    """The columns that are shown, in order; `widths` becomes what each takes."""
    shown = list(range(len(columns)))

    def excess() -> int:
        return sum(widths[i] for i in shown) + len(_GAP) * (len(shown) - 1) - room

    def least() -> int:
        return sum(max(widths[i] - _LEAST, 0) for i in shown if columns[i].give)

    while excess() > least() and any(columns[i].drop for i in shown):
        shown.remove(max(shown, key=lambda i: columns[i].drop))
    while excess() > 0 and least() > 0:
        widest = max((i for i in shown if columns[i].give), key=lambda i: widths[i])
        widths[widest] -= 1
    return shown


@contextlib.contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows how far long work is: a line on standard error, only on a terminal; call what it gives with each advance."""
    stream = sys.stderr
    if stream is None or not stream.isatty():
        yield lambda _: None
        return
    done, said_at = 0, time.monotonic()

    def advance(count: int) -> None:
        nonlocal done, said_at
        done += count
        if time.monotonic() - said_at >= _SAY_EVERY_S:
            said_at = time.monotonic()
            stream.write(f"\r{label}: {done:,} of {max(total, done):,}\x1b[K")
            stream.flush()

    try:
        yield advance
    finally:
        stream.write("\r\x1b[K")
        stream.flush()


def utc(unix_nano: int) -> str:
    """A time for people: "2026-03-01 12:30:05"."""
    moment = datetime.datetime.fromtimestamp(unix_nano / 1e9, datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def iso(unix_nano: int) -> str:
    """A time for machines, RFC 3339 in UTC."""
    return datetime.datetime.fromtimestamp(unix_nano / 1e9, datetime.UTC).isoformat().replace("+00:00", "Z")


def took(seconds: float | None) -> str:
    """A span of time, or a dash where it is not known."""
    return "-" if seconds is None else duration(max(seconds, 0.0))


def size(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
