"""Chunks: the rows of a group as columns in the database, appended by the compactor, and read by whoever draws or exports.

    level 0   4,096 rows a chunk; key -4 seq, -3 time (ns), -2 runtime (us), -1 step, 0.. the values of each key
    level 1   a block is 64 rows; 1,024 blocks a chunk; key -1 where blocks begin and end, 0.. the figures of each key
    level 2   a block is 4,096 rows; 1,024 blocks a chunk
    level 3   as level 0: how many media values each row has under a key, of those that are no plain numbers

`at` is the number of a chunk's first row or block. The last chunk of a level may be short; it is written anew when more comes.
"""

import sqlite3
from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from milepost.server.series import FACTOR, Blocks, Points, rolled_up
from milepost.server.store.codec import DamagedColumn, Values, decode, decode_several, encode, numbers_of
from milepost.server.store.parts import Part, joined

ROWS: Final = 4096
BLOCKS: Final = 1024
SEQ, TIME, RUNTIME, STEP = -4, -3, -2, -1

_FIGURES: Final = ("points", "count", "low", "high", "total", "last", "nan", "positive", "negative")
_encode_all: Final = msgspec.msgpack.Encoder().encode
_decode_all: Final = msgspec.msgpack.Decoder(list[bytes]).decode


class DamagedChunk(ValueError):
    """A chunk that cannot be decoded, or of which columns are missing. group: whose."""

    def __init__(self, group: int, why: str) -> None:
        super().__init__(f"a chunk of group {group} is damaged: {why}")
        self.group = group


@contextmanager
def _of_group(group: int) -> Iterator[None]:
    """Raise `DamagedChunk` for what is damaged in a block."""
    try:
        yield
    except DamagedColumn as error:
        raise DamagedChunk(group, str(error)) from None


def appended(connection: sqlite3.Connection, group: int, rows_before: int, part: Part) -> list[tuple[Any, ...]]:
    """The lines of the table with which rows are added to a group that holds `rows_before` rows."""
    start = rows_before - rows_before % ROWS
    if start < rows_before:
        part = joined([read_rows(connection, group, part.keys, start, rows_before), part])
    records: list[tuple[Any, ...]] = []
    for at in range(0, len(part), ROWS):
        some = part.some(slice(at, at + ROWS))
        seq0, seq1 = int(some.seq.min()), int(some.seq.max())  # batches may come in any order
        columns: list[tuple[int, Values]] = [
            (SEQ, some.seq),
            (TIME, some.time),
            (RUNTIME, some.runtime),
            (STEP, some.step),
        ]
        columns += enumerate(some.values)
        media = [(key, media_counts(values)) for key, values in enumerate(some.values) if isinstance(values, list)]
        columns_of = (
            (key, level, encode(values)) for level, found in ((0, columns), (3, media)) for key, values in found
        )
        records += [(group, key, level, start + at, len(some), seq0, seq1, body) for key, level, body in columns_of]
    clocks = np.stack((part.step.astype(np.float64), part.time / 1e9, part.runtime / 1e6))
    for key, values in enumerate(part.values):
        records += _rollups(connection, group, key, start, clocks, values)
    records += _rollups(connection, group, -1, start, clocks, None)
    return records


def media_counts(values: Values) -> NDArray[np.int64]:
    """How many media values, alone or in a list, each value is."""
    if not isinstance(values, list):
        return np.zeros(len(values), np.int64)
    return np.fromiter(map(_media_in, values), np.int64, len(values))


def _media_in(value: Any) -> int:
    if type(value) is dict:
        return isinstance(value.get("_type"), str)
    if type(value) is list:
        return sum(isinstance(each, dict) and isinstance(each.get("_type"), str) for each in value)
    return 0


def counted(group: int, body: bytes, n: int) -> NDArray[np.int64]:
    """The numbers of a chunk of level 3."""
    with _of_group(group):
        values = decode(body, n)
        if isinstance(values, list):
            raise DamagedColumn("numbers of media are no numbers")
        return np.asarray(values, np.int64)


