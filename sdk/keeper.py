"""Keeper: puts the bytes of one writer where SIGKILL cannot reach them, and moves them from there to the disk.

    append -> active block of the ring -> drain (a thread, every <= 100 ms) -> journal -> disk

Without shared memory a piece is one write to the journal; without a disk it waits in memory. All methods but `drain` and `close`
are called under the run's lock.
"""

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Final

import msgspec

from milepost.sdk import frame
from milepost.sdk.gone import to_note
from milepost.sdk.held import held_here
from milepost.sdk.journal import Journal, LimitReached
from milepost.sdk.native import Clock
from milepost.sdk.own_files import write_whole
from milepost.sdk.ring import Block, Ring, RingUnavailable

logger = logging.getLogger("milepost")

_DRAIN_SLICE: Final = 256 * 1024
STUCK_S: Final = 3.0
"""How long the end of a run waits for a disk that takes nothing at all."""
_PATIENCE_S: Final = 1.0
"""How long a call waits for room when rows come faster than the disk takes them."""

PROMISES: Final = {
    "ring": "SIGKILL loses nothing for which log() returned; death of the machine loses at most 100 ms",
    "write": "SIGKILL loses nothing for which log() returned; death of the machine loses at most 100 ms (one write per row: "
    "no shared memory here, so log() costs more)",
    "memory": "nothing is safe yet: no disk could be written, rows wait in memory until one can",
}


