"""Loading: what is known of a run, read from the disk: as it was stored, with the batches since; or made anew from all its rows.

It holds nothing and takes no lock: who asks keeps what comes, and sees to it that no rows come meanwhile.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from milepost.sdk.wire import WireEvent
from milepost.server.store import Row
from milepost.server.store.chunks import DamagedChunk
from milepost.server.store.healing import mend
from milepost.server.store.known import Known
from milepost.server.store.live import Kept, LiveRun, WriterState
from milepost.server.store.parts import Part
from milepost.server.store.schema import connect
from milepost.server.store.stored_rows import UNREADABLE, StoredRows, set_aside

logger = logging.getLogger("milepost.server")

_decode_kept: Final = msgspec.msgpack.Decoder(Kept)


class Loader:
    """Reads runs. rows_of: the rows of a run, by its number, that stand, up to a batch."""

    def __init__(self, stored: StoredRows, rows_of: Callable[[int, LiveRun, int | None], Iterator[Row]]) -> None:
        self._stored = stored
        self._rows_of = rows_of

    def begun(
        self, known: Known, created: float, kept: Kept | None = None, edits: dict[str, Any] | None = None
    ) -> LiveRun:
        """A run with what is kept of it, and what else it asks for."""
        number = known.id
        live = LiveRun(known.project, known.name, created, kept, edits or {})
        live.fill = lambda value: self._stored.filled(self._stored.reading(), number, value)
        live.rows_so_far = lambda run, upto: self._rows_of(number, run, upto)  # `live` itself would be kept by it
        return live

    def as_stored(self, connection: sqlite3.Connection, known: Known) -> LiveRun | None:
        """A run as it was stored, and the batches since; None when it is deleted."""
        query = "SELECT created, state, flushed, edits FROM run WHERE id = ?"
        found: Any = connection.execute(query, (known.id,)).fetchone()
        if found is None:
            return None
        created, state, flushed, edits = found
        if state is None and flushed:  # something of it was set aside, or came again in place of that
            return self.anew(known)
        kept = _decode_kept.decode(state) if state is not None else None
        live = self.begun(known, float(created), kept, msgspec.json.decode(edits))
        live.batch = flushed
        query = """
            SELECT batch.id, writer, received, rows FROM batch JOIN writer ON writer.id = batch.writer
            WHERE writer.run = ? AND batch.id > ? ORDER BY batch.id
        """
        for batch, writer, received, rows in connection.execute(query, (known.id, flushed)).fetchall():
            events = self._stored.events_of(connection, batch)
            parts = self._stored.parts_of_batch(connection, batch) if rows else []
            take(connection, live, writer, parts, events, received, batch)
        return live

    def anew(self, known: Known) -> LiveRun | None:
        """A run from its events and rows alone: all of them are read, and what is damaged of them is set aside.

        None when it is deleted.
        """
        mended: set[int] = set()
        with contextlib.closing(connect(self._stored.database)) as connection:
            while True:
                try:
                    return self._from_rows(connection, known)
                except DamagedChunk as error:
                    if error.group in mended:
                        raise
                    mended.add(error.group)
                    connection.execute("BEGIN IMMEDIATE")
                    mend(connection, error.group)
                    connection.execute("COMMIT")

    def _from_rows(self, connection: sqlite3.Connection, known: Known) -> LiveRun | None:
        number = known.id
        found: Any = connection.execute("SELECT created, edits FROM run WHERE id = ?", (number,)).fetchone()
        if found is None:
            return None
        created, edits = found
        try:
            edited = msgspec.json.decode(edits, type=dict[str, Any])
        except msgspec.DecodeError:
            edited = {}
        live = self.begun(known, float(created), None, edited)
        self._set_aside(connection, number)
        (last,) = connection.execute(
            "SELECT MAX(batch.id) FROM batch JOIN writer ON writer.id = batch.writer WHERE run = ?", (number,)
        ).fetchone()
        for (writer,) in connection.execute("SELECT id FROM writer WHERE run = ? ORDER BY started, name", (number,)):
            state = _writer(connection, live, writer)
            query = """
                SELECT (SELECT MAX(last) FROM span WHERE writer = ?1), (SELECT COALESCE(SUM(rows), 0) FROM grp WHERE writer = ?1),
                    (SELECT COALESCE(SUM(rows), 0) FROM batch WHERE writer = ?1)
            """
            last_seq, compacted, waiting = connection.execute(query, (writer,)).fetchone()
            state.last_seq, state.rows = -1 if last_seq is None else last_seq, compacted + waiting
            (heard,) = connection.execute("SELECT MAX(received) FROM batch WHERE writer = ?", (writer,)).fetchone()
            live.take(state, [], list(self._stored.all_events(connection, writer)), heard or created)
        live.batch = last or 0
        live.anew()
        logger.warning(
            "milepost: what is known of the run %s/%s was made anew from its rows", known.project, known.name
        )
        return live

    def _set_aside(self, connection: sqlite3.Connection, run: int) -> None:
        """Put the batches of a run aside that cannot be decoded."""
        query = "SELECT batch.id FROM batch JOIN writer ON writer.id = batch.writer WHERE run = ? AND rows > 0"
        for (batch,) in connection.execute(query, (run,)).fetchall():
            try:
                self._stored.parts_of_batch(connection, batch)
            except UNREADABLE as error:
                set_aside(connection, batch, f"{type(error).__name__}: {error}")


def take(
    connection: sqlite3.Connection,
    live: LiveRun,
    writer_id: int,
    parts: list[Part],
    events: list[WireEvent],
    now: float,
    batch: int,
) -> None:
    """Take in what a stored batch of a run brought."""
    writer = _writer(connection, live, writer_id)
    seqs = [int(part.seq[-1]) for part in parts if len(part)] + [event.seq for event in events]
    writer.last_seq = max([writer.last_seq, *seqs])
    live.upto = batch  # what came behind it is taken in later
    live.take(writer, parts, events, now)
    live.upto = None
    live.batch = max(live.batch, batch)


def _writer(connection: sqlite3.Connection, live: LiveRun, number: int) -> WriterState:
    """The writer of this number in the database, from there when it is new."""
    found = next((writer for writer in live.kept.writers.values() if writer.id == number), None)
    if found is None:
        query = "SELECT name, attempt, rank, parent, started, host FROM writer WHERE id = ?"
        name, attempt, rank, parent, started, host = connection.execute(query, (number,)).fetchone()
        told = {"id": number, "name": name, "attempt": attempt, "rank": rank, "parent": parent, "started": started}
        found = live.kept.writers[name] = msgspec.convert({**told, "host": host}, WriterState)
    return found
