"""otlp: rows as OpenTelemetry metrics and log records, over gRPC or HTTP.

Each signal is an exporter of its own, with its own cursor: Prometheus can be down while the logs go on to Loki.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from milepost.exporters.otlp.metrics import MetricsEncoder
from milepost.exporters.otlp.points import KINDS, Selection
from milepost.exporters.otlp.records import WANTS, RecordsEncoder
from milepost.exporters.otlp.resource import attributes, encoded, scope
from milepost.exporters.otlp.shipment import Shipment
from milepost.exporters.otlp.signal_exporter import SignalExporter, signature
from milepost.exporters.otlp.target import SIGNALS, Target, completed, target
from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event
from milepost.sdk.exporter import ExportResult, Position, RunInfo


class OtlpExporter:
    """Both signals, or the one chosen. See `Otlp` in the configuration's declarations for the options.

    Raises ConfigurationError for a signal, protocol, compression, step, body or temporality that does not exist.
    """

    name = "otlp"
    network: ClassVar[bool] = True
    takes_rows = True

    def __init__(
        self,
        protocol: str | None = None,
        endpoint: str | None = None,
        headers: Mapping[str, Any] | None = None,
        headers_list: str | None = None,
        compression: str | None = None,
        timeout: int | None = None,
        tls: Mapping[str, Any] | None = None,
        signals: Sequence[str] = SIGNALS,
        metrics: Mapping[str, Any] | None = None,
        logs: Mapping[str, Any] | None = None,
        step: Literal["companion", "attribute", "none"] = "companion",
        body: Literal["json", "map"] = "json",
        temporality: Literal["cumulative", "delta"] = "cumulative",
        max_series: int = 10_000,
        interval: int = 1,
        detectors: Sequence[str] = (),
    ) -> None:
        if not signals or any(signal not in SIGNALS for signal in signals):
            raise ConfigurationError(f"otlp: signals is {list(signals)!r}; it must hold metrics, logs, or both")
        for option, value, choices in (
            ("step", step, ("companion", "attribute", "none")),
            ("body", body, ("json", "map")),
            ("temporality", temporality, ("cumulative", "delta")),
        ):
            if value not in choices:
                raise ConfigurationError(f"otlp: {option} is {value!r}; it must be one of {', '.join(choices)}")
        options = completed(
            {
                "protocol": protocol,
                "endpoint": endpoint,
                "headers": headers,
                "headers_list": headers_list,
                "compression": compression,
                "timeout": timeout,
                "tls": tls,
                "signals": list(signals),
                "metrics": metrics,
                "logs": logs,
            },
            os.environ,
        )
        self._parts: dict[str, SignalExporter] = {}
        for signal in SIGNALS:
            if signal in signals:
                made = target(signal, options)
                if signal == "metrics":
                    selection = Selection(step=step, max_series=max_series, interval=interval)
                    self._parts[signal] = MetricsExporter(made, selection, temporality, detectors)
                else:
                    self._parts[signal] = LogsExporter(made, body, detectors)

        self.wants = frozenset[str]().union(*(part.wants for part in self._parts.values()))
        self._batch: tuple[int, int, int] = (0, 0, 0)
        self._results: dict[str, ExportResult] = {}

    @staticmethod
    def with_environment(options: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
        """The options with what they leave open filled from OTEL_* variables."""
        return completed(options, environ)

    @staticmethod
    def parts(options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """One exporter for each signal."""
        signals = options.get("signals")
        return {signal: {**options, "signals": [signal]} for signal in (SIGNALS if signals is None else signals)}

    def start(self, run: RunInfo, position: Position | None) -> None:
        """Note the run; connections are opened by the first export."""
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
        return max(self._results.values(), key=lambda result: result.count)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held back."""
        return True

    def shutdown(self, timeout_millis: int = 30_000) -> None:
        """Close both connections."""
        for part in self._parts.values():
            part.shutdown(timeout_millis)


class MetricsExporter(SignalExporter):
    """The metrics signal."""

    wants = KINDS

    def __init__(
        self, where: Target, selection: Selection, temporality: Literal["cumulative", "delta"], detectors: Sequence[str]
    ) -> None:
        super().__init__(f"otlp-{where.signal}", where, detectors)
        self._selection = selection
        self._temporality: Literal["cumulative", "delta"] = temporality

    def position(self) -> dict[str, Any]:
        """Also what later batches depend on: hidden keys, and where histograms begin."""
        return {**super().position(), **self._selection.state()}

    def _prepare(self, run: RunInfo, position: Position) -> None:
        self._encoder = MetricsEncoder(encoded(attributes(run, self._detectors)), scope(), self._temporality)
        self._selection.restore(position)

    def _shipment_of(self, batch: Sequence[Event]) -> Shipment:
        return self._ship(self._selection.select(batch), self._encoder.encode, self._selection.condemned)

    def _settled(self) -> None:
        self._selection.settled()

    def _more_counts(self) -> dict[str, Any]:
        return self._selection.counts()


class LogsExporter(SignalExporter):
    """The log signal."""

    wants = WANTS

    def __init__(self, where: Target, body: Literal["json", "map"], detectors: Sequence[str]) -> None:
        super().__init__(f"otlp-{where.signal}", where, detectors)
        self._body: Literal["json", "map"] = body

    def _prepare(self, run: RunInfo, position: Position) -> None:
        own = {"milepost.writer": run.writer}  # with the number of a row it names that row for ever
        resource = {**attributes(run, self._detectors), **own}
        self._encoder = RecordsEncoder(encoded(resource), scope(), self._body)

    def _shipment_of(self, batch: Sequence[Event]) -> Shipment:
        return self._ship(self._encoder.select(batch), self._encoder.encode)
