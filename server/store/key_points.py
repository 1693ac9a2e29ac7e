"""Key points: the points of one key of some writers, ready for a chart: as blocks of chunks where they are many, else whole.

A watermark says how far a run was known; points behind it are left for the next answer.
"""

import sqlite3
from dataclasses import dataclass
from typing import Final

import numpy as np

from milepost.sdk.reading.wish import Cut
from milepost.server.history import Series
from milepost.server.series import AXES, Points
from milepost.server.store import chunks
from milepost.server.store.chunk_series import ChunkSeries, ClockCache, GroupRows, points_of, points_of_part
from milepost.server.store.live import WriterState
from milepost.server.store.run_columns import KeySeries, standing
from milepost.server.store.stored_rows import StoredRows

LONG: Final = 20_000
"""Rows from which a chart is read as blocks; shorter series are read whole."""


@dataclass(frozen=True, slots=True)
class Span:
    """Which points: of whom, without what was taken back, up to a watermark, and behind another when it is not None.

    rewound: what was taken back, in place of the rest.
    """

    writers: list[WriterState]
    cuts: dict[str, list[Cut]]
    until: str
    after: str | None = None
    rewound: bool = False


class KeyPoints:
    """The points of keys in a database. Every method may be called from any thread."""

    def __init__(self, stored: StoredRows) -> None:
        self._stored = stored
        self._clocks = ClockCache()

    def series(self, key: str, axis: str, span: Span) -> Series | None:
        """The points of a key along an axis; None when there are none."""
        writers, cuts = span.writers, span.cuts
        if span.rewound and not any(cuts.values()):
            return None
        limits = limits_of(span.after) if span.after is not None else None
        ends = limits_of(span.until) or {}
        last = np.array([ends.get(writer.name, -1) for writer in writers] or [-1])
        connection = self._stored.reading()
        connection.execute("BEGIN")
        try:
            groups, tail = self._sources(connection, writers, key)
            tail = tail.some(tail.seq <= last[tail.writer])
            rows = sum(each.rows for each in groups)
            if axis in AXES and limits is None and rows >= LONG and not any(cuts.values()):
                series = ChunkSeries(self._stored.reading, self._clocks, groups, tail, axis)
                if series.ordered():
                    return series
            points = self._whole(connection, span, groups, tail, limits)
            if axis in AXES:
                return KeySeries(points, axis) if len(points) or limits is not None else None
            other = self._whole(connection, span, *self._sources(connection, writers, axis), None)
        finally:
            connection.execute("COMMIT")
        if not len(other) or not len(points):
            return None
        code, wanted = (each.writer.astype(np.int64) << 48 | each.seq for each in (points, other))
        place = np.minimum(np.searchsorted(wanted, code), len(wanted) - 1)
        both = wanted[place] == code
        return KeySeries(points.some(both), axis, other.value[place[both]])

    def _sources(
        self, connection: sqlite3.Connection, writers: list[WriterState], key: str
    ) -> tuple[list[GroupRows], Points]:
        """The groups that hold a key, and its points that are not compacted."""
        groups: list[GroupRows] = []
        tail: list[Points] = []
        for number, writer in enumerate(writers):
            for group, keys, rows in self._stored.groups(connection, writer.id):
                if key in keys and rows:
                    groups.append(GroupRows(group, keys.index(key), rows, number))
            tail += [
                points_of_part(p, key, number)
                for p in self._stored.tail(connection, writer.id)
                if key in p.keys and len(p)
            ]
        return groups, _joined(tail)

    def _whole(
        self,
        connection: sqlite3.Connection,
        span: Span,
        groups: list[GroupRows],
        tail: Points,
        limits: dict[str, int] | None,
    ) -> Points:
        """All points in order of rows, or those behind the limits, without rows that were taken back, or these alone."""
        writers = span.writers
        pieces: list[Points] = []
        for each in groups:
            first = 0
            if limits is not None:
                limit = limits.get(writers[each.writer].name, -1)
                query = "SELECT MIN(at) FROM chunk WHERE grp = ? AND key = ? AND level = 0 AND seq1 > ?"
                found = connection.execute(query, (each.group, chunks.SEQ, limit)).fetchone()[0]
                first = each.rows if found is None else int(found)
            if first < each.rows:
                pieces.append(points_of(connection, each, first, each.rows))
        points = _joined([*pieces, tail])
        if limits is not None and len(points):
            ends = np.array([limits.get(writer.name, -1) for writer in writers])
            points = points.some(points.seq > ends[points.writer])
        order = points.writer.astype(np.int64) << 48 | points.seq
        if (np.diff(order) < 0).any():
            points = points.some(np.argsort(order, kind="stable"))
        if not any(span.cuts.values()):
            return points
        return _joined(
            [
                standing(points.some(points.writer == number), span.cuts[writer.name], rewound=span.rewound)
                for number, writer in enumerate(writers)
            ]
        )


def _joined(parts: list[Points]) -> Points:
    parts = [part for part in parts if len(part)] or parts[:1]
    if not parts:
        none = np.empty(0, np.int64)
        return Points(none, np.empty(0), np.empty(0), np.empty(0), none, np.empty(0, np.int16))
    if len(parts) == 1:
        return parts[0]
    return Points(*(np.concatenate([getattr(p, f) for p in parts]) for f in Points.__dataclass_fields__))


def limits_of(watermark: str) -> dict[str, int] | None:
    """The last number of each writer that a watermark knows; None when it is none."""
    try:
        told = watermark.partition(";")[2]
        return {name: int(end) for name, _, end in (part.partition(":") for part in told.split(",") if part)}
    except ValueError:
        return None
