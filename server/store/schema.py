"""Schema: the tables of the store, made and brought up to date by numbered migrations. A newer database is refused by name.

run     one line for each; state: what is known of it and of its keys, in one piece: the table never touches points;
        flushed: the number of the last batch that state holds
number  the last id that was given to a run, a writer, a group: none comes again
writer  who writes a run; span: which of its numbers are stored
event   what is no row
batch   rows as they were received: durable before they are acknowledged, gone once they are in chunks
grp     rows of a writer that hold the same keys; chunk: their columns (level 0) and rollups (levels 1, 2)
file    of a run, by path, with the hash of its content; blob: what is stored; sent: which projects sent it
media   what became of the media of a writer, by number (sdk/encoding/refs.py)
taken   marks of requests without numbers (OTLP) that were stored, so that they are known when they come again
unreadable  batches and chunks (under numbers below 0) that cannot be decoded: set aside, so that they stop nothing;
        missing: what of first..last did not come again, when not all of it
damaged groups that the compactor could not read; the server sets aside what is damaged of them
deleted writers of runs that were deleted: from them nothing is taken any more
api_key keys, hashed; ended: sessions of browsers that were logged out before their time
view    what a screen showed, under a name
"""

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Final, Literal

from milepost.sdk.errors import UsageError

MIGRATIONS: Final = (
    """
    CREATE TABLE run (
        id INTEGER PRIMARY KEY, project TEXT NOT NULL, name TEXT NOT NULL, created REAL NOT NULL,
        state BLOB, flushed INTEGER NOT NULL DEFAULT 0, edits TEXT NOT NULL DEFAULT '{}', UNIQUE (project, name));
    CREATE TABLE writer (
        id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, name TEXT NOT NULL,
        attempt INTEGER NOT NULL, rank INTEGER, parent TEXT NOT NULL, started INTEGER NOT NULL, host TEXT NOT NULL,
        UNIQUE (run, name));
    CREATE TABLE span (
        writer INTEGER NOT NULL REFERENCES writer ON DELETE CASCADE, first INTEGER NOT NULL, last INTEGER NOT NULL,
        PRIMARY KEY (writer, first)) WITHOUT ROWID;
    CREATE TABLE event (
        writer INTEGER NOT NULL REFERENCES writer ON DELETE CASCADE, seq INTEGER NOT NULL, kind TEXT NOT NULL,
        batch INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (writer, seq)) WITHOUT ROWID;
    CREATE INDEX event_batch ON event (batch);
    CREATE INDEX event_kind ON event (writer, kind, seq);
    CREATE TABLE batch (
        id INTEGER PRIMARY KEY AUTOINCREMENT, writer INTEGER NOT NULL REFERENCES writer ON DELETE CASCADE,
        first INTEGER NOT NULL, last INTEGER NOT NULL, rows INTEGER NOT NULL, received REAL NOT NULL, body BLOB NOT NULL);
    CREATE INDEX batch_writer ON batch (writer, id);
    CREATE TABLE grp (
        id INTEGER PRIMARY KEY, writer INTEGER NOT NULL REFERENCES writer ON DELETE CASCADE, keys TEXT NOT NULL,
        rows INTEGER NOT NULL DEFAULT 0, UNIQUE (writer, keys));
    CREATE TABLE chunk (
        grp INTEGER NOT NULL REFERENCES grp ON DELETE CASCADE, key INTEGER NOT NULL, level INTEGER NOT NULL,
        at INTEGER NOT NULL, n INTEGER NOT NULL, seq0 INTEGER NOT NULL, seq1 INTEGER NOT NULL, body BLOB NOT NULL,
        UNIQUE (grp, key, level, at));
    CREATE TABLE blob (sha256 TEXT PRIMARY KEY, size INTEGER NOT NULL, received REAL NOT NULL) WITHOUT ROWID;
    CREATE TABLE file (
        run INTEGER NOT NULL REFERENCES run ON DELETE CASCADE, path TEXT NOT NULL, sha256 TEXT NOT NULL, size INTEGER NOT NULL,
        PRIMARY KEY (run, path)) WITHOUT ROWID;
    CREATE INDEX file_sha256 ON file (sha256);
    CREATE TABLE api_key (
        id TEXT PRIMARY KEY, mac BLOB NOT NULL, project TEXT, scopes TEXT NOT NULL, note TEXT NOT NULL, created REAL NOT NULL,
        expires REAL, revoked REAL) WITHOUT ROWID;
    """,
    """
    CREATE TABLE sent (
        sha256 TEXT NOT NULL REFERENCES blob ON DELETE CASCADE, project TEXT NOT NULL, received REAL NOT NULL,
        PRIMARY KEY (sha256, project)) WITHOUT ROWID;
    CREATE TABLE media (
        writer INTEGER NOT NULL REFERENCES writer ON DELETE CASCADE, number INTEGER NOT NULL, facts BLOB NOT NULL,
        PRIMARY KEY (writer, number)) WITHOUT ROWID;
    CREATE TABLE deleted (
        project TEXT NOT NULL, run TEXT NOT NULL, writer TEXT NOT NULL, at REAL NOT NULL,
        PRIMARY KEY (project, run, writer)) WITHOUT ROWID;
    CREATE TABLE taken (
        mark BLOB PRIMARY KEY, writer INTEGER NOT NULL REFERENCES writer ON DELETE CASCADE, at REAL NOT NULL) WITHOUT ROWID;
    CREATE INDEX taken_at ON taken (at);
    CREATE INDEX taken_writer ON taken (writer);
    CREATE TABLE ended (session BLOB PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
    CREATE TABLE unreadable (
        id INTEGER PRIMARY KEY, writer INTEGER NOT NULL REFERENCES writer ON DELETE CASCADE, first INTEGER NOT NULL,
        last INTEGER NOT NULL, rows INTEGER NOT NULL, received REAL NOT NULL, body BLOB NOT NULL, why TEXT NOT NULL);
    """,
    """
    CREATE TABLE view (
        id TEXT PRIMARY KEY, project TEXT NOT NULL, name TEXT NOT NULL, owner_id TEXT NOT NULL, owner TEXT NOT NULL,
        screen TEXT NOT NULL, query TEXT NOT NULL, standard INTEGER NOT NULL, created REAL NOT NULL, changed REAL NOT NULL,
        UNIQUE (project, owner_id, name)) WITHOUT ROWID;
    """,
    """
    CREATE TABLE run_number (last INTEGER NOT NULL);
    INSERT INTO run_number SELECT COALESCE(MAX(id), 0) FROM run;
    """,
    """
    CREATE TABLE number (kind TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO number SELECT 'run', last FROM run_number;
    INSERT INTO number SELECT 'writer', COALESCE(MAX(id), 0) FROM writer;
    INSERT INTO number SELECT 'grp', COALESCE(MAX(id), 0) FROM grp;
    DROP TABLE run_number;
    """,
    """
    ALTER TABLE unreadable ADD COLUMN missing TEXT;
    CREATE TABLE damaged (grp INTEGER PRIMARY KEY REFERENCES grp ON DELETE CASCADE);
    """,
)


