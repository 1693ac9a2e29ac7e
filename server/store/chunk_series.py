"""ChunkSeries: a key of a run as a chart reads it from chunks, and from the batches that are not compacted yet.

It is a snapshot: of each group it knows how many rows there were, and reads whole blocks of these only. What stands behind
the last whole block is read row by row, so that nothing is counted twice when the compactor works meanwhile.
"""

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from milepost.server.series import AXES, FACTOR, Blocks, FloatArray, Points, single_blocks
from milepost.server.store import chunks
from milepost.server.store.codec import numbers_of
from milepost.server.store.parts import Part

_KEPT_BYTES: Final = 64 << 20
_LARGE: Final = 100 * FACTOR * FACTOR
"""Rows from which blocks of level 1 are looked for among those of level 2."""


class Clocks:
    """Where the blocks of one level of a group begin and end on one axis: of those that were asked for so far."""

    def __init__(self, group: int, level: int, axis: int) -> None:
        self._of = group, level, axis
        self._first = self._end = np.empty(0)
        self._there: list[int] = []
        """How many blocks of each chunk are known."""
        self._lock = threading.Lock()

    def between(self, connection: sqlite3.Connection, start: int, stop: int) -> tuple[FloatArray, FloatArray]:
        """Where blocks start..stop begin and end."""
        with self._lock:
            if stop > len(self._first):
                size = max(stop, len(self._first) * 3 // 2)
                self._first, self._end = (np.append(old, np.empty(size - len(old))) for old in (self._first, self._end))
                self._there += [0] * (-(-size // chunks.BLOCKS) - len(self._there))
            lacking = [
                at
                for at in range(start - start % chunks.BLOCKS, stop, chunks.BLOCKS)
                if at + self._there[at // chunks.BLOCKS] < min(stop, at + chunks.BLOCKS)
            ]
            if lacking:
                low, high = lacking[0], min(stop, lacking[-1] + chunks.BLOCKS)
                self._first[low:high], self._end[low:high] = chunks.read_clocks(connection, *self._of, low, high)
                for at in range(low, high, chunks.BLOCKS):
                    place = at // chunks.BLOCKS
                    self._there[place] = max(self._there[place], min(high - at, chunks.BLOCKS))
            return self._first[start:stop], self._end[start:stop]

    @property
    def nbytes(self) -> int:
        """Bytes taken."""
        return self._first.nbytes + self._end.nbytes


class ClockCache:
    """The clocks of groups that were asked for lately.

    The number of a group that was deleted is never given to another one.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, int, int], tuple[Clocks, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def between(
        self, connection: sqlite3.Connection, of: tuple[int, int, int], start: int, stop: int
    ) -> tuple[FloatArray, FloatArray]:
        """Where blocks start..stop begin and end. of: group, level, axis."""
        with self._lock:
            clocks, before = self._kept.get(of) or (Clocks(*of), 0)
        found = clocks.between(connection, start, stop)
        with self._lock:
            _, before = self._kept.pop(of, (clocks, 0))
            self._kept[of] = clocks, clocks.nbytes
            self._bytes += clocks.nbytes - before
            while self._bytes > _KEPT_BYTES and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1][1]
        return found


@dataclass(frozen=True, slots=True)
class GroupRows:
    """Rows of a group that were compacted when the series was made. key: place of the key among the group's."""

    group: int
    key: int
    rows: int
    writer: int


class ChunkSeries:
    """One key along a clock."""

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        cache: ClockCache,
        groups: list[GroupRows],
        tail: Points,
        axis: str,
    ) -> None:
        self._connect = connect
        self._cache = cache
        self._groups = groups
        self._tail = tail
        self.axis = axis
        self._row = AXES.index(axis)
        self.monotonic = True

    def ordered(self) -> bool:
        """Whether the axis never falls, as far as the beginnings and ends of blocks show."""
        for each in self._groups:
            level = 2 if each.rows > _LARGE else 1
            first, end = self._clocks(each, level, 0, each.rows // FACTOR**level)
            if not ((np.diff(first) >= 0).all() and (first <= end).all() and (first[1:] >= end[:-1]).all()):
                return False
        return True

    def size(self) -> int:
        """How many rows there are; of a key that some rows lack, an upper bound of its points."""
        return sum(each.rows for each in self._groups) + len(self._tail)

    def extent(self) -> tuple[float, float] | None:
        """The least and the greatest place on the axis."""
        low: list[float] = []
        high: list[float] = []
        for each in self._groups:
            low += self._places(each, 0, 1).tolist()
            high += self._places(each, each.rows - 1, each.rows).tolist()
        if len(self._tail):
            place = self._tail.blocks().first[self._row]
            low.append(float(place.min()))
            high.append(float(place.max()))
        return (min(low), max(high)) if low and high else None

    def blocks(self, level: int, low: float | None, high: float | None) -> Blocks:
        """The blocks of a level that may touch low <= x <= high."""
        found: list[Blocks] = []
        for each in self._groups:
            if level:
                found += self._coarse(each, level, low, high)
            else:
                start, stop = self._range(each, 1, low, high)
                whole = each.rows // FACTOR
                stop = each.rows if stop == whole else stop * FACTOR
                if start * FACTOR < stop:
                    found.append(self._points(each, start * FACTOR, stop))
        if len(self._tail):
            found.append(self._tail.blocks())
        if not found:
            return self._tail.blocks()
        blocks = Blocks.joined(found)
        place = blocks.first[self._row]
        if len(found) > 1 and (np.diff(place) < 0).any():
            blocks = blocks.some(np.argsort(place, kind="stable"))
        return blocks

    def _coarse(self, of: GroupRows, level: int, low: float | None, high: float | None) -> list[Blocks]:
        rows = FACTOR**level
        start, stop = self._range(of, level, low, high)
        found: list[Blocks] = []
        if start < stop:
            read = chunks.read_blocks(self._connect(), of.group, of.key, level, start, stop)
            if read is None or len(read) != stop - start:
                raise chunks.DamagedChunk(of.group, f"blocks {start} to {stop - 1} of level {level} are missing")
            read.first, read.end = (
                np.broadcast_to(place, (len(AXES), len(place))) for place in self._clocks(of, level, start, stop)
            )
            found.append(read.some(read.points > 0) if (read.points == 0).any() else read)
        whole = of.rows // rows
        if stop == whole and whole * rows < of.rows:
            found.append(self._points(of, whole * rows, of.rows))
        return found

    def _range(self, of: GroupRows, level: int, low: float | None, high: float | None) -> tuple[int, int]:
        """First and last (not included) of the whole blocks that may touch low..high."""
        start, stop = 0, of.rows // FACTOR**level
        if level == 1 and of.rows > _LARGE:  # among those below the blocks of level 2 that may touch it
            above, last = self._range(of, 2, low, high)
            start = above * FACTOR
            stop = stop if last == of.rows // FACTOR**2 else last * FACTOR
        first, end = self._clocks(of, level, start, stop)
        before = 0 if low is None else int(np.searchsorted(end, low, "left"))
        there = len(first) if high is None else int(np.searchsorted(first, high, "right"))
        return start + before, start + max(before, there)

    def _clocks(self, of: GroupRows, level: int, start: int, stop: int) -> tuple[FloatArray, FloatArray]:
        if start >= stop:
            return np.empty(0), np.empty(0)
        return self._cache.between(self._connect(), (of.group, level, self._row), start, stop)

    def _places(self, of: GroupRows, first: int, stop: int) -> FloatArray:
        """Where rows stand on the axis; each counts, whether it has a value or not."""
        clock = (chunks.STEP, chunks.TIME, chunks.RUNTIME)[self._row]
        return chunks.read_array(self._connect(), of.group, clock, first, stop) / (1, 1e9, 1e6)[self._row]

    def _points(self, of: GroupRows, first: int, stop: int) -> Blocks:
        """The points of rows as blocks, on this axis only: other clocks are not read."""
        value, there = _numbers(self._connect(), of, first, stop)
        place = self._places(of, first, stop)
        if not there.all():
            value, place = value[there], place[there]
        return single_blocks(np.broadcast_to(place, (len(AXES), len(place))), value)


def points_of(connection: sqlite3.Connection, of: GroupRows, first: int, stop: int) -> Points:
    """The points of rows first..stop of a group."""
    value, number = _numbers(connection, of, first, stop)
    clocks = [
        chunks.read_array(connection, of.group, key, first, stop)
        for key in (chunks.STEP, chunks.TIME, chunks.RUNTIME, chunks.SEQ)
    ]
    return _points(clocks, value, number, of.writer)


def _numbers(
    connection: sqlite3.Connection, of: GroupRows, first: int, stop: int
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """The values of rows, and which of them are numbers."""
    pieces = [numbers_of(each) for each in chunks.read_column(connection, of.group, of.key, first, stop)]
    if not pieces:
        return np.empty(0), np.empty(0, np.bool_)
    return np.concatenate([value for value, _ in pieces]), np.concatenate([there for _, there in pieces])


def points_of_part(part: Part, key: str, writer: int) -> Points:
    """The points of a part that holds the key."""
    value, number = part.numbers(part.keys.index(key))
    return _points([part.step, part.time, part.runtime, part.seq], value, number, writer)


def _points(clocks: list[Any], value: Any, number: Any, writer: int) -> Points:
    step, time, runtime, seq = clocks
    points = Points(step, time / 1e9, runtime / 1e6, value, seq, np.full(len(value), writer, np.int16))
    return points if number.all() else points.some(number)
