"""Healing: what is damaged on the disk makes way for its sender, who sends it again and has the truth.

What cannot be decoded, of a batch or of chunks, is set aside (the table `unreadable`), and its interval of numbers is a gap of
its run. When rows come for that interval, in whatever pieces, they are stored as new, and the gap shrinks by as much.

Rows of a group stand one behind the other. So what stands behind a damaged chunk goes back into batches, and is compacted anew,
and the group goes on under another number: what is known of the old one (`ClockCache`) holds for it no more.
"""

import sqlite3
import time

import msgspec

from milepost.sdk.wire import WireBatch, WireEvent
from milepost.server.series import FACTOR
from milepost.server.store import chunks
from milepost.server.store.parts import parts_of, pressed, unpressed
from milepost.server.store.schema import next_number
from milepost.server.store.stored_rows import UNREADABLE, put_aside

Interval = tuple[int, int]


def gaps_of(connection: sqlite3.Connection, writer: int, first: int, last: int) -> list[Interval]:
    """The intervals of a writer that touch first..last, were set aside, and did not come again yet."""
    query = "SELECT first, last, missing FROM unreadable WHERE writer = ? AND first <= ? AND last >= ?"
    every = [each for line in connection.execute(query, (writer, last, first)) for each in missing(*line)]
    return [(a, b) for a, b in every if a <= last and b >= first]


def missing(first: int, last: int, told: str | None) -> list[Interval]:
    """What of an interval that was set aside did not come again, from its line of the table."""
    return [(first, last)] if told is None else msgspec.json.decode(told, type=list[Interval])


def make_way(connection: sqlite3.Connection, writer: int, first: int, last: int) -> list[Interval]:
    """Set aside what cannot be decoded of a writer; the intervals within first..last that are to be stored anew."""
    query = "SELECT id, body FROM batch WHERE writer = ? AND rows > 0"
    for batch, body in connection.execute(query, (writer,)).fetchall():
        try:
            parts_of(unpressed(body))
        except UNREADABLE as error:
            put_aside(connection, batch, f"{type(error).__name__}: {error}")
    for (group,) in connection.execute("SELECT id FROM grp WHERE writer = ?", (writer,)).fetchall():
        mend(connection, group, first, last)
    events: list[Interval] = []
    query = "SELECT seq, body FROM event WHERE writer = ? AND seq BETWEEN ? AND ?"
    for seq, body in connection.execute(query, (writer, first, last)).fetchall():
        try:
            msgspec.msgpack.decode(body, type=WireEvent)
        except msgspec.DecodeError:
            connection.execute("DELETE FROM event WHERE writer = ? AND seq = ?", (writer, seq))
            events.append((seq, seq))
    return [*gaps_of(connection, writer, first, last), *events]


def healed(connection: sqlite3.Connection, writer: int, first: int, last: int) -> None:
    """Note that first..last of a writer is stored again: what was set aside of it is forgotten when all of it is."""
    query = "SELECT id, first, last, missing FROM unreadable WHERE writer = ? AND first <= ? AND last >= ?"
    for number, *line in connection.execute(query, (writer, last, first)).fetchall():
        cut = [(low, high) for a, b in missing(*line) for low, high in ((a, min(b, first - 1)), (max(a, last + 1), b))]
        left = sorted({(low, high) for low, high in cut if low <= high})
        if left:
            told = msgspec.json.encode(left).decode()
            connection.execute("UPDATE unreadable SET missing = ? WHERE id = ?", (told, number))
        else:
            connection.execute("DELETE FROM unreadable WHERE id = ?", (number,))


def made_anew_next(connection: sqlite3.Connection, run: int) -> None:
    """Let what is known of a run be made anew from its rows by whoever reads it next: it counts what was set aside."""
    connection.execute("UPDATE run SET state = NULL WHERE id = ?", (run,))


