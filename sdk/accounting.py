"""Accounting: where every row of a writer is, per exporter, counted from the journal and from the exporter's cursor apart.

    logged = delivered + pending + filtered + rejected + dropped

`logged` and `pending` are counted in the journal, the others are what the cursor says; so the sum is a check, not a
definition. Rows that are damaged today may have been delivered before: where numbers are missing, the difference may be as
large as they are many.
"""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from milepost.sdk import frame
from milepost.sdk.cursor import Cursor, load_cursor
from milepost.sdk.reading.writer import ROWS, WriterReader

LIVE_ONLY: Final = frozenset(("console", "memory"))
"""Exporters that speak to the program itself: once it is gone, nobody wants their rows."""


class Account(msgspec.Struct, kw_only=True):
    """The rows of one writer as one exporter sees them.

    logged:     rows in the journal, the shared memory and the open row; and those that were dropped before they got there.
    pending:    those behind the cursor, still to be delivered.      lag_s: how old the oldest of them is; None without any.
    of:         "rows"; of an exporter that takes none "files" or "events": to that one every row counts as filtered.
    waiting:    how many of these events, files for instance, are behind the cursor.
    rejected, dropped: by reason.      missing: numbers that stand in no file of the writer.      cursor: where it is stored.
    """

    writer: str
    exporter: str
    alive: bool
    logged: int
    delivered: int
    pending: int
    filtered: int
    rejected: dict[str, int]
    dropped: dict[str, int]
    missing: int = 0
    last_error: str = ""
    lag_s: float | None = None
    cursor: dict[str, int] = {}
    of: str = "rows"
    waiting: int = 0

    @property
    def behind(self) -> int:
        """How much waits of what the exporter delivers."""
        return self.pending if self.of == "rows" else self.waiting

    @property
    def difference(self) -> int:
        """Rows logged that the other figures do not account for; below zero when they account for too many."""
        settled = self.delivered + self.filtered + sum(self.rejected.values()) + sum(self.dropped.values())
        return self.logged - settled - self.pending

    @property
    def holds(self) -> bool:
        """Whether the identity holds, as far as what is left of the journal can tell."""
        return abs(self.difference) <= self.missing

    @property
    def live_only(self) -> bool:
        """Whether its pending rows are of no use to anybody: those of a console whose program is gone."""
        return self.exporter in LIVE_ONLY and not self.alive


def account(writer: WriterReader, cursor: Cursor, missing: int = 0, trimmed: int = 0) -> Account:
    """The account of one exporter, whose cursor may not be stored yet.

    missing: numbers that `check()` found missing of the writer. trimmed: see `trimmed_rows`.
    """
    logged, pending, lag_s = _counts(writer, cursor.seq)
    logged += trimmed
    filtered, waiting = cursor.filtered, 0
    if cursor.wants:
        filtered, pending = filtered + pending, 0
        waiting, lag_s = _events_behind(writer, cursor)
    return Account(
        writer=writer.id,
        exporter=cursor.exporter,
        alive=writer.alive,
        logged=logged,
        delivered=cursor.delivered,
        pending=pending,
        filtered=filtered,
        rejected=dict(cursor.rejected),
        dropped=dict(cursor.dropped),
        missing=missing,
        last_error=cursor.last_error,
        lag_s=lag_s,
        cursor={"segment": cursor.segment, "offset": cursor.offset, "seq": cursor.seq},
        of=cursor.things,
        waiting=waiting,
    )


def stored_cursors(writer_dir: Path) -> dict[str, Cursor]:
    """The cursors of a writer's exporters by name. Read them before its journal: then no row is counted as settled that
    the journal did not show yet."""
    found: dict[str, Cursor] = {}
    for path in sorted(writer_dir.glob("cursor-*.json")):
        name = path.name[len("cursor-") : -len(".json")]
        found[name] = load_cursor(path, name)
    return found


def trimmed_rows(writer: WriterReader, cursors: Iterable[Cursor]) -> int:
    """Rows that are in the journal no more (`keep: undelivered`), as the exporters that had them tell; they must agree."""
    if not writer.trimmed:
        return 0
    found = 0
    for cursor in cursors:
        present, pending, _ = _counts(writer, cursor.seq)
        found = max(found, cursor.rows - (present - pending))
    return found


def logged_rows(writer: WriterReader) -> int:
    """Rows of one writer that are in its journal or ring, the open one and the dropped ones included."""
    return _counts(writer, -1)[0]


def _counts(writer: WriterReader, after: int) -> tuple[int, int, float | None]:
    """Rows in all, rows numbered above `after`, and the age of the oldest of these in seconds."""
    logged = pending = 0
    oldest: int | None = None
    for block in writer.blocks():
        rows = block.where(*ROWS)
        behind = np.flatnonzero(rows & (block.seq > after))
        logged += int(rows.sum())
        pending += len(behind)
        if len(behind) and oldest is None:
            first = writer.payload(block, int(behind[0]))
            oldest = int(first[1]) if first is not None else None
        for i in np.flatnonzero(block.where(frame.GAP)).tolist():
            gap: Any = writer.payload(block, i)
            if gap is not None:
                width = int(gap[1]) - int(gap[0]) + 1
                logged += width
                pending += width if int(gap[0]) > after else 0
    leftover = writer.survey.leftover
    if leftover is not None:
        logged += 1
        pending += 1
        oldest = oldest or leftover.time_unix_nano
    return logged, pending, None if oldest is None else max(time.time() - oldest / 1e9, 0.0)


def _events_behind(writer: WriterReader, cursor: Cursor) -> tuple[int, float | None]:
    """How many events of the kinds that an exporter wants are behind its cursor, and the age of the oldest in seconds."""
    times: list[int] = []
    for block in writer.blocks():
        for i in np.flatnonzero(block.where(frame.EVENT) & (block.seq > cursor.seq)).tolist():
            event: Any = writer.payload(block, i)
            if event is not None and event[4] in cursor.wants:
                times.append(int(event[1]))
    return len(times), max(time.time() - min(times) / 1e9, 0.0) if times else None
