"""The files of a writer, opened so that none of them can hurt the reader.

Only regular files are read, never through a link, never waiting (a FIFO in the folder does not block), never for writing.
Whatever else stands there is a `Problem`: told, set aside, and the rest is read.
"""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

RING_PAGE: Final = 4096
"""Bytes of a ring before its first frame."""

KEYS_FILE: Final = "keys.mpj"
_SEGMENT = re.compile(r"\d{6,}\.mpj", re.ASCII)
_WRITER = re.compile(r"[0-9a-f]{16}", re.ASCII)
_FLAGS: Final = ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
_OPEN: Final = sum((getattr(os, flag, 0) for flag in _FLAGS), os.O_RDONLY)
_SMALL: Final = 16 << 20
"""Bytes: more than any writer.json or run.json; what is larger is not one."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something a reader could not read.

    file:       where.
    offset:     byte of the file where it begins.
    size_bytes: how much; 0 when the file as a whole was set aside.
    text:       what is wrong, and what to do when there is something to do.
    missing:    ranges of seq (first, last) that stand in no file of this writer.
    """

    file: Path
    offset: int
    size_bytes: int
    text: str
    missing: tuple[tuple[int, int], ...] = ()


class Unreadable(Exception):
    """A file that is set aside; the text says why."""


@dataclass(frozen=True, slots=True)
class Source:
    """Bytes that hold frames: a segment file, or the copy of a ring taken when the reader was opened.

    start: byte of the first frame. size_bytes: how much to read (a file may have grown since).
    """

    path: Path
    start: int
    size_bytes: int
    data: bytes | None = None
    ring: bool = False

    def read(self) -> bytes:
        """All its bytes. Raises `Unreadable`."""
        return self.data if self.data is not None else read_file(self.path, self.size_bytes)

    def pick(self, spans: list[tuple[int, int]]) -> list[bytes]:
        """The bytes of each (start, end), with one open and no more than those bytes read. Raises `Unreadable`."""
        if self.data is not None:
            return [self.data[a:b] for a, b in spans]
        descriptor, _ = open_regular(self.path)
        try:
            if hasattr(os, "pread"):
                return [os.pread(descriptor, b - a, a) for a, b in spans]
            picked: list[bytes] = []
            for a, b in spans:
                os.lseek(descriptor, a, os.SEEK_SET)
                picked.append(os.read(descriptor, b - a))
            return picked
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror}") from None
        finally:
            os.close(descriptor)


def read_file(path: Path, limit: int | None = None) -> bytes:
    """The bytes of a regular file, at most limit. Raises `Unreadable` for anything else, and never waits."""
    descriptor, size = open_regular(path)
    try:
        wanted = size if limit is None else min(size, limit)
        chunks: list[bytes] = []
        while wanted > 0:
            chunk = os.read(descriptor, min(wanted, 1 << 30))
            if not chunk:
                break
            chunks.append(chunk)
            wanted -= len(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON object. Raises `Unreadable`."""
    try:
        value = msgspec.json.decode(read_file(path, _SMALL))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unreadable("is not JSON") from None
    if not isinstance(value, dict):
        raise Unreadable("is not a JSON object")
    return value


def open_regular(path: Path) -> tuple[int, int]:
    """(descriptor, size in bytes) of a regular file."""
    try:
        descriptor = os.open(path, _OPEN)
    except FileNotFoundError:
        raise Unreadable("is gone") from None
    except (OSError, ValueError) as error:
        raise Unreadable(f"cannot be opened: {getattr(error, 'strerror', None) or error}") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise Unreadable("is not a regular file")
    return descriptor, status.st_size


def writer_dirs(run_dir: Path) -> list[Path]:
    """The folders of a run's writers, by name; links and anything else are passed over."""
    try:
        with os.scandir(run_dir / "journal") as entries:
            return sorted(
                Path(e.path) for e in entries if _WRITER.fullmatch(e.name) and e.is_dir(follow_symlinks=False)
            )
    except OSError:
        return []


def segments(writer_dir: Path, start: int) -> tuple[list[tuple[int, Source]], list[Problem]]:
    """The segment files of a writer as (index, source) in order of index, and what carries such a name but is none."""
    found: list[tuple[int, Source]] = []
    problems: list[Problem] = []
    try:
        with os.scandir(writer_dir) as entries:
            for entry in entries:
                if not _SEGMENT.fullmatch(entry.name):
                    continue
                path = Path(entry.path)
                if entry.is_file(follow_symlinks=False):
                    size = entry.stat(follow_symlinks=False).st_size
                    found.append((int(entry.name[:-4]), Source(path, start, size)))
                else:
                    problems.append(Problem(path, 0, 0, "is not a regular file: set aside"))
    except OSError as error:
        problems.append(Problem(writer_dir, 0, 0, f"cannot be listed: {error.strerror}"))
    return sorted(found, key=lambda item: item[0]), problems


def ring_files(writer: str, info: dict[str, Any], writer_dir: Path) -> Iterator[Path]:
    """The ring files this writer may have in shared memory, each once, in the order of their numbers."""
    seen: set[Path] = set()
    named = info.get("ring")
    for text in named if isinstance(named, list) else ():
        if isinstance(text, str) and text:
            path = Path(text)
            if path not in seen:
                seen.add(path)
                yield path
    for user in sorted(_users(writer_dir)):
        folder = Path(os.environ.get("MILEPOST_SHM", "/dev/shm")) / f"milepost-{user}"  # noqa: S108 - as in ring.py
        try:
            names = sorted(n for n in os.listdir(folder) if n.startswith(writer + "-") and n.endswith(".ring"))
        except OSError:
            continue
        for name in names:
            if folder / name not in seen:
                seen.add(folder / name)
                yield folder / name


def _users(writer_dir: Path) -> set[int]:
    """Whose rings to look for: mine, and those of whoever owns the folder."""
    users = {os.getuid()} if hasattr(os, "getuid") else {0}
    try:
        users.add(writer_dir.stat().st_uid)
    except OSError:
        pass  # the folder went away: its segments will say so
    return users
