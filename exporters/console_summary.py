"""What a console exporter prints when a run ends: a page, or one line where nobody looks at a page.

The page tells what came of it, the course of its metrics, and where to look."""

import math
import os
import shlex
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from milepost.exporters.series import Series
from milepost.sdk.exporter import RunInfo
from milepost.sdk.metrics import AGGREGATES
from milepost.sdk.terminal import Screen, Style, duration, number, pad, plain, printable, width

_LINES_MAX: Final = 30
_INDENT: Final = 2
_GAP: Final = 2
_SPACE: Final = " " * _GAP
_NAME_MIN: Final = 12
_NAME_SHARE: Final = 0.36
_NUMBER_MIN: Final = 4
_LAST_MAX: Final = 24
_BARS_MIN: Final = 12
_BARS_MAX: Final = 40
_STATES: Final[dict[str, Style]] = {"finished": "good", "failed": "bad", "crashed": "bad", "preempted": "warn"}


class Ending(NamedTuple):
    """What is to be told of a run that ended.

    runtime_s:  seconds the run took.
    rows:       rows this process wrote.
    summary:    flat or nested; names that start with `_` are left out.
    series:     the courses of its metrics, in the order they were first logged.
    accounting: counts per exporter, such as {"otlp": {"pending": 3, "dropped": {"disk full": 1}}}.
    """

    run: RunInfo
    state: str
    exit_code: int
    runtime_s: float
    rows: int
    summary: Mapping[str, Any]
    series: Mapping[str, Series]
    accounting: Mapping[str, Any]


def page(ending: Ending, screen: Screen) -> str:
    """The page, ending in an empty line."""
    blocks = [_head(ending, screen), _metrics(ending, screen), _places(ending, screen)]
    text = "\n\n".join("\n".join(f"  {line}".rstrip() for line in block) for block in blocks if block)
    return f"\n{text}\n\n"


def line(ending: Ending, screen: Screen) -> str:
    """One line instead of the page: how it ended, and what shows the rest."""
    run = ending.run
    exit_code = f" with exit code {ending.exit_code}" if ending.exit_code else ""
    rows = "1 row" if ending.rows == 1 else f"{ending.rows:,} rows"
    undelivered = "".join(f"; {text}" for text in _undelivered(ending.accounting))
    text = (
        f"milepost: run {run.name} ({run.project}/{run.id}) {ending.state}{exit_code} after {duration(ending.runtime_s)}, "
        f"{rows}{undelivered}; look: {_look(run)}"
    )
    return printable(text if screen.unicode else text.encode("ascii", "replace").decode()) + "\n"


def _look(run: RunInfo) -> str:
    """The command that shows the run."""
    runs_dir = run.dir.parent.parent
    command = ["milepost", "show", f"{run.project}/{run.id}"]
    if runs_dir != Path.cwd() / "milepost-runs":
        command += ["--dir", near(runs_dir)]
    return shlex.join(command)


def _head(ending: Ending, screen: Screen) -> list[str]:
    run, style = ending.run, _STATES.get(ending.state, "warn")
    mark = screen.paint("●" if screen.unicode else "*", style)
    exit_code = f" with exit code {ending.exit_code}" if ending.exit_code else ""
    titles = dict.fromkeys(
        printable(title) for title in (run.name, f"{run.project}/{run.id}") if title not in ("", run.id)
    )
    facts: list[tuple[str, Style | None]] = [
        *((screen.fit(title, screen.width - 4), None if place else "bold") for place, title in enumerate(titles)),
        (f"{ending.state}{exit_code} after {duration(ending.runtime_s)}", style),
        ("1 row" if ending.rows == 1 else f"{ending.rows:,} rows", None),
    ]
    return _joined(facts, mark, screen)


def _joined(facts: list[tuple[str, Style | None]], mark: str, screen: Screen) -> list[str]:
    """The facts on one line, or on several when the screen is narrow."""
    dot = " · " if screen.unicode else " - "
    out, used = [mark], 3
    for place, (text, style) in enumerate(facts):
        painted = screen.paint(text, style) if style else text
        if place == 0:
            out[-1] += f" {painted}"
            used += 1 + width(text)
        elif used + len(dot) + width(text) <= screen.width:
            out[-1] += screen.paint(dot, "dim") + painted
            used += len(dot) + width(text)
        else:
            out.append(f"  {painted}")
            used = 4 + width(text)
    return out


def _metrics(ending: Ending, screen: Screen) -> list[str]:
    values = flat(ending.summary)
    names = [name for name in {**dict.fromkeys(ending.series), **values} if not name.startswith("_")]
    limit = _LINES_MAX if screen.height is None else max(8, min(_LINES_MAX, screen.height - 14))
    shown = names if len(names) <= limit + 1 else names[:limit]  # "and 1 more" takes the line of that one
    if not shown:
        return []
    lines = _Columns(shown, values, ending.series, screen).lines()
    if len(shown) < len(names):
        more = f"{'…' if screen.unicode else '...'} and {len(names) - len(shown):,} more"
        lines.append(screen.paint(more, "dim"))
    return lines


