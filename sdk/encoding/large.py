"""Large payloads: each in a file of shared memory that is handed on and not copied, and used again by the next one of its size.

    nameless -> WRITER-N.stash while a run has it (stash.py) -> PROCESS-N.spare -> WRITER-N.stash -> ...

It keeps a name from the first one on, because Linux gives a file that lost its last name no other one.
"""

import contextlib
import errno
import fcntl
import itertools
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from milepost.media import base
from milepost.media.base import HeldFile
from milepost.sdk.ring import RingUnavailable, make_directory

MIN_FREE: Final = 32 * 2**20
"""Shared memory that is left to others."""
_MAGIC_BYTES: Final = 8
"""Of a stash file's head: zero in one that holds nothing."""
_HELD_BEGIN: Final = 16 * 1024
"""Room for the note in front of a payload that is held before its note is known."""
_MAX_HELD: Final = 512 * 2**20
"""Bytes of objects that were made and not logged yet; beyond, they are in the program's own memory."""
_KEEP_SPARE: Final = 64 * 2**20
"""Bytes of used files of large payloads that are kept for the next one, into which 12 MB are copied in 1 to 2 ms; into a new one
in 3 to 4."""
_spare: list[tuple[int, int, str, int]] = []
"""(bytes, descriptor, path, process) of each. Appended to and popped from only, for `__del__` comes at any time and takes no
lock."""

_numbers = itertools.count()
users: set[str] = set()
"""The writers whose runs go on: without any, nothing is kept."""


def hold(view: memoryview) -> HeldFile | None:
    """Copy bytes into a file of shared memory that no run has; None where there is no room, or no such file."""
    if HeldFile.total + view.nbytes > _MAX_HELD:
        return None
    descriptor, name = _used(view.nbytes) or (_nameless(view.nbytes), "")
    if descriptor is None:
        return None
    try:
        if os.pwrite(descriptor, view, _HELD_BEGIN) < view.nbytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        _let_go(descriptor, name, os.getpid())
        return None
    return HeldFile(descriptor, _HELD_BEGIN, view.nbytes, name)


def _nameless(size: int) -> int | None:
    """A new file for so many bytes. Its lock tells later on whether its program lives."""
    flag = getattr(os, "O_TMPFILE", 0)
    if not flag:
        return None
    try:
        directory = make_directory()
        found = os.statvfs(directory)
        if found.f_bavail * found.f_frsize < size + MIN_FREE:
            return None
        descriptor = os.open(directory, flag | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except (OSError, RingUnavailable):
        return None
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return descriptor


def set_aside(file: HeldFile, path: Path) -> bool:
    """A run is done with a large file, which lies at `path`: it gets a name that says so; whether it did.

    Not one that a forked child has too, for it is not to be written again.
    """
    if file.process != os.getpid() or file.made_at != HeldFile.forks:
        return False
    name = path.with_name(f"{file.process}-{next(_numbers)}.spare")
    try:
        os.pwrite(
            file.descriptor, bytes(_MAGIC_BYTES), 0
        )  # who reads it just now sees that it is no longer what it was
        os.rename(path, name)
    except OSError:
        return False
    file.spare, file.linked = str(name), False
    return True


def _keep(file: HeldFile) -> bool:
    """Take over the file of an object that is gone, for the next one; whether that was done."""
    process = os.getpid()
    if not file.spare or file.process != process:
        return False
    if file.made_at != HeldFile.forks or not users or sum(found[0] for found in [*_spare]) + file.nbytes > _KEEP_SPARE:
        _let_go(file.descriptor, file.spare, process)
    else:
        _spare.append((file.nbytes, file.descriptor, file.spare, process))
    return True


def _used(size: int) -> tuple[int, str] | None:
    """A file that was used before for as many bytes, and its name."""
    while (found := _last_spare()) is not None:
        if found[0] == size and found[3] == os.getpid():
            return found[1:3]
        _let_go(*found[1:])
    return None


def _last_spare() -> tuple[int, int, str, int] | None:
    try:
        return _spare.pop()
    except IndexError:
        return None


def let_go_all() -> None:
    """Remove all spare files."""
    while (found := _last_spare()) is not None:
        _let_go(*found[1:])


def _let_go(descriptor: int, path: str, process: int) -> None:
    """Close a spare file, and remove it unless it is the parent's."""
    os.close(descriptor)
    if process == os.getpid():
        with contextlib.suppress(OSError):
            os.unlink(path)


def _forked() -> None:
    """Before and after a fork, for other threads may make a file in between."""
    HeldFile.forks += 1


os.register_at_fork(before=_forked, after_in_parent=_forked, after_in_child=_forked)
base.hold, base.keep = hold, _keep


@contextlib.contextmanager
def mapped(data: HeldFile) -> Iterator[memoryview]:
    """The bytes of a HeldFile where they are: a copy of 12 MB in fresh memory would take 25 ms for its pages alone."""
    flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
    size = data.begin + data.nbytes
    with (
        mmap.mmap(data.descriptor, size, flags=flags, prot=mmap.PROT_READ) as mapping,
        memoryview(mapping) as whole,
        whole[data.begin :] as view,
    ):
        yield view
