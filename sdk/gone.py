"""Gone: whether a run's directory was deleted or moved, or only cannot be seen from here.

What a killed program left in shared memory (its ring, media that wait for their encoder) names the directory of its run. If
nothing is found there, the directory may lie on a volume that is not mounted just now or in another container, and what was left
may then be all there is of the last rows. So a writer notes where its run lies: the path without links, the file system, the
mount, and whose view of the mounts that is. The directory counts as gone when

- it is not where it was said to be last, nor renamed beside that place, and
- this process has the same view of the mounts (containers that share /dev/shm have others), and
- a folder of that path is still the same one (by its inode), and up to there all lie on the same file system, by the same mount.
  Where a volume is not mounted, or another one in its place, its folders are others; the root of a mount, which many volumes have
  under the same number, proves nothing.

Where any of this is not known, nothing counts as gone. And as a directory that was moved has a journal that lacks the last rows,
what was left is removed only a day after its last sign of life: until then `init`, `Api` and `milepost sync` of the place that
the directory was moved to find it.
"""

import contextlib
import os
import re
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

ABANDONED_S: Final = 86_400.0
"""How long something has to be without a sign of life before it is removed because its run is gone."""

_NOTED_FOLDERS: Final = 32
"""Of the folders that a run is in, how many the header of a ring names: the nearest are asked first."""


class Whereabouts(NamedTuple):
    """Where a run lies, as its writer saw it; empty where that is not known.

    path:   of its directory, absolute and without links.
    device: the number of the file system. mount: that of the mount. mounts: whose view of the mounts these are.
    above:  the inodes of the folders that it is in, the nearest first.
    """

    path: str = ""
    device: int = 0
    mount: int = 0
    mounts: str = ""
    above: tuple[int, ...] = ()


class Journals:
    """The writers' folders in runs. Each folder of runs is looked through once, as of many rings each asks for its own writer."""

    def __init__(self) -> None:
        self._of_folder: dict[Path, dict[str, list[Path]]] = {}

    def below(self, folder: Path, writer: str) -> list[Path]:
        """`FOLDER/*/journal/WRITER`: none, one, or several where a run was copied. Raises OSError for what cannot be read."""
        if folder not in self._of_folder:
            found: dict[str, list[Path]] = {}
            for run in folder.iterdir() if folder.is_dir() else ():
                with contextlib.suppress(OSError):
                    for name in os.listdir(run / "journal"):
                        found.setdefault(name, []).append(run / "journal" / name)
            self._of_folder[folder] = found
        return self._of_folder[folder].get(writer, [])


def whereabouts(run_dir: Path) -> Whereabouts:
    """Where a run's directory lies, as this process sees it."""
    try:
        place = run_dir.resolve()
        return _whereabouts(place)._replace(above=tuple(folder.stat().st_ino for folder in place.parents))
    except (OSError, RuntimeError):  # RuntimeError: a loop of links
        return Whereabouts()


def noted(header: dict[str, Any]) -> Whereabouts:
    """Where a run lies, as the header of one of its rings says; rings of older programs do not."""
    try:
        lies = msgspec.convert(header.get("lies", ()), Whereabouts)
    except msgspec.ValidationError:
        return Whereabouts()
    return lies._replace(path=header["run_dir"]) if lies.device and not lies.path else lies


def to_note(run_dir: Path) -> dict[str, Any]:
    """What the header of a ring says of its run, for `noted`. It has one page, so a path stands there once."""
    said, lies = str(run_dir.absolute()), whereabouts(run_dir)
    return {
        "run_dir": said,
        "lies": lies._replace(path="" if lies.path == said else lies.path, above=lies.above[:_NOTED_FOLDERS]),
    }


def is_gone(lay: Whereabouts, run_dir: Path, writer: str, journals: Journals | None = None) -> bool:
    """Whether a run's directory was deleted, or moved out of the folder that it was in.

    lay: where it lay when that was noted. run_dir: where it was said to be last. writer: who logged it. journals: for asking of
    several.
    """
    if not lay.path or not lay.device or not lay.mounts or lay.mounts != mount_namespace():
        return False
    place = Path(lay.path)
    try:
        if run_dir.is_dir() or place.is_dir() or (journals or Journals()).below(run_dir.parent, writer):
            return False
        for folder, inode in zip(place.parents, lay.above, strict=False):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                found = _whereabouts(folder)
                if found[1:4] != lay[1:4]:
                    return False
                if folder.stat().st_ino == inode:  # else it was made anew since
                    return folder != folder.parent and _whereabouts(folder.parent).mount == found.mount
    except (OSError, RuntimeError):  # it may be there: this process may not look, or the volume does not answer
        pass
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
