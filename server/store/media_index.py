"""Media index: how many media values each row has under a key, beside its chunks, so that a page of media reads no other.

Level 3 of the table `chunk`: a number for each row of the chunk of level 0 that stands at the same place, for columns that are no
plain numbers. Chunks of before it came, numbers that are damaged, and rows that are not compacted, are counted when they are
asked for.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from milepost.server.store import Row, chunks
from milepost.server.store.media_page import MediaPage, media_page
from milepost.server.store.parts import Part
from milepost.server.store.stored_rows import StoredRows

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows that stand together: how many media each has, and where the rows themselves are."""

    seq: IntArray
    step: IntArray
    count: IntArray
    rows: Callable[[NDArray[Any]], Part]


def indexed_page(
    stored: StoredRows,
    writers: Sequence[int],
    keys: Sequence[str],
    step: int | None,
    offset: int,
    limit: int,
    fill: Callable[[Any], Any],
) -> MediaPage:
    """The page of the media under some keys, of all rows of some writers, one behind the other. fill: as in `media_page`."""
    connection = stored.reading()
    connection.execute("BEGIN")
    try:
        page, steps = MediaPage(), [np.empty(0, np.int64)]
        for writer in writers:
            pieces = list(_pieces(stored, connection, writer, keys))
            seq, at, count = (_joined([getattr(piece, name) for piece in pieces]) for name in ("seq", "step", "count"))
            piece = _joined([np.full(len(each.seq), n) for n, each in enumerate(pieces)])
            place = _joined([np.arange(len(each.seq)) for each in pieces])
            there = np.flatnonzero(count if step is None else count * (at == step))
            there = there[np.argsort(seq[there], kind="stable")]
            steps.append(at[there])
            ends = page.total + np.cumsum(count[there])
            page.total = int(ends[-1]) if len(ends) else page.total
            wanted = there[(ends > offset) & (ends - count[there] < offset + limit)]
            rows = dict(
                each
                for n in set(piece[wanted].tolist())
                for each in pieces[n].rows(place[wanted[piece[wanted] == n]]).rows()
            )
            first = int((ends - count[there])[ends > offset][0]) if len(wanted) else 0
            some: list[Row] = [rows[number] for number in seq[wanted].tolist()]
            page.items += media_page(some, keys, max(offset - first, 0), limit - len(page.items), fill).items
        every = np.sort(np.concatenate(steps))
        page.steps = every[
            np.append(True, every[1:] != every[:-1])[: len(every)]
        ].tolist()  # np.unique hashes: five times as long
        return page
    finally:
        connection.execute("COMMIT")


def _joined(arrays: list[IntArray]) -> IntArray:
    return np.concatenate([np.empty(0, np.int64), *arrays])


def _pieces(stored: StoredRows, connection: sqlite3.Connection, writer: int, keys: Sequence[str]) -> Iterator[_Piece]:
    """The rows of a writer that hold some of the keys, chunk by chunk and batch by batch."""
    wanted = frozenset(keys)
    for part in stored.tail(connection, writer):
        if wanted.intersection(part.keys) and len(part):
            held = part.only(wanted)
            yield _Piece(part.seq, part.step, _counts(held), held.some)
    for group, names, rows in stored.groups(connection, writer):
        held_keys = [place for place, name in enumerate(names) if name in wanted]
        if held_keys:
            yield from _of_group(stored, connection, group, names, held_keys, rows)


def _of_group(
    stored: StoredRows,
    connection: sqlite3.Connection,
    group: int,
    names: tuple[str, ...],
    held: list[int],
    rows: int,
) -> Iterator[_Piece]:
    query = "SELECT at, n, body FROM chunk WHERE grp = ? AND key = ? AND level = 3 ORDER BY at"
    known = {key: {at: (n, body) for at, n, body in connection.execute(query, (group, key))} for key in held}
    only = frozenset(names[key] for key in held)
    for at in range(0, rows, chunks.ROWS):
        stop = min(at + chunks.ROWS, rows)
        total = np.zeros(stop - at, np.int64)
        for key in held:
            n, body = known[key].get(at, (0, b""))
            found = None
            if n >= stop - at:
                try:
                    found = chunks.counted(group, body, n)
                except chunks.DamagedChunk:  # the rows say the same; the writing thread removes it
                    stored.damaged.add(group)
            if found is not None:
                total += found[: stop - at]
            else:
                values = chunks.read_column(connection, group, key, at, stop)
                total += np.concatenate([chunks.media_counts(each) for each in values])
        if total.any():
            seq, step = (chunks.read_array(connection, group, key, at, stop) for key in (chunks.SEQ, chunks.STEP))

            def read(which: NDArray[Any], at: int = at, stop: int = stop) -> Part:
                return chunks.read_rows(connection, group, names, at, stop, only).some(which)

            yield _Piece(seq, step, total, read)


def _counts(part: Part) -> IntArray:
    """How many media each row has."""
    total = np.zeros(len(part), np.int64)
    for column in part.values:
        total += chunks.media_counts(column)
    return total
