"""Journal: the run's record on disk, append-only segment files written by one writer.

    RUN_DIR/journal/WRITER/000000.mpj ...   64-byte header, the schemas in use, then frames
    RUN_DIR/journal/WRITER/keys.mpj         every schema once more, so that no single damage makes rows unreadable

The bytes are those of the ring, in the order of their numbers. A short write leaves a torn frame whose rest follows as soon
as the disk takes it. Only the drain thread (or a caller that has no ring) writes here; nothing here is called by `log()` on
the way of an ordinary row.
"""

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple

from milepost.sdk import frame

SEGMENT_BYTES: Final = 8 * 2**20
MAX_SYNC_WAIT_S: Final = 60.0
"""How long a disk that failed to sync again and again is left alone: each try costs a segment."""
_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


def segment_name(index: int) -> str:
    """The file name of a segment."""
    return f"{index:06d}.mpj"


class LimitReached(OSError):
    """The journal is as large as it may become. Waiting changes nothing: it never gets smaller by itself."""


class Sync(NamedTuple):
    """A sync under way: of a segment, `upto` that many bytes, of which `whole` are whole frames.

    directory_fd: of the directory, when it got a new name since its last sync; else -1.
    """

    fd: int
    directory_fd: int
    segment: int
    whole: int
    upto: int

    def run(self) -> OSError | None:
        """Wait for the disk; the error, if there was one."""
        try:
            os.fdatasync(self.fd) if hasattr(os, "fdatasync") else os.fsync(self.fd)
            if self.directory_fd >= 0:
                with contextlib.suppress(OSError):  # some file systems cannot sync a directory
                    os.fsync(self.directory_fd)
        except OSError as error:
            return error
        finally:
            os.close(self.fd)
            if self.directory_fd >= 0:
                os.close(self.directory_fd)
        return None


