"""Payload files: how payloads lie in shared memory and on disk, and how they are read back by whoever comes after a SIGKILL.

One payload (WRITER-N.stash in shared memory, N.stash in the journal's directory):

    "MPSTASH\\x01" | note bytes u32 | crc of the note u32 | note, as msgpack | zeros up to a page | the payload's bytes

Many of one size (WRITER-slabN.stash, see slab.py): a page that says whose it is, and places, each of them like the above.

    "MPSLAB\\x00\\x01" | note bytes u32 | crc of the note u32 | note: `size` of a place, `number` of them | zeros | places

A payload's head is written last and removed first: where a head in shared memory is whole, what stands behind it is, too; on disk
the note holds a checksum of the bytes besides.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import msgspec

from milepost.sdk.gone import Whereabouts
from milepost.sdk.ring import shared_memory

PAGE: Final = 4096
MAGIC: Final = b"MPSTASH\x01"
SLAB: Final = b"MPSLAB\x00\x01"
HEAD: Final = 16
_MAX_NOTE: Final = 2**24
_NOTHING: Final = frozenset((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.EACCES))
"""What opening and reading says of what is no payload's file; anything else says that it cannot be read just now."""


class Note(msgspec.Struct, kw_only=True, frozen=True):
    """What is said of a payload beside its bytes.

    key, step: as the file's name has them (step is "summary" for what was set by hand).    size: bytes of the payload.
    crc:       of the bytes, on disk only.    begin: where they begin, when not on the first page behind the note.
    children:  mappings as in `Payload`, stored.
    lies:      where the run's directory lies, see `gone.py`.    kept: when it was kept, seconds since 1970.
    """

    writer: str
    number: int
    run_dir: str
    key: str
    step: str
    folder: str
    extension: str
    encoder: str
    options: dict[str, Any]
    children: list[Any] = []
    size: int = 0
    crc: int | None = None
    begin: int = 0
    lies: Whereabouts = Whereabouts()
    kept: float = 0.0


encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Note).decode


def begin(note_bytes: int) -> int:
    """Where the payload begins."""
    return -(-(HEAD + note_bytes) // PAGE) * PAGE


def start(note: bytes, magic: bytes = MAGIC) -> bytes:
    """A file up to the payload's first byte. note: encoded."""
    head = magic + len(note).to_bytes(4, "little") + crc32(note).to_bytes(4, "little") + note
    return head.ljust(begin(len(note)), b"\0")


def files(writer: str, directory: Path) -> Iterator[Path]:
    """The payload files of a writer, in memory and in its journal directory, in no order."""
    for folder, pattern in ((shared_memory(), f"{writer}-*.stash"), (directory, "*.stash")):
        with contextlib.suppress(OSError):
            yield from folder.glob(pattern)


def places(path: Path) -> list[int]:
    """Where payloads lie in a file, those that were released excepted. Raises OSError for what cannot be read just now."""
    file = _opened(path)
    if file is None:
        return []
    with file:
        found = _head(file, 0)
        if found is None:
            return []
        magic, note, size, _ = found
        return [0] if magic == MAGIC else [at for at, _ in _held(file, note, begin(size))]


def read(path: Path, at: int = 0) -> tuple[Note, memoryview] | None:
    """The payload in a place; None for what is none, empty, damaged, or gone. Raises OSError for what cannot be read just now:
    where descriptors are few it is still there.
    """
    file = _opened(path)
    if file is None:
        return None
    with file:
        found = _head(file, at)
        if found is None or found[0] != MAGIC:
            return None
        _, note, size, head = found
        file.seek(at + (note.begin or begin(size)))
        data = _whole(file, note.size)
        file.seek(at)
        again = file.read(HEAD)  # it may have been released, and used again, while it was read
    if len(data) != note.size or again != head or (note.crc is not None and crc32(data) != note.crc):
        return None
    return note, memoryview(data)


def owner(path: Path) -> Note | None:
    """Whose a file in shared memory is, also one that holds nothing: by the last payload in it; None where it is not known."""
    try:
        file = _opened(path)
        if file is None:
            return None
        with file:
            found = _head(file, 0, free=True)
            if found is None:
                return None
            magic, note, size, _ = found
            held = [note for _, note in _held(file, note, begin(size))] if magic == SLAB else []
            return max(held, key=lambda each: each.kept, default=note)
    except OSError:
        return None


def _opened(path: Path) -> FileIO | None:
    """A file to read from, without a buffer, which would say what stood there before; None where there is none."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
    try:
        return FileIO(path, opener=lambda name, _: os.open(name, flags))
    except OSError as error:
        if error.errno in _NOTHING:
            return None
        raise


def _whole(file: FileIO, size: int) -> bytes:
    """So many bytes, or less at the end of the file: one call reads 2 GiB at the most."""
    data = file.read(size)
    while len(data) < size and (more := file.read(size - len(data))):
        data += more
    return data


def _head(file: FileIO, at: int, *, free: bool = False) -> tuple[bytes, Note, int, bytes] | None:
    """Magic, note, the note's bytes, and the head that said so. free: also of a file whose payload was released."""
    file.seek(at)
    head = file.read(HEAD)
    magic, size = head[:8], int.from_bytes(head[8:12], "little")
    if magic not in (MAGIC, SLAB) and not (free and magic == bytes(8)):
        return None
    if size > min(os.fstat(file.fileno()).st_size, _MAX_NOTE):
        return None
    note = file.read(size)
    if crc32(note) != int.from_bytes(head[12:16], "little"):
        return None
    try:
        return magic, _decode(note), size, head
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None


def _held(file: FileIO, slab: Note, first: int) -> Iterator[tuple[int, Note]]:
    """The places of a slab that hold something, and their notes."""
    size = os.fstat(file.fileno()).st_size
    for number in range(slab.number):
        at = first + number * slab.size
        if at + HEAD > size:
            return
        found = _head(file, at)
        if found is not None and found[0] == MAGIC:
            yield at, found[1]
