"""Text for a terminal: escaped, measured in cells, cut to fit, with sparklines; colours only where somebody sees them.

Names and values come from programs and data sets, so whatever a terminal could take for a command is escaped.
"""

import io
import math
import os
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, Literal, TextIO

Style = Literal["bold", "dim", "good", "bad", "warn", "accent"]

_CODES: Final[dict[Style, str]] = {"bold": "1", "dim": "2", "good": "32", "bad": "31", "warn": "33", "accent": "36"}
_UNICODE_BARS: Final = "▁▂▃▄▅▆▇█"
_ASCII_BARS: Final = "_.-~=+*#"
_DECIMALS_UPTO: Final = 1e7
_SAME: Final = 1e-12  # means of equal numbers differ by rounding


def _columns_told() -> int:
    """The width that the environment tells, 80 without it."""
    told = os.environ.get("COLUMNS", "")
    return int(told) if told.isdigit() and int(told) else 80


class Screen:
    """A text stream as it is now: how wide, which characters, whether it shows colours.

    width:   cells per line, at least 40; 80 when the stream is no terminal and COLUMNS is not set.
    height:  lines, None when the stream is no terminal.
    unicode: whether it can encode more than ASCII.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.is_terminal = _is_terminal(stream)
        size = _terminal_size(stream) if stream is not None and self.is_terminal else None
        self.width = max(40, size.columns if size else _columns_told())
        self.height = size.lines if size else None
        self.unicode = _can_encode(stream, _UNICODE_BARS + "…·●─")
        self._dots = "…" if self.unicode else "..."
        self.colour = self.is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def paint(self, text: str, style: Style) -> str:
        """The text in a style; as it is where no colours are shown."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.colour and text else text

    def fit(self, text: str, cells: int) -> str:
        """The text, cut at its end when it takes more cells than that."""
        if width(text) <= cells:
            return text
        return _beginning(text, cells - len(self._dots)) + self._dots

    def fit_name(self, name: str, cells: int) -> str:
        """The name, escaped. Of one that is wider the middle is left out: the ends tell it from its neighbours."""
        name = printable(name)
        if width(name) <= cells:
            return name
        room = cells - len(self._dots)
        end = _beginning(name[::-1], room // 2)[::-1]
        return _beginning(name, room - width(end)) + self._dots + end

    def spark(self, values: Sequence[float], cells: int) -> str:
        """The values as a line of small bars, at most `cells` of them; a gap where a value is NaN."""
        return sparkline(values, cells, _UNICODE_BARS if self.unicode else _ASCII_BARS)

    def show(self, text: str) -> bool:
        """Write whole lines. False when there is no stream, or it is closed or gone; never raises."""
        if self._stream is None:
            return False
        try:
            _write(self._stream, text)
        except (OSError, ValueError):
            return False
        return True


def printable(text: str) -> str:
    """The text with everything a terminal would not print as it stands (escapes, line ends, bidi marks) written out."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def width(text: str) -> int:
    """Cells the text takes in a terminal: two for wide East Asian characters and emoji, none for combining marks."""
    if text.isascii():
        return len(text)
    return sum(_cells(each) for each in text)


def pad(text: str, cells: int, align: Literal["left", "right"] = "left") -> str:
    """The text filled up with spaces."""
    space = " " * max(0, cells - width(text))
    return text + space if align == "left" else space + text


def number(value: float, digits: int = 4) -> str:
    """A number in few characters: so many significant digits, whole numbers up to a billion in full."""
    if isinstance(value, int) and abs(value) < 10**9:
        return str(value)
    try:
        exact = float(value)
    except OverflowError:  # an integer beyond what a float holds
        return f"{'-' if value < 0 else ''}1e+{math.floor(math.log10(abs(value)))}"
    if math.isnan(exact):
        return "NaN"
    if 10**digits - 0.5 <= abs(exact) < _DECIMALS_UPTO:
        return f"{exact:.0f}"
    return f"{exact:.{digits}g}".replace("e-0", "e-").replace("e+0", "e+")


def plain(value: Any) -> str:
    """Any logged value on one line, escaped: numbers short, text as it is, media as its type and size."""
    if isinstance(value, (bool, type(None))):
        return str(value)
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict) and "_type" in value:
        sides = ("width", "height") if "width" in value else ("nrows", "ncols")
        size = " x ".join(str(value[side]) for side in sides if side in value)
        about = [str(value["_type"]), size, str(value.get("caption") or value.get("title") or "")]
        return printable(" ".join(part for part in about if part))
    import json  # only here, as everywhere it is not always needed: a program that logs starts without it

    return printable(json.dumps(value, ensure_ascii=False, default=str))


def sparkline(values: Sequence[float], cells: int, bars: str = _UNICODE_BARS) -> str:
    """The values as bars between their smallest and largest. More values than cells are averaged."""
    points = _resample(values, cells)
    finite = [point for point in points if math.isfinite(point)]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    span = high / 2 - low / 2  # halves: the difference of two large numbers may be infinite
    if span <= _SAME * max(abs(low), abs(high)):
        return "".join(bars[0] if math.isfinite(point) else " " for point in points)
    top = len(bars) - 1
    levels = [(point / 2 - low / 2) / span if math.isfinite(point) else None for point in points]
    return "".join(" " if level is None else bars[round(level * top)] for level in levels)


def duration(seconds: float) -> str:
    """A span of time as a person says it: "0.42 s", "12.3 s", "3 min 5 s", "2 h 10 min"."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} days {hours} h"


def _beginning(text: str, cells: int) -> str:
    """As much of the text as takes no more cells than that."""
    used = 0
    for index, character in enumerate(text):
        used += _cells(character)
        if used > cells:
            return text[:index]
    return text


def _resample(values: Sequence[float], cells: int) -> list[float]:
    if len(values) <= cells:
        return list(values)
    edges = [index * len(values) // cells for index in range(cells + 1)]
    return [_mean([value for value in values[start:end] if math.isfinite(value)]) for start, end in pairwise(edges)]


def _mean(values: list[float]) -> float:
    return sum(value / len(values) for value in values) if values else math.nan


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError, OSError):
        return False  # closed, or only something with a write()


def _terminal_size(stream: TextIO) -> os.terminal_size | None:
    try:
        size = os.get_terminal_size(stream.fileno())
    except (AttributeError, ValueError, OSError):
        return None
    return size if size.columns > 0 else None


def _can_encode(stream: TextIO | None, text: str) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeError, LookupError):
        return False
    return True


def _write(stream: TextIO, text: str) -> None:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    content = text.encode(encoding, "backslashreplace")
    if os.name == "posix" and type(stream) is io.TextIOWrapper and isinstance(stream.buffer, io.BufferedWriter):
        # Past the stream's buffer: what a broken pipe leaves there would fail once more when the interpreter ends, and
        # change the program's exit code.
        stream.flush()
        while content:
            content = content[os.write(stream.fileno(), content) :]
    else:
        stream.write(content.decode(encoding))
        stream.flush()
