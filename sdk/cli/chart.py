"""Line charts in a terminal, drawn in braille dots: eight to a cell, two beside and four above each other.

Every dot column shows the smallest and the largest value that falls into it, joined to its neighbours; so a spike in a
million points is seen. plotext (0.24 s to import, state shared by all charts) and plotille (no ticks at round numbers) were
tried first; what is needed of them is this page.
"""

import math
import sys
from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from milepost.sdk.terminal import Screen, number, pad, width

_DOTS: Final = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # Unicode 15, Braille Patterns, dots 1-8
_BRAILLE: Final = 0x2800
_LABELS_MAX: Final = 12


class Points(NamedTuple):
    """What a chart shows. x, y: finite numbers of the same count, in the order they were logged; x_name: the axis."""

    x: "array[float]"
    y: "array[float]"
    x_name: str


def chart(points: Points, screen: Screen, cells: int, lines: int) -> list[str]:
    """The lines of a chart, each `cells` wide: `lines` of them for the curve, then the axis and its labels.

    Empty without points. cells: at least 24.
    """
    if not points.x:
        return []
    low, high = min(points.y), max(points.y)
    bottom, top = (low, high) if low < high else _around(low)
    rounded = round_numbers(low, high, max(2, lines // 2 + 1)) if low < high else [low]
    ticks = {_row(value, bottom, top, lines): value for value in rounded}
    labels = {row: _label(value, list(ticks.values())) for row, value in ticks.items()}
    margin = min(max([width(label) for label in labels.values()], default=0), _LABELS_MAX)
    columns = max(cells - margin - 1, 8)
    left, right = min(points.x), max(points.x)
    grid = _Grid(columns, lines)
    grid.draw(_columns(points, left, right, 2 * columns), bottom, top)
    corner, wall, tick, floor, mark = "└│┤─┬" if screen.unicode else "+|+-+"
    out = []
    for row, text in enumerate(grid.text(screen.unicode)):
        label = pad(labels.get(row, "")[:margin], margin, "right")
        out.append(screen.paint(label + (tick if row in labels else wall), "dim") + screen.paint(text, "accent"))
    axis, names = _axis(left, right, columns, points.x_name, floor, mark, screen)
    out.append(screen.paint(" " * margin + corner + axis, "dim"))
    out.append(screen.paint(" " * (margin + 1) + names, "dim"))
    return out


class _Grid:
    """Cells of dots; row 0 is at the top."""

    def __init__(self, columns: int, lines: int) -> None:
        self._cells = [bytearray(columns) for _ in range(lines)]
        self._height = 4 * lines

    def draw(self, columns: Sequence["_Column | None"], bottom: float, top: float) -> None:
        """Draw one upright stroke per dot column, long enough to meet the one before."""
        before: int | None = None
        before_at = 0
        for at, column in enumerate(columns):
            if column is None:
                continue
            first, low, high, last = (_place(value, bottom, top, self._height) for value in column)
            if before is not None:
                self._line(before_at, before, at, first)
            self._stroke(at, low, high)
            before, before_at = last, at

    def text(self, unicode: bool) -> list[str]:
        """The lines, as braille or, where that cannot be shown, as points and quotes."""
        if unicode:
            return ["".join(chr(_BRAILLE + cell) if cell else " " for cell in row) for row in self._cells]
        upper, lower = 0x01 | 0x08 | 0x02 | 0x10, 0x04 | 0x20 | 0x40 | 0x80
        return [
            "".join((":" if cell & lower else "'") if cell & upper else ("." if cell else " ") for cell in row)
            for row in self._cells
        ]

    def _line(self, x0: int, y0: int, x1: int, y1: int) -> None:
        """From one dot to another: in each column between, the part of the slope that falls into it."""
        count = x1 - x0
        for step in range(1, count + 1):
            start = y0 + (y1 - y0) * (step - 1) / count
            end = y0 + (y1 - y0) * step / count
            low, high = sorted((round(start), round(end)))
            self._stroke(x0 + step, low, high)

    def _stroke(self, x: int, low: int, high: int) -> None:
        for y in range(low, high + 1):
            at = self._height - 1 - y
            self._cells[at // 4][x // 2] |= _DOTS[at % 4][x % 2]


class _Column(NamedTuple):
    """The values in one dot column."""

    first: float
    low: float
    high: float
    last: float


def _columns(points: Points, left: float, right: float, count: int) -> list[_Column | None]:
    out: list[_Column | None] = [None] * count
    for x, y in zip(points.x, points.y, strict=True):
        at = _place(x, left, right, count) if right > left else count // 2
        there = out[at]
        if there is None:
            out[at] = _Column(y, y, y, y)
        else:
            out[at] = _Column(there.first, min(there.low, y), max(there.high, y), y)
    return out


def _place(value: float, low: float, high: float, count: int) -> int:
    """Which of `count` places between low and high a value falls into."""
    value = min(max(value, low), high)
    if math.isinf(high - low):
        value, low, high = value / 2, low / 2, high / 2
    return min(int((value - low) / (high - low) * (count - 1) + 0.5), count - 1)


def _row(value: float, bottom: float, top: float, lines: int) -> int:
    return lines - 1 - _place(value, bottom, top, 4 * lines) // 4


def _around(value: float) -> tuple[float, float]:
    """A range round a value that never changes."""
    margin = abs(value) / 2 or 1.0
    return max(value - margin, -sys.float_info.max), min(value + margin, sys.float_info.max)


def round_numbers(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten) from low to high; the ends where there are none."""
    span = high - low
    if not math.isfinite(span) or span <= abs(low) * 1e-12 or span < 1e-300:
        return [low, high]
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next((power * n for n in (1, 2, 5, 10) if span / (power * n) <= count), power * 10)
    first = math.ceil(low / step - 1e-9)
    rising = ((first + n) * step for n in range(int(span / step) + 2))
    found = [value for value in rising if value - high <= step * 1e-9]
    return found if len(found) > 1 else [low, high]


def _label(value: float, ticks: Sequence[float]) -> str:
    """A number with no more decimals than tell it from its neighbours."""
    step = min((abs(b - a) for a, b in pairwise(sorted(ticks))), default=abs(value)) or 1.0
    largest = max(map(abs, ticks))
    if len(ticks) == 1 or not math.isfinite(step):
        return number(value)
    if abs(value) < step * 1e-6:
        return "0"
    if step >= 1e-3 and largest < 1e6:
        return f"{value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"
    digits = 1 + max(0, math.floor(math.log10(largest / step) + 1e-9)) if step < largest else 3
    return number(value, min(max(digits, 2), 6))


def _axis(left: float, right: float, columns: int, name: str, floor: str, mark: str, screen: Screen) -> tuple[str, str]:
    """The line of the x axis with its ticks, and the labels below it with the axis' name at the end."""
    name = screen.fit_name(name, columns // 2)
    line = [floor] * columns
    labels = [" "] * columns
    room = columns - width(name) - 2
    if right > left:
        ticks = round_numbers(left, right, max(2, columns // 12))
        if all(value == int(value) for value in (left, right)):
            ticks = [value for value in ticks if value == int(value)] or [left, right]
        places = [_place(value, left, right, 2 * columns) // 2 for value in ticks]
        texts = [_label(value, ticks) for value in ticks]
    else:
        places, texts = [columns // 2], [_label(left, [left])]
    free = 0
    for place, text in zip(places, texts, strict=True):
        start = min(max(place - len(text) // 2, 0), columns - len(text))
        if start >= free and start + len(text) <= room:
            line[place] = mark
            labels[start : start + len(text)] = text
            free = start + len(text) + 2
    return "".join(line), "".join(labels[:room]) + " " * (columns - room - width(name)) + name
