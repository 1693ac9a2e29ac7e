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


class ClockCache:
    """Where the blocks of groups begin and end, of those asked for lately; extended when a group grew.

    The number of a group that was deleted is never given to another one.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, int], chunks.Clocks] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, connection: sqlite3.Connection, group: int, level: int, blocks: int) -> chunks.Clocks:
        """The clocks of the first `blocks` blocks, or of more."""
        place = group, level
        with self._lock:
            kept = self._kept.get(place)
        have = kept.first.shape[1] if kept is not None else 0
        if kept is None or have < blocks:
            more = chunks.read_blocks(connection, group, -1, level, have, blocks)
            grown = chunks.Clocks.__new__(chunks.Clocks)
            empty = np.empty((3, 0))
            first, end = (kept.first, kept.end) if kept is not None else (empty, empty)
            grown.first = first if more is None else np.concatenate((first, more.first), axis=1)
            grown.end = end if more is None else np.concatenate((end, more.end), axis=1)
            kept = grown
        with self._lock:
            old = self._kept.pop(place, None)
            self._kept[place] = kept
            self._bytes += kept.nbytes - (old.nbytes if old is not None else 0)
            while self._bytes > _KEPT_BYTES and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return kept


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
            clocks = self._clocks(each, 2 if each.rows > 100 * FACTOR * FACTOR else 1)
            first, end = clocks.first[self._row], clocks.end[self._row]
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
            clocks = self._clocks(of, level)
            read = chunks.read_blocks(self._connect(), of.group, of.key, level, start, stop, clocks)
            if read is not None:
                found.append(read.some(read.points > 0) if (read.points == 0).any() else read)
        whole = of.rows // rows
        if stop == whole and whole * rows < of.rows:
            found.append(self._points(of, whole * rows, of.rows))
        return found

    def _range(self, of: GroupRows, level: int, low: float | None, high: float | None) -> tuple[int, int]:
        """First and last (not included) of the whole blocks that may touch low..high."""
        whole = of.rows // FACTOR**level
        clocks = self._clocks(of, level)
        start = 0 if low is None else int(np.searchsorted(clocks.end[self._row][:whole], low, "left"))
        stop = whole if high is None else int(np.searchsorted(clocks.first[self._row][:whole], high, "right"))
        return start, max(start, stop)

    def _clocks(self, of: GroupRows, level: int) -> chunks.Clocks:
        return self._cache.get(self._connect(), of.group, level, of.rows // FACTOR**level)

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
