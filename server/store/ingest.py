"""Ingest: one thread writes; what waits for it is committed together, durable, and only then acknowledged.

A batch is known by its writer and its interval of numbers. What of it is stored already is compared and left out, so that a
batch may come again, and cut in another way: a lost acknowledgement and a restart cut anew. Where a number comes with
another row than before, nothing of that batch is stored and `Conflict` says so. What comes without numbers gets them here, in the
transaction that stores it: one that is refused leaves no gap.
"""

import datetime
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from milepost.sdk.encoding.refs import PENDING
from milepost.sdk.wire import WireBatch, WireEvent
from milepost.server.store.healing import Interval, gaps_of, healed, made_anew_next, make_way
from milepost.server.store.parts import InvalidBatch, Part, pressed
from milepost.server.store.schema import connect, next_number
from milepost.server.store.stored_rows import UNREADABLE

logger = logging.getLogger("milepost.server")

MOST_WAITING: Final = 256
"""Batches that may wait; more are refused (`Busy`) and come again."""
TOGETHER: Final = 64
FLUSH_S: Final = 1.0
LOCKED_S: Final = 10
"""How long is waited for a process that holds the database: clients, who wait for 30 s, are told before they give up."""
_FULL: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
_LOCKED: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Conflict(Exception):
    """A number that is stored with another row. seq: which."""

    def __init__(self, writer: str, seq: int) -> None:
        super().__init__(f"row {seq} of writer {writer} is stored already, with other values")
        self.seq = seq


class Deleted(Exception):
    """A batch of a writer whose run was deleted, which does not begin at its beginning."""


class Busy(Exception):
    """More waits than can be stored; try again later."""


class NoSpace(Exception):
    """The database cannot be written: the disk is full or fails. Nothing of the batch is stored."""


class Locked(Exception):
    """Another process holds the database, and goes on to. Nothing is stored."""


class Damaged(Exception):
    """What is stored cannot be read, and so not be compared with a batch. Nothing of the batch is stored; it may come again."""


Numbered = tuple[WireBatch, list[Part], bytes | None]
"""A batch, its parts, and its bytes."""