def mend(connection: sqlite3.Connection, group: int, low: int = 0, high: int = 2**63 - 1) -> int | None:
    """Set aside what cannot be decoded of a group, if anything of its chunks that touch the numbers low..high is damaged.

    The number of its run; None when nothing is damaged. Called in a transaction.
    """
    query = "SELECT writer, name, keys, rows, run FROM grp JOIN writer ON writer.id = grp.writer WHERE grp.id = ?"
    found: tuple[int, str, str, int, int] | None = connection.execute(query, (group,)).fetchone()
    if found is None:
        return None
    writer, name, named, rows, run = found
    keys = tuple(msgspec.json.decode(named, type=list[str]))
    _forget_damaged_counts(connection, group)
    cut = _first_damaged(connection, group, keys, rows, (low, high))
    if cut is None:
        return None
    for at in range(cut, rows, chunks.ROWS):
        try:
            part = chunks.read_rows(connection, group, keys, at, min(at + chunks.ROWS, rows))
        except chunks.DamagedChunk as error:
            _put_chunk_aside(connection, group, writer, (at, min(at + chunks.ROWS, rows)), str(error))
            continue
        batch = WireBatch(writer=name, first=int(part.seq.min()), last=int(part.seq.max()), groups=[part.group()])
        connection.execute(
            "INSERT INTO batch (writer, first, last, rows, received, body) VALUES (?, ?, ?, ?, ?, ?)",
            (writer, batch.first, batch.last, len(part), time.time(), pressed(batch)),
        )
    if cut:
        number = next_number(connection, "grp")
        connection.execute("INSERT INTO grp (id, writer, keys, rows) VALUES (?, ?, ?, ?)", (number, writer, "", cut))
        for level, stop in ((0, cut), (1, cut // FACTOR), (2, cut // FACTOR**2), (3, cut)):
            query = "UPDATE chunk SET grp = ? WHERE grp = ? AND level = ? AND at < ?"
            connection.execute(query, (number, group, level, stop))
        connection.execute("DELETE FROM grp WHERE id = ?", (group,))
        connection.execute("UPDATE grp SET keys = ? WHERE id = ?", (named, number))
    else:
        connection.execute("DELETE FROM grp WHERE id = ?", (group,))
    made_anew_next(connection, run)
    return run


def _forget_damaged_counts(connection: sqlite3.Connection, group: int) -> None:
    """Delete what cannot be decoded of the numbers of media: they are counted from the rows where they are not there."""
    query = "SELECT key, at, n, body FROM chunk WHERE grp = ? AND level = 3"
    for key, at, n, body in connection.execute(query, (group,)).fetchall():
        try:
            chunks.counted(group, body, n)
        except chunks.DamagedChunk:
            connection.execute("DELETE FROM chunk WHERE grp = ? AND level = 3 AND key = ? AND at = ?", (group, key, at))


def _first_damaged(
    connection: sqlite3.Connection, group: int, keys: tuple[str, ...], rows: int, seqs: Interval
) -> int | None:
    """The first row of a group that is in a chunk, or below a rollup, that cannot be decoded."""
    damaged: list[int] = []
    query = "SELECT DISTINCT at FROM chunk WHERE grp = ? AND level = 0 AND seq1 >= ? AND seq0 <= ? ORDER BY at"
    there = [at for (at,) in connection.execute(query, (group, *seqs))]
    if seqs[0] == 0 and seqs[1] == 2**63 - 1:
        there = list(range(0, rows, chunks.ROWS))  # whatever the table says
    there = sorted({*there, *chunks.missing(connection, group, rows)})
    for at in there:
        try:
            chunks.read_rows(connection, group, keys, at, min(at + chunks.ROWS, rows))
        except chunks.DamagedChunk:
            damaged.append(at)
            break
    for level in (1, 2):
        blocks = rows // FACTOR**level
        for first in range(0, blocks, chunks.BLOCKS):
            try:
                for key in range(-1, len(keys)):
                    chunks.read_blocks(connection, group, key, level, first, min(first + chunks.BLOCKS, blocks))
            except chunks.DamagedChunk:
                damaged.append(first * FACTOR**level)
                break
    return min(damaged, default=None)


def _put_chunk_aside(connection: sqlite3.Connection, group: int, writer: int, at: Interval, why: str) -> None:
    query = "SELECT key, n, seq0, seq1, body FROM chunk WHERE grp = ? AND level = 0 AND at = ? ORDER BY key"
    lines = connection.execute(query, (group, at[0])).fetchall()
    if lines:
        first, last = min(line[2] for line in lines), max(line[3] for line in lines)
    else:
        first, last = _between_neighbours(connection, group, writer, at[0])
    body = msgspec.msgpack.encode([[key, n, column] for key, n, _, _, column in lines])
    rows = max((line[1] for line in lines), default=at[1] - at[0])
    connection.execute(
        "INSERT INTO unreadable (writer, first, last, rows, received, body, why, id) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, MIN(0, (SELECT COALESCE(MIN(id), 0) FROM unreadable)) - 1)",
        (writer, first, last, rows, time.time(), body, why[:500]),
    )


def _between_neighbours(connection: sqlite3.Connection, group: int, writer: int, at: int) -> Interval:
    """The numbers that the rows of a chunk that is gone can have had: what else stands there is known, and not stored twice."""
    (first, last) = connection.execute("SELECT MIN(first), MAX(last) FROM span WHERE writer = ?", (writer,)).fetchone()
    query = "SELECT MAX(seq1) + 1 FROM chunk WHERE grp = ? AND level = 0 AND at < ?"
    (low,) = connection.execute(query, (group, at)).fetchone()
    query = "SELECT MIN(seq0) - 1 FROM chunk WHERE grp = ? AND level = 0 AND at > ?"
    (high,) = connection.execute(query, (group, at)).fetchone()
    low, high = first if low is None else low, last if high is None else high
    return (low, high) if low <= high else (first, last)  # rows that came in any order
