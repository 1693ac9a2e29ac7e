"""Abandoned: stash files in shared memory whose program is gone and whose run was deleted; nobody else would remove them.

The next `init` of any runs directory does so. A directory that is not there may lie on a volume that is not mounted just now, or
may have been moved. So a run counts as deleted when what is left of its path is on the file system that the run was on, as this
process sees it, and only a day after its last media: `milepost sync` of a directory that was moved finds them until then.
"""

import contextlib
import fcntl
import logging
import os
import time
from pathlib import Path
from typing import Final

from milepost.sdk.encoding import stash
from milepost.sdk.encoding.stash import Note
from milepost.sdk.reading.alive import alive
from milepost.sdk.ring import is_ours, mount_namespace, shared_memory

logger = logging.getLogger("milepost")

ABANDONED_S: Final = 86_400.0
"""How old a file is at least that is removed."""


def remove_abandoned(root: Path) -> bool:
    """Remove what nobody needs any more; whether media of runs at or below `root` are left, be it of a living program."""
    left, deleted = False, set()
    if not is_ours(shared_memory()):
        return False
    _remove_spares()
    for path in shared_memory().glob("*.stash"):
        note = stash.owner(path)
        if note is None:
            continue
        if _is_abandoned(path, note):
            path.unlink(missing_ok=True)
            deleted.add(note.run_dir)
        elif Path(note.run_dir).is_relative_to(root.absolute()):
            left = True
    for run_dir in deleted:
        logger.warning("milepost: media that waited for their encoder are removed: their run was deleted (%s)", run_dir)
    return left


def _is_abandoned(path: Path, note: Note) -> bool:
    run_dir = Path(note.run_dir)
    if run_dir.is_dir() or not note.device or note.mounts != mount_namespace():
        return False
    remains = next(parent for parent in run_dir.parents if parent.is_dir())
    try:
        old = time.time() - path.stat().st_mtime > ABANDONED_S
        return (
            old
            and remains.stat().st_dev == note.device
            and not alive(note.writer, {}, run_dir / "journal" / note.writer)
        )
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
