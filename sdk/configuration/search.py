"""Which config file is in force, and its bytes.

The first of: the argument, MILEPOST_CONFIG_FILE, `milepost.yaml` in the working directory or above it, then
`~/.config/milepost/milepost.yaml`, then `/etc/milepost/milepost.yaml`. The way up ends at the repository root or at home;
where neither is above, at the last directory that belongs to the user. A file that was found (not named) and that somebody
else owns or may write is refused, as git refuses such a repository: it could send a run's data anywhere.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from milepost.sdk.errors import ConfigurationError

FILE_NAME = "milepost.yaml"
SYSTEM_FILE = Path("/etc/milepost/milepost.yaml")


def find_file(named: str | Path | None, environ: Mapping[str, str], cwd: Path | None) -> tuple[Path, bool] | None:
    """The file in force and whether it was named, None when there is none. `/dev/null` names no file at all.

    Raises ConfigurationError when a named file is not there.
    """
    by = "config_file"
    if named is None:
        named, by = environ.get("MILEPOST_CONFIG_FILE") or None, "MILEPOST_CONFIG_FILE"
    if named is not None:
        if str(named) == os.devnull:
            return None
        path = (cwd or Path()) / expanded(Path(named))
        if not path.exists():
            raise ConfigurationError(
                f"{by}: {path} does not exist; correct the path, or leave it out to search for one"
            )
        return path, True
    for path in _candidates(environ, cwd):
        if _is_file(path):
            return path, False
    return None


def read_file(path: Path, named: bool, limit: int) -> bytes:
    """At most `limit + 1` bytes of a regular file. Raises ConfigurationError when it cannot or must not be read."""
    try:
        # O_NONBLOCK: a FIFO of this name would otherwise be waited for
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    about = os.fstat(descriptor)
    refusal = None if named else unsafe(path, about)
    if not stat.S_ISREG(about.st_mode):
        refusal = f"{path}: not a regular file"
    elif about.st_size > limit:
        refusal = f"{path}:1: larger than {limit // 1024} KiB, the most a config file may have"
    if refusal is not None:
        os.close(descriptor)
        raise ConfigurationError(refusal)
    with open(descriptor, "rb") as file:
        return file.read(limit + 1)


def unsafe(path: Path, about: os.stat_result) -> str | None:
    """Why a file that was found must not be used, with the command that makes it usable; None when it may be."""
    if not hasattr(os, "geteuid"):
        return None
    user = os.geteuid()
    owners = {user, 0}
    if user == 0 and os.environ.get("SUDO_UID", "").isdigit():
        owners.add(int(os.environ["SUDO_UID"]))
    otherwise = f'or name it: config_file="{path}" or MILEPOST_CONFIG_FILE'
    if about.st_uid not in owners:
        return (
            f"{path}: found, but it belongs to user {about.st_uid}, and this is user {user}; "
            f"to trust it: chown {user} '{path}', {otherwise}"
        )
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return (
            f"{path}: found, but users other than its owner can write it; to trust it: chmod go-w '{path}', {otherwise}"
        )
    return None


def expanded(path: Path) -> Path:
    """The path with a leading ~ replaced, where there is a home to replace it by."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def _candidates(environ: Mapping[str, str], cwd: Path | None) -> Iterator[Path]:
    at_home = environ.get("HOME") or environ.get("USERPROFILE")
    home = Path(at_home) if at_home else None
    try:
        start = Path(os.path.abspath(cwd)) if cwd is not None else Path.cwd()
    except OSError:  # the working directory was removed
        start = None
    if start is not None:
        yield from (directory / FILE_NAME for directory in _way_up(start, home))
    if home is not None:
        yield home / ".config" / "milepost" / FILE_NAME
    yield SYSTEM_FILE


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a directory that may not be entered holds no file of the user's
        return False


def _is_top(directory: Path, home: Path | None) -> bool:
    """Whether the search goes no further up."""
    try:
        return directory == home or (directory / ".git").exists()
    except OSError:
        return False


def _way_up(start: Path, home: Path | None) -> Iterator[Path]:
    upward = (start, *start.parents)
    bounded = any(_is_top(directory, home) for directory in upward)
    for directory in upward:
        if not bounded and directory != start and not _own(directory):
            return
        yield directory
        if _is_top(directory, home):
            return


def _own(directory: Path) -> bool:
    """Whether the directory is the user's, and nobody else may put a file into it."""
    if not hasattr(os, "geteuid"):
        return False
    try:
        about = directory.stat()
    except OSError:
        return False
    return about.st_uid == os.geteuid() and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
