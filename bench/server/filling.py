"""Filling: runs put into a data directory without a server, as columns, so that a thousand million points take minutes.

What stands in the database afterwards is what batches and the compactor would have left: the same functions of the store make
the chunks, the blocks and what is known of a run.
"""

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from milepost.sdk.wire import WireEvent
from milepost.server.store import chunks
from milepost.server.store.compactor import group_of
from milepost.server.store.ingest import run_of
from milepost.server.store.live import LiveRun, WriterState
from milepost.server.store.parts import Part
from milepost.server.store.schema import claim, connect, migrate, next_number

BEGIN_S: Final = 1_700_000_000
STEP_S: Final = 0.02
MOST_ROWS: Final = 16 * chunks.ROWS


@contextmanager
def filling(data: Path) -> Iterator[sqlite3.Connection]:
    """A connection to the database of a data directory that no server uses. Not durable before the block ends."""
    data.mkdir(parents=True, exist_ok=True)
    lock = claim(data / "lock")
    migrate(data / "milepost.db")
    connection = connect(data / "milepost.db")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -65536")
    try:
        yield connection
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()
        os.close(lock)


def rows(keys: tuple[str, ...], values: list[Any], first: int = 0, begin_s: float = BEGIN_S) -> Part:
    """Consecutive rows, one each 20 ms. values: a column for each key."""
    seq = np.arange(first, first + len(values[0]))
    micros = (seq * (STEP_S * 1e6)).astype(np.int64)
    return Part(keys, seq, int(begin_s * 1e9) + micros * 1000, micros, seq, values)


def add_run(
    connection: sqlite3.Connection,
    project: str,
    name: str,
    number: int,
    parts: Iterable[Part],
    config: dict[str, Any] | None = None,
    begin_s: float = BEGIN_S,
    *,
    finished: bool = True,
) -> None:
    """A run of one writer. parts: its rows, all of the same keys, some ten thousand at a time. number: for its writer's id."""
    connection.execute("BEGIN IMMEDIATE")
    run, _ = run_of(connection, project, name, begin_s)
    writer_id = next_number(connection, "writer")
    writer = WriterState(id=writer_id, name=f"{number:016x}", started=int(begin_s * 1e9), host="bench")
    connection.execute(
        "INSERT INTO writer (id, run, name, attempt, rank, parent, started, host) VALUES (?, ?, ?, 1, NULL, '', ?, 'bench')",
        (writer_id, run, writer.name, writer.started),
    )
    live = LiveRun(project, name, begin_s, None, {})
    live.kept.writers[writer.name] = writer
    start = WireEvent(0, writer.started, 0, None, "run.start", {"name": name, "config": config or {}})
    live.take(writer, [], [start], begin_s)
    stored, last = 0, 0
    for part in parts:
        part.seq = part.seq + 1  # behind the event
        live.take(writer, [part], [], begin_s + float(part.runtime[-1]) / 1e6)
        group, before = group_of(connection, writer.id, part.keys)
        records = chunks.appended(connection, group, before, part)
        connection.executemany("INSERT OR REPLACE INTO chunk VALUES (?, ?, ?, ?, ?, ?, ?, ?)", records)
        connection.execute("UPDATE grp SET rows = ? WHERE id = ?", (before + len(part), group))
        stored, last = before + len(part), int(part.seq[-1])
    if finished:
        at = writer.started + int(stored * STEP_S * 1e9)
        said = {"state": "finished", "exit_code": 0}
        live.take(writer, [], [WireEvent(last + 1, at, int(stored * STEP_S * 1e6), None, "run.finish", said)], at / 1e9)
    else:
        live.kept.heard = time.time()
    writer.last_seq = last + finished
    connection.execute("INSERT INTO span VALUES (?, 0, ?)", (writer.id, writer.last_seq))
    connection.execute("UPDATE run SET state = ? WHERE id = ?", (live.stored(), run))
    connection.execute("COMMIT")
