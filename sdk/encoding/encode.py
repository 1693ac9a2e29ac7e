"""Encode: make the file of one payload, inside the run's directory and nowhere else, named by its key, step and content.

    RUN_DIR/media/FOLDER/KEY_STEP_HASH.EXT        HASH: the first 20 hex digits of the file's sha256

A file of the same content and kind that the run has already is not written again. The encoder function works on a file
without a name that others see; the name appears when it is complete.
"""

import contextlib
import hashlib
import os
import re
import stat
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Final

from milepost.sdk.encoding.payload_file import Note
from milepost.sdk.encoding.trust import check

Encoder = Callable[[memoryview, dict[str, Any], BinaryIO], Any]

MAX_PART_BYTES: Final = 120
"""Bytes of one part of a key in a path; file systems take 255 for the whole name."""
MAX_PARTS: Final = 8
_HASH: Final = re.compile(r"_([0-9a-f]{20})\.")
_UNSAFE: Final = re.compile(r'[\x00-\x1f\x7f<>:\\?*"|]')
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class Encoders:
    """Makes files of payloads. Remembers what each run has, so that equal files are written once. Thread safe.

    of_files: whether the payloads come from a run's files and not from this program; their encoders are then checked.
    """

    def __init__(self, *, of_files: bool = False) -> None:
        self.of_files = of_files
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str, str], dict[str, str]] = {}
        """(run directory, folder, extension) -> hash -> path."""

    def encode(self, note: Note, data: memoryview, run_dir: Path, children: list[Any]) -> dict[str, Any]:
        """Make the file; its facts: path, sha256, size, and what the encoder adds. Raises whatever goes wrong.

        children: as in `Payload`, in their final form.
        """
        root = _Root(run_dir, ("media", *_parts(note.folder)))
        try:
            with root.temporary() as (file, name):
                more = produce(note, data, children, file, of_files=self.of_files)
                size, digest = _measure(file)
                short = digest[:20]
                with self._lock:
                    known = self._paths(root, note, run_dir)
                    path = known.get(short)
                    if path is None or not root.has(path, size):
                        path = root.place(name, note, short)
                        known[short] = path
        finally:
            root.close()
        return {"path": path, "sha256": digest, "size": size, **more}

    def _paths(self, root: "_Root", note: Note, run_dir: Path) -> dict[str, str]:
        key = (str(run_dir), note.folder, note.extension)
        known = self._known.get(key)
        if known is None:
            if len(self._known) > 200:
                self._known.clear()
            known = self._known[key] = root.listed(note.extension)
        return known


def produce(
    note: Note, data: memoryview, children: list[Any], target: BinaryIO, *, of_files: bool = False
) -> dict[str, Any]:
    """Write a payload's file; the fields that its encoder adds. of_files: as in `Encoders`."""
    if not note.encoder:
        target.write(data)
        return {}
    options = {**note.options, "children": children} if note.children else dict(note.options)
    if of_files:
        check(note.encoder)
    module, _, name = note.encoder.partition(":")
    function: Encoder = getattr(import_module(module), name)
    added = function(data, options, target)
    return dict(added) if isinstance(added, dict) else {}


def key_path(key: str) -> tuple[str, ...]:
    """A key as folders and a name, with nothing in it that leads elsewhere or that a file system refuses.

    Slashes make folders, as in wandb; "." and ".." become "_" and "__"; what is too long is cut, and stays apart by a hash.
    """
    parts = [part for part in key.split("/") if part]
    if len(parts) > MAX_PARTS:
        parts = [*parts[: MAX_PARTS - 1], "_".join(parts[MAX_PARTS - 1 :])]
    return tuple(_part(part) for part in parts) or ("_",)


def _part(part: str) -> str:
    part = "_" * len(part) if part in (".", "..") else _UNSAFE.sub("_", part)
    encoded = part.encode("utf-8", "replace")
    if len(encoded) > MAX_PART_BYTES:
        mark = hashlib.sha256(encoded).hexdigest()[:8]
        part = encoded[: MAX_PART_BYTES - 9].decode("utf-8", "ignore") + "~" + mark
    return part


def _parts(folder: str) -> tuple[str, ...]:
    return key_path(folder)


class _Root:
    """A folder of a run that is entered step by step, never through a link, and in which everything is done by descriptor."""

    def __init__(self, run_dir: Path, parts: tuple[str, ...]) -> None:
        self._prefix = "/".join(parts)
        self._fd = os.open(run_dir, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            for part in parts:
                inner = _enter(self._fd, part)
                os.close(self._fd)
                self._fd = inner
        except BaseException:
            os.close(self._fd)
            raise

    def close(self) -> None:
        os.close(self._fd)

    @contextlib.contextmanager
    def temporary(self) -> Any:
        """A file to write in, and its name here. It is gone afterwards unless it got another name."""
        name = f".{os.getpid()}-{os.urandom(6).hex()}.new"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        try:
            with open(os.open(name, flags, 0o644, dir_fd=self._fd), "w+b") as file:
                yield file, name
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._fd)

    def place(self, temporary: str, note: Note, short: str) -> str:
        """Give a complete file its name; its path in the run."""
        *folders, name = key_path(note.key)
        name = f"{name}_{note.step}_{short}.{note.extension}"
        with contextlib.ExitStack() as stack:
            place = self._fd
            for folder in folders:
                place = _enter(place, folder)
                stack.callback(os.close, place)
            os.rename(temporary, name, src_dir_fd=self._fd, dst_dir_fd=place)
        return "/".join((self._prefix, *folders, name))

    def has(self, path: str, size: int) -> bool:
        """Whether a file of this path in the run is there, with so many bytes."""
        try:
            found = os.stat(path.removeprefix(self._prefix + "/"), dir_fd=self._fd, follow_symlinks=False)
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == size

    def listed(self, extension: str) -> dict[str, str]:
        """Hash to path of the files of one extension that are here already."""
        found: dict[str, str] = {}
        for folder, _, names, _ in os.fwalk(".", dir_fd=self._fd):
            below = "" if folder == "." else folder.removeprefix("./") + "/"
            for name in names:
                match = _HASH.search(name)
                if match and name[match.end() :] == extension and not name.startswith("."):
                    found[match[1]] = f"{self._prefix}/{below}{name}"
        return found


def _enter(parent: int, name: str) -> int:
    """A folder in a folder, made when missing. Raises OSError when something else, or a link, stands there."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=parent)
    return os.open(name, _FOLDER, dir_fd=parent)


def _measure(file: BinaryIO) -> tuple[int, str]:
    """Size and sha256 of what was written, which is on the disk afterwards."""
    file.flush()
    file.seek(0)
    digest = hashlib.sha256()
    size = 0
    while piece := file.read(1 << 20):
        digest.update(piece)
        size += len(piece)
    if not size:
        raise ValueError("the encoder wrote nothing")
    os.fdatasync(file.fileno()) if hasattr(os, "fdatasync") else os.fsync(file.fileno())
    return size, digest.hexdigest()
