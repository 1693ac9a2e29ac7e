"""SqliteStore: the server's own store, one SQLite database and a folder of blobs below the data directory.

    DATA/milepost.db    the tables of `schema`         DATA/blobs/ab/abcd...    contents by SHA-256

The table of runs, keys and summaries are in memory, made from what is stored of each run and the batches behind it. Points
are read from the database by whoever asks, each thread with a connection of its own.
"""

import heapq
import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from milepost.sdk.errors import RunNotFoundError, UsageError
from milepost.sdk.reading.wish import Cut, Wish
from milepost.sdk.summary import nest
from milepost.sdk.wire import WireEvent
from milepost.server.history import Series
from milepost.server.records import KeyRecord, RunRecord
from milepost.server.series import AXES, Points
from milepost.server.store import Change, Row, RowQuery, chunks
from milepost.server.store.by_step import by_step
from milepost.server.store.chunk_series import ChunkSeries, ClockCache, GroupRows, points_of, points_of_part
from milepost.server.store.ingest import Ingest, Receipt, Stored, receipt_of, run_of
from milepost.server.store.live import SILENT_S, Kept, LiveRun, WriterState
from milepost.server.store.parts import Part, parts_of, unpressed
from milepost.server.store.run_columns import KeySeries
from milepost.server.store.sampling import evenly
from milepost.server.store.schema import claim, connect, migrate
from milepost.server.store.sweep import Sweeper

logger = logging.getLogger("milepost.server")

KEPT_CHANGES: Final = 10_000
KEPT_BATCHES: Final = 512
LONG: Final = 20_000
"""Rows from which a chart is read as blocks; shorter series are read whole."""

_decode_kept: Final = msgspec.msgpack.Decoder(Kept)
_decode_event: Final = msgspec.msgpack.Decoder(WireEvent)


class _Known:
    """A run, its number in the database, and its line as last made."""

    def __init__(self, number: int, live: LiveRun) -> None:
        self.id = number
        self.live = live
        self.record: RunRecord | None = None
        self.made = 0.0


