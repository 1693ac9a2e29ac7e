"""Stash: payloads that wait for their encoder, each in a file of its own that outlives the program.

The files are in shared memory (`/dev/shm/milepost-UID/WRITER-N.stash`): a new one takes a picture of 200 KB in 70 us by one
write, and one that is mapped, since it was used before or made ready, in 20 us without a system call. Their sum is bounded; what
does not fit, and everything where there is no shared memory, goes to `RUN_DIR/journal/WRITER/N.stash` on disk. A file says in its
head what it holds and whose it is, so that whoever comes after a SIGKILL can finish the work:

    "MPSTASH\\x01" | note bytes u32 | crc of the note u32 | note, as msgpack | zeros up to a page | the payload's bytes

The head is written last and removed first. A file in shared memory whose head is whole is therefore whole; on disk the note
holds a checksum of the bytes besides.
"""

import contextlib
import errno
import mmap
import os
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import msgspec

from milepost.media.base import Buffer, HeldFile
from milepost.sdk.encoding import large
from milepost.sdk.encoding.large import MIN_FREE
from milepost.sdk.gone import Whereabouts
from milepost.sdk.ring import RingUnavailable, make_directory, shared_memory

PAGE: Final = 4096
_MAGIC: Final = b"MPSTASH\x01"
_HEAD: Final = 16
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_SMALLEST: Final = 64 * 1024
_KEEP_FREE: Final = 32 * 2**20
"""Bytes of used files that are kept mapped for the next payload."""
_MAX_MAPPED: Final = 96
"""Files that are mapped at a time: Python keeps a descriptor open for each."""
_AHEAD_FILES: Final = 32
_AHEAD_BYTES: Final = 8 * 2**20
_AHEAD_S: Final = 0.004
"""Made ready with the first payload of a size up to 1 MiB, in 1 to 3 ms: programs log pictures in bursts."""


class Note(msgspec.Struct, kw_only=True, frozen=True):
    """What a stash file says of its payload.

    key, step: as the file's name has them (step is "summary" for what was set by hand).    size: bytes of the payload.
    crc:       of the bytes, on disk only.    begin: where they begin, when not on the first page behind the note.
         children: mappings as in `Payload`, stored.
    lies:      where the run's directory lies, see `gone.py`.    kept: when it was kept, seconds since 1970.
    """

    writer: str
    number: int
    run_dir: str
    key: str
    step: str
    folder: str
    extension: str
    encoder: str
    options: dict[str, Any]
    children: list[Any] = []
    size: int = 0
    crc: int | None = None
    begin: int = 0
    lies: Whereabouts = Whereabouts()
    kept: float = 0.0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Note).decode


class Held:
    """A payload in the stash: its file, and the mapping of it when there is one. Released once it is encoded."""

    __slots__ = ("buffer", "capacity", "lent", "note", "path")

    def __init__(
        self,
        path: Path,
        note: Note,
        buffer: mmap.mmap | None = None,
        capacity: int = 0,
        *,
        lent: HeldFile | None = None,
    ) -> None:
        self.lent = lent
        """The object whose file it is, to be given back."""
        self.path = path
        self.note = note
        self.buffer = buffer
        self.capacity = capacity


