"""Ring: shared memory that takes a row in about a microsecond and outlives the process that wrote it.

A ring is a list of equal blocks, each a file in RAM (`/dev/shm/milepost-UID/WRITER-N.ring`) mapped into the program: one is
written, drained ones are written again, and new ones are added up to a cap when the disk does not keep up. A store into a
mapped file needs no system call and keeps the GIL; in RAM it never waits for a disk either. SIGKILL leaves the files behind:
whoever finds them (the next init, a reader, `milepost sync`) reads the frames out, as `recovery.py` does.

Blocks are allocated and touched when made, so that a full /dev/shm is an error here and never a SIGBUS in `log()`.
"""

import contextlib
import fcntl
import mmap
import os
import stat
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from milepost.sdk.errors import Error
from milepost.sdk.native import Place

HEADER_SIZE: Final = 4096
FORMAT: Final = 1
_MAGIC: Final = b"MPRING\x00\x01"


class RingUnavailable(Error):
    """Shared memory is missing, too small or refused; the text says which. The writer then uses one write per row."""


def shared_memory() -> Path:
    """The directory for this user's rings. MILEPOST_SHM moves it (tests, odd machines)."""
    root = Path(os.environ.get("MILEPOST_SHM", "/dev/shm"))  # noqa: S108 - the system's RAM file system
    return root / f"milepost-{os.getuid()}"


def is_ours(directory: Path) -> bool:
    """Whether a directory is this user's own and nobody else may write in it. Raises OSError when it is not there."""
    found = directory.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


