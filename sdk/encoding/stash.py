"""Stash: payloads of one writer that wait for their encoder, where they outlive the program.

Up to 1 MiB they lie side by side in slabs (slab.py): one copy, no system call. The first of a size finds none and gets a file of
its own by one write, while a slab is being made (ahead.py); so does what comes faster than slabs are made. Large arrays are in a
file from the start, which only gets a head and a name (large.py). The sum of all that is bounded; what does not fit goes to
`RUN_DIR/journal/WRITER/N.stash` on disk, as does everything where there is no shared memory.
"""

import contextlib
import errno
import math
import os
import resource
import threading
import time
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from milepost.media.base import Buffer, HeldFile
from milepost.sdk.encoding import ahead, large
from milepost.sdk.encoding.large import MIN_FREE
from milepost.sdk.encoding.payload_file import HEAD, PAGE, Note, begin, encode, start
from milepost.sdk.encoding.slab import Slab
from milepost.sdk.ring import RingUnavailable, make_directory, shared_memory

_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_SMALLEST: Final = 64 * 1024
_LARGEST: Final = 2**20
"""Bytes of the smallest place in a slab, and of the largest."""
_PLACES: Final = 32
_SLAB_BYTES: Final = 8 * 2**20, 32 * 2**20
"""Places in the first slab of a size, and the most bytes of it, ready in 4 ms; where one is late, the next is twice as large,
up to so many bytes.
"""
_RETRY_S: Final = 1.0
_KEEP_FREE: Final = 32 * 2**20
"""Bytes of free places up to which a slab that holds nothing is kept for the next payloads; a quarter of the bound at most."""


class Held:
    """A payload in the stash: in a place of a slab, or in a file of its own. Released once it is encoded.

    lent: the object whose file it is, to be given back.
    """

    __slots__ = ("at", "capacity", "lent", "path", "slab")

    def __init__(
        self, path: Path, capacity: int = 0, *, lent: HeldFile | None = None, slab: Slab | None = None, at: int = 0
    ) -> None:
        self.path = path
        self.capacity = capacity
        self.lent = lent
        self.slab = slab
        self.at = at


