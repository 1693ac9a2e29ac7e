"""Abandoned: stash files in shared memory whose program is gone and whose run was deleted; nobody else would remove them.

The next `init` of any runs directory does so, by the rule of `gone.py`; rings go in the same way (recovery.py). And the files
that a program kept for its next large payload go with the program.
"""

import contextlib
import fcntl
import logging
import os
import time
from pathlib import Path

from milepost.sdk.encoding.payload_file import Note, owner
from milepost.sdk.gone import ABANDONED_S, is_gone, is_old
from milepost.sdk.reading.alive import alive
from milepost.sdk.ring import is_ours, shared_memory

logger = logging.getLogger("milepost")


def media_wait(root: Path) -> bool:
    """Whether media of runs at or below `root` wait for their encoder, be it that of a living program."""
    if not is_ours(shared_memory()):
        return False
    owners = map(owner, shared_memory().glob("*.stash"))
    return any(note is not None and Path(note.run_dir).is_relative_to(root.absolute()) for note in owners)


def remove_abandoned_media() -> None:
    """Remove what nobody needs any more."""
    if not is_ours(shared_memory()):
        return
    _remove_spares()
    deleted: set[str] = set()
    for path in shared_memory().glob("*.stash"):
        note = owner(path)
        if note is not None and _is_abandoned(path, note):
            path.unlink(missing_ok=True)
            deleted.add(note.run_dir)
    for run_dir in deleted:
        logger.warning("milepost: media that waited for their encoder are removed: their run was deleted (%s)", run_dir)


def _is_abandoned(path: Path, note: Note) -> bool:
    try:
        journal = Path(note.run_dir) / "journal" / note.writer
        old = is_old(path) and time.time() - note.kept > ABANDONED_S  # a file that is used again keeps its time
        gone = old and is_gone(note.lies, Path(note.run_dir), note.writer)
        return gone and not alive(note.writer, {}, journal)
    except OSError:
        return False


def _remove_spares() -> None:
    """Remove the files that dead programs kept for their next large payload: nobody holds their locks."""
    for path in shared_memory().glob("*.spare"):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(descriptor)
