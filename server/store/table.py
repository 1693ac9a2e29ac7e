"""Table: what is known of all runs, in memory, and what changed last: the table of runs never touches points.

Made at the start from what was stored of each run and the batches behind it, kept up to date by every commit, stored anew now
and then: the compactor takes a batch only when what it said is stored here.
"""

import contextlib
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from milepost.sdk.errors import RunNotFoundError
from milepost.sdk.wire import WireEvent
from milepost.server.records import RunRecord
from milepost.server.store import Change, Row, last_of
from milepost.server.store.ingest import Stored
from milepost.server.store.live import SILENT_S, Kept, LiveRun, WriterState
from milepost.server.store.parts import Part
from milepost.server.store.schema import connect
from milepost.server.store.stored_rows import UNREADABLE, StoredRows, set_aside

logger = logging.getLogger("milepost.server")

KEPT_CHANGES: Final = 10_000

_decode_kept: Final = msgspec.msgpack.Decoder(Kept)


class Known:
    """A run, its number in the database, and its line as last made."""

    def __init__(self, number: int, live: LiveRun) -> None:
        self.id = number
        self.live = live
        self.record: RunRecord | None = None
        self.made = 0.0


class Table:
    """The runs by project and name. rows_of: reads the rows of a run that stand.

    lock: held by whoever reads or changes a `LiveRun`.
    """

    def __init__(self, stored: StoredRows, rows_of: Callable[[str, str], Iterator[Row]]) -> None:
        self._stored = stored
        self._rows_of = rows_of
        self.lock = threading.RLock()
        self._known: dict[tuple[str, str], Known] = {}
        self._change_lock = threading.Lock()
        """Held for moments only: whoever tells changes to pages does not wait for a run that is being read."""
        self._changes: deque[Change] = deque(maxlen=KEPT_CHANGES)
        self._version = (
            time.time_ns() // 1000
        )  # above all that were told before a restart: a page that comes back misses nothing
        self.unreadable: dict[tuple[str, str], str] = {}
        """Runs that cannot be read, and why. What comes for them is stored."""

    # What is written

    def load(self) -> None:
        """What is known of all runs. One that cannot be read is left out, said and counted; the others are served."""
        with contextlib.closing(connect(self._stored.database)) as connection:
            for number, project, name in connection.execute("SELECT id, project, name FROM run").fetchall():
                self._load_run(connection, number, project, name)

    def _load_run(self, connection: sqlite3.Connection, number: int, project: str, name: str) -> None:
        """A run as it was stored, and the batches since; where that cannot be read, made anew from all that can."""
        for load in (self._as_stored, self._made_anew):
            self.unreadable.pop((project, name), None)
            try:
                load(connection, number, project, name)
                self.record(self._known[project, name])
            except Exception as error:
                where = f"{project}/{name}"
                logger.exception("milepost: what is known of the run %s cannot be read", where)
                self._known.pop((project, name), None)
                self.unreadable[project, name] = f"{type(error).__name__}: {error}"
            else:
                return

    def _as_stored(self, connection: sqlite3.Connection, number: int, project: str, name: str) -> None:
        query = "SELECT created, state, flushed, edits FROM run WHERE id = ?"
        created, state, flushed, edits = connection.execute(query, (number,)).fetchone()
        if state is None and flushed:
            raise ValueError(f"its state is gone, which held what came up to batch {flushed}")
        kept = _decode_kept.decode(state) if state is not None else None
        known = self._add(number, project, name, float(created), kept, msgspec.json.decode(edits))
        known.live.batch = flushed
        self._take_batches(connection, known)

    def _made_anew(self, connection: sqlite3.Connection, number: int, project: str, name: str) -> None:
        """A run from its events and rows alone: all of them are read."""
        created, edits = connection.execute("SELECT created, edits FROM run WHERE id = ?", (number,)).fetchone()
        try:
            edited = msgspec.json.decode(edits, type=dict[str, Any])
        except msgspec.DecodeError:
            edited = {}
        known = self._add(number, project, name, float(created), None, edited)
        self._set_aside(connection, number)
        (last,) = connection.execute(
            "SELECT MAX(batch.id) FROM batch JOIN writer ON writer.id = batch.writer WHERE run = ?", (number,)
        ).fetchone()
        for (writer,) in connection.execute("SELECT id FROM writer WHERE run = ? ORDER BY started, name", (number,)):
            state = self._writer(connection, known.live, writer)
            query = """
                SELECT (SELECT MAX(last) FROM span WHERE writer = ?1), (SELECT COALESCE(SUM(rows), 0) FROM grp WHERE writer = ?1),
                    (SELECT COALESCE(SUM(rows), 0) FROM batch WHERE writer = ?1)
            """
            last_seq, compacted, waiting = connection.execute(query, (writer,)).fetchone()
            state.last_seq, state.rows = -1 if last_seq is None else last_seq, compacted + waiting
            (heard,) = connection.execute("SELECT MAX(received) FROM batch WHERE writer = ?", (writer,)).fetchone()
            known.live.take(state, [], list(self._stored.all_events(connection, writer)), heard or created)
        known.live.batch = last or 0
        known.live.anew()
        logger.warning("milepost: what is known of the run %s/%s was made anew from its rows", project, name)

    def _set_aside(self, connection: sqlite3.Connection, run: int) -> None:
        """Put the batches of a run aside that cannot be decoded."""
        query = "SELECT batch.id FROM batch JOIN writer ON writer.id = batch.writer WHERE run = ? AND rows > 0"
        for (batch,) in connection.execute(query, (run,)).fetchall():
            try:
                self._stored.parts_of_batch(connection, batch)
            except UNREADABLE as error:
                set_aside(connection, batch, f"{type(error).__name__}: {error}")

    def _take_batches(self, connection: sqlite3.Connection, known: Known) -> None:
        query = """
            SELECT batch.id, writer, received, rows FROM batch JOIN writer ON writer.id = batch.writer
            WHERE writer.run = ? AND batch.id > ? ORDER BY batch.id
        """
        for batch, writer, received, rows in connection.execute(query, (known.id, known.live.batch)).fetchall():
            events = self._stored.events_of(connection, batch)
            parts = self._stored.parts_of_batch(connection, batch) if rows else []
            self._take(connection, known, writer, parts, events, received, batch)

    def _add(
        self, number: int, project: str, name: str, created: float, kept: Kept | None, edits: dict[str, Any]
    ) -> Known:
        """Note a run that is new."""
        live = LiveRun(project, name, created, kept, edits)
        known = self._known[project, name] = Known(number, live)
        live.fill = lambda value: self._stored.filled(self._stored.reading(), number, value)
        live.rows_so_far = lambda: self._rows_of(project, name)
        return known

    def meet(self, number: int, project: str, run: str, created: float) -> None:
        """Note a run of which nothing but a file is there, or a file of one that is known."""
        with self.lock:
            if (project, run) not in self._known:
                self._add(number, project, run, created, None, {})
            else:  # what waited for the file is here now
                known = self._known[project, run]
                known.record = None
                record = self.record(known)
                self._change("rows", record, {"rows": record.rows, "last_step": record.last_step})

    def stored(self, added: list[Stored]) -> None:
        """Called by the writing thread after a commit. What cannot be taken in of one run keeps no other from being shown."""
        with self.lock:
            for each in added:
                try:
                    self._take_in(each)
                except Exception:
                    logger.exception("milepost: a batch of %s/%s cannot be taken in", each.job.project, each.job.run)
                    with contextlib.closing(connect(self._stored.database)) as connection:
                        self._load_run(connection, each.run_id, each.job.project, each.job.run)

    def _take_in(self, each: Stored) -> None:
        key = each.job.project, each.job.run
        if key in self.unreadable:
            return  # it is on disk, and shown when the run can be read again
        if key in self._known and self._known[key].id != each.run_id:
            self._known.pop(key)  # it was deleted, and is made anew
        if not each.batch_id:
            self.meet(each.run_id, *key, each.created)
            return
        known = self._known.get(key) or self._add(each.run_id, *key, each.created, None, {})
        before = known.record
        known.live.created = min(known.live.created, each.created)
        connection = self._stored.reading()
        self._take(connection, known, each.writer_id, each.parts, each.events, each.now, each.batch_id)
        self.tell(known, before, told=any(event.kind not in ("console", "system") for event in each.events))

    def _take(
        self,
        connection: sqlite3.Connection,
        known: Known,
        writer_id: int,
        parts: list[Part],
        events: list[WireEvent],
        now: float,
        batch: int,
    ) -> None:
        live = known.live
        writer = self._writer(connection, live, writer_id)
        seqs = [int(part.seq[-1]) for part in parts if len(part)] + [event.seq for event in events]
        writer.last_seq = max([writer.last_seq, *seqs])
        live.take(writer, parts, events, now)
        live.batch = max(live.batch, batch)
        known.record = None

    @staticmethod
    def _writer(connection: sqlite3.Connection, live: LiveRun, number: int) -> WriterState:
        """The writer of this number in the database, from there when it is new."""
        found = next((writer for writer in live.kept.writers.values() if writer.id == number), None)
        if found is None:
            query = "SELECT name, attempt, rank, parent, started, host FROM writer WHERE id = ?"
            name, attempt, rank, parent, started, host = connection.execute(query, (number,)).fetchone()
            told = {"id": number, "name": name, "attempt": attempt, "rank": rank, "parent": parent, "started": started}
            found = live.kept.writers[name] = msgspec.convert({**told, "host": host}, WriterState)
        return found

    def tell(self, known: Known, before: RunRecord | None, *, told: bool) -> None:
        """Note a change of a run. before: its line before that. told: also when its line looks the same."""
        now = self.record(known)
        if told or before is None or before.state != now.state:
            self._change("run", now, {"state": now.state, "name": now.name})
        if before is None or before.rows != now.rows:
            self._change("rows", now, {"rows": now.rows, "last_step": now.last_step})

    def _change(self, kind: str, record: RunRecord, facts: dict[str, Any]) -> None:
        with self._change_lock:
            self._version += 1
            self._changes.append(Change(self._version, kind, record.project, record.id, facts))

    def flush(self, connection: sqlite3.Connection) -> None:
        """Store what is known of the runs that changed: the compactor may then take their batches."""
        with self.lock:
            told: list[tuple[bytes, int, Known]] = []
            for known in [known for known in self._known.values() if known.live.dirty]:
                try:
                    told.append((known.live.stored(), known.live.batch, known))
                except (TypeError, ValueError, OverflowError, RecursionError):  # said each time: its batches pile up
                    logger.exception("milepost: %s/%s cannot be stored", known.live.project, known.live.name)
                    continue
                known.live.dirty = False
        if not told:
            return
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "UPDATE run SET state = ?, flushed = ? WHERE id = ?",
                [(state, batch, known.id) for state, batch, known in told],
            )
            connection.execute("COMMIT")
        except BaseException:
            with self.lock:
                for _, _, known in told:
                    known.live.dirty = True
            raise

    def heard(self, project: str, run: str, writer: str, *, alive: bool) -> bool:
        """Note that a writer's program lives, or is gone; whether the writer is known."""
        with self.lock:
            known = self._known.get((project, run))
            found = known.live.kept.writers.get(writer) if known is not None else None
            if known is None or found is None:
                return False
            before = self.record(known)
            known.live.hear(found, time.time(), alive=alive)
            known.record = None
            self.tell(known, before, told=False)
            return True

    def edited(self, known: Known, edits: dict[str, Any]) -> None:
        """Take in what is called otherwise from now on."""
        with self.lock:
            known.live.edits = edits
            known.record = None
            self.tell(known, None, told=True)

    def drop(self, project: str, run: str) -> None:
        """Forget a run that was deleted."""
        with self.lock:
            self.unreadable.pop((project, run), None)
            known = self._known.pop((project, run), None)
            if known is not None:
                self._change("deleted", self.record(known), {})

    # What is read

    def projects(self) -> list[str]:
        """The projects that hold runs, by name."""
        with self.lock:
            return sorted({project for project, _ in self._known})

    def runs(self, project: str) -> list[RunRecord]:
        """The runs of a project, newest first."""
        with self.lock:
            found = [self.record(known) for (of, _), known in self._known.items() if of == project]
        return sorted(found, key=lambda record: (-record.created, record.id))

    def run(self, project: str, run: str) -> RunRecord:
        """One run."""
        with self.lock:
            return self.record(self.find(project, run))

    def record(self, known: Known) -> RunRecord:
        """The line of a run."""
        now = time.monotonic()
        record = known.record
        if record is None or (record.state == "running" and now - known.made > SILENT_S / 4):
            record = known.record = known.live.record()
            known.made = now
        return record

    def find(self, project: str, run: str) -> Known:
        """A run. Raises `RunNotFoundError`."""
        with self.lock:
            known = self._known.get((project, run))
            why = self.unreadable.get((project, run))
        if why is not None:
            raise RunNotFoundError(f"the run {run!r} in project {project!r} cannot be read: {why}")
        if known is None:
            raise RunNotFoundError(f"no run {run!r} in project {project!r}")
        return known

    def project_keys(self, project: str, runs: Sequence[str] | None) -> dict[str, tuple[str, int]]:
        """The keys of a project's runs: kind, and in how many runs."""
        wanted = None if runs is None else set(runs)
        found: dict[str, tuple[str, int]] = {}
        with self.lock:
            for (of, run), known in self._known.items():
                if of == project and (wanted is None or run in wanted):
                    for key, record in known.live.kept.keys.items():
                        found[key] = (record.kind, found[key][1] + 1 if key in found else 1)
        return found

    def changes(self, after: int) -> tuple[int, list[Change] | None]:
        """The version now, and what changed since."""
        with self._change_lock:
            if after < self._version - len(self._changes) or after > self._version:
                return self._version, None
            return self._version, last_of(self._changes, self._version - after)
