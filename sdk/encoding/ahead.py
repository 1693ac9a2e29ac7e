"""Ahead: shared memory that the next payloads will need is made ready by a thread of its own, not by `log()`.

A page of shared memory costs the first who stores into it: 12 MB are copied in 4 ms into a new file, in 1.6 ms into one that is
mapped and whose pages are there. And a system call lets the GIL go, which another thread may then keep for milliseconds. So where
it can, `log()` makes no file: it takes a place that is ready, and says what it wants next.

The thread needs the GIL for some microseconds at a time. It starts with the first wish and ends with the last run.
"""

import contextlib
import logging
import mmap
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Final

logger = logging.getLogger("milepost")

_SLICE: Final = 2**20
_PAUSE_S: Final = 1e-5
"""Bytes made ready at a time, in 0.4 ms, and a pause in which the program may go on that waits for this thread's processor."""

Wish = Callable[[], object]
_wishes: SimpleQueue[Wish | None] = SimpleQueue()
_thread: threading.Thread | None = None


def want(wish: Wish) -> None:
    """Have something done by the thread. Takes no lock, for it is called from `__del__` and from signal handlers, too."""
    global _thread
    _wishes.put(wish)
    if _thread is None:  # two callers at once start two, which is as good
        thread = threading.Thread(target=_run, args=(_wishes,), name="milepost-ahead", daemon=True)
        with contextlib.suppress(RuntimeError):  # no more threads, or the interpreter ends: files are made when needed
            thread.start()
            _thread = thread


def stop() -> None:
    """End the thread once it has done what was asked, which takes some milliseconds."""
    global _thread
    thread, _thread = _thread, None
    if thread is not None:
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
    directory = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:  # a descriptor among the arguments makes it linkat, which follows /proc's link to the file
        os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=directory, follow_symlinks=True)
    finally:
        os.close(directory)


def mapped(descriptor: int, size: int) -> mmap.mmap:
    """A file of shared memory, allocated and mapped, with zeros in all its pages, so that no store into it can fail.

    The mapping keeps a descriptor of its own. Raises OSError where there is no room.
    """
    os.ftruncate(descriptor, size)
    mapping = mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED)
    with open("/dev/zero", "rb", buffering=0) as zeros, memoryview(mapping) as whole:
        for at in range(0, size, _SLICE):
            part = min(_SLICE, size - at)
            os.posix_fallocate(descriptor, at, part)
            zeros.readinto(
                whole[at : at + part]
            )  # a store into each page, without the GIL, which MAP_POPULATE would hold
            time.sleep(_PAUSE_S)
    return mapping


def _forked() -> None:
    """A child has no such thread, and must not wait for a queue that another thread held."""
    global _wishes, _thread
    _wishes, _thread = SimpleQueue(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