class SqliteStore:
    """The store below a data directory."""

    writable = True

    def __init__(self, data: Path) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self.data = data
        self.database = data / "milepost.db"
        self.blobs = data / "blobs"
        self._claim = claim(data / "lock")
        migrate(self.database)
        self._lock = threading.RLock()
        self._known: dict[tuple[str, str], _Known] = {}
        self._changes: deque[Change] = deque(maxlen=KEPT_CHANGES)
        self._version = 0
        self._local = threading.local()
        self._clocks = ClockCache()
        self._tails: OrderedDict[int, list[Part]] = OrderedDict()
        self._compactor: subprocess.Popen[bytes] | None = None
        self.ingest = Ingest(self.database, self._stored, self._flush, self._between)
        self._sweeper = Sweeper(data, self.reading, self.ingest.call)
        self._load()

    # Start and stop

    def start(self) -> None:
        """Begin to write and to compact."""
        self.ingest.start()
        self._sweeper.start()
        self._start_compactor()

    def stop(self) -> None:
        """Store what waits, and end."""
        self._sweeper.stop()
        self.ingest.stop()
        if self._compactor is not None:
            self._compactor.terminate()
            self._compactor.wait()
        os.close(self._claim)

    def _start_compactor(self) -> None:
        module = "milepost.server.store.compactor"
        self._compactor = subprocess.Popen([sys.executable, "-m", module, str(self.database), str(os.getpid())])

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = self._local.connection = connect(self.database)
            found.execute("PRAGMA query_only = ON")
        return found

    def reading(self) -> sqlite3.Connection:
        """A connection of this thread that cannot write."""
        return self._connection()

    def _load(self) -> None:
        """What is known of all runs: as it was stored, and the batches since."""
        connection = connect(self.database)
        query = "SELECT id, project, name, created, state, flushed, edits FROM run"
        for number, project, name, created, state, flushed, edits in connection.execute(query).fetchall():
            kept = _decode_kept.decode(state) if state is not None else None
            known = self._add(number, project, name, created, kept, msgspec.json.decode(edits))
            known.live.batch = flushed
            batches = connection.execute(
                "SELECT batch.id, writer, received, body, rows FROM batch JOIN writer ON writer.id = batch.writer "
                "WHERE writer.run = ? AND batch.id > ? ORDER BY batch.id",
                (number, flushed),
            ).fetchall()
            for batch, writer, received, body, rows in batches:
                told = connection.execute("SELECT body FROM event WHERE batch = ? ORDER BY seq", (batch,)).fetchall()
                events = [_decode_event.decode(each) for (each,) in told]
                parts = parts_of(unpressed(body)) if rows else []
                self._take(connection, known, writer, parts, events, received, batch)
        connection.close()

    def _add(
        self, number: int, project: str, name: str, created: float, kept: Kept | None, edits: dict[str, Any]
    ) -> _Known:
        live = LiveRun(project, name, created, kept, edits)
        known = self._known[project, name] = _Known(number, live)
        live.rows_so_far = lambda: (row for page in self.rows(project, name, RowQuery()) for row in page)
        return known

    # What is written

    def receipt(self, project: str, run: str, writer: str) -> Receipt:
        """What is stored of a writer: nothing of one that is not known."""
        connection = self._connection()
        found: Any = connection.execute(
            "SELECT writer.id FROM writer JOIN run ON run.id = writer.run WHERE project = ? AND run.name = ? AND writer.name = ?",
            (project, run, writer),
        ).fetchone()
        return receipt_of(connection, int(found[0]), 0) if found is not None else Receipt(-1, 0, [])

    def next_number(self, project: str, run: str, writer: str) -> int:
        """The number behind all that are stored of a writer, whatever holes are below it."""
        query = """
            SELECT MAX(span.last) FROM span JOIN writer ON writer.id = span.writer JOIN run ON run.id = writer.run
            WHERE project = ? AND run.name = ? AND writer.name = ?
        """
        (last,) = self._connection().execute(query, (project, run, writer)).fetchone()
        return 0 if last is None else int(last) + 1

    def _stored(self, added: list[Stored]) -> None:
        """Called by the writing thread after a commit."""
        with self._lock:
            for each in added:
                key = each.job.project, each.job.run
                known = self._known.get(key) or self._add(each.run_id, *key, each.created, None, {})
                before = known.record
                known.live.created = min(known.live.created, each.created)
                connection = self._connection()
                self._take(connection, known, each.writer_id, each.parts, each.events, each.now, each.batch_id)
                self._tell(known, before, told=any(event.kind not in ("console", "system") for event in each.events))

    def _take(
        self,
        connection: sqlite3.Connection,
        known: _Known,
        writer_id: int,
        parts: list[Part],
        events: list[WireEvent],
        now: float,
        batch: int,
    ) -> None:
        live = known.live
        writer = next((w for w in live.kept.writers.values() if w.id == writer_id), None)
        if writer is None:
            query = "SELECT name, attempt, rank, parent, started, host FROM writer WHERE id = ?"
            name, attempt, rank, parent, started, host = connection.execute(query, (writer_id,)).fetchone()
            writer = WriterState(
                id=writer_id, name=name, attempt=attempt, rank=rank, parent=parent, started=started, host=host
            )
            live.kept.writers[name] = writer
        seqs = [int(part.seq[-1]) for part in parts if len(part)] + [event.seq for event in events]
        writer.last_seq = max([writer.last_seq, *seqs])
        live.take(writer, parts, events, now)
        live.batch = max(live.batch, batch)
        known.record = None

    def _tell(self, known: _Known, before: RunRecord | None, *, told: bool) -> None:
        now = self._record(known)
        if told or before is None or before.state != now.state:
            self._change("run", now, {"state": now.state, "name": now.name})
        if before is None or before.rows != now.rows:
            self._change("rows", now, {"rows": now.rows, "last_step": now.last_step})

    def _change(self, kind: str, record: RunRecord, facts: dict[str, Any]) -> None:
        self._version += 1
        self._changes.append(Change(self._version, kind, record.project, record.id, facts))

    def _flush(self, connection: sqlite3.Connection) -> None:
        """Store what is known of the runs that changed: the compactor may then take their batches."""
        if self._compactor is not None and self._compactor.poll() is not None:
            logger.error("milepost: the compactor ended with %s; it is started anew", self._compactor.returncode)
            self._start_compactor()
        with self._lock:
            changed = [known for known in self._known.values() if known.live.dirty]
            told = [(known.live.stored(), known.live.batch, known.id) for known in changed]
        if not told:
            return
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("UPDATE run SET state = ?, flushed = ? WHERE id = ?", told)
        connection.execute("COMMIT")
        with self._lock:
            for known, (_, batch, _) in zip(changed, told, strict=True):
                known.live.dirty = known.live.batch != batch

    def add_file(
        self, connection: sqlite3.Connection, project: str, run: str, path: str, sha256: str, size: int, most: int
    ) -> None:
        """Give a content a name in a run, which is made when it is new; on the writing thread. Raises `UsageError`."""
        number, created = run_of(connection, project, run, time.time())
        if connection.execute("SELECT COUNT(*) FROM file WHERE run = ?", (number,)).fetchone()[0] >= most:
            raise UsageError(f"the run {project}/{run} has {most:,} files, more are not taken")
        connection.execute("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?)", (number, path, sha256, size))
        with self._lock:
            if (project, run) not in self._known:
                self._add(number, project, run, created, None, {})

    def heard(self, project: str, run: str, writer: str, *, alive: bool) -> bool:
        """Note that a writer's program lives, or is gone; whether the writer is known."""
        with self._lock:
            known = self._known.get((project, run))
            found = known.live.kept.writers.get(writer) if known is not None else None
            if known is None or found is None:
                return False
            before = self._record(known)
            known.live.hear(found, time.time(), alive=alive)
            known.record = None
            self._tell(known, before, told=False)
            return True

    def edit(self, project: str, run: str, changes: dict[str, Any]) -> None:
        """Change name, notes, tags or archived of a run."""
        known = self._find(project, run)
        with self._lock:
            edits = {**known.live.edits, **changes}
        text = msgspec.json.encode(edits).decode()
        self.ingest.call(lambda c: void(c.execute("UPDATE run SET edits = ? WHERE id = ?", (text, known.id))))
        with self._lock:
            known.live.edits = edits
            known.record = None
            self._tell(known, None, told=True)

    def delete(self, project: str, run: str) -> None:
        """Delete a run for good."""
        known = self._find(project, run)
        self.ingest.call(lambda c: void(c.execute("DELETE FROM run WHERE id = ?", (known.id,))))
        with self._lock:
            self._known.pop((project, run), None)
            self._change("deleted", self._record(known), {})
        self._sweeper.soon()

    def backlog(self) -> tuple[int, float, int]:
        """Rows that are not in chunks yet, seconds since the oldest of them came, and bytes of the database."""
        query = "SELECT COALESCE(SUM(rows), 0), MIN(received) FROM batch WHERE rows > 0"
        rows, oldest = self._connection().execute(query).fetchone()
        return int(rows), max(time.time() - oldest, 0.0) if oldest else 0.0, self.database.stat().st_size

    # The table

    def projects(self) -> list[str]:
        """The projects that hold runs, by name."""
        with self._lock:
            return sorted({project for project, _ in self._known})

    def runs(self, project: str) -> list[RunRecord]:
        """The runs of a project, newest first."""
        with self._lock:
            found = [self._record(known) for (of, _), known in self._known.items() if of == project]
        return sorted(found, key=lambda record: (-record.created, record.id))

    def run(self, project: str, run: str) -> RunRecord:
        """One run."""
        with self._lock:
            return self._record(self._find(project, run))

    def _record(self, known: _Known) -> RunRecord:
        now = time.monotonic()
        record = known.record
        if record is None or (record.state == "running" and now - known.made > SILENT_S / 4):
            record = known.record = known.live.record()
            known.made = now
        return record

    def _find(self, project: str, run: str) -> _Known:
        with self._lock:
            known = self._known.get((project, run))
        if known is None:
            raise RunNotFoundError(f"no run {run!r} in project {project!r}")
        return known

    def project_keys(self, project: str, runs: Sequence[str] | None) -> dict[str, tuple[str, int]]:
        """The keys of a project's runs: kind, and in how many runs."""
        wanted = None if runs is None else set(runs)
        found: dict[str, tuple[str, int]] = {}
        with self._lock:
            for (of, run), known in self._known.items():
                if of == project and (wanted is None or run in wanted):
                    for key, record in known.live.kept.keys.items():
                        found[key] = (record.kind, found[key][1] + 1 if key in found else 1)
        return found

    # One run

    def details(self, project: str, run: str) -> dict[str, Any]:
        """What else a run says of itself."""
        known = self._find(project, run)
        connection = self._connection()
        with self._lock:
            live = known.live
            writers = [
                {
                    "id": w.name, "rank": w.rank, "attempt": w.attempt, "parent": w.parent, "started": w.started / 1e9,
                    "alive": not w.state and live.state() == "running", "rows": w.rows, "last_seq": w.last_seq,
                }
                for w in live.kept.writers.values()
            ]  # fmt: skip
            told = {
                "attempts": sorted({w.attempt for w in live.kept.writers.values()}) or [1],
                "metadata": dict(live.kept.metadata),
                "metrics": list(live.kept.metrics),
                "writers": writers,
            }
            rows = sum(w.rows for w in live.kept.writers.values())
            numbers = {w.id: w.name for w in live.kept.writers.values()}
        gaps: list[dict[str, Any]] = []
        dropped: dict[str, int] = {}
        for number, name in numbers.items():
            expected = 0
            query = "SELECT first, last FROM span WHERE writer = ? ORDER BY first"
            for first, last in connection.execute(query, (number,)).fetchall():
                if first > expected:
                    gaps.append({"writer": name, "first": expected, "last": first - 1, "reason": "not received"})
                expected = last + 1
        for event in self._events(connection, list(numbers), "gap"):
            reason, lost = str(event.values.get("reason")), event.values
            gaps.append({"writer": numbers[event.writer], **lost})
            dropped[reason] = dropped.get(reason, 0) + int(lost["last"]) - int(lost["first"]) + 1
        waiting: Any = connection.execute(
            "SELECT COALESCE(SUM(batch.rows), 0) FROM batch JOIN writer ON writer.id = batch.writer WHERE writer.run = ?",
            (known.id,),
        ).fetchone()[0]
        told["completeness"] = {
            "logged": rows,
            "stored": rows,
            "dropped": dropped,
            "gaps": gaps,
            "uncompacted": waiting,
        }
        return told

    def _events(self, connection: sqlite3.Connection, writers: list[int], kind: str) -> Iterator["_Told"]:
        for writer in writers:
            query = "SELECT body FROM event WHERE writer = ? AND kind = ? ORDER BY seq"
            for (body,) in connection.execute(query, (writer, kind)):
                yield _Told(writer, _decode_event.decode(body))

    def keys(self, project: str, run: str) -> list[KeyRecord]:
        """The keys of a run in order of first sight."""
        known = self._find(project, run)
        with self._lock:
            return list(known.live.kept.keys.values())

    def watermark(self, project: str, run: str) -> str:
        """How far the run is known."""
        known = self._find(project, run)
        with self._lock:
            members = known.live.members()
            cuts = sum(len(writer.rewinds) for writer in members)
            return f"{cuts};" + ",".join(f"{writer.name}:{writer.last_seq}" for writer in members)

    def delta(self, project: str, run: str, after: str) -> bool:
        """Whether `after` still tells what is new."""
        return self.watermark(project, run).partition(";")[0] == after.partition(";")[0] and _limits(after) is not None

    def series(
        self,
        project: str,
        run: str,
        key: str,
        axis: str,
        *,
        until: str,
        everyone: bool = False,
        after: str | None = None,
    ) -> Series | None:
        """The points of a key along an axis."""
        known = self._find(project, run)
        with self._lock:
            live = known.live
            writers = live.members() if everyone else live.speaking()
            cuts = {writer.name: _cuts(writer, live.members()) for writer in writers}
        limits = _limits(after) if after is not None else None
        ends = _limits(until) or {}
        last = np.array([ends.get(writer.name, -1) for writer in writers] or [-1])
        connection = self._connection()
        connection.execute("BEGIN")
        try:
            groups, tail = self._sources(connection, writers, key)
            tail = tail.some(tail.seq <= last[tail.writer])
            rows = sum(each.rows for each in groups)
            if axis in AXES and limits is None and rows >= LONG and not any(cuts.values()):
                series = ChunkSeries(self._connection, self._clocks, groups, tail, axis)
                if series.ordered():
                    return series
            points = self._whole(connection, writers, cuts, groups, tail, limits)
            if axis in AXES:
                return KeySeries(points, axis) if len(points) or limits is not None else None
            other = self._whole(connection, writers, cuts, *self._sources(connection, writers, axis), None)
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
            for group, keys, rows in self._groups(connection, writer.id):
                if key in keys and rows:
                    groups.append(GroupRows(group, keys.index(key), rows, number))
            tail += [
                points_of_part(p, key, number) for p in self._tail(connection, writer.id) if key in p.keys and len(p)
            ]
        return groups, _joined(tail)

    def _groups(self, connection: sqlite3.Connection, writer: int) -> list[tuple[int, tuple[str, ...], int]]:
        query = "SELECT id, keys, rows FROM grp WHERE writer = ? ORDER BY id"
        return [(g, tuple(msgspec.json.decode(keys)), rows) for g, keys, rows in connection.execute(query, (writer,))]

    def _tail(self, connection: sqlite3.Connection, writer: int) -> list[Part]:
        """The rows of a writer that are not compacted, in the order they came."""
        found: list[Part] = []
        for number, rows in connection.execute(
            "SELECT id, rows FROM batch WHERE writer = ? ORDER BY id", (writer,)
        ).fetchall():
            if not rows:
                continue
            with self._lock:
                parts = self._tails.get(number)
            if parts is None:
                (body,) = connection.execute("SELECT body FROM batch WHERE id = ?", (number,)).fetchone()
                parts = parts_of(unpressed(body))
                with self._lock:
                    self._tails[number] = parts
                    while len(self._tails) > KEPT_BATCHES:
                        self._tails.popitem(last=False)
            found += parts
        return found

    def _whole(
        self,
        connection: sqlite3.Connection,
        writers: list[WriterState],
        cuts: dict[str, list[Cut]],
        groups: list[GroupRows],
        tail: Points,
        limits: dict[str, int] | None,
    ) -> Points:
        """All points in order of rows, or those behind the limits, without rows that were taken back."""
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
        for number, writer in enumerate(writers):
            for cut in cuts[writer.name]:
                points = points.some((points.writer != number) | (points.step < cut.step) | (points.seq >= cut.before))
        return points

    def rows(self, project: str, run: str, query: RowQuery) -> Iterator[list[Row]]:
        """Rows as they were logged, exact, some hundred at a time."""
        known = self._find(project, run)
        asked = query.wish()
        with self._lock:
            members = known.live.members()
            writers = self._chosen(known.live, query.writer)
            cuts = {writer.name: _cuts(writer, members) for writer in writers}
            children = query.writer is None and bool(writers) and all(writer.parent for writer in writers)
        connection = connect(self.database)
        connection.execute("PRAGMA query_only = ON")
        numbers = [writer.id for writer in writers]
        if any(_is_unordered(event.values) for event in self._events(connection, numbers, "run.start")):
            connection.execute("BEGIN")

            def within(low: int, high: int) -> Iterator[tuple[int, Row]]:
                part = replace(asked, low=low, high=high)
                return chain.from_iterable(self._rows_of(connection, w, cuts[w.name], part) for w in writers)

            steps = np.concatenate([np.empty(0, np.int64), *self._steps(connection, numbers)])
            steps = steps[(steps >= asked.low) & (steps < asked.high)]
            return _pages(by_step(steps, within), asked, connection)
        streams = [self._rows_of(connection, writer, cuts[writer.name], asked) for writer in writers]
        if (query.writer == "all" or children) and len(streams) > 1:
            return _pages(heapq.merge(*streams, key=lambda each: each[0]), asked, connection)
        return _pages((row for stream in streams for row in stream), asked, connection)

    def _steps(self, connection: sqlite3.Connection, writers: list[int]) -> Iterator[NDArray[np.int64]]:
        """The steps of all rows of some writers."""
        for writer in writers:
            yield from (part.step for part in self._tail(connection, writer))
            for group, _, rows in self._groups(connection, writer):
                yield chunks.read_array(connection, group, chunks.STEP, 0, rows)

    def _chosen(self, live: LiveRun, writer: str | int | None) -> list[WriterState]:
        if writer is None:
            return live.speaking()
        members = live.members()
        if writer == "all":
            return members
        if isinstance(writer, int):
            chosen = [w for w in members if w.rank == writer and not w.parent]
            if not chosen and writer == 0 and all(w.rank is None for w in members):
                chosen = live.speaking()
        else:
            chosen = [w for w in live.kept.writers.values() if w.name == writer]
        if not chosen:
            known = ", ".join(w.name for w in live.kept.writers.values())
            raise UsageError(f"the run {live.project}/{live.name} has no writer {writer!r}; its writers: {known}")
        return chosen

    def _rows_of(
        self, connection: sqlite3.Connection, writer: WriterState, cuts: list[Cut], asked: Wish
    ) -> Iterator[tuple[int, Row]]:
        """The step and row of each row of a writer that is asked for, in order of numbers."""
        connection.execute("BEGIN") if not connection.in_transaction else None
        streams: list[Iterator[tuple[int, Row]]] = []
        tails: dict[tuple[str, ...], list[Part]] = {}
        for part in self._tail(connection, writer.id):
            tails.setdefault(part.keys, []).append(part)
        for group, keys, rows in self._groups(connection, writer.id):
            streams.append(_in_order(connection, group, keys, rows, tails.pop(keys, []), asked))
        streams += [_in_order(connection, 0, keys, 0, parts, asked) for keys, parts in tails.items()]
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

    def _between(self, connection: sqlite3.Connection, writer: int, first: int, last: int) -> dict[int, Any]:
        """Rows and events of a writer by number, first to last."""
        found: dict[int, Any] = {}
        for part in self._tail(connection, writer):
            inside = (part.seq >= first) & (part.seq <= last)
            if inside.any():
                found.update(part.some(inside).rows())
        for group, keys, rows in self._groups(connection, writer):
            query = "SELECT at, n FROM chunk WHERE grp = ? AND key = ? AND level = 0 AND seq1 >= ? AND seq0 <= ?"
            for at, n in connection.execute(query, (group, chunks.SEQ, first, last)).fetchall():
                part = chunks.read_rows(connection, group, keys, at, min(at + n, rows))
                found.update(part.some((part.seq >= first) & (part.seq <= last)).rows())
        query = "SELECT body FROM event WHERE writer = ? AND seq BETWEEN ? AND ?"
        for (body,) in connection.execute(query, (writer, first, last)):
            event = _decode_event.decode(body)
            found[event.seq] = [event.kind, event.values]
        return found

    def files(self, project: str, run: str) -> list[tuple[str, int]]:
        """Names and sizes in bytes of a run's files."""
        known = self._find(project, run)
        query = "SELECT path, size FROM file WHERE run = ? ORDER BY path"
        return [(path, size) for path, size in self._connection().execute(query, (known.id,))]

    def file(self, project: str, run: str, name: str) -> Path:
        """Where one of `files` is. Raises `UsageError`."""
        known = self._find(project, run)
        query = "SELECT sha256 FROM file WHERE run = ? AND path = ?"
        found: Any = self._connection().execute(query, (known.id, name)).fetchone()
        if found is None:
            raise UsageError(f"the run {project}/{run} has no file {name!r}")
        return self.blob(found[0])

    def blob(self, sha256: str) -> Path:
        """Where a content is. sha256: 64 hex digits, checked by the caller."""
        return self.blobs / sha256[:2] / sha256

    def events(self, project: str, run: str, kind: str) -> Iterator[dict[str, Any]]:
        """What else was recorded."""
        known = self._find(project, run)
        with self._lock:
            writers = [writer.id for writer in known.live.speaking()]
        for event in self._events(self._connection(), writers, kind):
            yield {"time": event.time / 1e9, "runtime": event.runtime / 1e6, "values": event.values}

    def summary(self, project: str, run: str) -> dict[str, Any]:
        """The whole summary, nested."""
        known = self._find(project, run)
        with self._lock:
            return nest(known.live.flat_summary())

    def sample(self, project: str, run: str, query: RowQuery, samples: int) -> tuple[list[Row], int]:
        """At most so many of the rows, evenly spaced; and how many there are."""
        return evenly(lambda: self.rows(project, run, query), samples)

    def changes(self, after: int) -> tuple[int, list[Change] | None]:
        """The version now, and what changed since."""
        with self._lock:
            if after < self._version - len(self._changes) or after > self._version:
                return self._version, None
            return self._version, [change for change in self._changes if change.version > after]


