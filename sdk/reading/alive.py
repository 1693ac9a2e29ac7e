"""Whether a writer still lives: it holds a lock for as long as its process exists, whatever becomes of the process."""

import os
import platform
import stat
import time
from pathlib import Path
from typing import Any, Final

from milepost.sdk.reading.files import ring_files

HEARTBEAT_S: Final = 30.0
"""A writer on another machine touches its writer.json every second; silent for longer, it counts as dead."""


def alive(writer: str, info: dict[str, Any], directory: Path) -> bool:
    """Whether the writer's process exists. Here: somebody holds its lock. On another machine: its writer.json is fresh."""
    if info.get("host") not in (None, platform.node()):
        return _fresh(directory / "writer.json")
    return any(_locked(path) for path in (*ring_files(writer, info, directory), directory / "writer.lock"))


def _fresh(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < HEARTBEAT_S
    except OSError:
        return False


def _locked(path: Path) -> bool:
    """Whether somebody holds the lock of a file. The test takes it shared for an instant, which no writer minds."""
    try:
        import fcntl
    except ImportError:  # Windows: no flock, so nobody holds one
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks
    finally:
        os.close(descriptor)
    return False
