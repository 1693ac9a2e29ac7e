"""Sweep: removes contents that no run refers to any more, and uploads that nobody went on with.

A content is forgotten and removed on the thread that also takes contents in and gives them names, in two steps: first its line in
the database, then its file, unless it was sent again meanwhile. So a name never stands for a file that is gone, and what a
crash leaves between the two steps is found by the next sweep, which looks at files. While a backup is made, nothing is removed.
"""

import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

logger = logging.getLogger("milepost.server")

EVERY_S: Final = 3600.0
FRESH_S: Final = 3600.0
"""How long a content that has no name yet is kept: its upload ends before its name comes."""
UPLOAD_S: Final = 7 * 24 * 3600.0
RETRY_S: Final = 24 * 3600.0
BUSY_S: Final = 60.0

Call = Callable[[Callable[[sqlite3.Connection], None]], None]


class Sweeper:
    """A thread that sweeps every hour, and soon after a run was deleted. call: `Ingest.call`."""

    def __init__(self, data: Path, reading: Callable[[], sqlite3.Connection], call: Call) -> None:
        self._data = data
        self._reading = reading
        self._call = call
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="milepost-server-sweep", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def soon(self) -> None:
        """A run was deleted."""
        self._wake.set()

    def stop(self) -> None:
        """End after the content that is being removed."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        wait_s = EVERY_S
        while not self._stopping.is_set():
            self._wake.wait(wait_s)
            self._wake.clear()
            try:
                wait_s = EVERY_S if self._stopping.is_set() or self.sweep() else BUSY_S
            except Exception:
                logger.exception("milepost: contents that are not needed cannot be removed; it is tried again")
                wait_s = BUSY_S

    def sweep(self) -> bool:
        """Remove what is not needed; False when a backup is being made."""
        with backup_lock(self._data, fcntl.LOCK_EX | fcntl.LOCK_NB) as free:
            if not free:
                return False
            for folder in sorted((self._data / "blobs").glob("[0-9a-f][0-9a-f]")):
                unused = [path for path in _older(folder, FRESH_S) if not self._is_named(path.name)]
                if unused:
                    self._remove(unused)
                if self._stopping.is_set():
                    return True
            self._call(_forget_old)
            for part in _older(self._data / "uploads", UPLOAD_S):
                part.unlink(missing_ok=True)
            return True

    def _is_named(self, sha256: str) -> bool:
        found = self._reading().execute("SELECT 1 FROM file WHERE sha256 = ? LIMIT 1", (sha256,)).fetchone()
        return found is not None

    def _remove(self, unused: list[Path]) -> None:
        hashes = [(path.name,) for path in unused]
        query = "DELETE FROM blob WHERE sha256 = ? AND NOT EXISTS (SELECT 1 FROM file WHERE file.sha256 = blob.sha256)"

        def forget(connection: sqlite3.Connection) -> None:
            connection.executemany(query, hashes)

        def unlink(connection: sqlite3.Connection) -> None:
            for path in unused:
                if connection.execute("SELECT 1 FROM blob WHERE sha256 = ?", (path.name,)).fetchone() is None:
                    path.unlink(missing_ok=True)

        self._call(forget)
        self._call(unlink)


def _forget_old(connection: sqlite3.Connection) -> None:
    """Who sent a content is of use until it has a name; that a request was taken, as long as it may come again."""
    connection.execute("DELETE FROM sent WHERE received < ?", (time.time() - FRESH_S,))
    connection.execute("DELETE FROM taken WHERE at < ?", (time.time() - RETRY_S,))


def _older(folder: Path, age_s: float) -> Iterator[Path]:
    """The files of a folder that were not written to for so long."""
    before = time.time() - age_s
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(folder.iterdir()):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    yield path


@contextlib.contextmanager
def backup_lock(data: Path, kind: int) -> Iterator[bool]:
    """Hold the lock between backups, which share it, and sweeps; whether it was got."""
    descriptor = os.open(data / "backup.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        owner = data.stat()
        if os.fstat(descriptor).st_uid != owner.st_uid:  # root makes the backup, the server's user sweeps
            with contextlib.suppress(PermissionError):
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
        fcntl.flock(descriptor, kind)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)
