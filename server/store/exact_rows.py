"""Exact rows: the rows of writers as they were logged, from chunks and batches, in order, some hundred at a time.

What a later start took back is left out, or marked where it is asked for. Nothing but the page at hand is in memory, except
where rows of one set of keys did not come in order.
"""

import heapq
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice, pairwise
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

    run: its number in the database. filled: whether media values have what is known of their files.
    upto: the last batch whose rows count, of those that are not compacted; None: of all.
    """

    run: int
    writers: list[WriterState]
    cuts: dict[str, list[Cut]]
    merged: bool
    filled: bool = True
    upto: int | None = None


def exact_rows(stored: StoredRows, chosen: Chosen, asked: Wish, skip: int = 0) -> Iterator[list[Row]]:
    """The rows of the writers that are asked for, page by page, without the first `skip` of them."""
    writers = chosen.writers
    connection = stored.connection()
    numbers = [writer.id for writer in writers]
    if is_unordered(stored, connection, numbers):
        connection.execute("BEGIN")

        def within(low: int, high: int) -> Iterator[tuple[int, Row]]:
            part = replace(asked, low=low, high=high)
            return chain.from_iterable(_rows_of(stored, connection, chosen, w, part) for w in writers)

        steps = np.concatenate([np.empty(0, np.int64), *stored.steps(connection, numbers)])
        steps = steps[(steps >= asked.low) & (steps < asked.high)]
        return _pages(islice(by_step(steps, within), skip, None), connection)
    if chosen.merged and len(writers) > 1:
        streams = [_rows_of(stored, connection, chosen, writer, asked) for writer in writers]
        return _pages(islice(heapq.merge(*streams, key=lambda each: each[0]), skip, None), connection)
    return _pages(_one_after_the_other(stored, connection, chosen, asked, skip), connection)


def _one_after_the_other(
    stored: StoredRows, connection: sqlite3.Connection, chosen: Chosen, asked: Wish, skip: int
) -> Iterator[tuple[int, Row]]:
    """The rows of each writer. Where many are passed over, only their numbers and steps are read."""
    connection.execute("BEGIN")
    for writer in chosen.writers:
        first = 0
        if skip >= chunks.ROWS:
            cuts = () if asked.superseded else chosen.cuts[writer.name]
            numbers = stored.numbers(connection, writer.id, asked, cuts)
            if len(numbers) <= skip:
                skip -= len(numbers)
                continue
            first, skip = int(np.partition(numbers, skip)[skip]), 0
        rows = _rows_of(stored, connection, chosen, writer, asked, first)
        while skip and next(rows, None) is not None:
            skip -= 1
        yield from rows


def _rows_of(
    stored: StoredRows, connection: sqlite3.Connection, chosen: Chosen, writer: WriterState, asked: Wish, first: int = 0
) -> Iterator[tuple[int, Row]]:
    """The step and row of each row of a writer that is asked for, in order of numbers, from number `first` on."""
    connection.execute("BEGIN") if not connection.in_transaction else None
    cuts = chosen.cuts[writer.name]
    fill = partial(stored.filled, connection, chosen.run) if chosen.filled else None
    streams: list[Iterator[tuple[int, Row]]] = []
    tails: dict[tuple[str, ...], list[Part]] = {}
    for part in stored.tail(connection, writer.id, chosen.upto):
        if asked.takes(part.keys):
            tails.setdefault(part.keys, []).append(part)
    for group, keys, rows in stored.groups(connection, writer.id):
        if asked.takes(keys):
            streams.append(_in_order(connection, (group, keys, rows), tails.pop(keys, []), asked, fill, first))
    streams += [_in_order(connection, (0, keys, 0), parts, asked, fill, first) for keys, parts in tails.items()]
    marks: Row = {"_writer": writer.name, "_rank": writer.rank} if asked.marked else {}
    for seq, row in (
        heapq.merge(*streams, key=lambda each: each[0]) if len(streams) > 1 else streams[0] if streams else ()
    ):
        step: int = row["_step"]
        hidden = any(step >= cut.step and seq < cut.before for cut in cuts)
        if hidden and not asked.superseded:
            continue
        told = asked.trim(row) | marks
        if hidden:
            told["_superseded"] = True
        yield step, told


def _in_order(
    connection: sqlite3.Connection,
    group: tuple[int, tuple[str, ...], int],
    tail: list[Part],
    asked: Wish,
    fill: Callable[[Any], Any] | None,
    first: int,
) -> Iterator[tuple[int, Row]]:
    """Number and row of the rows of one set of keys that are asked for, by number: chunk by chunk unless mixed.

    group: its number, keys and rows. Of the columns, only those are read that are asked for.
    """
    number, keys, rows = group
    only = None if asked.keys is None else frozenset((*asked.along, *asked.keys))
    chunks.check_whole(connection, number, rows)
    stored: list[tuple[int, int, int]] = connection.execute(
        "SELECT seq0, seq1, at FROM chunk WHERE grp = ? AND key = ? AND level = 0 ORDER BY at", (number, chunks.SEQ)
    ).fetchall()
    pieces = (
        chunks.read_rows(connection, number, keys, at, min(at + chunks.ROWS, rows), only)
        for _, last, at in stored
        if last >= first and at < rows
    )
    bounds = [(low, high) for low, high, _ in stored]
    bounds += [(int(part.seq.min()), int(part.seq.max())) for part in tail if len(part)]
    rising = all(b[0] > a[1] for a, b in pairwise(bounds))
    added = tail if only is None else [part.only(only) for part in tail]
    parts = (_filled(_sorted(_inside(part, asked, first)), fill) for several in (pieces, added) for part in several)
    every = (row for part in parts for row in part.rows())
    return every if rising else iter(sorted(every, key=lambda each: each[0]))


def _filled(part: Part, fill: Callable[[Any], Any] | None) -> Part:
    """The rows with what is known of their media. Columns of numbers and texts are not looked at one by one."""
    if fill is None or not any(map(_may_hold_media, part.values)):
        return part
    values = [list(map(fill, column)) if _may_hold_media(column) else column for column in part.values]
    return replace(part, values=values)


def _may_hold_media(column: Values) -> bool:
    return isinstance(column, list) and not _NESTED.isdisjoint(map(type, column))


def _inside(part: Part, asked: Wish, first: int) -> Part:
    """The rows of the steps that are asked for, from number `first` on."""
    if asked.every_step and not first:
        return part
    there = (part.step >= asked.low) & (part.step < asked.high) & (part.seq >= first)
    return part if there.all() else part.some(there)


def is_unordered(stored: StoredRows, connection: sqlite3.Connection, writers: list[int]) -> bool:
    """Whether the steps of some writers come in any order, as one's run.start says; rows are then given by step."""
    starts = (event.values.get("settings") for event in stored.events(connection, writers, "run.start"))
    return any(isinstance(told, dict) and told.get("steps") == "unordered" for told in starts)


def _sorted(part: Part) -> Part:
    return part.some(np.argsort(part.seq, kind="stable")) if (np.diff(part.seq) < 0).any() else part


def _pages(rows: Iterator[tuple[int, Row]], connection: sqlite3.Connection) -> Iterator[list[Row]]:
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
