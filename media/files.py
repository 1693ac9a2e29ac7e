"""Files: the bytes of what a program names, read once, when the media object is made, and checked to be what they claim.

Only regular files are read, and only up to `MAX_BYTES`: a pipe or a device never makes a program wait, a directory is
refused, and what the file becomes afterwards changes nothing.
"""

import io
import os
import stat
from pathlib import Path
from typing import Any, Final

from milepost.sdk.errors import DataError, MediaFileError

MAX_BYTES: Final = 512 * 2**20
"""The largest file that is logged as media; larger ones belong to `milepost.save()`."""
_OPEN: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


def is_path(value: Any) -> bool:
    """Whether a value names a file."""
    return isinstance(value, (str, os.PathLike))


def is_bytes(value: Any) -> bool:
    """Whether a value holds a file's bytes: bytes, or an object with `read`."""
    return isinstance(value, (bytes, bytearray, memoryview)) or callable(getattr(value, "read", None))


def suffix(path: str | os.PathLike[str]) -> str:
    """The extension of a path, lower case, without the dot; "pts.json" is one extension."""
    name = Path(os.fspath(path)).name.lower()
    if name.endswith(".pts.json"):
        return "pts.json"
    return name.rpartition(".")[2] if "." in name else ""


def read(value: Any, owner: str) -> bytes:
    """The bytes of a path, of bytes, or of an object open for reading. owner: "Image", for messages.

    Raises `MediaFileError` (also a FileNotFoundError) for a path that is not there, DataError for what is no regular file,
    cannot be read, is empty or too large.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _checked(bytes(value), f"{len(value)} bytes", owner)
    if is_path(value):
        return _checked(_read_path(value, owner), str(value), owner)
    if isinstance(value, io.BytesIO):
        return _checked(value.getvalue(), "the buffer", owner)
    name = str(getattr(value, "name", "the open file"))
    if getattr(value, "closed", False):
        raise DataError(f"{owner}: {name} is closed; give its path, or an open file")
    try:
        data = value.read(MAX_BYTES + 1)
    except Exception as error:  # noqa: BLE001 - it may be any object; a file that is open as text raises for most bytes
        raise DataError(
            f"{owner}: reading {name} raised {error}; open it for reading bytes, as with open(path, 'rb')"
        ) from None
    if isinstance(data, str):
        data = data.encode()
    if not isinstance(data, bytes):
        raise DataError(f"{owner}: reading {name} gave {type(data).__name__}; open it for reading bytes")
    return _checked(data, name, owner)


def _read_path(path: Any, owner: str) -> bytes:
    text = os.fspath(path)
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    if "://" in text[:12]:
        raise DataError(
            f"{owner}: {text!r} is an address; nothing is downloaded. Give a file of this machine, or its bytes"
        )
    if "\0" in text:
        raise DataError(f"{owner}: the path {text!r} holds a NUL character")
    try:
        descriptor = os.open(os.path.expanduser(text), _OPEN)
    except FileNotFoundError:
        raise MediaFileError(f"{owner}: there is no file {text!r} (from {os.getcwd()})") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{owner}: {text!r} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise DataError(f"{owner}: {text!r} is not a regular file")
    with open(descriptor, "rb") as file:
        if found.st_size > MAX_BYTES:
            raise DataError(
                f"{owner}: {text!r} has {found.st_size:,} bytes; media may have {MAX_BYTES:,}. Copy it into the run with "
                "milepost.save()"
            )
        return file.read(MAX_BYTES + 1)


def _checked(data: bytes, name: str, owner: str) -> bytes:
    if not data:
        raise DataError(f"{owner}: {name} is empty")
    if len(data) > MAX_BYTES:
        raise DataError(f"{owner}: {name} has more than {MAX_BYTES:,} bytes; copy it into the run with milepost.save()")
    return data
