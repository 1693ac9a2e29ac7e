"""Set aside: rows that a back end refused for good, kept beside the journal so that nothing is lost silently.

    RUN_DIR/journal/WRITER/rejected-NAME.jsonl

One line a row, with its number, step, time, the reason, and its values, where it is known which rows were refused; else one
line for the batch: the numbers it spans, and how many of them. Values stand there in full up to MAX_BYTES; the journal has
them too, unless it is trimmed.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from milepost.sdk.event import Event
from milepost.sdk.strict_json import json_lines

MAX_BYTES: Final = 64 * 2**20


def set_aside(writer_dir: Path, exporter: str, events: Sequence[Event], refused: int, reason: str) -> Path:
    """Write down what was refused of these events; the file. Raises OSError.

    refused: how many of the rows. All of them when it is their number, or when the events hold no row.
    """
    path = writer_dir / f"rejected-{exporter}.jsonl"
    rows = [event for event in events if event.kind == "row"] or list(events)
    room = not path.exists() or path.stat().st_size < MAX_BYTES
    lines: list[dict[str, Any]]
    if room and refused in (0, len(rows)):
        lines = [
            {
                "seq": event.seq,
                "kind": event.kind,
                "step": event.step,
                "time_unix_nano": event.time_unix_nano,
                "reason": reason,
                "values": event.values,
            }
            for event in rows
        ]
    else:
        lines = [{"first": rows[0].seq, "last": rows[-1].seq, "refused": refused, "reason": reason}]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        os.write(descriptor, json_lines(lines))
    finally:
        os.close(descriptor)
    return path