class Keeper(Clock):
    """The ring and the journal of one process for one run.

    run_dir: the run's directory. rank, attempt, parent: its place in the run (parent: the writer it was forked from).
    use_ring=False writes each piece to the journal.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        attempt: int = 1,
        rank: int | None = None,
        parent: str | None = None,
        block_bytes: int = 2**20,
        ring_bytes: int = 64 * 2**20,
        use_ring: bool = True,
        min_free: int | None = None,
        max_bytes: int | None = None,
    ) -> None:
        self.id = os.urandom(8).hex()
        self.run_dir = run_dir
        self.directory = run_dir / "journal" / self.id
        self.attempt = attempt
        self.rank = rank
        self.parent = parent
        self.clock_offset = time.time_ns() - time.monotonic_ns()
        """Wall clock less monotonic clock: a row reads one clock, not two. Corrected by the drain when the wall clock was set."""
        self.started_unix_nano = time.time_ns()
        self.broken: str | None = None
        """Why the journal takes nothing right now."""
        self.at_limit = False
        """Whether it is its own size that stops it, which waiting does not change."""
        self.schema_frames: list[bytes] = []
        """What each file of the journal begins with, so that it can be read by itself."""
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._backlog_cap = ring_bytes
        self._journal_options: dict[str, Any] = {"min_free": min_free, "max_bytes": max_bytes}
        self._drain_lock = threading.RLock()
        self._sync_lock = threading.RLock()
        self._warned: set[str] = set()
        self._checked_at = 0.0
        self._lock_fd = -1
        self._forgotten = False
        self._closed = False
        self.synced = True
        """Whether the last sync made all rows durable."""
        self._in_doubt = False
        self._moved_bytes = 0
        self._moved_in_vain = -1
        """How far the drain was when a call last waited for it and got no room."""
        self.wake: Any = None
        """Called when a block is full; set by the drain thread."""
        self.journal: Journal | None = None
        self._open_journal()
        self.ring: Ring | None = None
        if use_ring:
            try:
                self.ring = Ring(self.id, to_note(run_dir), block_bytes=block_bytes, max_bytes=ring_bytes)
            except RingUnavailable as error:
                self.no_ring = str(error)
        if self.ring is None:
            self._lock_file()
        self.block: Block | None = None if self.ring is None else self.ring.active
        self._describe()

    @property
    def promise(self) -> str:
        """ "ring", "write" or "memory": which of `PROMISES` holds."""
        if self.journal is None:
            return "memory"
        return "write" if self.ring is None else "ring"

    # -- appending -------------------------------------------------------------------------------------------------------

    def full_reason(self) -> str:
        """The reason under which a row that fits nowhere is counted."""
        if self._closed:
            return "closed"
        return "disk_full" if self.broken else "memory_full"

    def append(self, data: bytes) -> bool:
        """Put whole frames where they survive the process; False when there is no room."""
        block = self.block
        if self._forgotten or self._closed:
            return False
        if block is not None:
            end = block.pos + len(data)
            if end <= block.size:
                block.buffer[block.pos : end] = data
                block.pos = end
                return True
            return self._turn(data)
        return self._write_through(data)

    def _turn(self, data: bytes) -> bool:
        """The active block is full: go on in the next."""
        assert self.ring is not None
        if self.ring.turn(len(data)) or self._await_room(len(data)):
            block = self.block = self.ring.active
            if self.wake is not None:
                self.wake()
            end = block.pos + len(data)
            block.buffer[block.pos : end] = data
            block.pos = end
            return True
        if len(data) > self.ring.max_bytes // 4 and self.journal is not None and not self.broken:
            return self._write_large(data)
        return False

    def _await_room(self, size: int) -> bool:
        """The ring is as large as it may become, and full: let the drain make room; whether it did.

        Waiting is what keeps rows that come faster than the disk takes them. A disk that hangs or refuses is waited for once:
        until it moves again, calls return at once and what does not fit is dropped and counted.
        """
        assert self.ring is not None
        if self.broken or self.journal is None or self.wake is None or size > self.ring.max_bytes // 4:
            return False
        if self._moved_bytes == self._moved_in_vain:
            return False
        self.warn(
            "behind",
            f"rows come faster than {self.directory} takes them; log() now and then waits for the disk, at most "
            f"{_PATIENCE_S:g} s",
        )
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline and not self.broken:
            self.wake()
            time.sleep(0.001)
            if self.ring.turn(size):
                return True
        self._moved_in_vain = self._moved_bytes
        return False

    def _write_large(self, data: bytes) -> bool:
        """A row larger than the ring may hold goes to the journal at once, after what stands before it."""
        if not self.drain():
            return False
        with self._drain_lock:
            return not self._backlog and self._write(data)

    def _write_through(self, data: bytes) -> bool:
        """No ring: one write per row, or into memory while the journal takes nothing."""
        inside = held_here(self._drain_lock)  # of `__del__` in the drain: what it has half written comes first
        if not inside and not self._backlog and self.journal is not None and self._drain_lock.acquire(timeout=0.5):
            try:
                if not self._backlog and self._write(data):
                    return True
            finally:
                self._drain_lock.release()
        if self._backlog_bytes + len(data) > self._backlog_cap:
            return False
        if not inside and not self.broken and self.journal is not None:
            self.warn(
                "slow", f"{self.directory} takes more than half a second for a write; rows wait in memory meanwhile"
            )
        self._in_doubt = True
        self._backlog.append(data)
        self._backlog_bytes += len(data)
        return True

    def _write(self, data: bytes) -> bool:
        """Write frames whole, the rest of a short write into the backlog; False when nothing was taken."""
        assert self.journal is not None
        self._in_doubt = True
        try:
            done = self.journal.write(data)
        except OSError as error:
            self._failed(error)
            return False
        if done < len(data):
            self._backlog.appendleft(data[done:])
            self._backlog_bytes += len(data) - done
        return True

    # -- draining --------------------------------------------------------------------------------------------------------

    def drain(self, *, sync: bool = False) -> bool:
        """Move what the ring holds into the journal; True when all of it is there. Called by the drain thread and by flush.

        sync: also make it durable; `synced` says whether that was possible.
        """
        if self.is_interrupted:
            return False
        offset = time.time_ns() - time.monotonic_ns()
        if abs(offset - self.clock_offset) > 1_000_000:  # the clock was set, or the machine slept
            self.clock_offset = offset
        with self._drain_lock:
            if self._forgotten or self._closed:
                return True
            journal = self.journal if self.journal is not None else self._open_journal()
            if journal is None:
                return False
            self._check_place()
            try:
                journal.write_keys(self.schema_frames)
                done = self._drain_backlog() and self._drain_ring()
            except OSError as error:
                self._failed(error)
                return False
            if done and self.broken is not None:
                self.broken, self.at_limit = None, False
                self._warned -= {"journal", "dropped"}
                logger.warning("milepost: %s can be written again; logging goes on", self.directory)
        if sync:
            self._sync(journal)
        return done

    @property
    def is_interrupted(self) -> bool:
        """Whether this very thread is in the middle of a drain, and this a signal handler or `__del__` inside it."""
        return held_here(self._drain_lock) or held_here(self._sync_lock)

    def drain_until(self, deadline: float, *, durable: bool = True) -> bool:
        """Drain until all is in the journal (durable: and on the disk), the deadline, or no sign that waiting helps.

        A journal at its limit stays there, and a disk that took nothing for a while is full or gone.
        """
        moved, since = -1, time.monotonic()
        while not self.drain(sync=durable) or (durable and not self.synced):
            now = time.monotonic()
            written = 0 if self.journal is None else self.journal.total
            if written != moved:
                moved, since = written, now
            if (
                now >= deadline
                or self.at_limit
                or self.is_interrupted
                or (self.broken is not None and now - since >= STUCK_S)
            ):
                return False
            time.sleep(0.05)
        return True

    def _sync(self, journal: Journal) -> None:
        """Make durable what was drained. The wait for the disk is outside the lock: without a ring, log() writes meanwhile."""
        try:
            with self._sync_lock:  # one at a time: of two on one file, the second is told that all is well
                with self._drain_lock:
                    begun = None if self._closed else journal.begin_sync()
                    self.synced = journal.is_synced
                if begun is None:
                    return
                error = begun.run()
                with self._drain_lock:
                    self.synced = not self._closed and journal.end_sync(begun, error)
        except OSError as failed:
            self.synced = False
            self.warn(
                "sync",
                f"{self.directory} cannot be made durable: {failed.strerror or failed}. Rows are written and survive the "
                "program, but perhaps not the machine; it is tried again",
            )

    def _drain_backlog(self) -> bool:
        assert self.journal is not None
        while self._backlog:
            data = self._backlog[0]
            done = self.journal.write(data)
            self._backlog_bytes -= done
            if done < len(data):
                self._backlog[0] = data[done:]
                return False
            self._backlog.popleft()
        return True

    def _drain_ring(self) -> bool:
        """Blocks in the order they were filled; the active one last."""
        if self.ring is None:
            return True
        active = self.ring.active  # read before `full`: a block that turns full in between is then in both
        for block in dict.fromkeys([*self.ring.full, active]):
            if not self._drain_block(block):
                return False
            if block in self.ring.full and block.drained == block.pos:
                self.ring.full.remove(block)
                self.ring.recycle(block)
        return True

    def _drain_block(self, block: Block) -> bool:
        assert self.journal is not None
        view = memoryview(block.buffer)
        try:
            upto = block.pos
            while block.drained < upto:
                end = min(upto, block.drained + _DRAIN_SLICE)
                with view[block.drained : end] as piece:
                    done = self.journal.write(piece, ends_frame=end == upto)
                block.drained += done
                self._moved_bytes += done
                if block.drained < end:
                    return False
        finally:
            view.release()
        return True

    def _failed(self, error: OSError) -> None:
        """Say once what the disk answered; the drain tries again."""
        self.broken = f"{self.directory}: {error.strerror or error}"
        self.at_limit = isinstance(error, LimitReached)
        remedy = "raise journal.max_bytes" if self.at_limit else "free some space or fix the directory"
        self.warn(
            "journal",
            f"cannot write the journal in {self.directory}: {error.strerror or error}. Rows wait in memory and are written as "
            f"soon as that is possible; {remedy}",
        )

    def _check_place(self) -> None:
        """Once a second: is the directory still there; and the sign of life for readers on other machines."""
        now = time.monotonic()
        if self.journal is None or now - self._checked_at < 1.0:
            return
        self._checked_at = now
        try:
            news = self.journal.check_place()
            if news is not None:
                if self.journal.directory != self.directory:
                    self.directory = self.journal.directory
                    self.run_dir = self.directory.parent.parent
                    if self.ring is not None:
                        self.ring.belongs_to(to_note(self.run_dir))
                self._describe()
                self.warn("place", news)
            else:
                os.utime(self.directory / "writer.json")
            if self.ring is not None:
                self.ring.sign()
        except OSError as error:
            self._failed(error)

    def warn(self, key: str, text: str) -> None:
        """A warning, once per kind of trouble."""
        if key not in self._warned:
            self._warned.add(key)
            logger.warning("milepost: %s", text)

    # -- files -----------------------------------------------------------------------------------------------------------

    def _open_journal(self) -> Journal | None:
        """The journal, or None while it cannot be opened."""
        try:
            self.journal = Journal(
                self.directory, self.id, schemas=lambda: list(self.schema_frames), **self._journal_options
            )
        except OSError as error:
            self._failed(error)
        return self.journal

    def _lock_file(self) -> None:
        """Without a ring, a lock beside the journal tells readers that this writer lives."""
        with contextlib.suppress(OSError):
            self._lock_fd = os.open(
                self.directory / "writer.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644
            )
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _describe(self) -> None:
        """writer.json: what readers must know of this writer."""
        if self.journal is None:
            return
        description = {
            "format": frame.VERSION,
            "writer": self.id,
            "rank": self.rank,
            "attempt": self.attempt,
            "parent": self.parent,
            "host": os.uname().nodename,
            "boot_id": boot_id(),
            "pid": os.getpid(),
            "started_unix_nano": self.started_unix_nano,
            "ring": [] if self.ring is None else self.ring.paths,
            "promise": self.promise,
        }
        with contextlib.suppress(OSError):
            write_whole(self.directory / "writer.json", msgspec.json.encode(description))

    def close(self) -> bool:
        """Drain, sync, and remove the ring; True when all is on disk. What could not be drained stays in the ring's files."""
        done = self.drain(sync=True)
        with self._drain_lock:
            self._closed = True  # the drain thread may be on its way here
            if self.ring is not None and done:
                self.ring.close()
            if self._backlog:
                logger.warning(
                    "milepost: %d bytes of rows that waited in memory are lost: %s",
                    self._backlog_bytes,
                    self.broken or self.directory,
                )
            if self.journal is not None:
                self.journal.close()
            if self._lock_fd >= 0:
                os.close(self._lock_fd)
                self._lock_fd = -1
        return done

    def forget(self) -> None:
        """In a forked child: let go of the parent's files without touching them; draining is the parent's from now on."""
        self._drain_lock = threading.RLock()
        self._sync_lock = threading.RLock()
        self.block = None
        if (
            self._forgotten or self._closed
        ):  # its descriptors are closed, and their numbers may be the program's own by now
            return
        self._forgotten = True
        if self.ring is not None:
            self.ring.forget()
        if self.journal is not None:
            self.journal.forget()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


def boot_id() -> str:
    """Which start of the machine this is, or "" where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
