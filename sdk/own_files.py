"""Files of a run, never written through a link: where others can write the directory, a link may lead to any file of ours."""

import contextlib
import os
from pathlib import Path
from typing import IO, Final

_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def open_own(path: Path, *, buffered: bool = False) -> IO[bytes]:
    """The file for reading and writing, made when it is not there. Raises OSError, ELOOP for a link.

    buffered: False for a file of which the system has what `write` took.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o666)
    return os.fdopen(descriptor, "r+b") if buffered else os.fdopen(descriptor, "r+b", buffering=0)


def write_whole(path: Path, content: bytes, fresh: Path | None = None) -> None:
    """Put a whole new file in the place of the old one, or of a link. Raises OSError, and then the old one stands.

    fresh: where it is written first, on the same file system.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new") if fresh is None else fresh
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _NO_LINK, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(fresh, path)
    except OSError:
        with contextlib.suppress(OSError):  # the first error is the one to tell; a link, too, is removed here
            fresh.unlink(missing_ok=True)
        raise
