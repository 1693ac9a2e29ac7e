"""Table: what is known of all runs, in memory, and what changed last: the table of runs never touches points.

Made at the start from what was stored of each run and the batches behind it, kept up to date by every commit, stored anew now
and then: the compactor takes a batch only when what it said is stored here. Of runs that rest only the line is kept (`known`).
"""

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

from milepost.sdk.errors import RunNotFoundError
from milepost.server.records import RunLine, RunRecord
from milepost.server.store import Change, Row, last_of
from milepost.server.store.ingest import Stored
from milepost.server.store.known import Awake, Kinds, Known
from milepost.server.store.live import SILENT_S, LiveRun
from milepost.server.store.loading import Loader, take
from milepost.server.store.stored_rows import StoredRows

logger = logging.getLogger("milepost.server")

KEPT_CHANGES: Final = 10_000
_PASSING: Final = (sqlite3.OperationalError, OSError, MemoryError)
"""What says nothing of a run itself: it is read again later."""


class Table:
    """The runs by project and name. rows_of: reads the rows of a run, by its number, that stand, up to a batch.

    lock: held by whoever reads or changes a `LiveRun`.
    """

    def __init__(self, stored: StoredRows, rows_of: Callable[[int, LiveRun, int | None], Iterator[Row]]) -> None:
        self._stored = stored
        self._loader = Loader(stored, rows_of)
        self.lock = threading.RLock()
        self._known: dict[tuple[str, str], Known] = {}
        self._awake = Awake(self._rest)
        self._connection: sqlite3.Connection | None = None
        self._change_lock = threading.Lock()
        """Held for moments only: whoever tells changes to pages does not wait for a run that is being read."""
        self._changes: deque[Change] = deque(maxlen=KEPT_CHANGES)
        self._version = (
            time.time_ns() // 1000
        )  # above all that were told before a restart: a page that comes back misses nothing
        self.unreadable: dict[tuple[str, str], RunRecord] = {}
        """Runs that cannot be read, and what is told of them instead. What comes for them is stored."""
        self._to_renew: dict[Known, float] = {}
        """Runs that count what they should not, and when they may be made anew; of the writing thread, as the next one."""
        self._renewed: WeakKeyDictionary[Known, float] = WeakKeyDictionary()

    # What is written

    def load(self) -> None:
        """What is known of all runs. One that cannot be read is left out, said and counted; the others are served."""
        with self.lock:
            for number, project, name in self._reading().execute("SELECT id, project, name FROM run").fetchall():
                known = Known(number, project, name, self._wake)
                try:
                    if self._load_run(known):
                        self._awake.let_go(known)
                except _PASSING as error:
                    logger.exception("milepost: the run %s/%s cannot be read", project, name)
                    self._forget(known)
                    self.unreadable[project, name] = self._line_of(known, str(error))

    def _reading(self) -> sqlite3.Connection:
        """The connection by which runs are read, under the lock: what it sees is never older than what was taken in."""
        if self._connection is None:
            self._connection = self._stored.connection()
        return self._connection

    def _wake(self, known: Known) -> LiveRun:
        """What is known of a run that rested, read again. Raises `RunNotFoundError`."""
        with self.lock:
            if self._known.get((known.project, known.name)) is not known or not self._load_run(known):
                raise RunNotFoundError(f"no run {known.name!r} in project {known.project!r}")
            return known.live

    def _rest(self, known: Known) -> None:
        """Keep no more than the line of a run, which may tell that it is silent for too long."""
        before, record = known.line, known.live.record()
        known.rest(record.line())
        if before is not None and before.state != record.state:
            self._change("run", record, {"state": record.state, "name": record.name})

    def _load_run(self, known: Known) -> bool:
        """A run as it was stored, and the batches since; where that cannot be read, or is wrong, made anew from all that can.

        False where it is deleted, or where nothing of it can be read.
        """
        key = known.project, known.name
        for load in (partial(self._loader.as_stored, self._reading()), self._loader.anew):
            self.unreadable.pop(key, None)
            try:
                live = load(known)
                if live is None:
                    return False
                self._add(known, live)
                self.record(known)
            except Exception as error:
                if isinstance(error, _PASSING):
                    self._awake.discard(known)
                    known.drop()
                    self._known[key] = known
                    raise
                logger.exception("milepost: what is known of the run %s/%s cannot be read", *key)
                self._forget(known)
                self.unreadable[key] = self._line_of(known, f"{type(error).__name__}: {error}")
            else:
                return True
        return False

    def _line_of(self, known: Known, why: str) -> RunRecord:
        """What is told of a run that cannot be read."""
        created: Any = self._reading().execute("SELECT created FROM run WHERE id = ?", (known.id,)).fetchone()
        begun = float(created[0]) if created is not None and isinstance(created[0], (int, float)) else 0.0
        return RunRecord(
            id=known.name, project=known.project, name=known.name, state="crashed", created=begun, unreadable=why[:500]
        )

    def _add(self, known: Known, live: LiveRun) -> None:
        """Note a run that is new here, or awake again."""
        self._awake.add(known)
        known.take(live)
        self._known[known.project, known.name] = known

    def _new(self, number: int, project: str, run: str, created: float) -> Known:
        known = Known(number, project, run, self._wake)
        self._add(known, self._loader.begun(known, created))
        return known

    def _forget(self, known: Known) -> None:
        self._awake.discard(known)
        if self._known.get((known.project, known.name)) is known:
            del self._known[known.project, known.name]

    def meet(self, number: int, project: str, run: str, created: float) -> None:
        """Note a run of which nothing but a file is there, or a file of one that is known."""
        with self.lock:
            if (project, run) in self.unreadable:
                return
            known = self._known.get((project, run))
            if known is None:
                self.tell(self._new(number, project, run, created), None, told=True)
            else:  # what waited for the file is here now
                known.line = known.live.record()
                self._change("rows", known.line, {"rows": known.line.rows, "last_step": known.line.last_step})

    def stored(self, added: list[Stored]) -> None:
        """Called by the writing thread after a commit. What cannot be taken in of one run keeps no other from being shown."""
        with self.lock:
            for each in added:
                try:
                    self._take_in(each)
                except Exception:
                    logger.exception("milepost: a batch of %s/%s cannot be taken in", each.job.project, each.job.run)
                    self._load_again(each.run_id, each.job.project, each.job.run)
        self.renew()

    def _load_again(self, number: int, project: str, run: str) -> None:
        if (half := self._known.get((project, run))) is not None:
            self._forget(half)
        self._load_run(Known(number, project, run, self._wake))

    def is_to_renew(self, number: int) -> None:
        """Something of a run was set aside, or came in place of that: what is known of it counts what it should not."""
        with self.lock:
            known = next((known for known in self._known.values() if known.id == number), None)
            if known is not None:
                self._to_renew.setdefault(known, 0.0)

    def renew(self) -> None:
        """Make those runs anew from their rows. Called by the writing thread, which alone brings rows.

        Readers do not wait meanwhile. What is sent does, for 7 s for each million rows of a run that was found damaged, so a long
        run that is healed in many pieces is not read for each of them: at most a tenth of the time goes into it.
        """
        due = [known for known, at in self._to_renew.items() if at <= time.monotonic()]
        for known in due:
            del self._to_renew[known]
            began = time.monotonic()
            try:
                live = self._loader.anew(known)
            except Exception:
                logger.exception("milepost: the run %s/%s cannot be made anew", known.project, known.name)
                with self.lock:
                    self._load_again(known.id, known.project, known.name)
                continue
            with self.lock:
                if live is None or self._known.get((known.project, known.name)) is not known:
                    continue
                before = known.line
                known.bring_over(live)
                self._add(known, live)
                self.tell(known, before, told=True)
            took = time.monotonic() - began
            self._renewed[known] = time.monotonic() + 10 * took

    def _take_in(self, each: Stored) -> None:
        key = each.job.project, each.job.run
        if key in self.unreadable:
            return  # it is on disk, and shown when the run can be read again
        known = self._known.get(key)
        if known is not None and known.id != each.run_id:
            self._forget(known)  # it was deleted, and is made anew
            known = None
        if each.healed and known is not None:  # its rows were counted, and shown as a gap
            self._to_renew.setdefault(known, self._renewed.get(known, 0.0))
            return
        if not each.batch_id:  # a repeated batch changes nothing; one that brings nothing may begin a run
            if known is None:
                self.meet(each.run_id, *key, each.created)
            return
        if known is None:
            known = self._new(each.run_id, *key, each.created)
        before = known.line
        known.live.created = min(known.live.created, each.created)
        if each.batch_id > known.live.batch:  # else it is awake again since this batch was committed, and has it
            connection = self._stored.reading()
            take(connection, known.live, each.writer_id, each.parts, each.events, each.now, each.batch_id)
            known.line = None
        self.tell(known, before, told=any(event.kind not in ("console", "system") for event in each.events))

    def tell(self, known: Known, before: RunLine | None, *, told: bool) -> None:
        """Note a change of a run. before: its line before that. told: also when its line looks the same."""
        now = self.record(known)
        if told or before is None or before.state != now.state:
            self._change("run", now, {"state": now.state, "name": now.name})
        if before is None or before.rows != now.rows:
            self._change("rows", now, {"rows": now.rows, "last_step": now.last_step})

    def _change(self, kind: str, record: RunLine, facts: dict[str, Any]) -> None:
        with self._change_lock:
            self._version += 1
            self._changes.append(Change(self._version, kind, record.project, record.id, facts))

    def flush(self, connection: sqlite3.Connection) -> None:
        """Store what is known of the runs that changed: the compactor may then take their batches."""
        self.renew()
        with self.lock:
            told: list[tuple[bytes, int, Known]] = []
            self._awake.rest()
            for known in self._awake.dirty():
                if known in self._to_renew:
                    continue
                try:
                    told.append((known.live.stored(), known.live.batch, known))
                except (TypeError, ValueError, OverflowError, RecursionError):  # said each time: its batches pile up
                    logger.exception("milepost: %s/%s cannot be stored", known.project, known.name)
                    continue
                known.live.dirty = False
                known.storing = True
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
        finally:
            for _, _, known in told:
                known.storing = False

    def heard(self, project: str, run: str, writer: str, *, alive: bool) -> bool:
        """Note that a writer's program lives, or is gone; whether the writer is known."""
        with self.lock:
            known = self._known.get((project, run))
            try:
                found = known.live.kept.writers.get(writer) if known is not None else None
            except RunNotFoundError:  # it was deleted a moment ago
                return False
            if known is None or found is None:
                return False
            before = self.record(known)
            known.live.hear(found, time.time(), alive=alive)
            known.line = None
            self.tell(known, before, told=False)
            return True

    def edited(self, known: Known, edits: dict[str, Any]) -> None:
        """Take in what is called otherwise from now on."""
        with self.lock:
            known.live.edits = edits
            known.line = None
            self.tell(known, None, told=True)

    def drop(self, project: str, run: str) -> None:
        """Forget a run that was deleted."""
        with self.lock:
            self.unreadable.pop((project, run), None)
            known = self._known.get((project, run))
            if known is not None:
                self._forget(known)
                self._change("deleted", self.record(known), {})

    # What is read

    def projects(self) -> list[str]:
        """The projects that hold runs, by name."""
        with self.lock:
            return sorted({project for project, _ in (*self._known, *self.unreadable)})

    def runs(self, project: str) -> list[RunLine]:
        """The runs of a project, newest first."""
        with self.lock:
            found = [self.record(known) for (of, _), known in self._known.items() if of == project]
            found += [line for (of, _), line in self.unreadable.items() if of == project]
        return sorted(found, key=lambda record: (-record.created, record.id))

    def run(self, project: str, run: str) -> RunRecord:
        """One run, also one that cannot be read."""
        with self.lock:
            if (told := self.unreadable.get((project, run))) is not None:
                return told
            known = self.find(project, run)
            line = self.record(known)
            if not isinstance(line, RunRecord):
                line = known.line = known.live.record()
            return line

    def record(self, known: Known) -> RunLine:
        """The line of a run."""
        now = time.monotonic()
        line = known.line
        if line is None or (line.state == "running" and now - known.made > SILENT_S / 4):
            line = known.line = known.live.record()
            known.made = now
        return line

    def find(self, project: str, run: str) -> Known:
        """A run. Raises `RunNotFoundError`."""
        with self.lock:
            known = self._known.get((project, run))
            damaged = self.unreadable.get((project, run))
        if damaged is not None:
            raise RunNotFoundError(f"the run {run!r} in project {project!r} cannot be read: {damaged.unreadable}")
        if known is None:
            raise RunNotFoundError(f"no run {run!r} in project {project!r}")
        return known

    def project_keys(self, project: str, runs: Sequence[str] | None) -> dict[str, tuple[str, int]]:
        """The keys of a project's runs: kind, and in how many runs."""
        wanted = None if runs is None else set(runs)
        found: dict[str, tuple[str, int]] = {}
        alike: dict[Kinds, int] = {}
        with self.lock:
            for (of, run), known in self._known.items():
                if of == project and (wanted is None or run in wanted):
                    kinds = known.kinds()
                    alike[kinds] = alike.pop(kinds, 0) + 1  # the kinds of the last run hold
        for kinds, count in alike.items():
            for key, kind in zip(kinds.names, kinds.kinds, strict=True):
                found[key] = (kind, found[key][1] + count if key in found else count)
        return found

    def changes(self, after: int) -> tuple[int, list[Change] | None]:
        """The version now, and what changed since."""
        with self._change_lock:
            if after < self._version - len(self._changes) or after > self._version:
                return self._version, None
            return self._version, last_of(self._changes, self._version - after)