def make_directory() -> Path:
    """The ring directory, made private to this user. Raises `RingUnavailable`."""
    directory = shared_memory()
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise RingUnavailable(f"{directory.parent} cannot hold rings: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise RingUnavailable(f"{directory} belongs to somebody else or is no directory; remove it")
    if found.st_mode & 0o077:
        directory.chmod(0o700)
    return directory


class Block(Place):
    """One mapped file. `pos` is where the next frame goes; everything before it is whole frames."""

    __slots__ = ("buffer", "drained", "fd", "path", "size")

    def __init__(self, path: Path, size: int, header: dict[str, Any]) -> None:
        self.path = path
        self.size = size
        self.pos = HEADER_SIZE
        self.drained = HEADER_SIZE
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.posix_fallocate(self.fd, 0, size)
            self.buffer = mmap.mmap(self.fd, size)
            self.buffer[:] = bytes(size)  # touch every page now, so that no first store in log() pays for one
            self.describe(header)
        except BaseException:
            os.close(self.fd)
            path.unlink(missing_ok=True)
            raise

    def describe(self, header: dict[str, Any]) -> None:
        """Say in the first page whose rows these are. Raises `RingUnavailable` when that does not fit into it."""
        encoded = msgspec.msgpack.encode(header)
        if 12 + len(encoded) > HEADER_SIZE:
            raise RingUnavailable(f"the path of the run's directory is too long to be noted in {self.path.parent}")
        self.buffer[: len(_MAGIC)] = _MAGIC
        self.buffer[8:12] = len(encoded).to_bytes(4, "little")
        self.buffer[12 : 12 + len(encoded)] = encoded

    @property
    def free(self) -> int:
        """Bytes that still fit."""
        return self.size - self.pos

    def reset(self) -> None:
        """Write from the start again. Old frames stay until overwritten: their numbers tell that they are old."""
        self.pos = self.drained = HEADER_SIZE

    def forget(self) -> None:
        """Give up the mapping without touching the file: in a forked child, the block belongs to the parent."""
        with contextlib.suppress(OSError):
            os.close(self.fd)

    def close(self) -> None:
        """Unmap and remove the file."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
        with contextlib.suppress(BufferError):
            self.buffer.close()
        with contextlib.suppress(OSError):
            os.close(self.fd)


class Ring:
    """The blocks of one writer.

    block_bytes: size of one block. max_bytes: cap over all blocks; never more than an eighth of what is free.
    Raises `RingUnavailable` when shared memory is missing or less than 32 MiB of it is free.
    """

    MIN_FREE: Final = 32 * 2**20

    def __init__(
        self, writer: str, header: dict[str, Any], block_bytes: int = 2**20, max_bytes: int = 64 * 2**20
    ) -> None:
        self._directory = make_directory()
        self._writer = writer
        self._header = {
            "format": FORMAT,
            "writer": writer,
            "pid": os.getpid(),
            "made_unix_nano": time.time_ns(),
            **header,
        }
        self._made = 0
        free = self._free()
        if free < self.MIN_FREE:
            raise RingUnavailable(f"{self._directory.parent} has {free >> 20} MiB free; rings need 32 MiB")
        self.block_bytes = block_bytes
        self.max_bytes = max(2 * block_bytes, min(max_bytes, free // 8))
        try:
            self.active = self.lock_block = self._make(block_bytes)
            self._lock = _locked(self.active.path)
            self.spare: list[Block] = [self._make(block_bytes)]
        except OSError as error:
            raise RingUnavailable(f"{self._directory}: {error.strerror or error}") from None
        self.full: list[Block] = []
        """Blocks that wait for the drain, oldest first."""

    @property
    def paths(self) -> list[str]:
        """The files of all blocks."""
        return [str(block.path) for block in (*self.full, self.active, *self.spare)]

    @property
    def bytes(self) -> int:
        """Shared memory in use."""
        return sum(block.size for block in (*self.full, self.active, *self.spare))

    def turn(self, needed: int) -> bool:
        """Make an active block with `needed` bytes free; False when the cap or the memory does not allow it."""
        if self.spare and needed <= self.spare[-1].free:
            block = self.spare.pop()
        else:
            size = max(self.block_bytes, needed + HEADER_SIZE)
            try:
                if self.bytes + size > self.max_bytes or size > self._free() // 2:
                    return False
                block = self._make(size)
                if not self.lock_block.path.exists():
                    self._move_lock(block)
            except (OSError, RingUnavailable):
                return False
        self.full.append(self.active)
        self.active = block
        return True

    def recycle(self, block: Block) -> None:
        """Take a drained block back: kept as the spare one, else removed."""
        if (not self.spare and block.size == self.block_bytes) or block is self.lock_block:
            block.reset()
            self.spare.append(block)
        else:
            block.close()

    def belongs_to(self, owner: dict[str, Any]) -> None:
        """The run's directory was moved: whoever finds the files must know where to. owner: entries of the header."""
        header = self._header | owner
        with contextlib.suppress(
            RingUnavailable
        ):  # a path too long to be noted: it is looked for by its writer's name then
            for block in (*self.full, self.active, *self.spare):
                block.describe(header)
            self._header = header

    def sign(self) -> None:
        """Give a sign of life: a ring whose run is gone is kept for a day from its last one."""
        os.utime(self._lock)

    def close(self) -> None:
        """Remove all files."""
        for block in (*self.full, self.active, *self.spare):
            if block is not self.lock_block:
                block.close()
        self.lock_block.close()
        os.close(self._lock)

    def forget(self) -> None:
        """In a forked child: let go of the parent's descriptors (one of them is the parent's lock), touch nothing."""
        for block in (*self.full, self.active, *self.spare):
            block.forget()
        with contextlib.suppress(OSError):
            os.close(self._lock)

    def _move_lock(self, block: Block) -> None:
        """The files were removed behind our back (systemd does so when a user logs out): another one tells that we live."""
        older, self._lock = self._lock, _locked(block.path)
        self.lock_block = block
        os.close(older)

    def _make(self, size: int) -> Block:
        make_directory()
        size = -(-size // 4096) * 4096
        path = self._directory / f"{self._writer}-{self._made}.ring"
        self._made += 1
        return Block(path, size, self._header)

    def _free(self) -> int:
        found = os.statvfs(self._directory.parent)
        return found.f_bavail * found.f_frsize


def _locked(path: Path) -> int:
    """A descriptor that holds the lock of a ring file. Opened for it alone: mmap keeps a copy of a block's own descriptor,
    which would carry the lock into forked children.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def read_header(data: bytes | mmap.mmap) -> dict[str, Any] | None:
    """What a ring file says of its writer (writer, run_dir, pid, ...), or None when it is no ring of this format."""
    if len(data) < HEADER_SIZE or bytes(data[: len(_MAGIC)]) != _MAGIC:
        return None
    size = int.from_bytes(bytes(data[8:12]), "little")
    try:
        header = msgspec.msgpack.decode(bytes(data[12 : 12 + min(size, HEADER_SIZE - 12)]))
    except msgspec.DecodeError:
        return None
    return header if isinstance(header, dict) else None
