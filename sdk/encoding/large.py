"""Large payloads: each in a file of shared memory that is handed on and not copied, and used again by the next one of its size.

    nameless -> WRITER-N.stash while a run has it (stash.py) -> PROCESS-RANDOM-N.spare -> WRITER-N.stash -> ...

It keeps a name from the first one on, because Linux gives a file that lost its last name no other one. Files of a size that came
twice are made ahead, and all that lie ready are mapped: 12 MB are copied into one in 1.6 ms, into a new file in 4.
"""

import contextlib
import errno
import fcntl
import itertools
import mmap
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from milepost.media import base
from milepost.media.base import HeldFile
from milepost.sdk.encoding import ahead
from milepost.sdk.ring import RingUnavailable, make_directory

MIN_FREE: Final = 32 * 2**20
"""Shared memory that is left to others."""
_MAGIC_BYTES: Final = 8
"""Of a payload file's head: zero in one that holds nothing."""
_HELD_BEGIN: Final = 16 * 1024
"""Room for the note in front of a payload that is held before its note is known."""
_MAX_HELD: Final = 512 * 2**20
"""Bytes of objects that were made and not logged yet; beyond, they are in the program's own memory."""
_KEEP_SPARE: Final = 64 * 2**20
"""Bytes of files that lie ready for the next large payload: used ones, and up to `_AHEAD` new ones."""
_AHEAD: Final = 2


class _Spare(NamedTuple):
    """A file that lies ready. process: whose it is. path: its name, or "". mapping: of all of it."""

    size: int
    descriptor: int
    path: str
    process: int
    mapping: mmap.mmap | None


_spare: list[_Spare] = []
"""Appended to and popped from only, for `__del__` comes at any time and takes no lock."""
_sizes = [0, 0]
"""Of the last payload, and of what is being made (0: nothing)."""

_numbers = itertools.count()
_mine = os.urandom(8).hex()
"""In the names of this process's files: containers that share the memory may have processes of the same number."""
users: set[str] = set()
"""The writers whose runs go on: without any, nothing is kept."""


def hold(view: memoryview) -> HeldFile | None:
    """Copy bytes into a file of shared memory that no run has; None where there is no room, or no such file."""
    size = view.nbytes
    if HeldFile.total + size > _MAX_HELD:
        return None
    spare = _used(size)
    if size == _sizes[0] and users and not _sizes[1] and not _ready(size):
        _sizes[1] = size
        ahead.want(_make_ready)
    _sizes[0] = size
    if spare is None:
        descriptor = _nameless(size)
        if descriptor is None:
            return None
        spare = _Spare(size, descriptor, "", os.getpid(), None)
    if spare.mapping is not None:
        spare.mapping[_HELD_BEGIN : _HELD_BEGIN + size] = view
    else:
        try:
            if os.pwrite(spare.descriptor, view, _HELD_BEGIN) < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            _let_go(spare)
            return None
    return HeldFile(spare.descriptor, _HELD_BEGIN, size, spare.path, spare.mapping)


def _nameless(size: int) -> int | None:
    """A new file for so many bytes. Its lock tells later on whether its program lives."""
    try:
        directory = make_directory()
        found = os.statvfs(directory)
        if found.f_bavail * found.f_frsize < size + MIN_FREE:
            return None
        descriptor = ahead.nameless(directory)
    except (OSError, RingUnavailable):
        return None
    if descriptor > resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2:  # the program may need those that are left
        os.close(descriptor)
        return None
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return descriptor


def _make_ready() -> None:
    """Make files of the size that came twice. On the thread that makes things ready."""
    size = _sizes[1]
    try:
        while users and _ready(size) < _AHEAD and _make_room(size):
            descriptor = _nameless(size)
            if descriptor is None:
                return
            try:
                mapping = ahead.mapped(descriptor, _HELD_BEGIN + size)
            except (OSError, ValueError):
                os.close(descriptor)
                return
            _spare.append(_Spare(size, descriptor, "", os.getpid(), mapping))
    finally:
        _sizes[1] = 0
        if not users:
            let_go_all()


