"""save: files of the program, copied into the run.

A file goes to RUN_DIR/files/, in the folders it has below its base path. Links are followed when they are read and never when
they are written, so nothing is ever put outside the run's directory.
"""

import glob as globbing
import hashlib
import logging
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from milepost.sdk.errors import DataError
from milepost.sdk.text import shown

logger = logging.getLogger("milepost")

POLICIES: Final = ("live", "now", "end")
MAX_FILES: Final = 10_000
"""Files that one call copies."""


class Target(Protocol):
    """What `save` needs of a run."""

    closers: list[Callable[[], None]]

    @property
    def dir(self) -> str:
        """The run's directory."""
        ...

    def record(self, kind: str, values: Mapping[str, Any]) -> None:
        """Add an event to the run."""


def save(run: Target, glob_str: Any, base_path: Any = None, policy: str = "live") -> list[str]:
    """Copy the files that a path or pattern names into the run; the paths of the copies, none when nothing matches.

    glob_str:  a path or a pattern: `*`, `?`, `[...]`, `**` for folders of any depth.
    base_path: the folder whose layout is kept below RUN_DIR/files/; None for the working directory, or for the pattern's own
               folder when that lies outside it.
    policy:    "now" copies once; "live" now, and again at finish(), with what matches by then; "end" at finish() only.

    Raises DataError (a ValueError) for another policy, and for arguments that are no paths. A file that cannot be read or
    written is named in a warning.
    """
    if policy not in POLICIES:
        raise DataError(f'save() policy must be "live", "now" or "end", got {shown(policy)}')
    run_dir = Path(os.path.abspath(run.dir))
    pattern, root = _place(glob_str, base_path, run_dir)
    found = list(_matches(pattern, root))
    if not found and pattern.is_dir():
        logger.warning(
            "milepost: save(%s) names a folder; its files are named by %s/*, or by %s/** with all below", *[pattern] * 3
        )

    copied: dict[Path, tuple[int, int]] = {}

    def copy_all(files: list[tuple[Path, Path]]) -> None:
        for source, name in files:
            version = _version(source)
            if source.is_relative_to(run_dir) or copied.get(source) == version:
                continue
            said = copy(source, run_dir / "files", name)
            if said is not None:
                copied[source] = version
                run.record("file", said)

    if policy != "end":
        copy_all(found)
    if policy != "now":
        run.closers.append(lambda: copy_all(list(_matches(pattern, root))))
    return [str(source if source.is_relative_to(run_dir) else run_dir / "files" / name) for source, name in found]


def _place(glob_str: Any, base_path: Any, run_dir: Path) -> tuple[Path, Path]:
    """The absolute pattern, and the folder that the names of its files start at."""
    pattern = _absolute(glob_str, "glob_str")
    if base_path is not None:
        root = _absolute(base_path, "base_path")
        if not pattern.is_relative_to(root):
            raise DataError(
                f"save(): {str(pattern)!r} is not below base_path {str(root)!r}; leave base_path out, or give a folder above it"
            )
        return pattern, root
    working = Path.cwd()
    return pattern, working if pattern.is_relative_to(working) else _fixed_part(pattern)


def _matches(pattern: Path, root: Path) -> Iterator[tuple[Path, Path]]:
    """The regular files that a pattern names, each with its name below the root."""
    for number, name in enumerate(globbing.iglob(str(pattern), recursive=True)):
        if number >= MAX_FILES:
            logger.warning("milepost: save(%s) names more than %d files; the others are left out", pattern, MAX_FILES)
            return
        found = Path(os.path.normpath(name))
        if found.is_file() and found.is_relative_to(root):
            yield found, found.relative_to(root)


def copy(source: Path, files: Path, name: Path) -> dict[str, Any] | None:
    """Copy one file to files/name; what the event "file" says of it, or None when it cannot be read or written (said so)."""
    target = files / name
    try:
        make_folders(files, name.parent)
        fresh = target.with_name(f".{target.name[:200]}.{os.getpid()}.new")
        try:
            with source.open("rb") as reading, _create(fresh) as writing:
                shutil.copyfileobj(reading, writing, 1024 * 1024)
            os.replace(fresh, target)
        finally:
            fresh.unlink(missing_ok=True)
        size, digest = _measure(target)
    except OSError as error:
        logger.warning("milepost: save() could not copy %s: %s", source, error.strerror or error)
        return None
    return {"path": f"files/{name.as_posix()}", "size": size, "sha256": digest}


def _absolute(value: Any, argument: str) -> Path:
    """A path of the user's, absolute and without `..`; a pattern stays one."""
    if not isinstance(value, (str, os.PathLike)):
        raise DataError(f'save() {argument} must be a path or a pattern such as "*.py", got {shown(value)}')
    text = os.fspath(value)
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    if not text or "\0" in text:
        raise DataError(f'save() {argument} must be a path or a pattern such as "*.py", got {shown(value)}')
    if "://" in text:
        raise DataError(
            f'save() copies files of this machine, and {text!r} is an address; log it as text, as in log({{"data": {text!r}}})'
        )
    return Path(os.path.abspath(os.path.expanduser(text)))


def _fixed_part(pattern: Path) -> Path:
    """The longest folder of a pattern that holds no wildcard."""
    folder = pattern.parent
    while globbing.has_magic(str(folder)):
        folder = folder.parent
    return folder


def make_folders(files: Path, below: Path) -> None:
    """Make the folders, refusing a link that somebody put in the place of one."""
    folder = files
    folder.mkdir(parents=True, exist_ok=True)
    for part in below.parts:
        folder = folder / part
        folder.mkdir(exist_ok=True)
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise NotADirectoryError(20, "a link or file stands where a folder must be", str(folder))


def _version(path: Path) -> tuple[int, int]:
    """What changes when a file is written: its time and size."""
    try:
        found = path.stat()
    except OSError:
        return 0, -1
    return found.st_mtime_ns, found.st_size


def _create(path: Path) -> Any:
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644), "wb")


def _measure(path: Path) -> tuple[int, str]:
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while piece := file.read(1024 * 1024):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()
