"""Gone: whether a run's directory was deleted or moved, or only cannot be seen from here.

What a killed program left in shared memory (its ring, media that wait for their encoder) names the directory of its run. If
nothing is found there, the directory may lie on a volume that is not mounted just now or in another container, and what was left
may then be all there is of the last rows. So a writer notes where its run lies: the path without links, the file system, the
mount, and whose view of the mounts that is. The directory counts as gone when

- this process has the same view of the mounts (containers that share /dev/shm have others), and
- the nearest folder of that path that is still there lies on the same file system, by the same mount (where a volume is not
  mounted, the folder that is left lies on the one below it).

Where any of this is not known, nothing counts as gone. And as a directory that was moved has a journal that lacks the last rows,
what was left is removed only a day after its last sign of life: until then `init`, `Api` and `milepost sync` of the place that
the directory was moved to find it.
"""

import os
import re
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

ABANDONED_S: Final = 86_400.0
"""How long something has to be without a sign of life before it is removed because its run is gone."""


class Whereabouts(NamedTuple):
    """Where a run lies, as its writer saw it; empty where that is not known.

    path:   of its directory, absolute and without links.
    device: the number of the file system. mount: that of the mount. mounts: whose view of the mounts these are.
    """

    path: str = ""
    device: int = 0
    mount: int = 0
    mounts: str = ""


def whereabouts(run_dir: Path) -> Whereabouts:
    """Where a run's directory lies, as this process sees it."""
    try:
        return _whereabouts(run_dir.resolve())
    except (OSError, RuntimeError):  # RuntimeError: a loop of links
        return Whereabouts()


def noted(header: dict[str, Any]) -> Whereabouts:
    """Where a run lies, as the header of one of its rings says; rings of older programs do not."""
    try:
        return msgspec.convert(header.get("lies", ()), Whereabouts)
    except msgspec.ValidationError:
        return Whereabouts()


def is_gone(lay: Whereabouts) -> bool:
    """Whether a run's directory was deleted or moved. lay: where it lay when that was noted."""
    if not lay.path or not lay.device or not lay.mounts or lay.mounts != mount_namespace():
        return False
    run_dir = Path(lay.path)
    for folder in (run_dir, *run_dir.parents):
        try:
            found = _whereabouts(folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:  # it may be there: this process may not look, or the volume does not answer
            return False
        return folder != run_dir and found[1:] == lay[1:]
    return False


def is_old(path: Path) -> bool:
    """Whether a file's last sign of life is more than a day ago. Raises OSError."""
    return time.time() - path.stat().st_mtime > ABANDONED_S


def mount_namespace() -> str:
    """Which view of the mounts this process has, "" where the system does not say."""
    try:
        return os.readlink("/proc/self/ns/mnt")
    except OSError:
        return ""


def _whereabouts(folder: Path) -> Whereabouts:
    descriptor = os.open(folder, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        device, mounts = os.fstat(descriptor).st_dev, mount_namespace()
        if not mounts:
            return Whereabouts(str(folder), device)
        told = re.search(r"^mnt_id:\s*(\d+)", Path(f"/proc/self/fdinfo/{descriptor}").read_text(), re.MULTILINE)
        return Whereabouts(str(folder), device, 0 if told is None else int(told[1]), mounts)
    finally:
        os.close(descriptor)