def give_name(file: HeldFile, head: bytes, path: Path) -> bool:
    """A run takes a large file: it gets a head, and the name `path`; whether it did."""
    try:
        os.pwrite(file.descriptor, head, 0)
        if file.spare:
            os.rename(file.spare, path)
            file.spare = ""
        else:
            ahead.give_name(file.descriptor, path)
    except OSError:
        return False
    file.linked = True
    return True


def set_aside(file: HeldFile, path: Path) -> bool:
    """A run is done with a large file, which lies at `path`: it gets a name that says so; whether it did.

    Not one that a forked child has too, for it is not to be written again.
    """
    if file.process != os.getpid() or file.made_at != HeldFile.forks:
        return False
    name = path.with_name(f"{file.process}-{_mine}-{next(_numbers)}.spare")
    try:
        # who reads it just now sees that it is no longer what it was
        os.pwrite(file.descriptor, bytes(_MAGIC_BYTES), 0)
        os.rename(path, name)
    except OSError:
        return False
    file.spare, file.linked = str(name), False
    return True


def _keep(file: HeldFile) -> bool:
    """Take over the file of an object that is gone, for the next one; whether that was done. In `__del__`, so without a lock."""
    process = os.getpid()
    if not file.spare or file.process != process:
        return False
    spare = _Spare(file.nbytes, file.descriptor, file.spare, process, file.mapping)
    if file.made_at != HeldFile.forks or not users:
        _let_go(spare)
    elif spare.mapping is not None and _spare_bytes() + file.nbytes <= _KEEP_SPARE:
        _spare.append(spare)
    else:
        ahead.want(lambda: _put_back(spare))
    return True


def _put_back(spare: _Spare) -> None:
    """Have a file that was used before lie ready, mapped. On the thread that makes things ready."""
    if not _make_room(spare.size):
        _let_go(spare)
        return
    try:
        mapping = spare.mapping or ahead.mapped(spare.descriptor, _HELD_BEGIN + spare.size)
    except (OSError, ValueError):
        _let_go(spare)
        return
    _spare.append(spare._replace(mapping=mapping))
    if not users:
        let_go_all()


def _make_room(size: int) -> bool:
    """Let go of those that have been lying ready for longest, until there is room for one more; False if it is too large."""
    while size <= _KEEP_SPARE and _spare_bytes() + size > _KEEP_SPARE:
        with contextlib.suppress(IndexError):
            _let_go(_spare.pop(0))
    return size <= _KEEP_SPARE


def _spare_bytes() -> int:
    return sum(spare.size for spare in [*_spare])


def _ready(size: int) -> int:
    """How many files lie ready for so many bytes."""
    return sum(spare.size == size for spare in [*_spare])


def _used(size: int) -> _Spare | None:
    """A file that lies ready for as many bytes: the one that was used last, before new ones."""
    fitting = [spare for spare in [*_spare] if spare.size == size and spare.process == os.getpid()]
    for found in [spare for spare in fitting[::-1] if spare.path] or fitting:
        with contextlib.suppress(ValueError):  # another thread was faster
            _spare.remove(found)
            return found
    return None


def let_go_all() -> None:
    """Remove all files that lie ready."""
    with contextlib.suppress(IndexError):
        while True:
            _let_go(_spare.pop())


def _let_go(spare: _Spare) -> None:
    """Close a file that lies ready, and remove it unless it is the parent's."""
    os.close(spare.descriptor)
    if spare.path and spare.process == os.getpid():
        with contextlib.suppress(OSError):
            os.unlink(spare.path)


def _forked() -> None:
    """Before and after a fork, for other threads may make a file in between."""
    HeldFile.forks += 1


def _forked_child() -> None:
    """What lies ready is the parent's."""
    global _mine
    _mine = os.urandom(8).hex()
    _forked()
    _sizes[1] = 0
    let_go_all()


os.register_at_fork(before=_forked, after_in_parent=_forked, after_in_child=_forked_child)
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