class _Told:
    """A stored event, and the number of its writer."""

    def __init__(self, writer: int, event: WireEvent) -> None:
        self.writer = writer
        self.time = event.time
        self.runtime = event.runtime
        self.values = event.values


def _in_order(
    connection: sqlite3.Connection, group: int, keys: tuple[str, ...], rows: int, tail: list[Part], asked: Wish
) -> Iterator[tuple[int, Row]]:
    """Number and row of the rows of one set of keys, of the steps asked for, by number: chunk by chunk unless mixed."""
    pieces = (
        chunks.read_rows(connection, group, keys, at, min(at + chunks.ROWS, rows)) for at in range(0, rows, chunks.ROWS)
    )
    bounds = connection.execute(
        "SELECT seq0, seq1 FROM chunk WHERE grp = ? AND key = ? AND level = 0 ORDER BY at", (group, chunks.SEQ)
    ).fetchall()
    bounds += [(int(part.seq[0]), int(part.seq[-1])) for part in tail if len(part)]
    rising = all(b[0] > a[1] for a, b in pairwise(bounds))
    every = (row for several in (pieces, tail) for part in several for row in _sorted(_inside(part, asked)).rows())
    return every if rising else iter(sorted(every, key=lambda each: each[0]))


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


def _joined(parts: list[Points]) -> Points:
    parts = [part for part in parts if len(part)] or parts[:1]
    if not parts:
        none = np.empty(0, np.int64)
        return Points(none, np.empty(0), np.empty(0), np.empty(0), none, np.empty(0, np.int16))
    if len(parts) == 1:
        return parts[0]
    return Points(*(np.concatenate([getattr(p, f) for p in parts]) for f in Points.__dataclass_fields__))


def _limits(watermark: str) -> dict[str, int] | None:
    try:
        told = watermark.partition(";")[2]
        return {name: int(end) for name, _, end in (part.partition(":") for part in told.split(",") if part)}
    except ValueError:
        return None


def _cuts(writer: WriterState, members: list[WriterState]) -> list[Cut]:
    """What later starts of the same rank, and the writer itself, took back."""
    cuts: list[Cut] = []
    for other in members:
        same = other.name == writer.name
        later = (other.started, other.name) > (writer.started, writer.name)
        if same or (later and not other.parent and other.rank == writer.rank):
            cuts += [Cut(seq if same else 2**63 - 1, step) for seq, step in other.rewinds]
    return cuts


def void(_: object) -> None:
    """Drop a result."""