class Stash:
    """The stash of one writer. Thread safe.

    use_memory: False for a writer without shared memory. max_bytes: of shared memory, all files together.
    """

    def __init__(self, writer: str, *, use_memory: bool, max_bytes: int) -> None:
        self._writer = writer
        self._use_memory = use_memory
        self._max_bytes = max_bytes
        self._keep_free = min(_KEEP_FREE, max_bytes // 4)
        self._lock = threading.Lock()
        self._directory = shared_memory()
        self._left = 0
        self._slabs: list[Slab] = []
        self._open: dict[int, list[Slab]] = {}
        """By capacity: slabs with a free place; the last is used first, so that the others become free."""
        self._wanted: dict[int, float] = {}
        """By capacity: from when on (time.monotonic) another slab may be asked for; infinity while one is being made."""
        self._next_bytes: dict[int, int] = {}
        """By capacity, of the next slab."""
        self._made = 0
        self._closed = False
        self.memory_bytes = 0
        """Shared memory in use, free places included."""
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
        if self._use_memory and not self._made:  # the first call imports all this anyway; others come soon, as a rule
            self._make(_capacity(len(view) + PAGE), note)
        with self._lock:
            if self._use_memory:
                held = self._in_memory(note, view)
                if held is not None:
                    return held
            self.spilled += 1
        return _on_disk(note, view, disk)

    def release(self, held: Held) -> None:
        """A payload is encoded: its place is free for the next one, its file is given back or removed.

        Called by the thread that encodes, so that it costs `log()` nothing.
        """
        slab = held.slab
        if slab is not None:
            there = slab.path.exists()  # else it was removed behind our back (systemd does so when a user logs out)
            with self._lock:
                is_over = self._free(slab, held.at, there=there)
            if is_over:  # to unmap it takes milliseconds, for which nobody who logs is to wait
                slab.close()
            return
        lent, held.lent = held.lent, None
        if lent is None or not large.set_aside(lent, held.path):
            held.path.unlink(missing_ok=True)
        with self._lock:
            self.memory_bytes -= held.capacity

    def close(self) -> None:
        """Remove what holds nothing. What still waits stays, for whoever finishes the work."""
        with self._lock:
            self._closed = True
            for slab in self._slabs:
                slab.close()
            self._slabs.clear()
            self._open.clear()
        large.users.discard(self._writer)
        if not large.users:
            ahead.stop()
            large.let_go_all()

    def _in_memory(self, note: Note, view: memoryview) -> Held | None:
        """In a place of a slab, by a copy; else in a new file, by one write; None where there is no room."""
        head = encode(note)
        size = begin(len(head)) + len(view)
        if size > _LARGEST:
            return self._new(note, head, view, -(-size // 2**20) * 2**20)
        capacity = _capacity(size)
        slabs = self._open.get(capacity, [])
        few = not slabs or (len(slabs) == 1 and not slabs[0].is_free)  # pictures come in bursts
        if few and time.monotonic() >= self._wanted.get(capacity, 0.0):
            self._wanted[capacity] = math.inf
            ahead.want(lambda: self._make(capacity, note))
        if not slabs:
            return self._new(note, head, view, capacity)
        slab = slabs[-1]
        at = slab.put(head, view)
        if not slab.free:
            slabs.pop()
        return Held(slab.path, slab=slab, at=at)

    def _free(self, slab: Slab, at: int, *, there: bool) -> bool:
        """Take a place back; whether its slab was let go of, and is to be closed."""
        if self._closed:
            return False
        slab.release(at)
        slabs = self._open.setdefault(slab.capacity, [])
        if there and slab not in slabs:
            slabs.insert(0, slab)
        elif not there and slab in slabs:
            slabs.remove(slab)
        if slab.is_free and (not there or self._free_bytes() > self._keep_free):
            self._drop(slab)
            return True
        return False

    def _drop(self, slab: Slab) -> None:
        """Let go of a slab that holds nothing, and that is to be closed."""
        slabs = self._open.get(slab.capacity, [])
        if slab in slabs:
            slabs.remove(slab)
        self._slabs.remove(slab)
        self.memory_bytes -= slab.size

    def _free_bytes(self) -> int:
        return sum(len(slab.free) * slab.capacity for slabs in self._open.values() for slab in slabs)

    def _make(self, capacity: int, note: Note) -> None:
        """Make a slab, and another one where payloads come faster than that. Beside the first one the thread does so."""
        used_up = capacity <= _LARGEST
        while used_up:
            with self._lock:
                count = (
                    min(self._next_bytes.get(capacity, min(_PLACES * capacity, _SLAB_BYTES[0])), self._max_bytes // 8)
                    // capacity
                )
                possible = not self._closed and count > 0 and self._room(count * capacity)
                path = self._directory / f"{self._writer}-slab{self._made}.stash"
                self._made += 1
            slab = None
            if possible:
                most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
                with contextlib.suppress(OSError):
                    slab = Slab(path, note, capacity, count, max_descriptor=most)
            with self._lock:
                used_up = slab is not None and self._made > 1 and not self._open.get(capacity)
                if used_up:
                    self._next_bytes[capacity] = min(2 * count * capacity, _SLAB_BYTES[1])
                self._take_in(slab, capacity)

    def _take_in(self, slab: Slab | None, capacity: int) -> None:
        """A slab is ready, or could not be made."""
        self._wanted[capacity] = 0.0 if slab is not None else time.monotonic() + _RETRY_S
        if slab is None:
            return
        if self._closed:
            slab.close()
            return
        self._slabs.append(slab)
        self._open.setdefault(capacity, []).insert(0, slab)
        self.memory_bytes += slab.size

    def _new(self, note: Note, head: bytes, view: memoryview, capacity: int) -> Held | None:
        """A new file, which one write fills: a kill in between leaves it too short to be taken for whole."""
        if not self._room(capacity):
            return None
        path = self._directory / f"{note.writer}-{note.number}.stash"
        try:
            descriptor = os.open(path, _CREATE, 0o600)
        except OSError:
            return None
        try:
            if os.writev(descriptor, [start(head), view]) < begin(len(head)) + len(view):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            path.unlink(missing_ok=True)
            return None
        finally:
            os.close(descriptor)
        self.memory_bytes += capacity
        return Held(path, capacity)

    def _named(self, note: Note, data: HeldFile) -> Held | None:
        """Give a file that holds its bytes already a head and a name."""
        head = encode(msgspec.structs.replace(note, begin=data.begin))
        capacity = data.begin + data.nbytes
        if len(head) + HEAD > data.begin or not self._fits(capacity):
            return None
        path = self._directory / f"{note.writer}-{note.number}.stash"
        if not large.give_name(data, start(head), path):
            return None
        self.memory_bytes += capacity
        return Held(path, capacity, lent=data)

    def _fits(self, capacity: int) -> bool:
        """Whether so much more is within the bound, for which slabs that hold nothing have to go."""
        over = self.memory_bytes + capacity - self._max_bytes
        if over > 0:
            empty = [slab for slab in self._slabs if slab.is_free]
            if sum(slab.size for slab in empty) < over:
                return False
            for slab in empty:
                if self.memory_bytes + capacity > self._max_bytes:
                    self._drop(slab)
                    slab.close()
        return True

    def _room(self, capacity: int) -> bool:
        """Whether there is room for so much more. Shared memory is looked at once for every 16 MiB."""
        if not self._fits(capacity):
            return False
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


def _capacity(size: int) -> int:
    """The size of the places that so many bytes go into."""
    return max(_SMALLEST, 1 << (size - 1).bit_length())


def _on_disk(note: Note, view: memoryview, directory: Path) -> Held:
    """A payload in a file of the run's directory, whole or not at all under its name."""
    note = msgspec.structs.replace(note, crc=crc32(view))
    path = directory / f"{note.number}.stash"
    fresh = directory / f"{note.number}.stash.new"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with open(
            os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb"
        ) as file:
            file.write(start(encode(note)))
            file.write(view)
        os.rename(fresh, path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise
    return Held(path)