_GREATEST: Final = {
    "run": "SELECT COALESCE(MAX(id), 0) FROM run",
    "writer": "SELECT COALESCE(MAX(id), 0) FROM writer",
    "grp": "SELECT COALESCE(MAX(id), 0) FROM grp",
}


def next_number(connection: sqlite3.Connection, kind: Literal["run", "writer", "grp"]) -> int:
    """An id for something new, which nothing that was deleted ever had. Called in the transaction that stores it.

    Nor one that is there: the compactor of an older server, which this one followed after a kill, notes none for a moment.
    """
    (there,) = connection.execute(_GREATEST[kind]).fetchone()
    connection.execute("UPDATE number SET last = MAX(last, ?) + 1 WHERE kind = ?", (there, kind))
    (number,) = connection.execute("SELECT last FROM number WHERE kind = ?", (kind,)).fetchone()
    return int(number)


def claim(path: Path) -> int:
    """The descriptor of a lock that one server at a time can hold. Raises `UsageError` while another has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise UsageError(
            f"{path.parent} is in use by another milepost server; stop it, or name another --data"
        ) from None
    return descriptor


def connect(path: Path) -> sqlite3.Connection:
    """A connection whose commits are durable when they return."""
    connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False, cached_statements=512)
    connection.execute("PRAGMA busy_timeout = 30000")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    # Some builds write zeros over what is deleted: 36 MB for a run of 35 MB, and each batch once more when it is compacted.
    connection.execute("PRAGMA secure_delete = FAST")
    # No mmap_size: each connection of 40 threads would map the file, and count it as memory of the server (1.3 GB measured).
    connection.execute("PRAGMA journal_size_limit = 8388608")
    return connection


def migrate(path: Path) -> None:
    """Make the tables, or bring them up to date, each step in a transaction of its own. Raises `UsageError`."""
    connection = connect(path)
    try:
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise UsageError(f"{path}: this file system does not take a write-ahead log; put --data on a local disk")
        while True:
            connection.execute("BEGIN IMMEDIATE")
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version > len(MIGRATIONS):
                connection.execute("ROLLBACK")
                text = f"{path} has version {version}; this milepost knows versions up to {len(MIGRATIONS)}"
                raise UsageError(f"{text}: install a newer one")
            if version == len(MIGRATIONS):
                connection.execute("COMMIT")
                return
            for statement in MIGRATIONS[version].split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        raise UsageError(f"{path} cannot be used as a database: {error}") from None
    finally:
        connection.close()
