"""memory: everything a run said, kept in lists, for tests.

memory = MemoryExporter()
with milepost.init(project="test", exporters=[memory]) as run:
    train()
assert memory.rows[-1]["loss"] < 0.1
"""

import threading
from collections.abc import Iterable, Sequence
from typing import Any

from milepost.exporters.jsonl import row
from milepost.sdk.event import Event
from milepost.sdk.exporter import ExportResult, Position, RunInfo


class MemoryExporter:
    """Keeps the events it is given.

    events:  all events taken, in order.
    batches: every call of export(), also those that were refused.
    runs:    what start() was told.
    results: what export() answers, one result per call, before it answers SUCCESS for good; an exception is raised.
    """

    name = "memory"

    def __init__(self, results: Iterable[ExportResult | Exception] = ()) -> None:
        self.events: list[Event] = []
        self.batches: list[list[Event]] = []
        self.runs: list[RunInfo] = []
        self.closed = False
        self._results = list(results)
        self._lock = threading.Lock()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows, each a dict with `_step`, `_timestamp`, `_runtime` and the flat values."""
        with self._lock:
            return [row(event) for event in self.events if event.kind == "row"]

    @property
    def summary(self) -> dict[str, Any]:
        """The summary a finished run closed with; empty while it goes on."""
        with self._lock:
            finished = [event for event in self.events if event.kind == "run.finish"]
        return dict(finished[-1].values.get("summary", {})) if finished else {}

    def of_kind(self, kind: str) -> list[Event]:
        """The events of one kind."""
        with self._lock:
            return [event for event in self.events if event.kind == kind]

    def clear(self) -> None:
        """Forget all that was taken."""
        with self._lock:
            self.events.clear()
            self.batches.clear()

    def start(self, run: RunInfo, position: Position | None) -> None:
        """Note the run."""
        self.runs.append(run)

    def export(self, batch: Sequence[Event]) -> ExportResult:
        """Keep the events, unless the script of results says otherwise."""
        with self._lock:
            self.batches.append(list(batch))
            result = self._results.pop(0) if self._results else ExportResult.SUCCESS
            if isinstance(result, Exception):
                raise result
            if result.outcome != "retry":
                self.events.extend(batch)
        return result

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held back."""
        return True

    def shutdown(self, timeout_millis: int = 30_000) -> None:
        """Note it; what was kept stays readable."""
        self.closed = True
