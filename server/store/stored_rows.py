"""StoredRows: what the database holds of writers, as it lies there: groups of chunks, batches behind them, events.

Each thread reads by a connection of its own, which cannot write. The batches that came last are kept decoded.
"""

import logging
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray

from milepost.sdk.encoding.refs import filled, parsed
from milepost.sdk.reading.wish import Cut, Wish
from milepost.sdk.wire import WireEvent
from milepost.server.store import chunks
from milepost.server.store.parts import InvalidBatch, Part, parts_of, unpressed
from milepost.server.store.schema import connect

logger = logging.getLogger("milepost.server")

KEPT_BYTES: Final = 64 << 20
"""Of batches that are kept decoded."""

UNREADABLE: Final = (
    zstandard.ZstdError, msgspec.DecodeError, UnicodeDecodeError, RecursionError, InvalidBatch, chunks.DamagedChunk
)  # fmt: skip
"""What is raised by a batch or a chunk that is damaged."""
_decode_event: Final = msgspec.msgpack.Decoder(WireEvent)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event, and the number of its writer. time: nanoseconds since 1970; runtime: microseconds."""

    writer: int
    time: int
    runtime: int
    values: dict[str, Any]


class StoredRows:
    """The rows and events in a database. Every method may be called from any thread."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self._local = threading.local()
        self._lock = threading.Lock()
        self._tails: OrderedDict[int, list[Part]] = OrderedDict()
        self._kept_bytes = 0
        self.damaged: set[int] = set()
        """Groups of chunks that somebody could not read; the writing thread looks after them."""

    def reading(self) -> sqlite3.Connection:
        """A connection of this thread that cannot write."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = self._local.connection = self.connection()
        return found

    def connection(self) -> sqlite3.Connection:
        """A connection of its own that cannot write; the caller closes it."""
        made = connect(self.database)
        made.execute("PRAGMA query_only = ON")
        return made

    def groups(self, connection: sqlite3.Connection, writer: int) -> list[tuple[int, tuple[str, ...], int]]:
        """Number, keys and rows of the groups of a writer."""
        query = "SELECT id, keys, rows FROM grp WHERE writer = ? ORDER BY id"
        return [(g, tuple(msgspec.json.decode(keys)), rows) for g, keys, rows in connection.execute(query, (writer,))]

    def tail(self, connection: sqlite3.Connection, writer: int, upto: int | None = None) -> list[Part]:
        """The rows of a writer that are not compacted, in the order they came; upto: the last batch that counts."""
        found: list[Part] = []
        for number, rows in connection.execute(
            "SELECT id, rows FROM batch WHERE writer = ? ORDER BY id", (writer,)
        ).fetchall():
            if not rows or (upto is not None and number > upto):
                continue
            parts = self._kept(number)
            if parts is None:
                parts = self.parts_of_batch(connection, number)
                with self._lock:
                    if number not in self._tails:
                        self._tails[number] = parts
                        self._kept_bytes += sum(part.nbytes for part in parts)
                    while self._kept_bytes > KEPT_BYTES:
                        self._kept_bytes -= sum(part.nbytes for part in self._tails.popitem(last=False)[1])
            found += parts
        return found

    def _kept(self, batch: int) -> list[Part] | None:
        with self._lock:
            return self._tails.get(batch)

    def forget_compacted(self, connection: sqlite3.Connection) -> None:
        """Let go of the batches that are in chunks by now."""
        with self._lock:
            kept = list(self._tails)
        if kept:
            waiting = {number for (number,) in connection.execute("SELECT id FROM batch WHERE id >= ?", (min(kept),))}
            with self._lock:
                for number in kept:
                    if number not in waiting and (parts := self._tails.pop(number, None)) is not None:
                        self._kept_bytes -= sum(part.nbytes for part in parts)

    def filled(self, connection: sqlite3.Connection, run: int, value: Any) -> Any:
        """A value of a run with what is known of its media; one whose file is not here yet stays as it came."""

        def lookup(reference: str) -> dict[str, Any] | None:
            writer, number = parsed(reference) or ("", 0)
            query = """
                SELECT facts FROM media JOIN writer ON writer.id = media.writer
                WHERE writer.run = ? AND writer.name = ? AND media.number = ?
            """
            found: Any = connection.execute(query, (run, writer, number)).fetchone()
            facts: dict[str, Any] | None = msgspec.msgpack.decode(found[0]) if found is not None else None
            path = facts.get("path") if facts is not None else None
            if path is not None:
                query = "SELECT 1 FROM file WHERE run = ? AND path = ?"
                if not isinstance(path, str) or connection.execute(query, (run, path)).fetchone() is None:
                    return None
            return facts

        return filled(value, lookup) if type(value) is dict or type(value) is list else value

    def steps(self, connection: sqlite3.Connection, writers: list[int]) -> Iterator[NDArray[np.int64]]:
        """The steps of all rows of some writers."""
        for writer in writers:
            yield from (part.step for part in self.tail(connection, writer))
            for group, _, rows in self.groups(connection, writer):
                yield chunks.read_array(connection, group, chunks.STEP, 0, rows)

    def numbers(
        self, connection: sqlite3.Connection, writer: int, asked: Wish, cuts: Iterable[Cut]
    ) -> NDArray[np.int64]:
        """The numbers of the rows of a writer that are asked for and were not taken back, in no order."""
        found: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        pairs = [(part.seq, part.step) for part in self.tail(connection, writer) if asked.takes(part.keys)]
        for group, keys, rows in self.groups(connection, writer):
            if asked.takes(keys):
                seq, step = (chunks.read_array(connection, group, key, 0, rows) for key in (chunks.SEQ, chunks.STEP))
                pairs.append((seq, step))
        for seq, step in pairs:
            there = (step >= asked.low) & (step < asked.high)
            for cut in cuts:
                there &= ~((step >= cut.step) & (seq < cut.before))
            found.append(seq[there])
        return np.concatenate(found)

    def events(
        self, connection: sqlite3.Connection, writers: list[int], kind: str, skip: int = 0
    ) -> Iterator[StoredEvent]:
        """The events of a kind of some writers, in order of numbers, without the first `skip` of them."""
        for writer in writers:
            if skip:
                query = "SELECT COUNT(*) FROM event WHERE writer = ? AND kind = ?"
                (count,) = connection.execute(query, (writer, kind)).fetchone()
                if count <= skip:
                    skip -= count
                    continue
            query = "SELECT body FROM event WHERE writer = ? AND kind = ? ORDER BY seq LIMIT -1 OFFSET ?"
            over, skip = skip, 0
            for (body,) in connection.execute(query, (writer, kind, over)):
                try:
                    event = _decode_event.decode(body)
                except msgspec.DecodeError:  # said when the run was read
                    continue
                yield StoredEvent(writer, event.time, event.runtime, event.values)

    def parts_of_batch(self, connection: sqlite3.Connection, batch: int) -> list[Part]:
        """The rows that a batch brought. Raises one of `UNREADABLE` when it is damaged."""
        (body,) = connection.execute("SELECT body FROM batch WHERE id = ?", (batch,)).fetchone()
        return parts_of(unpressed(body))

    def all_events(self, connection: sqlite3.Connection, writer: int) -> Iterator[WireEvent]:
        """Every event of a writer that can be read, in order of numbers."""
        for (body,) in connection.execute("SELECT body FROM event WHERE writer = ? ORDER BY seq", (writer,)):
            try:
                yield _decode_event.decode(body)
            except msgspec.DecodeError as error:
                logger.warning("milepost: an event of writer %d cannot be read: %s", writer, error)

    def events_of(self, connection: sqlite3.Connection, batch: int) -> list[WireEvent]:
        """The events that a batch brought, in order of numbers."""
        query = "SELECT body FROM event WHERE batch = ? ORDER BY seq"
        return [_decode_event.decode(body) for (body,) in connection.execute(query, (batch,))]

    def between(self, connection: sqlite3.Connection, writer: int, first: int, last: int) -> dict[int, Any]:
        """Rows and events of a writer by number, first to last. Raises one of `UNREADABLE` where one of them is damaged.

        For the writing thread, in its transaction: what is not committed yet is not kept, its numbers may be given again.
        """
        found: dict[int, Any] = {}
        query = "SELECT id FROM batch WHERE writer = ? AND rows > 0 AND first <= ? AND last >= ? ORDER BY id"
        for (batch,) in connection.execute(query, (writer, last, first)).fetchall():
            kept = self._kept(batch)
            for part in kept if kept is not None else self.parts_of_batch(connection, batch):
                inside = (part.seq >= first) & (part.seq <= last)
                if inside.any():
                    found.update(part.some(inside).rows())
        for group, keys, rows in self.groups(connection, writer):
            chunks.check_whole(connection, group, rows)
            query = "SELECT at, n FROM chunk WHERE grp = ? AND key = ? AND level = 0 AND seq1 >= ? AND seq0 <= ?"
            for at, n in connection.execute(query, (group, chunks.SEQ, first, last)).fetchall():
                part = chunks.read_rows(connection, group, keys, at, min(at + n, rows))
                found.update(part.some((part.seq >= first) & (part.seq <= last)).rows())
        query = "SELECT body FROM event WHERE writer = ? AND seq BETWEEN ? AND ?"
        for (body,) in connection.execute(query, (writer, first, last)):
            event = _decode_event.decode(body)
            found[event.seq] = [event.kind, event.values]
        return found


def set_aside(connection: sqlite3.Connection, batch: int, why: str) -> None:
    """As `put_aside`, in a transaction of its own."""
    connection.execute("BEGIN IMMEDIATE")
    put_aside(connection, batch, why)
    connection.execute("COMMIT")


def put_aside(connection: sqlite3.Connection, batch: int, why: str) -> None:
    """Put a batch that cannot be decoded where nobody reads it: kept, counted, and told among the gaps of its run."""
    connection.execute(
        "INSERT OR IGNORE INTO unreadable (id, writer, first, last, rows, received, body, why) "
        "SELECT id, writer, first, last, rows, received, body, ? FROM batch WHERE id = ?",
        (why[:500], batch),
    )
    connection.execute("DELETE FROM batch WHERE id = ?", (batch,))
