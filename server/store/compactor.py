"""Compactor: turns stored batches into chunks. A process of its own, so that it never holds up an acknowledgement.

It takes only what the run's stored state already holds (`run.flushed`). Columns are made before the transaction that puts them in
place and takes the batches away: killed at any moment, a row is in a batch or in a chunk, never in both, never in neither.
"""

import contextlib
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from milepost.server.store import chunks
from milepost.server.store.memory import GivesBack
from milepost.server.store.parts import Part, joined, parts_of, unpressed
from milepost.server.store.schema import connect, next_number
from milepost.server.store.stored_rows import UNREADABLE, set_aside

ENOUGH_ROWS: Final = 4096
ENOUGH_BATCHES: Final = 64
OLD_S: Final = 2.0
MOST_ROWS: Final = 16_384
MOST_COLUMNS: Final = 1_000_000
"""Pieces of columns, one for each key and batch: with 100,000 keys a few batches are a lot of memory."""
IDLE_S: Final = 0.25
REST_S: Final = 600.0
MENDING_S: Final = 5.0
"""How long a writer whose chunks are damaged is left alone: the server sees to them within a second or so."""

_WAITING: Final = """
    SELECT batch.writer, SUM(batch.rows), COUNT(*), MIN(batch.received) FROM batch
    JOIN writer ON writer.id = batch.writer JOIN run ON run.id = writer.run
    WHERE batch.id <= run.flushed GROUP BY batch.writer
"""


def compact(connection: sqlite3.Connection, *, everything: bool = False) -> int:
    """Compact the writers that have enough waiting, or all; how many rows were moved."""
    moved = 0
    for writer, rows, count, oldest in connection.execute(_WAITING).fetchall():
        age_s = abs(time.time() - oldest)  # the clock may have been set back since
        old = age_s > OLD_S * max(1.0, ENOUGH_ROWS / max(rows, 1) / 8)
        if not (everything or rows >= ENOUGH_ROWS or count >= ENOUGH_BATCHES or old) or _rests(writer):
            continue
        try:
            moved += _compact_writer(connection, writer)
        except sqlite3.OperationalError:  # the disk, or a lock: of no writer in particular
            raise
        except chunks.DamagedChunk as error:  # the server sets aside what is damaged
            connection.execute("INSERT OR IGNORE INTO damaged SELECT id FROM grp WHERE id = ?", (error.group,))
            _rest_until[writer] = time.monotonic() + MENDING_S
            print(f"milepost: the rows of writer {writer} are not compacted yet: {error}", file=sys.stderr, flush=True)
        except Exception as error:  # noqa: BLE001 - something of this writer is damaged; its rows stay in batches, and others go on
            _rest_until[writer] = time.monotonic() + REST_S
            text = f"{type(error).__name__}: {error}"
            print(f"milepost: the rows of writer {writer} are not compacted: {text}", file=sys.stderr, flush=True)
    return moved


_rest_until: Final[dict[int, float]] = {}


def _rests(writer: int) -> bool:
    """Whether a writer was tried in vain lately."""
    return time.monotonic() < _rest_until.get(writer, 0.0)


def _compact_writer(connection: sqlite3.Connection, writer: int) -> int:
    query = """
        SELECT batch.id, batch.rows, batch.body FROM batch JOIN writer ON writer.id = batch.writer
        JOIN run ON run.id = writer.run WHERE batch.writer = ? AND batch.id <= run.flushed ORDER BY batch.id
    """
    taken: list[int] = []
    parts: dict[tuple[str, ...], list[Part]] = {}
    rows = columns = 0
    damaged: dict[int, str] = {}
    for number, count, body in connection.execute(query, (writer,)):
        try:
            found = parts_of(unpressed(body)) if count else []
        except UNREADABLE as error:
            damaged[number] = f"{type(error).__name__}: {error}"
            continue
        taken.append(number)
        rows += count
        columns += sum(len(part.keys) for part in found)
        for part in found:
            if len(part):
                parts.setdefault(part.keys, []).append(part)
        if rows >= MOST_ROWS or columns >= MOST_COLUMNS:
            break
    for number, why in damaged.items():
        set_aside(connection, number, why)
        print(f"milepost: batch {number} cannot be read and is set aside: {why}", file=sys.stderr, flush=True)
    if not taken:
        return 0
    groups = groups_of(connection, writer, parts)
    if groups is None:
        return 0
    records: list[tuple[Any, ...]] = []
    grown: list[tuple[int, int, int]] = []
    for keys, several in parts.items():
        group, before = groups[keys]
        part = joined(several)
        records += chunks.appended(connection, group, before, part)
        grown.append((before + len(part), group, before))
    connection.execute("BEGIN IMMEDIATE")
    try:
        still = all(
            connection.execute("UPDATE grp SET rows = ? WHERE id = ? AND rows = ?", each).rowcount == 1
            for each in grown
        )
        gone = connection.executemany("DELETE FROM batch WHERE id = ?", [(number,) for number in taken]).rowcount
        if not still or gone != len(taken):  # the run was deleted, or the compactor of a killed server was quicker
            connection.execute("ROLLBACK")
            return 0
        connection.executemany("INSERT OR REPLACE INTO chunk VALUES (?, ?, ?, ?, ?, ?, ?, ?)", records)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has ended it already
            connection.execute("ROLLBACK")
        raise
    return rows


def groups_of(
    connection: sqlite3.Connection, writer: int, every: Iterable[tuple[str, ...]]
) -> dict[tuple[str, ...], tuple[int, int]] | None:
    """The numbers of groups and how many rows they hold, made where they are new; None when the writer was deleted meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        there = connection.execute("SELECT 1 FROM writer WHERE id = ?", (writer,)).fetchone() is not None
        found = {keys: group_of(connection, writer, keys) for keys in every} if there else None
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has ended it already
            connection.execute("ROLLBACK")
        raise
    return found


def group_of(connection: sqlite3.Connection, writer: int, keys: tuple[str, ...]) -> tuple[int, int]:
    """The number of a group and how many rows it holds; made when it is new. Called in a transaction."""
    named = msgspec.json.encode(keys).decode()
    found: Any = connection.execute(
        "SELECT id, rows FROM grp WHERE writer = ? AND keys = ?", (writer, named)
    ).fetchone()
    if found is None:
        found = next_number(connection, "grp"), 0
        connection.execute("INSERT INTO grp (id, writer, keys) VALUES (?, ?, ?)", (found[0], writer, named))
    return int(found[0]), int(found[1])


def main(database: str, parent: int) -> None:
    """Compact until the process that started this one is gone, or SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = connect(Path(database))
    connection.execute("PRAGMA wal_autocheckpoint = 2000")
    gives_back = GivesBack()
    with contextlib.closing(connection):
        while os.getppid() == parent:
            try:
                moved = compact(connection)
            except (
                sqlite3.OperationalError
            ) as error:  # a full disk, or a lock held for long: rows stay in their batches
                print(f"milepost: compaction waits: {error}", file=sys.stderr, flush=True)
                time.sleep(5)
                continue
            gives_back.look()
            if not moved:
                time.sleep(IDLE_S)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