@dataclass(slots=True)
class Job:
    """A batch on its way. body: as it came, when it can be stored like that.

    numbered: gives the batch once the number of its first row is known, and when its run was created, for one that comes
              without numbers; `batch` then says whose it is. mark: what such a one is known by when it comes again: it is then
              not stored twice.
    """

    project: str
    run: str
    batch: WireBatch
    parts: list[Part]
    body: bytes | None
    numbered: Callable[[int, float], Numbered] | None = None
    mark: bytes = b""
    done: "Future[Receipt]" = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a batch. stored_through: everything up to this number is accounted for, without holes below it.

    repeated: it is known by its mark, and was stored before.
    """

    stored_through: int
    duplicates: int
    gaps: list[tuple[int, int]]
    repeated: bool = False


@dataclass(slots=True)
class Stored:
    """What a batch added, for those who keep what is known of a run up to date. batch_id: 0 when it brought nothing new."""

    job: Job
    run_id: int
    writer_id: int
    batch_id: int
    created: float
    parts: list[Part]
    events: list[WireEvent]
    now: float
    healed: bool = False
    """Whether something of it stands for what was damaged."""


class Ingest:
    """The writing thread. stored: called after each commit with what it brought. flush: called now and then."""

    def __init__(
        self,
        database: Path,
        stored: Callable[[list[Stored]], None],
        flush: Callable[[sqlite3.Connection], None],
        rows_between: Callable[[sqlite3.Connection, int, int, int], dict[int, Any]],
    ) -> None:
        self._database = database
        self._stored = stored
        self._flush = flush
        self._rows_between = rows_between
        self._queue: queue.Queue[Job | Callable[[sqlite3.Connection], None] | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name="milepost-server-ingest", daemon=True)
        self.batches = self.rows = self.points = self.duplicates = 0
        self._hindered = ""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Store what waits, and end."""
        self._queue.put(None)
        self._thread.join()

    def submit(self, job: Job) -> "Future[Receipt]":
        """Store a batch. The future raises `Conflict`, `Deleted`, `InvalidBatch`, `NoSpace`, `Locked` or `Damaged`; this raises
        `Busy`."""
        try:
            self._queue.put_nowait(job)
        except queue.Full:
            raise Busy(f"{MOST_WAITING} batches wait to be stored") from None
        return job.done

    def call(
        self,
        work: Callable[[sqlite3.Connection], None],
        after: Callable[[], None] = lambda: None,
        before: Callable[[], None] = lambda: None,
        room: Callable[[], bool] = lambda: False,
    ) -> None:
        """Do some writing on this thread, in a transaction of its own, and wait for it. before, after: called ahead of it
        and behind it; what takes a lock belongs there: who holds one may wait for the transaction to end.
        room: makes some on a full disk; the work is then tried once more.

        Raises what these raise, `NoSpace` and `Locked`.
        """
        done: Future[None] = Future()

        def once(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            work(connection)
            connection.execute("COMMIT")

        def guarded(connection: sqlite3.Connection) -> None:
            try:
                before()
                try:
                    once(connection)
                except sqlite3.OperationalError as error:
                    _undo(connection)
                    if not isinstance(refusal_of(error), NoSpace) or not room():
                        raise
                    once(connection)
                after()
            except Exception as error:  # noqa: BLE001 - whoever waits for it is told
                _undo(connection)
                done.set_exception(refusal_of(error))
            else:
                done.set_result(None)

        self._queue.put(guarded)
        done.result()

    def _run(self) -> None:
        connection = connect(self._database)
        connection.execute(f"PRAGMA busy_timeout = {LOCKED_S * 1000}")
        flushed = time.monotonic()
        ending = False
        while not ending:
            jobs, others, ending = self._next(FLUSH_S)
            jobs = [job for job in jobs if job.done.set_running_or_notify_cancel()]  # from here on nobody can cancel it
            if jobs:
                self._commit(connection, jobs)
            for work in others:
                work(connection)
            if ending or time.monotonic() - flushed >= FLUSH_S:
                self._flush_all(connection)
                flushed = time.monotonic()
        connection.close()

    def _flush_all(self, connection: sqlite3.Connection) -> None:
        """Store what is known of runs. What hinders it is said once: it is tried again every second."""
        try:
            self._flush(connection)
            self._hindered = ""
        except Exception as error:
            _undo(connection)
            if self._hindered != str(error):
                self._hindered = str(error)
                logger.exception("milepost: what is known of runs cannot be stored; it is tried again")

    def _next(self, wait_s: float) -> tuple[list[Job], list[Callable[[sqlite3.Connection], None]], bool]:
        jobs: list[Job] = []
        try:
            first = self._queue.get(timeout=wait_s)
        except queue.Empty:
            return [], [], False
        while True:
            if first is None:
                return jobs, [], True
            if not isinstance(first, Job):
                return jobs, [first], False
            jobs.append(first)
            if len(jobs) >= TOGETHER:
                return jobs, [], False
            try:
                first = self._queue.get_nowait()
            except queue.Empty:
                return jobs, [], False

    def _commit(self, connection: sqlite3.Connection, jobs: list[Job]) -> None:
        """One transaction for all of them; one that conflicts, or cannot be stored, leaves the others alone."""
        stored: list[Stored] = []
        receipts: list[tuple[Job, Receipt]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                connection.execute("SAVEPOINT job")
                try:
                    added, receipt = self._store(connection, job)
                except (Conflict, Deleted, Damaged) as error:
                    connection.execute("ROLLBACK TO job")
                    job.done.set_exception(error)
                except (sqlite3.OperationalError, MemoryError):  # the disk, or the machine: of no job in particular
                    raise
                except Exception as error:  # noqa: BLE001 - a number that has no place, for instance: the others are stored
                    connection.execute("ROLLBACK TO job")
                    job.done.set_exception(InvalidBatch(str(error) or type(error).__name__))
                else:
                    stored.append(added)
                    receipts.append((job, receipt))
                connection.execute("RELEASE job")
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it is: nothing is stored, and everybody is told
            _undo(connection)
            logger.error("milepost: batches cannot be stored: %s", error)  # noqa: TRY400 - a full disk needs no traceback
            refusal = refusal_of(error)
            kind = Locked if isinstance(refusal, Locked) else NoSpace
            for job in jobs:
                if not job.done.done():
                    job.done.set_exception(kind(str(refusal)))
            return
        try:
            self._stored(stored)
        except Exception:
            logger.exception("milepost: a stored batch is not shown yet; it will be after a restart")
        for added in stored:
            self.rows += sum(map(len, added.parts))
            self.points += sum(len(part) * len(part.keys) for part in added.parts)
        for job, receipt in receipts:
            self.batches += 1
            self.duplicates += receipt.duplicates
            job.done.set_result(receipt)

    def _store(self, connection: sqlite3.Connection, job: Job) -> tuple[Stored, Receipt]:
        now = time.time()
        _check_deleted(connection, job)
        run_id, created = run_of(connection, job.project, job.run, _first_time(job, now))
        writer_id = _writer_of(connection, run_id, job.batch)
        if job.numbered is not None:
            if connection.execute("SELECT 1 FROM taken WHERE mark = ?", (job.mark,)).fetchone() is not None:
                receipt = replace(receipt_of(connection, writer_id, 0), repeated=True)
                return Stored(job, run_id, writer_id, 0, created, [], [], now), receipt
            connection.execute("INSERT INTO taken VALUES (?, ?, ?)", (job.mark, writer_id, now))
            job.batch, job.parts, job.body = job.numbered(_next_number(connection, writer_id), created)
        first, last = job.batch.first, job.batch.last
        spans = connection.execute(
            "SELECT first, last FROM span WHERE writer = ? AND first <= ? AND last >= ? ORDER BY first",
            (writer_id, last + 1, first - 1),
        ).fetchall()
        parts, events, duplicates = job.parts, job.batch.events, 0
        body = job.body
        overlap = [(max(a, first), min(b, last)) for a, b in spans if a <= last and b >= first]
        damaged: list[Interval] = []
        if overlap:
            damaged = gaps_of(connection, writer_id, first, last)
            try:
                parts, events, duplicates = self._trimmed(connection, writer_id, job, overlap, damaged)
            except UNREADABLE:
                damaged = make_way(connection, writer_id, first, last)
                try:
                    parts, events, duplicates = self._trimmed(connection, writer_id, job, overlap, damaged)
                except UNREADABLE as error:
                    raise Damaged(f"what is stored of the run {job.project}/{job.run} is damaged: {error}") from error
            if damaged:
                healed(connection, writer_id, first, last)
                made_anew_next(connection, run_id)
            body = None
        low, high = min([first, *(a for a, _ in spans)]), max([last, *(b for _, b in spans)])
        connection.execute("DELETE FROM span WHERE writer = ? AND first >= ? AND last <= ?", (writer_id, low, high))
        connection.execute("INSERT INTO span VALUES (?, ?, ?)", (writer_id, low, high))
        batch_id = 0
        rows = sum(map(len, parts))
        if rows or events:
            if body is None:
                groups = [part.group() for part in parts if len(part)]
                body = pressed(WireBatch(writer=job.batch.writer, first=first, last=last, groups=groups))
            batch_id = int(
                connection.execute(
                    "INSERT INTO batch (writer, first, last, rows, received, body) VALUES (?, ?, ?, ?, ?, ?)",
                    (writer_id, first, last, rows, now, body),
                ).lastrowid
                or 0
            )
            connection.executemany("INSERT OR REPLACE INTO media VALUES (?, ?, ?)", _media(writer_id, events))
            connection.executemany(
                "INSERT INTO event (writer, seq, kind, batch, body) VALUES (?, ?, ?, ?, ?)",
                [(writer_id, e.seq, e.kind, batch_id, msgspec.msgpack.encode(e)) for e in events],
            )
        added = Stored(job, run_id, writer_id, batch_id, created, parts, events, now, bool(damaged))
        return added, receipt_of(connection, writer_id, duplicates)

    def _trimmed(
        self, connection: sqlite3.Connection, writer_id: int, job: Job, overlap: list[Interval], damaged: list[Interval]
    ) -> tuple[list[Part], list[WireEvent], int]:
        """The batch without what is stored; raises `Conflict` when it says something else.

        damaged: what of the overlap is not there in truth. Raises one of `UNREADABLE` where more of it is damaged.
        """
        known: dict[int, Any] = {}
        for low, high in overlap:
            known.update(self._rows_between(connection, writer_id, low, high))

        def inside(seq: int) -> bool:
            there = any(low <= seq <= high for low, high in overlap)
            return there and (seq in known or not any(low <= seq <= high for low, high in damaged))

        duplicates = 0
        parts: list[Part] = []
        for part in job.parts:
            old = np.zeros(len(part), np.bool_)
            for low, high in overlap:
                old |= (part.seq >= low) & (part.seq <= high)
            for low, high in damaged:
                old &= (part.seq < low) | (part.seq > high) | np.isin(part.seq, list(known))
            for seq, row in part.some(old).rows() if old.any() else ():
                if seq in known and not same(known[seq], row):
                    raise Conflict(job.batch.writer, seq)
            duplicates += int(old.sum())
            if not old.all():
                parts.append(part.some(~old))
        events: list[WireEvent] = []
        for event in job.batch.events:
            if not inside(event.seq):
                events.append(event)
                continue
            duplicates += 1
            if event.seq in known and not same(known[event.seq], [event.kind, event.values]):
                raise Conflict(job.batch.writer, event.seq)
        return parts, events, duplicates


def _media(writer_id: int, events: list[WireEvent]) -> Iterator[tuple[int, int, bytes]]:
    """The lines of the table that say what became of media."""
    for event in events:
        number = event.values.get("number")
        if event.kind == "media" and type(number) is int and 0 <= number < 2**63:
            yield writer_id, number, msgspec.msgpack.encode(event.values)


def _check_deleted(connection: sqlite3.Connection, job: Job) -> None:
    """Refuse what goes on with a run that was deleted; a writer that begins anew, at its first number, makes it anew."""
    named = job.project, job.run, job.batch.writer
    if job.batch.first == 0:
        connection.execute("DELETE FROM deleted WHERE project = ? AND run = ? AND writer = ?", named)
        return
    check_writer(connection, *named)


def check_writer(connection: sqlite3.Connection, project: str, run: str, writer: str) -> None:
    """Raise `Deleted` for a writer whose run was deleted."""
    query = "SELECT at FROM deleted WHERE project = ? AND run = ? AND writer = ?"
    found: Any = connection.execute(query, (project, run, writer)).fetchone()
    if found is not None:
        when = datetime.datetime.fromtimestamp(found[0], datetime.UTC).isoformat(" ", "minutes").removesuffix("+00:00")
        text = f"the run {project}/{run} was deleted on {when} UTC, and takes nothing more of its writer {writer}"
        raise Deleted(f"{text}; one that begins anew with number 0 makes the run anew")


def check_deleted_run(connection: sqlite3.Connection, project: str, run: str) -> None:
    """Refuse a file of a run that was deleted and that nobody has begun anew. Raises `Deleted`."""
    query = """
        SELECT 1 FROM deleted WHERE project = ?1 AND run = ?2 AND NOT EXISTS (SELECT 1 FROM run WHERE project = ?1 AND name = ?2)
    """
    if connection.execute(query, (project, run)).fetchone() is not None:
        raise Deleted(f"the run {project}/{run} was deleted; its files are not taken before its rows begin anew")


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal, NaN with NaN, and 1 not with 1.0 or True; media also where one is not encoded yet."""
    if isinstance(a, dict) and isinstance(b, dict):
        if (PENDING in a) is not (PENDING in b):
            return bool(a.get("_type") == b.get("_type"))
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and bool(a == b or (a != a and b != b))


def refusal_of(error: Exception) -> Exception:
    """What is told of an error: `NoSpace` or `Locked` where that is what hinders the database, else the error itself."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF if isinstance(error, sqlite3.OperationalError) else 0
    if code in _FULL:
        return NoSpace(f"the server's disk: {error}")
    return Locked(f"the server's database: {error}; send this again in a moment") if code in _LOCKED else error


def _undo(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _first_time(job: Job, now: float) -> float:
    """When the run began, as its first batch tells."""
    if job.batch.created or job.batch.started:
        return (job.batch.created or job.batch.started) / 1e9
    times = [event.time for event in job.batch.events] + [int(part.time[0]) for part in job.parts if len(part)]
    return min(times) / 1e9 if times else now


def run_of(connection: sqlite3.Connection, project: str, run: str, created: float) -> tuple[int, float]:
    """The number of a run and when it began; made when it is new."""
    found: Any = connection.execute(
        "SELECT id, created FROM run WHERE project = ? AND name = ?", (project, run)
    ).fetchone()
    if found is not None:
        if created < float(found[1]):  # a file came before the rows that tell
            connection.execute("UPDATE run SET created = ? WHERE id = ?", (created, int(found[0])))
        return int(found[0]), min(created, float(found[1]))
    number = next_number(connection, "run")
    query = "INSERT INTO run (id, project, name, created) VALUES (?, ?, ?, ?)"
    connection.execute(query, (number, project, run, created))
    return number, created


def _writer_of(connection: sqlite3.Connection, run_id: int, batch: WireBatch) -> int:
    found: Any = connection.execute(
        "SELECT id FROM writer WHERE run = ? AND name = ?", (run_id, batch.writer)
    ).fetchone()
    if found is not None:
        return int(found[0])
    number = next_number(connection, "writer")
    connection.execute(
        "INSERT INTO writer (id, run, name, attempt, rank, parent, started, host) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (number, run_id, batch.writer, batch.attempt, batch.rank, batch.parent, batch.started, batch.host),
    )
    return number


def _next_number(connection: sqlite3.Connection, writer_id: int) -> int:
    """The number behind all that are stored of a writer, whatever holes are below it."""
    (last,) = connection.execute("SELECT MAX(last) FROM span WHERE writer = ?", (writer_id,)).fetchone()
    return 0 if last is None else int(last) + 1


def receipt_of(connection: sqlite3.Connection, writer_id: int, duplicates: int) -> Receipt:
    """What is stored of a writer."""
    spans = connection.execute(
        "SELECT first, last FROM span WHERE writer = ? ORDER BY first LIMIT 101", (writer_id,)
    ).fetchall()
    through = spans[0][1] if spans and spans[0][0] == 0 else -1
    edges = [-1, *(edge for span in spans for edge in span)]
    gaps = [(edges[n] + 1, edges[n + 1] - 1) for n in range(0, len(edges) - 1, 2) if edges[n] + 1 < edges[n + 1]]
    return Receipt(through, duplicates, gaps)