class Journal:
    """The segment files of one writer, open for appending.

    directory:   RUN_DIR/journal/WRITER, made if missing.
    min_free:    bytes of the disk that are left alone: below it, `write` raises ENOSPC. None: 1 GiB or 5 % of the disk, the
                 smaller.
    max_bytes:   cap on the journal's own size, or None.
    Raises OSError when the directory or the first segment cannot be made; `write` raises LimitReached at max_bytes.
    """

    def __init__(
        self,
        directory: Path,
        writer: str,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        min_free: int | None = None,
        max_bytes: int | None = None,
        schemas: Callable[[], Iterable[bytes]] = tuple,
    ) -> None:
        self.directory = directory
        self._writer = writer
        self._segment_bytes = segment_bytes
        self._schemas = schemas
        self._max_bytes = max_bytes
        directory.mkdir(parents=True, exist_ok=True)
        self._directory_fd = os.open(directory, _DIRECTORY)
        found = os.fstatvfs(self._directory_fd)
        self._min_free = min(2**30, found.f_blocks * found.f_frsize // 20) if min_free is None else min_free
        self.index = -1
        self.offset = 0
        self.total = 0
        """Bytes written over all segments."""
        self._whole = 0
        """Up to here the open segment holds whole frames: only there may the next segment begin."""
        self._synced = self._durable = 0
        """Bytes that the last sync covered, and how many of them are whole frames."""
        self._durable_names = 0
        """Segments whose names a sync has covered."""
        self._sync_failures = 0
        self._sync_not_before = 0.0
        self._first_frame = 0
        self._keys_written = 0
        self._free_checked_at = -(2**30)
        self._fd = -1
        try:
            self._rotate()
        except BaseException:
            os.close(self._directory_fd)
            raise

    def write(self, data: "bytes | memoryview[int]", *, ends_frame: bool = True) -> int:
        """Append; the number of bytes taken (all of them unless the disk stopped in between).

        ends_frame: whether a frame ends with data; where one is cut, the rest follows in the same segment.
        Raises OSError (ENOSPC also at the limits of its own) when nothing could be taken.
        """
        if self.offset >= self._segment_bytes and self._whole == self.offset:
            with contextlib.suppress(
                OSError
            ):  # then it went on in a new segment, and the drain says so at its next sync
                self.sync()
            if self.offset >= self._segment_bytes:
                self._rotate()
        self._check_room(len(data))
        done = 0
        view = memoryview(data)
        while done < len(view):
            try:
                count = os.write(self._fd, view[done:])
            except OSError as error:
                if error.errno == errno.EFBIG and self._whole > self._first_frame:
                    # Files may not grow further here (RLIMIT_FSIZE): smaller segments, this frame once more in the next.
                    self._segment_bytes = min(self._segment_bytes, self._whole)
                    self._copy_on(self._whole)
                    continue
                if done:
                    break
                raise
            done += count
            self.offset += count
            self.total += count
        if ends_frame and done == len(view):
            self._whole = self.offset
        return done

    def sync(self) -> bool:
        """Make all that was written survive a power cut (fdatasync); whether it does. Raises OSError when that fails."""
        begun = self.begin_sync()
        return self.is_synced if begun is None else self.end_sync(begun, begun.run())

    def begin_sync(self) -> "Sync | None":
        """The first of three steps, of which the second, `Sync.run`, waits for the disk and needs no lock on the journal.

        None when there is nothing to do, or when so many tries failed that a while has to pass before the next.
        """
        if self.offset == self._synced or time.monotonic() < self._sync_not_before:
            return None
        named = os.dup(self._directory_fd) if self._durable_names <= self.index else -1
        return Sync(os.dup(self._fd), named, self.index, self._whole, self.offset)

    def end_sync(self, begun: "Sync", error: OSError | None) -> bool:
        """Take in what became of a sync; whether what was written before it is durable.

        A failed sync is not tried again on the same file, where it would lie: what was not durable is copied into a new
        segment first (readers drop the doubles by their numbers), and the error is raised.
        """
        if begun.segment != self.index:  # it went on in another segment meanwhile
            return False
        if error is not None:
            self._sync_not_before = time.monotonic() + min(0.1 * 2**self._sync_failures, MAX_SYNC_WAIT_S)
            self._sync_failures = min(self._sync_failures + 1, 20)
            self._copy_on(self._durable)
            raise error
        self._sync_failures = 0
        self._durable_names = self.index + 1
        self._synced, self._durable = max(self._synced, begun.upto), max(self._durable, begun.whole)
        return True

    @property
    def is_synced(self) -> bool:
        """Whether the last sync covers all that was written."""
        return self.offset == self._synced

    def write_keys(self, schemas: list[bytes]) -> None:
        """Put the second copy of schema frames that are new since the last call beside the segments."""
        if self._keys_written >= len(schemas):
            return
        fd = os.open("keys.mpj", _APPEND, 0o644, dir_fd=self._directory_fd)
        try:
            os.write(fd, b"".join(schemas[self._keys_written :]))
        finally:
            os.close(fd)
        self._keys_written = len(schemas)

    def check_place(self) -> str | None:
        """Notice that the directory was deleted or renamed; what was done about it, as a sentence, or None.

        Renamed: writing goes on in it. Deleted: it is made again and the open segment is saved into it.
        """
        there = os.fstat(self._directory_fd)
        if there.st_nlink == 0 or os.fstat(self._fd).st_nlink == 0:
            self._restore()
            return f"the run's directory {self.directory} was deleted; it was made again with what was still at hand"
        try:
            here = os.stat(self.directory)
        except OSError:
            here = None
        if here is None or (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino):
            before = self.directory
            with contextlib.suppress(
                OSError
            ):  # without /proc nobody says where it went, and writing goes on all the same
                self.directory = Path(os.readlink(f"/proc/self/fd/{self._directory_fd}"))
            return f"the run's directory {before} was moved to {self.directory}; logging goes on there"
        return None

    def close(self) -> None:
        """Close the files; nothing is written any more."""
        for fd in (self._fd, self._directory_fd):
            with contextlib.suppress(OSError):
                os.close(fd)

    forget = close

    def _check_room(self, size: int) -> None:
        """Raise ENOSPC before the journal takes what is not its own."""
        if self._max_bytes is not None and self.total + size > self._max_bytes:
            raise LimitReached(errno.ENOSPC, f"the journal has reached max_bytes={self._max_bytes}")
        if (
            self.total - self._free_checked_at >= 2**20
            or self.total < self._free_checked_at
            or self._free_checked_at < 0
        ):
            found = os.fstatvfs(self._directory_fd)
            if found.f_bavail * found.f_frsize < self._min_free + size:
                raise OSError(errno.ENOSPC, f"less than min_free={self._min_free} bytes are left on the disk")
            self._free_checked_at = self.total

    def _rotate(self, tail: bytes = b"", whole: int = 0) -> None:
        """Open the next segment and start it with its header, all schemas in use, and bytes of the one before.

        whole: how many bytes of tail are whole frames. When not all of it fits, the segment before stays in use.
        """
        index = self.index + 1
        fresh = (
            segment_name(index) + ".new"
        )  # it gets its name when it is whole, for a name is all that readers need to go on
        with contextlib.suppress(OSError):
            os.unlink(fresh, dir_fd=self._directory_fd)
        fd = os.open(fresh, _APPEND | os.O_EXCL, 0o644, dir_fd=self._directory_fd)
        start = frame.segment_header(self._writer, index) + b"".join(self._schemas())
        try:
            count = os.write(fd, start + tail)
            if count < len(start) + len(tail):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.rename(fresh, segment_name(index), src_dir_fd=self._directory_fd, dst_dir_fd=self._directory_fd)
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                os.unlink(fresh, dir_fd=self._directory_fd)
            raise
        older, self._fd = self._fd, fd
        if older >= 0:
            os.close(older)
        self.index, self.offset, self._first_frame, self._whole = index, count, len(start), len(start) + whole
        self._synced = self._durable = 0
        self.total += count

    def _copy_on(self, since: int) -> None:
        """Go on in a new segment that starts with the bytes of this one from `since` on, the end of a whole frame."""
        since = max(since, frame.SEGMENT_HEADER_SIZE)
        whole = self._whole - since
        tail = b""
        with contextlib.suppress(OSError):
            fd = os.open(segment_name(self.index), os.O_RDONLY | getattr(os, "O_CLOEXEC", 0), dir_fd=self._directory_fd)
            try:
                tail = os.pread(fd, self.offset - since, since)
            finally:
                os.close(fd)
        self._rotate(tail, whole)

    def _restore(self) -> None:
        """Make the deleted directory again and save the open segment, still readable through /proc, into it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        saved, whole = b"", self._whole
        with contextlib.suppress(OSError), open(f"/proc/self/fd/{self._fd}", "rb") as file:
            saved = file.read()
        fresh = os.open(self.directory, _DIRECTORY)
        os.close(self._directory_fd)
        self._directory_fd = fresh
        self._keys_written = 0
        self._rotate(saved[frame.SEGMENT_HEADER_SIZE :], whole - frame.SEGMENT_HEADER_SIZE)


def is_regular(path: Path) -> bool:
    """Whether a path is a plain file (not a link, pipe or directory)."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False
