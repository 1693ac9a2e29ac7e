"""SqliteStore: the server's own store, one SQLite database and a folder of blobs below the data directory.

    DATA/milepost.db    the tables of `schema`         DATA/blobs/ab/abcd...    contents by SHA-256

Written by one thread (`ingest`), kept in view by `table`, read by whoever asks: rows (`exact_rows`) and points (`key_points`).
"""

import logging
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

import msgspec

from milepost.sdk.errors import RunNotFoundError, UsageError
from milepost.sdk.summary import nest
from milepost.server.history import Series
from milepost.server.records import KeyRecord, RunLine, RunRecord
from milepost.server.store import Change, Row, RowQuery, media_query
from milepost.server.store.choosing import chosen_writers, cuts_of
from milepost.server.store.chunks import DamagedChunk
from milepost.server.store.contents import Contents, NotHeld, holds
from milepost.server.store.exact_rows import Chosen, exact_rows, is_unordered
from milepost.server.store.healing import mend
from milepost.server.store.ingest import Ingest, NoSpace, Receipt, check_deleted_run, check_writer, receipt_of, run_of
from milepost.server.store.key_points import KeyPoints, Span, limits_of
from milepost.server.store.known import Known
from milepost.server.store.live import LiveRun
from milepost.server.store.media_index import indexed_page
from milepost.server.store.media_page import MediaPage, media_page
from milepost.server.store.memory import GivesBack
from milepost.server.store.reserve import Reserve
from milepost.server.store.run_details import run_details
from milepost.server.store.sampling import evenly
from milepost.server.store.schema import claim, migrate
from milepost.server.store.stored_rows import StoredRows
from milepost.server.store.sweep import Sweeper
from milepost.server.store.table import Table

logger = logging.getLogger("milepost.server")

MAX_FILES: Final = 100_000
"""Files of one run."""


