"""Cursor: how far one exporter is in one writer's journal, stored beside it."""

import contextlib
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from milepost.sdk.own_files import write_whole

FILES: Final = frozenset(("file", "media"))
"""The kinds of events that tell of a file."""


class Cursor(msgspec.Struct, kw_only=True):
    """How far one exporter is in one writer's journal, and the rows it has accounted for. Stored as cursor-NAME.json.

    wants: the kinds of events that an exporter takes which takes no rows; empty for one that does.
    """

    exporter: str
    segment: int = 0
    offset: int = 0
    seq: int = -1
    delivered: int = 0
    filtered: int = 0
    rejected: dict[str, int] = {}
    dropped: dict[str, int] = {}
    position: dict[str, Any] = {}
    wants: tuple[str, ...] = ()
    last_error: str = ""
    stored_unix_nano: int = 0

    @property
    def rows(self) -> int:
        """Rows accounted for: all that were logged except those still pending."""
        return self.delivered + self.filtered + sum(self.rejected.values()) + sum(self.dropped.values())

    @property
    def things(self) -> str:
        """What people call that which it delivers: rows, files, or other events."""
        return "rows" if not self.wants else "files" if FILES.issuperset(self.wants) else "events"


def load_cursor(path: Path, exporter: str) -> Cursor:
    """The stored cursor, or a new one where none is stored or it cannot be read."""
    try:
        cursor = msgspec.json.decode(path.read_bytes(), type=Cursor)
    except (OSError, msgspec.DecodeError):
        return Cursor(exporter=exporter)
    cursor.exporter = exporter
    return cursor


def store_cursor(path: Path, cursor: Cursor) -> None:
    """Store a cursor so that a crash leaves the old or the new one."""
    cursor.stored_unix_nano = time.time_ns()
    write_whole(path, msgspec.json.encode(cursor), path.with_name(path.name + ".new"))


def store_first(path: Path, exporter: str, wants: tuple[str, ...] = ()) -> None:
    """Store a new cursor where none is stored: program and shipper both do, and neither may put it in place of the other's.

    Raises OSError. A file that a crash left empty reads as a new cursor, too.
    """
    with contextlib.suppress(FileExistsError), open(path, "xb") as file:
        file.write(msgspec.json.encode(Cursor(exporter=exporter, wants=wants, stored_unix_nano=time.time_ns())))
