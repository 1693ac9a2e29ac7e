"""Data for measuring the page: a server's own store with long runs, many runs, or both, made through its ingest and compactor.

Long runs are made once and copied by the chunk, each copy with its columns in another order, so that every chart has as many
different curves as there are runs. 10 runs of a million steps and 50 keys take a minute in place of five.
"""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from milepost.sdk.wire import WireBatch, WireEvent
from milepost.server.store import compactor
from milepost.server.store.ingest import Job
from milepost.server.store.live import Kept
from milepost.server.store.parts import Part
from milepost.server.store.schema import connect
from milepost.server.store.sqlite import SqliteStore

BEGUN_NS = 1_790_000_000_000_000_000
AT_ONCE = 16_384
SECTIONS = ("train", "val", "grad", "optim", "eval")


def keys(count: int) -> tuple[str, ...]:
    """Names of keys in five sections."""
    return tuple(f"{SECTIONS[n % len(SECTIONS)]}/metric_{n:02}" for n in range(count))


def make(data: Path, *, runs: int, steps: int, count: int, short: int, table: int) -> None:
    """A data directory with two projects.

    long:  `runs` runs of `steps` steps with `count` keys, and before them `short` runs of 50 steps with ten of the keys.
    many:  `table` runs of one row, with ten values of config and ten of summary each.
    """
    store = SqliteStore(data)
    store.ingest.start()
    for number in range(short):
        _send(store, "long", f"short-{number:03}", number, 50, keys(10))
    for number in range(table):
        _send(store, "many", f"run-{number:05}", number, 1, keys(10), wait=number % 200 == 199)
    if runs:
        _send(store, "long", "long-000", short, steps, keys(count))
    store.ingest.stop()
    connection = connect(data / "milepost.db")
    while compactor.compact(connection, everything=True):
        pass
    connection.close()
    for number in range(1, runs):
        _copy(data, "long-000", f"long-{number:03}", number, count)


def _send(
    store: SqliteStore, project: str, run: str, number: int, steps: int, names: tuple[str, ...], *, wait: bool = True
) -> None:
    """A run, in batches, as its program would send it. wait: until it is stored."""
    random = np.random.default_rng(number)
    begun = BEGUN_NS + number * 60_000_000_000
    config = {"lr": 10.0 ** -(1 + number % 4), "seed": number, "arch": ["vit", "resnet", "mlp"][number % 3]}
    config |= {f"option_{n}": int(random.integers(0, 5)) for n in range(7)}
    start = WireEvent(0, begun, 0, None, "run.start", {"name": run, "config": config, "tags": [f"t{number % 5}"]})
    wander = np.zeros(len(names))
    for at in range(0, steps, AT_ONCE):
        size = min(AT_ONCE, steps - at)
        seq = np.arange(at + 1, at + size + 1)
        step = seq - 1
        values: list[Any] = []
        for n in range(len(names)):
            walk = wander[n] + np.cumsum(random.standard_normal(size)) * 0.3 / np.sqrt(steps)
            wander[n] = walk[-1]
            curve = np.exp(-step / steps * (2 + n % 7)) + walk + 0.05 * random.standard_normal(size)
            values.append(curve.astype(np.float32).astype(np.float64))
        part = Part(names, seq, begun + step * 1_000_000, step * 1000, step, values)
        events = [start] if at == 0 else []
        last = at + size
        if last == steps:
            last += 1
            events.append(
                WireEvent(last, begun + steps * 1_000_000, steps * 1000, None, "run.finish", {"exit_code": 0})
            )
        batch = WireBatch(writer=_writer(number), first=0 if at == 0 else at + 1, last=last, events=events)
        stored = store.ingest.submit(Job(project, run, batch, [part], None))
        if wait:
            stored.result()


def _writer(number: int) -> str:
    return f"{number:016x}"


def _copy(data: Path, source: str, name: str, number: int, count: int) -> None:
    """Another run with the chunks of one, its columns shifted by a few keys."""
    connection = connect(data / "milepost.db")
    connection.execute("BEGIN")
    _run, created, state, flushed = connection.execute(
        "SELECT id, created, state, flushed FROM run WHERE name = ?", (source,)
    ).fetchone()
    kept = msgspec.msgpack.decode(state, type=Kept)
    kept.facts["name"] = name
    (writer,) = kept.writers.values()
    insert = "INSERT INTO run (project, name, created, state, flushed) VALUES ('long', ?, ?, ?, ?)"
    new_run = connection.execute(insert, (name, created + 60 * number, None, flushed)).lastrowid
    columns = "attempt, rank, parent, started, host"
    new_name = f"c{number:015x}"
    copied = f"INSERT INTO writer (run, name, {columns}) SELECT ?, ?, {columns} FROM writer WHERE id = ?"
    new_writer = int(connection.execute(copied, (new_run, new_name, writer.id)).lastrowid or 0)
    connection.execute("INSERT INTO span SELECT ?, first, last FROM span WHERE writer = ?", (new_writer, writer.id))
    (group,) = connection.execute("SELECT id FROM grp WHERE writer = ?", (writer.id,)).fetchone()
    copied = "INSERT INTO grp (writer, keys, rows) SELECT ?, keys, rows FROM grp WHERE id = ?"
    new_group = connection.execute(copied, (new_writer, group)).lastrowid
    connection.execute(
        "INSERT INTO chunk SELECT ?, CASE WHEN key < 0 THEN key ELSE (key + ?) % ? END, level, at, n, seq0, seq1, body "
        "FROM chunk WHERE grp = ?",
        (new_group, number * 7 % count, count, group),
    )
    writer.id, writer.name = new_writer, new_name
    kept.writers = {new_name: writer}
    kept.counted = [new_name]
    connection.execute("UPDATE run SET state = ? WHERE id = ?", (msgspec.msgpack.encode(kept), new_run))
    connection.execute("COMMIT")
    connection.close()