class Stash:
    """The stash of one writer. Thread safe.

    use_memory: False for a writer without shared memory. max_bytes: of shared memory, all files together.
    """

    def __init__(self, writer: str, *, use_memory: bool, max_bytes: int) -> None:
        self._writer = writer
        self._use_memory = use_memory
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._directory = shared_memory()
        self._left = 0
        self._free: dict[int, list[Held]] = {}
        """By capacity: files that are mapped and hold nothing."""
        self._free_bytes = 0
        self._mapped = 0
        self._ahead = 0
        self.memory_bytes = 0
        """Shared memory in use, free files included."""
        self.spilled = 0
        """Payloads that went to disk."""
        large.users.add(writer)

    def put(self, note: Note, data: Buffer | HeldFile, disk: Path) -> Held:
        """Keep a payload. disk: the writer's journal directory, for what does not fit into memory. Raises OSError."""
        if isinstance(data, HeldFile):
            with self._lock:
                own = not data.linked and data.process == os.getpid()
                held = self._named(note, data) if self._use_memory and own else None
            if held is not None:
                return held
            with large.mapped(data) as view:
                return self._copied(note, view, disk)
        view = memoryview(data)
        return self._copied(note, view if view.format == "B" and view.ndim == 1 else view.cast("B"), disk)

    def _copied(self, note: Note, view: memoryview, disk: Path) -> Held:
        """Keep a copy of the bytes, in memory or on disk."""
        with self._lock:
            if self._use_memory:
                held = self._in_memory(note, view)
                if held is not None:
                    return held
            self.spilled += 1
        return _on_disk(note, view, disk)

    def release(self, held: Held) -> None:
        """A payload is encoded: its file is kept, mapped, for the next one of its size, or removed.

        Called by the thread that encodes, so that mapping and allocating cost `log()` nothing.
        """
        capacity = held.capacity
        again = capacity > 0 and held.lent is None and self._free_bytes + capacity <= _KEEP_FREE
        fresh = again and held.buffer is None and self._mapped < _MAX_MAPPED and _map(held)  # `put` waits for the lock
        again = again and held.buffer is not None and held.path.exists()
        with self._lock:
            self._mapped += fresh
            if again:
                assert held.buffer is not None
                held.buffer[: len(_MAGIC)] = bytes(len(_MAGIC))
                self._free.setdefault(capacity, []).append(held)
                self._free_bytes += capacity
                return
            if held.lent is None or not large.set_aside(held.lent, held.path):
                self._drop(held)
            else:
                self.memory_bytes -= capacity
            held.lent = None

    def close(self) -> None:
        """Remove the free files. What still waits stays, for whoever finishes the work."""
        with self._lock:
            for some in self._free.values():
                for held in some:
                    self._drop(held)
            self._free.clear()
            self._free_bytes = 0
        large.users.discard(self._writer)
        if not large.users:
            large.let_go_all()

    def _drop(self, held: Held) -> None:
        held.path.unlink(missing_ok=True)
        self.memory_bytes -= held.capacity
        if held.buffer is not None:
            self._mapped -= 1
            with contextlib.suppress(BufferError):  # somebody reads it: the mapping goes with the last reader
                held.buffer.close()
            held.buffer = None

    def _in_memory(self, note: Note, view: memoryview) -> Held | None:
        """In a file that is mapped, by a copy; else in a new one, by one write; None where there is no room."""
        head = _encode(note)
        begin = _begin(len(head))
        capacity = _capacity(begin + len(view))
        if capacity not in self._free:
            self._free[capacity] = []
            self._make_ready(capacity, head, note)
        some = self._free[capacity]
        if not some:
            return self._new(note, head, view, capacity)
        held = some.pop()
        self._free_bytes -= capacity
        held.note = note
        buffer = held.buffer
        assert buffer is not None
        buffer[begin : begin + len(view)] = view
        buffer[_HEAD : _HEAD + len(head)] = head
        buffer[len(_MAGIC) : _HEAD] = len(head).to_bytes(4, "little") + crc32(head).to_bytes(4, "little")
        buffer[: len(_MAGIC)] = _MAGIC
        return held

    def _make_ready(self, capacity: int, head: bytes, note: Note) -> None:
        """Make free files of a size. note, head: of its first payload, to say whose they are if nothing is ever put into them."""
        if capacity > 2**20:
            return
        bound = min(_AHEAD_BYTES, self._max_bytes // 8) // capacity
        until = time.monotonic() + _AHEAD_S
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
        for _ in range(min(bound, _AHEAD_FILES, _MAX_MAPPED - self._mapped)):
            if time.monotonic() > until:  # another thread has the interpreter between two system calls
                return
            if self.memory_bytes + capacity > self._max_bytes or not self._room(capacity):
                return
            held = Held(self._directory / f"{note.writer}-ahead{self._ahead}.stash", note, None, capacity)
            self._ahead += 1
            try:
                descriptor = os.open(held.path, _CREATE, 0o600)
            except OSError:
                return
            try:
                os.write(descriptor, bytes(len(_MAGIC)) + _start(head)[len(_MAGIC) :])
            except OSError:
                pass
            finally:
                os.close(descriptor)
            if descriptor > most or not _map(
                held
            ):  # each file that is mapped keeps a descriptor, which the program may need
                held.path.unlink(missing_ok=True)
                return
            self._mapped += 1
            self.memory_bytes += capacity
            self._free[capacity].append(held)
            self._free_bytes += capacity

    def _new(self, note: Note, head: bytes, view: memoryview, capacity: int) -> Held | None:
        """A new file, which one write fills: a kill in between leaves it too short to be taken for whole."""
        if self.memory_bytes + capacity > self._max_bytes or not self._room(capacity):
            return None
        path = self._directory / f"{note.writer}-{note.number}.stash"
        try:
            descriptor = os.open(path, _CREATE, 0o600)
        except OSError:
            return None
        try:
            if os.writev(descriptor, [_start(head), view]) < _begin(len(head)) + len(view):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            path.unlink(missing_ok=True)
            return None
        finally:
            os.close(descriptor)
        self.memory_bytes += capacity
        return Held(path, note, None, capacity)

    def _named(self, note: Note, data: HeldFile) -> Held | None:
        """Give a file that holds its bytes already a head and a name."""
        head = _encode(msgspec.structs.replace(note, begin=data.begin))
        capacity = data.begin + data.nbytes
        if len(head) + _HEAD > data.begin or self.memory_bytes + capacity > self._max_bytes:
            return None
        path = self._directory / f"{note.writer}-{note.number}.stash"
        try:
            os.pwrite(data.descriptor, _start(head), 0)
            if data.spare:
                os.rename(data.spare, path)
                data.spare, data.linked = "", True
                self.memory_bytes += capacity
                return Held(path, note, None, capacity, lent=data)
            directory = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
            try:  # a descriptor among the arguments makes it linkat, which follows /proc's link to the file
                os.link(f"/proc/self/fd/{data.descriptor}", path, src_dir_fd=directory, follow_symlinks=True)
            finally:
                os.close(directory)
        except OSError:
            return None
        data.linked = True
        self.memory_bytes += capacity
        return Held(path, note, None, capacity, lent=data)

    def _room(self, capacity: int) -> bool:
        """Whether shared memory has room for a new file. Looked at once for every 16 MiB."""
        self._left -= capacity
        if self._left < 0:
            try:
                self._directory = make_directory()
                found = os.statvfs(self._directory)
            except (OSError, RingUnavailable):
                return False
            free = found.f_bavail * found.f_frsize - MIN_FREE
            if free < capacity:
                return False
            self._left = min(free, 16 * 2**20) - capacity
        return True


def _map(held: Held) -> bool:
    """Allocate a file to its whole capacity and map it, so that no store into it can fail; whether that was possible."""
    try:
        descriptor = os.open(held.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        os.posix_fallocate(descriptor, 0, held.capacity)
        flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
        held.buffer = mmap.mmap(descriptor, held.capacity, flags=flags)
    except (OSError, ValueError):
        return False
    finally:
        os.close(descriptor)
    return True


def _capacity(size: int) -> int:
    """The size of the file for so many bytes: powers of two up to 1 MiB, then whole MiB."""
    if size <= 2**20:
        return max(_SMALLEST, 1 << (size - 1).bit_length())
    return -(-size // 2**20) * 2**20


def _begin(note_bytes: int) -> int:
    """Where the payload begins."""
    return -(-(_HEAD + note_bytes) // PAGE) * PAGE


def _start(head: bytes) -> bytes:
    """A file up to the payload's first byte."""
    start = _MAGIC + len(head).to_bytes(4, "little") + crc32(head).to_bytes(4, "little") + head
    return start.ljust(_begin(len(head)), b"\0")


def _on_disk(note: Note, view: memoryview, directory: Path) -> Held:
    """A payload in a file of the run's directory, whole or not at all under its name."""
    note = msgspec.structs.replace(note, crc=crc32(view))
    head = _encode(note)
    path = directory / f"{note.number}.stash"
    fresh = directory / f"{note.number}.stash.new"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with open(
            os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb"
        ) as file:
            file.write(_start(head))
            file.write(view)
        os.rename(fresh, path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise
    return Held(path, note)


def read(path: Path) -> tuple[Note, memoryview] | None:
    """What a stash file holds; None for what is none, empty, damaged, or gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        head = file.read(_HEAD)
        size = int.from_bytes(head[8:12], "little")
        if head[:8] != _MAGIC or size > os.fstat(descriptor).st_size:
            return None
        encoded = file.read(size)
        if crc32(encoded) != int.from_bytes(head[12:16], "little"):
            return None
        try:
            note = _decode(encoded)
        except (msgspec.DecodeError, msgspec.ValidationError):
            return None
        file.seek(note.begin or _begin(size))
        data = file.read(note.size)
        file.seek(0)
        again = file.read(_HEAD)  # it may have been released, and used again, while it was read
    if len(data) != note.size or again != head or (note.crc is not None and crc32(data) != note.crc):
        return None
    return note, memoryview(data)


def owner(path: Path) -> Note | None:
    """Whose a file in shared memory is, also one that is free."""
    try:
        with open(
            os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)), "rb"
        ) as file:
            head = file.read(_HEAD)
            encoded = file.read(min(int.from_bytes(head[8:12], "little"), 2**24))
        if head[:8] not in (_MAGIC, bytes(8)) or crc32(encoded) != int.from_bytes(head[12:16], "little"):
            return None
        return _decode(encoded)
    except (OSError, msgspec.DecodeError, msgspec.ValidationError):
        return None


def files(writer: str, directory: Path) -> Iterator[Path]:
    """The stash files of a writer, in memory and in its journal directory, in no order."""
    for folder, pattern in ((shared_memory(), f"{writer}-*.stash"), (directory, "*.stash")):
        with contextlib.suppress(OSError):
            yield from folder.glob(pattern)
