"""Healing: what is damaged on the disk makes way for its sender, who sends it again and has the truth.

A batch that cannot be decoded is set aside (the table `unreadable`), and its interval of numbers is a gap of its run. When
rows come for that interval, in whatever pieces, they are stored as new, and the gap shrinks by as much.
"""

import sqlite3

import msgspec

from milepost.sdk.wire import WireEvent
from milepost.server.store.parts import parts_of, unpressed
from milepost.server.store.stored_rows import UNREADABLE, put_aside

Interval = tuple[int, int]


def gaps_of(connection: sqlite3.Connection, writer: int, first: int, last: int) -> list[Interval]:
    """The intervals of a writer that touch first..last and were set aside."""
    query = "SELECT first, last FROM unreadable WHERE writer = ? AND first <= ? AND last >= ?"
    return [(int(a), int(b)) for a, b in connection.execute(query, (writer, last, first))]


def make_way(connection: sqlite3.Connection, writer: int, first: int, last: int) -> list[Interval]:
    """Set aside what cannot be decoded of a writer; the intervals within first..last that are to be stored anew."""
    query = "SELECT id, body FROM batch WHERE writer = ? AND rows > 0"
    for batch, body in connection.execute(query, (writer,)).fetchall():
        try:
            parts_of(unpressed(body))
        except UNREADABLE as error:
            put_aside(connection, batch, f"{type(error).__name__}: {error}")
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
    """Note that first..last of a writer is stored again: what was set aside of it is forgotten."""
    query = "SELECT id, first, last FROM unreadable WHERE writer = ? AND first <= ? AND last >= ?"
    for number, a, b in connection.execute(query, (writer, last, first)).fetchall():
        for low, high in ((a, first - 1), (last + 1, b)):
            if low <= high:  # under a number that no batch has
                connection.execute(
                    "INSERT INTO unreadable SELECT MIN(0, (SELECT MIN(id) FROM unreadable)) - 1, writer, ?, ?, rows, received, "
                    "body, why FROM unreadable WHERE id = ?",
                    (low, high, number),
                )
        connection.execute("DELETE FROM unreadable WHERE id = ?", (number,))
