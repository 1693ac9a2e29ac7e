"""Exact rows: the rows of writers as they were logged, from chunks and batches, in order, some hundred at a time.

What a later start took back is left out, or marked where it is asked for. Nothing but the page at hand is in memory, except
where rows of one set of keys did not come in order.
"""

import heapq
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, pairwise
from typing import Any, Final

import numpy as np

from milepost.sdk.reading.wish import Cut, Wish
from milepost.server.store import Row, chunks
from milepost.server.store.by_step import by_step
from milepost.server.store.codec import Values
from milepost.server.store.live import WriterState
from milepost.server.store.parts import Part
from milepost.server.store.stored_rows import StoredRows

_NESTED: Final = frozenset((dict, list))


@dataclass(frozen=True, slots=True)
class Chosen:
    """Whose rows are asked for, what of them was taken back, and whether those of several are put in one order.

    run: its number in the database.
    """

    run: int
    writers: list[WriterState]
    cuts: dict[str, list[Cut]]
    merged: bool


def exact_rows(stored: StoredRows, chosen: Chosen, asked: Wish) -> Iterator[list[Row]]:
    """The rows of the writers that are asked for, page by page."""
    writers = chosen.writers
    connection = stored.connection()
    numbers = [writer.id for writer in writers]
    if any(_is_unordered(event.values) for event in stored.events(connection, numbers, "run.start")):
        connection.execute("BEGIN")

        def within(low: int, high: int) -> Iterator[tuple[int, Row]]:
            part = replace(asked, low=low, high=high)
            return chain.from_iterable(_rows_of(stored, connection, chosen, w, part) for w in writers)

        steps = np.concatenate([np.empty(0, np.int64), *stored.steps(connection, numbers)])
        steps = steps[(steps >= asked.low) & (steps < asked.high)]
        return _pages(by_step(steps, within), asked, connection)
    streams = [_rows_of(stored, connection, chosen, writer, asked) for writer in writers]
    if chosen.merged and len(streams) > 1:
        return _pages(heapq.merge(*streams, key=lambda each: each[0]), asked, connection)
    return _pages((row for stream in streams for row in stream), asked, connection)


def _rows_of(
    stored: StoredRows, connection: sqlite3.Connection, chosen: Chosen, writer: WriterState, asked: Wish
) -> Iterator[tuple[int, Row]]:
    """The step and row of each row of a writer that is asked for, in order of numbers."""
    connection.execute("BEGIN") if not connection.in_transaction else None
    cuts = chosen.cuts[writer.name]
    fill = partial(stored.filled, connection, chosen.run)
    streams: list[Iterator[tuple[int, Row]]] = []
    tails: dict[tuple[str, ...], list[Part]] = {}
    for part in stored.tail(connection, writer.id):
        tails.setdefault(part.keys, []).append(part)
    for group, keys, rows in stored.groups(connection, writer.id):
        streams.append(_in_order(connection, group, keys, rows, tails.pop(keys, []), asked, fill))
    streams += [_in_order(connection, 0, keys, 0, parts, asked, fill) for keys, parts in tails.items()]
    marks: Row = {"_writer": writer.name, "_rank": writer.rank} if asked.marked else {}
    for seq, row in (
        heapq.merge(*streams, key=lambda each: each[0]) if len(streams) > 1 else streams[0] if streams else ()
    ):
        step: int = row["_step"]
        if not asked.takes(row):
            continue
        hidden = any(step >= cut.step and seq < cut.before for cut in cuts)
        if hidden and not asked.superseded:
            continue
        told = asked.trim(row) | marks
        if hidden:
            told["_superseded"] = True
        yield step, told


def _in_order(
    connection: sqlite3.Connection,
    group: int,
    keys: tuple[str, ...],
    rows: int,
    tail: list[Part],
    asked: Wish,
    fill: Callable[[Any], Any],
) -> Iterator[tuple[int, Row]]:
    """Number and row of the rows of one set of keys, of the steps asked for, by number: chunk by chunk unless mixed."""
    pieces = (
        chunks.read_rows(connection, group, keys, at, min(at + chunks.ROWS, rows)) for at in range(0, rows, chunks.ROWS)
    )
    bounds = connection.execute(
        "SELECT seq0, seq1 FROM chunk WHERE grp = ? AND key = ? AND level = 0 ORDER BY at", (group, chunks.SEQ)
    ).fetchall()
    bounds += [(int(part.seq.min()), int(part.seq.max())) for part in tail if len(part)]
    rising = all(b[0] > a[1] for a, b in pairwise(bounds))
    parts = (_filled(_sorted(_inside(part, asked)), fill) for several in (pieces, tail) for part in several)
    every = (row for part in parts for row in part.rows())
    return every if rising else iter(sorted(every, key=lambda each: each[0]))


def _filled(part: Part, fill: Callable[[Any], Any]) -> Part:
    """The rows with what is known of their media. Columns of numbers and texts are not looked at one by one."""
    if not any(map(_may_hold_media, part.values)):
        return part
    values = [list(map(fill, column)) if _may_hold_media(column) else column for column in part.values]
    return replace(part, values=values)


def _may_hold_media(column: Values) -> bool:
    return isinstance(column, list) and not _NESTED.isdisjoint(map(type, column))


def _inside(part: Part, asked: Wish) -> Part:
    """The rows of the steps that are asked for."""
    if asked.every_step:
        return part
    there = (part.step >= asked.low) & (part.step < asked.high)
    return part if there.all() else part.some(there)


def _is_unordered(start: dict[str, Any]) -> bool:
    """Whether a writer's run.start says that steps come in any order."""
    settings = start.get("settings")
    return isinstance(settings, dict) and settings.get("steps") == "unordered"


def _sorted(part: Part) -> Part:
    return part.some(np.argsort(part.seq, kind="stable")) if (np.diff(part.seq) < 0).any() else part


def _pages(rows: Iterator[tuple[int, Row]], asked: Wish, connection: sqlite3.Connection) -> Iterator[list[Row]]:
    page: list[Row] = []
    try:
        for _, row in rows:
            page.append(row)
            if len(page) >= 512:
                yield page
                page = []
        if page:
            yield page
    finally:
        connection.close()