class _Columns:
    """metric, last, min, max, and its course as bars. On a narrow screen min and max are left out, then the bars."""

    def __init__(
        self, names: list[str], values: Mapping[str, Any], series: Mapping[str, Series], screen: Screen
    ) -> None:
        self._screen = screen
        self._names = names
        self._texts = {name: _text(values[name]) if name in values else number(series[name].last) for name in names}
        self._series = {name: series[name] for name in names if name in series}
        room = screen.width - _INDENT
        widest = max(width(printable(name)) for name in names)
        self._name = max(len("metric"), min(widest, max(_NAME_MIN, int(room * _NAME_SHARE))))
        self._last = max([_NUMBER_MIN, *(min(_LAST_MAX, width(self._texts[name])) for name in self._series)])
        self._bars = min(_BARS_MAX, room - self._name - self._last - 2 * _GAP)
        self._end = max(_NUMBER_MIN, *(width(end) for each in self._series.values() for end in _ends(each)), 0)
        many = any(len(each.course()) > 1 for each in self._series.values())
        if not many or self._bars < _BARS_MIN:
            self._bars = self._end = 0
        elif (left := room - self._name - self._last - 2 * self._end - 4 * _GAP) < _BARS_MIN:
            self._end = 0
        else:
            self._bars = min(_BARS_MAX, left)

    def lines(self) -> list[str]:
        """The header and one line per name."""
        header = [pad("metric", self._name), pad("last", self._last, "right")]
        if self._end:
            header += [pad("min", self._end, "right"), pad("max", self._end, "right")]
        return [self._screen.paint(_SPACE.join(header), "dim"), *(self._line(name) for name in self._names)]

    def _line(self, name: str) -> str:
        screen, text, series = self._screen, self._texts[name], self._series.get(name)
        title = pad(screen.fit_name(name, self._name), self._name)
        if series is None:
            text = screen.fit(text, screen.width - _INDENT - self._name - _GAP)
            return _SPACE.join([title, pad(text, self._last, "right") if self._series else text])
        cells = [title, screen.paint(pad(screen.fit(text, self._last), self._last, "right"), "bold")]
        if self._end:
            cells += [pad(end, self._end, "right") for end in _ends(series)]
        if self._bars:
            strange = f" {series.strange:,} NaN/inf" if series.strange else ""
            course = series.course()
            bars = screen.spark(course, max(1, self._bars - len(strange))) if len(course) > 1 else ""
            cells.append(screen.paint(bars, "accent") + screen.paint(strange, "bad"))
        return _SPACE.join(cells)


def _text(value: Any) -> str:
    if isinstance(value, Mapping) and value and set(value) <= set(AGGREGATES):
        return ", ".join(f"{aggregate} {plain(inner)}" for aggregate, inner in value.items())
    return plain(value)


def _ends(series: Series) -> tuple[str, str]:
    """The smallest and the largest value as text."""
    known = not math.isnan(series.minimum)
    return (number(series.minimum), number(series.maximum)) if known else ("", "")


def _places(ending: Ending, screen: Screen) -> list[str]:
    run = ending.run
    return [
        f"{screen.paint('files', 'dim')}  {printable(near(run.dir))}",
        f"{screen.paint('look', 'dim')}   {printable(_look(run))}",
        *(
            screen.paint(line, "warn")
            for text in _undelivered(ending.accounting)
            for line in textwrap.wrap(f"!      {printable(text)}", screen.width - _INDENT, subsequent_indent=" " * 7)
        ),
    ]


def _undelivered(accounting: Mapping[str, Any]) -> list[str]:
    """One text per exporter that has not delivered everything."""
    out: list[str] = []
    for exporter, counts in accounting.items():
        if not isinstance(counts, Mapping):
            continue
        facts = [f"{counts['pending']:,} rows not sent yet"] if counts.get("pending") else []
        for fate in ("rejected", "dropped"):
            reasons = counts.get(fate) or {}
            facts += [f"{count:,} rows {fate} ({reason})" for reason, count in reasons.items() if count]
        if facts:
            out.append(f"{exporter}: {', '.join(facts)}")
    return out


def near(path: Path) -> str:
    """The path as seen from the working directory, when that is shorter."""
    try:
        relative = os.path.relpath(path)
    except (ValueError, OSError):  # another drive; a working directory that is gone
        return str(path)
    return min(relative, str(path), key=len)


def flat(summary: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of a summary under dotted names. Media and sets of aggregates are leaves."""
    out: dict[str, Any] = {}
    for key, value in summary.items():
        if isinstance(value, Mapping) and value and "_type" not in value and not set(value) <= set(AGGREGATES):
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[prefix + key] = value
    return out
