"""Card: what a run says of itself, put together from one reading of its journal; `ls` and `show` print it."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from milepost.sdk.api import Run
from milepost.sdk.cli.out import iso
from milepost.sdk.metrics import AGGREGATES
from milepost.sdk.reader import RunReader
from milepost.sdk.reading import replay
from milepost.sdk.reading.history import Selection
from milepost.sdk.reading.rows import Wish


class Card(msgspec.Struct, kw_only=True):
    """One attempt of a run.

    rows:       of the writers that speak for it; those that a resumed run replaced are not counted.
    last_step:  None without rows.          duration_s: None when nothing tells.
    ended_unix_nano: None while it runs.    summary: nested.
    """

    run: Run
    reader: RunReader
    selection: Selection
    state: str
    rows: int
    last_step: int | None
    duration_s: float | None
    ended_unix_nano: int | None
    summary: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        run = self.run
        return {
            "path": run.path,
            "project": run.project,
            "id": run.id,
            "name": run.name,
            "state": self.state,
            "group": run.group,
            "job_type": run.job_type,
            "tags": run.tags,
            "notes": run.notes,
            "attempt": self.reader.attempt,
            "attempts": self.reader.attempts,
            "created_at": iso(run.created_unix_nano),
            "ended_at": None if self.ended_unix_nano is None else iso(self.ended_unix_nano),
            "duration_s": self.duration_s,
            "rows": self.rows,
            "last_step": self.last_step,
            "summary": {key: value for key, value in self.summary.items() if not key.startswith("_")},
            "dir": str(run.dir.absolute()),
        }


def card(run: Run) -> Card:
    """Read what a run says of itself."""
    reader = run.reader()
    selection = reader.select()
    summary = replay.summary(selection.writers)
    state = run.state
    ends = reader.events("run.finish") if state != "running" else []
    ended, duration_s = None, None
    if ends:
        ended, duration_s = ends[-1].time_unix_nano, ends[-1].runtime_s
    elif state == "running":
        duration_s = time.time() - run.created_unix_nano / 1e9
    elif isinstance(last := summary.get("_timestamp"), float):
        ended, duration_s = int(last * 1e9), summary.get("_runtime")
    step = summary.get("_step")
    return Card(
        run=run,
        reader=reader,
        selection=selection,
        state=state,
        rows=count_rows(selection),
        last_step=step if isinstance(step, int) else None,
        duration_s=duration_s,
        ended_unix_nano=ended,
        summary=summary,
    )


def count_rows(selection: Selection) -> int:
    """How many rows stand."""
    if any(selection.cuts(writer) for writer in selection.writers):
        return selection.sample(Wish(keys=("_step",)), lambda value: value, 1)[1]
    return sum(writer.survey.rows + (writer.survey.leftover is not None) for writer in selection.writers)


def leaves(summary: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a summary under dotted names; media and sets of aggregates are values."""
    for key, value in summary.items():
        inner = isinstance(value, Mapping) and value and "_type" not in value and not set(value) <= set(AGGREGATES)
        if inner:
            yield from leaves(value, f"{prefix}{key}.")
        elif prefix or not key.startswith("_"):
            yield prefix + key, value
