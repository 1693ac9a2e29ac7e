"""Splitting: an exporter of two signals. Named in a config file it is made once per signal; as an object it serves both."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from milepost.sdk.batch import Batch
from milepost.sdk.event import Event
from milepost.sdk.exporter import ExportResult, Position, RunInfo

if TYPE_CHECKING:
    from milepost.exporters.otlp.signal_exporter import SignalExporter


class Splitting:
    """Exports to each of its parts; made for one signal, it is that part."""

    takes_rows = True
    self_metrics = True

    def __init__(self, parts: "Mapping[str, SignalExporter]") -> None:
        self._parts = parts
        self.wants = frozenset[str]().union(*(part.wants for part in parts.values()))
        self._batch: tuple[int, int, int] = (0, 0, 0)
        self._results: dict[str, ExportResult] = {}

    def start(self, run: RunInfo, position: Position | None) -> None:
        """Note the run; connections are opened by the first export."""
        self._batch, self._results = (0, 0, 0), {}
        for signal, part in self._parts.items():
            part.start(run, position if len(self._parts) == 1 else (position or {}).get(signal))

    def position(self) -> dict[str, Any]:
        """The counts of points and records, and what later batches depend on."""
        told = {signal: part.position() for signal, part in self._parts.items()}
        return next(iter(told.values())) if len(told) == 1 else told

    def export(self, batch: Sequence[Event]) -> ExportResult:
        """Export to each signal. An object made for both at once repeats nothing at one while the other waits."""
        if len(self._parts) == 1:
            (part,) = self._parts.values()
            return part.export(batch)
        this = signature(batch)
        if this != self._batch:
            self._batch, self._results = this, {}
        for signal, part in self._parts.items():
            if signal not in self._results:
                result = part.export([event for event in batch if event.kind in part.wants])
                if result.outcome == "retry":
                    return result
                self._results[signal] = result
        self._batch = (0, 0, 0)
        return max(self._results.values(), key=lambda result: result.count, default=ExportResult.SUCCESS)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held back."""
        return True

    def shutdown(self, timeout_millis: int = 30_000) -> None:
        """Close all connections, also where one of them raises: what the first raised is raised once all are closed."""
        with contextlib.ExitStack() as stack:
            for part in reversed(list(self._parts.values())):
                stack.callback(part.shutdown, timeout_millis)


def signature(batch: Sequence[Event]) -> tuple[int, int, int]:
    """What tells a batch that comes again from another one of the same writer."""
    if isinstance(batch, Batch) and batch:
        return batch.first_seq, batch.last_seq, len(batch)
    return (batch[0].seq, batch[-1].seq, len(batch)) if batch else (0, 0, 0)
