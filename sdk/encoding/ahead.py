"""Ahead: shared memory that the next payloads will need is made ready by a thread of its own, not by `log()`.

A page of shared memory costs the first who stores into it: 12 MB are copied in 4 ms into a new file, in 1.6 ms into one that is
mapped and whose pages are there. And a system call lets the GIL go, which another thread may then keep for milliseconds. So where
it can, `log()` makes no file: it takes a place that is ready, and says what it wants next.

The thread needs the GIL for some microseconds at a time, and seldom, for it may have to wait 5 ms for it. It starts with the
first wish and ends with the last run.
"""

import contextlib
import logging
import mmap
import os
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

logger = logging.getLogger("milepost")

Wish = Callable[[], object]
_wishes: SimpleQueue[Wish | None] = SimpleQueue()
_threads: list[threading.Thread] = []
"""The one there is, if any. Appended to by who holds `_starting`; who pops it asks it to end, once."""
_starting = threading.Lock()


def want(wish: Wish) -> None:
    """Have something done by the thread. Waits for no lock, for it is called from `__del__` and from signal handlers, too."""
    _wishes.put(wish)
    starting = _starting  # a fork renews it
    if _threads or not starting.acquire(
        blocking=False
    ):  # who holds it starts the thread, which finds this wish as well
        return
    try:
        if not _threads:
            thread = threading.Thread(target=_run, args=(_wishes,), name="milepost-ahead", daemon=True)
            thread.start()
            _threads.append(thread)
    except RuntimeError:  # no more threads, or the interpreter ends: files are made when needed
        pass
    finally:
        starting.release()


def stop() -> None:
    """End the thread once it has done what was asked, which takes some milliseconds."""
    with contextlib.suppress(IndexError):
        thread = _threads.pop()
        _wishes.put(None)
        thread.join(1.0)


def _run(wishes: "SimpleQueue[Wish | None]") -> None:
    with contextlib.suppress(
        OSError, AttributeError
    ):  # it may wait for its turn when its wish comes, and log() goes on
        os.sched_setscheduler(threading.get_native_id(), os.SCHED_BATCH, os.sched_param(0))
    while (wish := wishes.get()) is not None:
        try:
            wish()
        except Exception:
            logger.exception("milepost: making shared memory ready failed; log() makes it itself")


def nameless(directory: Path) -> int:
    """A new file that nobody sees, and that goes with the process unless it gets a name. Raises OSError."""
    flag = getattr(os, "O_TMPFILE", 0)
    if not flag:
        raise OSError("this system has no files without a name")
    return os.open(directory, flag | os.O_RDWR | os.O_CLOEXEC, 0o600)


def give_name(descriptor: int, path: Path) -> None:
    """Let others see a file. Raises OSError."""
    # A descriptor among the arguments makes it linkat, which follows /proc's link to the file; with whole paths it says no more.
    os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor, follow_symlinks=True)


def mapped(descriptor: int, size: int) -> mmap.mmap:
    """A file of shared memory, allocated and mapped, with zeros in all its pages, so that no store into it can fail.

    The mapping keeps a descriptor of its own. Raises OSError where there is no room.
    """
    os.posix_fallocate(descriptor, 0, size)
    mapping = mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED)
    zeros = os.open("/dev/zero", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.readv(zeros, [mapping])  # a store into each page, and without the GIL, which MAP_POPULATE would hold
    finally:
        os.close(zeros)
    return mapping


def _forked() -> None:
    """A child has no such thread, and must not wait for a queue that another thread held."""
    global _wishes, _starting
    _wishes, _starting = SimpleQueue(), threading.Lock()
    _threads.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
