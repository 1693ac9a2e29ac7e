"""Trimming: `journal: {keep: undelivered}` removes the segments that every exporter has behind it."""

from collections.abc import Iterable
from pathlib import Path

from milepost.sdk.cursor import load_cursor
from milepost.sdk.journal import segment_name


def trim(writer_dir: Path, exporters: Iterable[str]) -> None:
    """Remove the segments before the one in which the slowest of these exporters stands, as its stored cursor says."""
    needed = min((load_cursor(writer_dir / f"cursor-{name}.json", name).segment for name in exporters), default=0)
    for index in range(needed - 1, -1, -1):
        try:
            (writer_dir / segment_name(index)).unlink()
        except OSError:  # removed before, and with it all that are older
            break