def _rollups(
    connection: sqlite3.Connection, group: int, key: int, start: int, clocks: NDArray[np.float64], values: Values | None
) -> list[tuple[Any, ...]]:
    """The chunks of levels 1 and 2 that hold the rows from `start` on: as many blocks as are whole, for others are not read."""
    count = clocks.shape[1]
    records: list[tuple[Any, ...]] = []
    if count < FACTOR:
        return records
    blocks = _blocks_of(clocks, values)
    for level, rows in ((1, FACTOR), (2, FACTOR * FACTOR)):
        blocks = rolled_up(blocks).some(slice(0, count // rows))
        first = start // rows
        chunk = first - first % BLOCKS
        whole = blocks
        if chunk < first:
            before = read_blocks(connection, group, key, level, chunk, first)
            whole = Blocks.joined([before, blocks]) if before is not None else blocks
        for at in range(0, len(whole), BLOCKS):
            some = whole.some(slice(at, at + BLOCKS))
            records.append((group, key, level, chunk + at, len(some), 0, 0, _pressed(some, clocks=key < 0)))
    return records


def _blocks_of(clocks: NDArray[np.float64], values: Values | None) -> Blocks:
    """Each row as a block; a row without a number has no point."""
    rows = clocks.shape[1]
    numbers, there = numbers_of(values) if values is not None else (np.zeros(rows), np.ones(rows, np.bool_))
    zero = np.zeros(rows, np.int64)
    empty = Points(zero, clocks[1], clocks[2], numbers, zero, zero.astype(np.int16)).blocks()
    empty.first = empty.end = clocks
    if not there.all():
        empty.points = there.astype(np.int64)
        empty.nan = np.where(there, empty.nan, 0)
    return empty


def _pressed(blocks: Blocks, *, clocks: bool) -> bytes:
    if clocks:
        return _encode_all([encode(np.ascontiguousarray(each)) for each in (*blocks.first, *blocks.end)])
    return _encode_all([encode(np.ascontiguousarray(getattr(blocks, name))) for name in _FIGURES])


def read_blocks(
    connection: sqlite3.Connection,
    group: int,
    key: int,
    level: int,
    first: int,
    stop: int,
) -> Blocks | None:
    """Blocks first..stop of a key, which stand nowhere; of key -1: where they stand, with nothing else."""
    query = "SELECT at, n, body FROM chunk WHERE grp = ? AND key = ? AND level = ? AND at > ? AND at < ? ORDER BY at"
    found = connection.execute(query, (group, key, level, first - BLOCKS, stop)).fetchall()
    if not found:
        return None
    sizes = [n for _, n, _ in found]
    with _of_group(group):
        columns: list[Any] = [decode_several(several, sizes) for several in _figures(found, key)]
    total = sum(sizes)
    if key < 0:
        none, nought = np.broadcast_to(np.int64(0), (total,)), np.broadcast_to(0.0, (total,))
        first_and_end = np.stack(columns[:3]), np.stack(columns[3:])
        blocks = Blocks(*first_and_end, none, none, nought, nought, nought, nought, none, none, none)
    else:
        nowhere = np.broadcast_to(0.0, (3, total))
        blocks = Blocks(nowhere, nowhere, *columns)
    at = found[0][0]
    return blocks.some(slice(max(first - at, 0), stop - at))


def _figures(found: list[tuple[int, int, bytes]], key: int) -> list[tuple[bytes, ...]]:
    """The figures of some chunks of blocks, not decoded yet. Raises `DamagedColumn`."""
    count = 6 if key < 0 else len(_FIGURES)
    try:
        figures = [_decode_all(body) for *_, body in found]
    except (msgspec.DecodeError, RecursionError) as error:
        raise DamagedColumn(str(error)) from None
    if any(len(each) != count or b"" in each for each in figures):
        raise DamagedColumn("a figure is missing")
    return list(zip(*figures, strict=True))


def read_clocks(
    connection: sqlite3.Connection, group: int, level: int, axis: int, first: int, stop: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where blocks first..stop of a level begin and end on one axis. Nothing else of them is decoded."""
    query = "SELECT at, n, body FROM chunk WHERE grp = ? AND key = -1 AND level = ? AND at > ? AND at < ? ORDER BY at"
    found = connection.execute(query, (group, level, first - BLOCKS, stop)).fetchall()
    if not found:
        raise DamagedChunk(group, f"where blocks {first} to {stop - 1} of level {level} stand is missing")
    with _of_group(group):
        figures = _figures(found, -1)
        sizes, begun = [n for _, n, _ in found], max(first - found[0][0], 0)
        begins, ends = (decode_several(figures[n], sizes)[begun : stop - found[0][0]] for n in (axis, 3 + axis))
        if len(begins) != stop - first:
            raise DamagedColumn(f"of blocks {first} to {stop - 1} of level {level}, {len(begins)} are there")
    return begins, ends


def missing(connection: sqlite3.Connection, group: int, rows: int) -> list[int]:
    """The places of chunks of level 0 that a group of so many rows should have, and that are not there."""
    query = "SELECT at FROM chunk WHERE grp = ? AND key = ? AND level = 0"
    there = {at for (at,) in connection.execute(query, (group, SEQ))}
    return [at for at in range(0, rows, ROWS) if at not in there]


def check_whole(connection: sqlite3.Connection, group: int, rows: int) -> None:
    """Raise `DamagedChunk` for a group of so many rows that lacks some: who asks for what is there would not see it."""
    lacking = missing(connection, group, rows)
    if lacking:
        raise DamagedChunk(group, f"the rows from {lacking[0]} on are missing")


def read_column(connection: sqlite3.Connection, group: int, key: int, first: int, stop: int) -> list[Values]:
    """The values of rows first..stop of a key, chunk by chunk."""
    query = "SELECT at, n, body FROM chunk WHERE grp = ? AND key = ? AND level = 0 AND at > ? AND at < ? ORDER BY at"
    found: list[Values] = []
    with _of_group(group):
        for at, n, body in connection.execute(query, (group, key, first - ROWS, stop)).fetchall():
            values = decode(body, n)
            found.append(values[max(first - at, 0) : stop - at])
        if (there := sum(map(len, found))) < stop - first:
            raise DamagedColumn(f"of the {stop - first} rows from {first} on, {there} are there for key {key}")
    return found


def read_array(connection: sqlite3.Connection, group: int, key: int, first: int, stop: int) -> NDArray[Any]:
    """As `read_column`, of a clock, in one array."""
    found = [np.asarray(each) for each in read_column(connection, group, key, first, stop)]
    return np.concatenate(found) if found else np.empty(0, np.int64)


def read_rows(
    connection: sqlite3.Connection,
    group: int,
    keys: tuple[str, ...],
    first: int,
    stop: int,
    only: Container[str] | None = None,
) -> Part:
    """Rows first..stop of a group. only: the keys whose columns are read; None for whole rows."""
    seq, time, runtime, step = (read_array(connection, group, key, first, stop) for key in (SEQ, TIME, RUNTIME, STEP))
    chosen = [key for key, name in enumerate(keys) if only is None or name in only]
    values = [_one(read_column(connection, group, key, first, stop)) for key in chosen]
    return Part(tuple(keys[key] for key in chosen), seq, time, runtime, step, values)


def _one(pieces: list[Values]) -> Values:
    if len(pieces) == 1:
        return pieces[0]
    if pieces and all(not isinstance(piece, list) and piece.dtype == np.asarray(pieces[0]).dtype for piece in pieces):
        return np.concatenate([np.asarray(piece) for piece in pieces])
    return [value for piece in pieces for value in (piece if isinstance(piece, list) else piece.tolist())]