class SqliteStore:
    """The store below a data directory."""

    writable = True

    def __init__(self, data: Path) -> None:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)  # a key asked for over HTTP is none on this machine
        self.data = data
        self.database = data / "milepost.db"
        self._claim = claim(data / "lock")
        migrate(self.database)
        self._stored = StoredRows(self.database)
        self._points = KeyPoints(self._stored)
        self._table = Table(self._stored, self._standing)
        self._compactor: subprocess.Popen[bytes] | None = None
        self.ingest = Ingest(self.database, self._table.stored, self._flush, self._stored.between)
        self.contents = Contents(data, self.reading, self.ingest)
        """The files of runs."""
        self._sweeper = Sweeper(data, self.reading, self.ingest.call)
        self._reserve = Reserve(data)
        self._gives_back = GivesBack()
        self._table.load()

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

    def reading(self) -> sqlite3.Connection:
        """A connection of this thread that cannot write."""
        return self._stored.reading()

    def _standing(self, number: int, live: LiveRun, upto: int | None) -> Iterator[Row]:
        query = RowQuery()
        chosen = replace(_chosen(number, live, query), upto=upto)
        return chain.from_iterable(exact_rows(self._stored, chosen, query.wish()))

    def _flush(self, connection: sqlite3.Connection) -> None:
        if self._compactor is not None and self._compactor.poll() is not None:
            logger.error("milepost: the compactor ended with %s; it is started anew", self._compactor.returncode)
            self._start_compactor()
        self._reserve.keep()
        self._table.flush(connection)
        self._stored.forget_compacted(connection)
        self._gives_back.look()
        self._mend(connection)

    def note_damage(self, group: int) -> None:
        """Somebody could not read a group of chunks: what is damaged of it is set aside within a second or so."""
        self._stored.damaged.add(group)

    def _mend(self, connection: sqlite3.Connection) -> None:
        noted = [group for (group,) in connection.execute("SELECT grp FROM damaged")]
        for group in {*noted, *(self._stored.damaged.copy() if self._stored.damaged else ())}:
            connection.execute("BEGIN IMMEDIATE")
            run = mend(connection, group)
            connection.execute("DELETE FROM damaged WHERE grp = ?", (group,))
            connection.execute("COMMIT")
            self._stored.damaged.discard(group)
            if run is not None:
                logger.error("milepost: chunks of run %d are damaged; what cannot be read of them is set aside", run)
                self._table.is_to_renew(run)

    # What is written

    def receipt(self, project: str, run: str, writer: str) -> Receipt:
        """What is stored of a writer: nothing of one that is not known. Raises `Deleted`."""
        connection = self.reading()
        found: Any = connection.execute(
            "SELECT writer.id FROM writer JOIN run ON run.id = writer.run WHERE project = ? AND run.name = ? AND writer.name = ?",
            (project, run, writer),
        ).fetchone()
        if found is None:
            check_writer(connection, project, run, writer)
            return Receipt(-1, 0, [])
        return receipt_of(connection, int(found[0]), 0)

    def name_file(self, project: str, run: str, path: str, sha256: str) -> None:
        """Give a content a name in a run, which is made when it is new.

        Raises `NotHeld` for a content that the project neither sent nor has, `Deleted` for a run that was deleted, `UsageError`.
        """
        told: list[tuple[int, float]] = []

        def work(connection: sqlite3.Connection) -> None:
            size: Any = connection.execute("SELECT size FROM blob WHERE sha256 = ?", (sha256,)).fetchone()
            if size is None or not holds(connection, sha256, project):
                raise NotHeld(f"the project {project!r} neither sent this content nor has it")
            check_deleted_run(connection, project, run)
            number, created = run_of(connection, project, run, time.time())
            known = connection.execute("SELECT 1 FROM file WHERE run = ? AND path = ?", (number, path)).fetchone()
            if known is None and _files(connection, number) >= MAX_FILES:
                raise UsageError(f"the run {project}/{run} has {MAX_FILES:,} files, more are not taken")
            connection.execute("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?)", (number, path, sha256, int(size[0])))
            told.append((number, created))

        self.ingest.call(work, lambda: self._table.meet(told[0][0], project, run, told[0][1]))

    def heard(self, project: str, run: str, writer: str, *, alive: bool) -> bool:
        """Note that a writer's program lives, or is gone; whether the writer is known."""
        return self._table.heard(project, run, writer, alive=alive)

    def edit(self, project: str, run: str, changes: Callable[[RunLine], dict[str, Any]]) -> None:
        """Change name, notes, tags or archived of a run, as it is when it is this edit's turn."""
        self._table.run(project, run)
        told: list[tuple[Known, dict[str, Any]]] = []

        def before() -> None:
            with self._table.lock:
                known = self._table.find(project, run)
                told.append((known, {**known.live.edits, **changes(self._table.record(known))}))

        def work(connection: sqlite3.Connection) -> None:
            known, edits = told[0]
            text = msgspec.json.encode(edits).decode()
            connection.execute("UPDATE run SET edits = ? WHERE id = ?", (text, known.id))

        self.ingest.call(work, lambda: self._table.edited(*told[0]), before)

    def delete(self, project: str, run: str) -> None:
        """Delete a run for good: its writers may not go on with it, only begin anew.

        Its number is looked up on the writing thread: what waits before this may delete it, and make it anew.
        """
        note = "INSERT OR REPLACE INTO deleted SELECT ?, ?, name, ? FROM writer WHERE run = ?"

        def work(connection: sqlite3.Connection) -> None:
            number = _number(connection, project, run)
            connection.execute(note, (project, run, time.time(), number))
            connection.execute("DELETE FROM run WHERE id = ?", (number,))

        try:
            self.ingest.call(work, lambda: self._table.drop(project, run), room=self._reserve.give_up)
        except NoSpace as error:
            text = "nothing can be deleted before some MB are free there: move another file away, or enlarge it"
            raise NoSpace(f"{error}; {text}") from None
        self._sweeper.soon()

    def unreadable(self) -> tuple[int, int]:
        """How many runs cannot be read, and how many batches were set aside because they are damaged."""
        (batches,) = self.reading().execute("SELECT COUNT(*) FROM unreadable").fetchone()
        return len(self._table.unreadable), int(batches)

    def backlog(self) -> tuple[int, float, int]:
        """Rows that are not in chunks yet, seconds since the oldest of them came, and bytes of the database."""
        query = "SELECT COALESCE(SUM(rows), 0), MIN(received) FROM batch WHERE rows > 0"
        rows, oldest = self.reading().execute(query).fetchone()
        return int(rows), max(time.time() - oldest, 0.0) if oldest else 0.0, self.database.stat().st_size

    # The table

    def projects(self) -> list[str]:
        """The projects that hold runs, by name."""
        return self._table.projects()

    def runs(self, project: str) -> list[RunLine]:
        """The runs of a project, newest first."""
        return self._table.runs(project)

    def run(self, project: str, run: str) -> RunRecord:
        """One run."""
        return self._table.run(project, run)

    def project_keys(self, project: str, runs: Sequence[str] | None) -> dict[str, tuple[str, int]]:
        """The keys of a project's runs: kind, and in how many runs."""
        return self._table.project_keys(project, runs)

    def changes(self, after: int) -> tuple[int, list[Change] | None]:
        """The version now, and what changed since."""
        return self._table.changes(after)

    # One run

    def details(self, project: str, run: str) -> dict[str, Any]:
        """What else a run says of itself."""
        return run_details(self._table, self._stored, project, run)

    def keys(self, project: str, run: str) -> list[KeyRecord]:
        """The keys of a run in order of first sight."""
        known = self._table.find(project, run)
        with self._table.lock:
            found = list(known.live.kept.keys.values())
            fill = known.live.fill
            return [
                key if type(key.last) is not dict else msgspec.structs.replace(key, last=fill(key.last))
                for key in found
            ]

    def watermark(self, project: str, run: str) -> str:
        """How far the run is known."""
        known = self._table.find(project, run)
        with self._table.lock:
            members = known.live.members()
            cuts = sum(len(writer.rewinds) for writer in members)
            return f"{cuts};" + ",".join(f"{writer.name}:{writer.last_seq}" for writer in members)

    def delta(self, project: str, run: str, after: str) -> bool:
        """Whether `after` still tells what is new."""
        return (
            self.watermark(project, run).partition(";")[0] == after.partition(";")[0] and limits_of(after) is not None
        )

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
        rewound: bool = False,
    ) -> Series | None:
        """The points of a key along an axis."""
        known = self._table.find(project, run)
        with self._table.lock:
            live = known.live
            writers = live.members() if everyone else live.speaking()
            span = Span(writers, cuts_of(live, writers), until, after, rewound)
        return self._points.series(key, axis, span)

    def rows(self, project: str, run: str, query: RowQuery, skip: int = 0) -> Iterator[list[Row]]:
        """Rows as they were logged, exact, some hundred at a time, without the first `skip` of them."""
        asked = query.wish()
        return self._noting(exact_rows(self._stored, self._chosen(self._table.find(project, run), query), asked, skip))

    def _noting(self, pages: Iterator[list[Row]]) -> Iterator[list[Row]]:
        """The pages; what is damaged is noted also where an answer has begun, and can only be cut off."""
        try:
            yield from pages
        except DamagedChunk as error:
            self.note_damage(error.group)
            raise

    def _chosen(self, known: Known, query: RowQuery, *, filled: bool = True) -> Chosen:
        with self._table.lock:
            return _chosen(known.id, known.live, query, filled=filled)

    def media(
        self, project: str, run: str, keys: Sequence[str], step: int | None, offset: int, limit: int
    ) -> MediaPage:
        """A page of the media values under some keys, of one step or of all."""
        known, query = self._table.find(project, run), media_query(keys, step)
        chosen = self._chosen(known, query, filled=False)
        fill = partial(self._stored.filled, self.reading(), known.id)
        writers = [writer.id for writer in chosen.writers]
        plain = not any(chosen.cuts.values()) and not (chosen.merged and len(writers) > 1)
        if plain and len(set(keys)) == len(keys) and not is_unordered(self._stored, self.reading(), writers):
            return indexed_page(self._stored, writers, keys, step, offset, limit, fill)
        pages = exact_rows(self._stored, chosen, query.wish())
        return media_page(chain.from_iterable(pages), keys, offset, limit, fill)

    def files(self, project: str, run: str) -> list[tuple[str, int]]:
        """Names and sizes in bytes of a run's files."""
        known = self._table.find(project, run)
        query = "SELECT path, size FROM file WHERE run = ? ORDER BY path"
        return [(path, size) for path, size in self.reading().execute(query, (known.id,))]

    def file(self, project: str, run: str, name: str) -> Path:
        """Where one of `files` is. Raises `UsageError`."""
        known = self._table.find(project, run)
        query = "SELECT sha256 FROM file WHERE run = ? AND path = ?"
        found: Any = self.reading().execute(query, (known.id, name)).fetchone()
        if found is None:
            raise UsageError(f"the run {project}/{run} has no file {name!r}")
        return self.contents.place(found[0])

    def events(self, project: str, run: str, kind: str, skip: int = 0) -> Iterator[dict[str, Any]]:
        """What else was recorded, without the first `skip`."""
        known = self._table.find(project, run)
        with self._table.lock:
            writers = [writer.id for writer in known.live.leading()]
        for event in self._stored.events(self.reading(), writers, kind, skip):
            yield {"time": event.time / 1e9, "runtime": event.runtime / 1e6, "values": event.values}

    def summary(self, project: str, run: str) -> dict[str, Any]:
        """The whole summary, nested."""
        known = self._table.find(project, run)
        with self._table.lock:
            return nest(known.live.flat_summary())

    def sample(self, project: str, run: str, query: RowQuery, samples: int) -> tuple[list[Row], int]:
        """At most so many of the rows, evenly spaced; and how many there are."""
        return evenly(lambda: self.rows(project, run, query), samples)


def _chosen(number: int, live: LiveRun, query: RowQuery, *, filled: bool = True) -> Chosen:
    writers = chosen_writers(live, query.writer)
    children = query.writer is None and bool(writers) and all(writer.parent for writer in writers)
    merged = query.writer == "all" or children
    return Chosen(number, writers, cuts_of(live, writers), merged, filled)


def _number(connection: sqlite3.Connection, project: str, run: str) -> int:
    """The number of a run in the database, also of one that cannot be read. Raises `RunNotFoundError`."""
    found: Any = connection.execute("SELECT id FROM run WHERE project = ? AND name = ?", (project, run)).fetchone()
    if found is None:
        raise RunNotFoundError(f"no run {run!r} in project {project!r}")
    return int(found[0])


def _files(connection: sqlite3.Connection, number: int) -> int:
    """How many files a run has."""
    (files,) = connection.execute("SELECT COUNT(*) FROM file WHERE run = ?", (number,)).fetchone()
    return int(files)
