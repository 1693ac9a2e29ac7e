"""Contents: files of runs by their SHA-256. They grow below uploads/, hashed as they come, and move to blobs/ when whole.

Each key has its own growing file, so that nobody can spoil another's. A project may refer to a content only when it sent the
bytes itself or has a run that refers to it already: who knows a hash does not get what it stands for.

Source of the way pieces are sent: tus, resumable upload protocol 1.0 (Upload-Offset, Upload-Length).
"""

import contextlib
import hashlib
import os
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from milepost.server.store.durable import NO_LINKS, sync_folder
from milepost.server.store.ingest import Ingest

KEPT_HASHES: Final = 256
SYNC_BYTES: Final = 64 << 20
"""How much of a content may be on its way to the disk: its last piece waits for no more than that."""
_SLICE: Final = 1 << 20


class NotHeld(Exception):
    """A content that a project neither sent nor has."""


class WrongOffset(Exception):
    """A piece that does not begin where the last one ended. have: how much is there."""

    def __init__(self, have: int, text: str) -> None:
        super().__init__(text)
        self.have = have


class WrongContent(Exception):
    """What came does not have the hash that it was announced with. Nothing of it is kept."""


class _Hashed:
    """The hash of what came of a content, in this process."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self.size = 0
        self.synced = 0


class Contents:
    """The contents below a data directory. Every method may be called from any thread.

    reading: a connection of the calling thread. ingest: contents come and go on its thread.
    """

    def __init__(self, data: Path, reading: Callable[[], sqlite3.Connection], ingest: Ingest) -> None:
        self.uploads = data / "uploads"
        self.blobs = data / "blobs"
        self._reading = reading
        self._ingest = ingest
        self._lock = threading.Lock()
        self._busy: dict[Path, tuple[threading.Lock, int]] = {}
        self._hashed: OrderedDict[Path, _Hashed] = OrderedDict()

    def place(self, sha256: str) -> Path:
        """Where a content is. sha256: 64 hex digits, checked by the caller."""
        return self.blobs / sha256[:2] / sha256

    def is_read_in(self, sha256: str, project: str | None) -> bool:
        """Whether a run refers to a content: a run of the project, or any when it is None."""
        query = """
            SELECT 1 FROM file JOIN run ON run.id = file.run WHERE file.sha256 = ? AND (? IS NULL OR run.project = ?) LIMIT 1
        """
        found = self._reading().execute(query, (sha256, project, project)).fetchone()
        return found is not None and self.place(sha256).is_file()

    def is_held(self, sha256: str, project: str) -> bool:
        """Whether a project need not send a content: it did so, or one of its runs refers to it."""
        return holds(self._reading(), sha256, project) and self.place(sha256).is_file()

    def arrived(self, sha256: str, who: str) -> int:
        """How many bytes of a content came from somebody."""
        try:
            return self._growing(sha256, who).stat().st_size
        except OSError:
            return 0

    def _growing(self, sha256: str, who: str) -> Path:
        return self.uploads / f"{sha256}-{hashlib.sha256(who.encode()).hexdigest()[:16]}"

    def add(self, sha256: str, who: str, project: str, offset: int, data: bytes, length: int) -> int:
        """Add bytes to a content of `length` bytes; how many are there then. The last ones put it in its place.

        Raises `WrongOffset`, `WrongContent`, or OSError when the disk does not take it.
        """
        part = self._growing(sha256, who)
        with self._alone(part):
            self.uploads.mkdir(exist_ok=True)
            descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                there = os.fstat(descriptor)
                have = there.st_size
                if have > length or (data and there.st_nlink > 1):  # what has its place already is not written to
                    part.unlink()
                    raise WrongOffset(0, f"{have} bytes came of a content that has {length}; begin anew")
                if offset != have or offset + len(data) > length:
                    raise WrongOffset(have, f"the next byte is {have} of {length}, got {len(data)} from {offset}")
                hashed = self._hash_of(part, descriptor, have)
                written = 0
                while written < len(data):
                    written += os.pwrite(descriptor, data[written:], offset + written)
                hashed.sha256.update(data)
                hashed.size += len(data)
                if hashed.size == length or hashed.size - hashed.synced >= SYNC_BYTES:
                    os.fsync(descriptor)
                    hashed.synced = hashed.size
            finally:
                os.close(descriptor)
            if hashed.size == length:
                self._complete(part, sha256, project, hashed)
            return hashed.size

    def _hash_of(self, part: Path, descriptor: int, have: int) -> _Hashed:
        """The hash so far: kept from the last piece, else made of what is there, as after a restart."""
        with self._lock:
            hashed = self._hashed.get(part)
            if hashed is None or hashed.size != have:
                hashed = self._hashed[part] = _Hashed()
            self._hashed.move_to_end(part)
            while len(self._hashed) > KEPT_HASHES:
                self._hashed.popitem(last=False)
        while hashed.size < have:
            data = os.pread(descriptor, min(_SLICE, have - hashed.size), hashed.size)
            if not data:
                raise OSError(None, "what came before cannot be read")
            hashed.sha256.update(data)
            hashed.size += len(data)
        return hashed

    def _complete(self, part: Path, sha256: str, project: str, hashed: _Hashed) -> None:
        with self._lock:
            self._hashed.pop(part, None)
        found = hashed.sha256.hexdigest()
        if found != sha256:
            part.unlink()
            raise WrongContent(f"the bytes have the SHA-256 {found}, not {sha256}; send them again from 0")
        place = self.place(sha256)
        place.parent.mkdir(parents=True, exist_ok=True)

        def told(connection: sqlite3.Connection) -> None:
            _put(part, place)  # on the writing thread, where contents that nobody needs are removed, too
            now = time.time()
            connection.execute("INSERT OR IGNORE INTO blob VALUES (?, ?, ?)", (sha256, hashed.size, now))
            connection.execute("INSERT OR REPLACE INTO sent VALUES (?, ?, ?)", (sha256, project, now))

        self._ingest.call(told)
        part.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _alone(self, part: Path) -> Iterator[None]:
        """One at a time for each growing file; those who work on others do not wait."""
        with self._lock:
            lock, users = self._busy.get(part, (threading.Lock(), 0))
            self._busy[part] = lock, users + 1
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, users = self._busy.pop(part)
                if users > 1:
                    self._busy[part] = lock, users - 1


def _put(part: Path, place: Path) -> None:
    """Give what came its place, durably. It keeps its own name until the database knows of it, where files can have two: a full
    disk may refuse that last line, and what came need not come again."""
    beside = place.with_name(f"{place.name}.new")
    beside.unlink(missing_ok=True)
    try:
        os.link(part, beside)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        beside = part
    os.replace(beside, place)
    beside.unlink(missing_ok=True)  # two names of one file are both left
    sync_folder(place.parent)


def holds(connection: sqlite3.Connection, sha256: str, project: str) -> bool:
    """Whether a project sent a content or has a run that refers to it."""
    query = """
        SELECT 1 FROM sent WHERE sha256 = ? AND project = ? UNION ALL
        SELECT 1 FROM file JOIN run ON run.id = file.run WHERE file.sha256 = ? AND run.project = ? LIMIT 1
    """
    found: Any = connection.execute(query, (sha256, project, sha256, project)).fetchone()
    return found is not None
