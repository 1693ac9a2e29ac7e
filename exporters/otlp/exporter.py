"""otlp: rows as OpenTelemetry metrics and log records, over gRPC or HTTP.

Each signal is an exporter of its own, with its own cursor: Prometheus can be down while the logs go on to Loki.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

from milepost.exporters.otlp.metrics import MetricsEncoder
from milepost.exporters.otlp.points import KINDS, Points, Selection
from milepost.exporters.otlp.records import WANTS, Records, RecordsEncoder
from milepost.exporters.otlp.resource import attributes, encoded, scope
from milepost.exporters.otlp.sender import Sender
from milepost.exporters.otlp.shipment import Counts, Shipment
from milepost.exporters.otlp.target import SIGNALS, Target, completed, target
from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event
from milepost.sdk.exporter import ExportResult, Position, RunInfo

GRPC_LIMIT = 3_500_000
"""Bytes of a request: receivers take 4 MiB unless told otherwise, and the frame around it counts."""
HTTP_LIMIT = 16_000_000


class OtlpExporter:
    """Both signals, or the one chosen. See `Otlp` in the configuration's declarations for the options.

    Raises ConfigurationError for a signal, protocol, compression, step, body or temporality that does not exist.
    """

    name = "otlp"
    network: ClassVar[bool] = True

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


class SignalExporter:
    """What both signals have in common: the destination, the shipment that is on its way, and the counts."""

    wants: frozenset[str] = frozenset()

    def __init__(self, where: Target, detectors: Sequence[str]) -> None:
        self.name = f"otlp-{where.signal}"
        self.target = where
        self.counts = Counts()
        self._detectors = detectors
        self._sender: Sender | None = None
        self._shipment: Shipment | None = None
        self._shipped: tuple[int, int, int] = (0, 0, 0)
        self._said: set[Any] = set()
        self._run: RunInfo | None = None

    def start(self, run: RunInfo, position: Position | None) -> None:
        """Note the run; the connection is opened by the first export."""
        self._run = run
        told = (position or {}).get("counts") or {}
        self.counts.sent = int(told.get("sent") or 0)
        self.counts.rejected = {str(reason): int(count) for reason, count in (told.get("rejected") or {}).items()}
        self._prepare(encoded(attributes(run, self._detectors)), position or {})

    def position(self) -> dict[str, Any]:
        """The counts of points or records, which `milepost doctor` shows."""
        return {"counts": {"sent": self.counts.sent, "rejected": dict(self.counts.rejected), **self._more_counts()}}

    def export(self, batch: Sequence[Event]) -> ExportResult:
        """Send the batch, or what is left of it when it comes again."""
        if self._run is None:
            return ExportResult.retry(f"the exporter {self.name} is not started or was shut down")
        if not batch:
            return ExportResult.SUCCESS
        if self.target.problem:
            return ExportResult.retry(f"endpoint {self.target.endpoint}: {self.target.problem}")
        this = signature(batch)
        if self._shipment is None or this != self._shipped:
            self._shipment, self._shipped = self._shipment_of(batch), this
        result = self._shipment.go()
        if result.outcome != "retry":
            self._shipment = None
            self._settled()
        return result

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held back."""
        return True

    def shutdown(self, timeout_millis: int = 30_000) -> None:
        """Close the connection."""
        if self._sender is not None:
            self._sender.close()
        self._sender = self._shipment = self._run = None

    def _ship(
        self,
        load: Points | Records,
        encode: Callable[[Any], bytes],
        condemned: Callable[[Any], Callable[[Any], Any] | None] | None = None,
    ) -> Shipment:
        self._sender = self._sender or sender_of(self.target)
        limit = GRPC_LIMIT if self.target.protocol == "grpc" else HTTP_LIMIT
        return Shipment(
            load, encode, self._sender, self.counts, limit=limit, condemned=condemned,
            name=f"{self.name} at {self.target.endpoint}", said=self._said,
        )  # fmt: skip

    def _prepare(self, resource: bytes, position: Position) -> None:
        raise NotImplementedError

    def _shipment_of(self, batch: Sequence[Event]) -> Shipment:
        raise NotImplementedError

    def _settled(self) -> None:
        """The batch is settled."""

    def _more_counts(self) -> dict[str, Any]:
        return {}


class MetricsExporter(SignalExporter):
    """The metrics signal."""

    wants = KINDS

    def __init__(
        self, where: Target, selection: Selection, temporality: Literal["cumulative", "delta"], detectors: Sequence[str]
    ) -> None:
        super().__init__(where, detectors)
        self._selection = selection
        self._temporality = temporality

    def position(self) -> dict[str, Any]:
        """Also what later batches depend on: hidden keys, and where histograms begin."""
        return {**super().position(), **self._selection.state()}

    def _prepare(self, resource: bytes, position: Position) -> None:
        self._encoder = MetricsEncoder(resource, scope(), self._temporality)
        self._selection.restore(position)

    def _shipment_of(self, batch: Sequence[Event]) -> Shipment:
        return self._ship(self._selection.select(batch), self._encoder.encode, self._condemned)

    def _settled(self) -> None:
        self._selection.settled()

    def _condemned(self, load: Points) -> Callable[[Points], Points] | None:
        keys = {series.key for series in load.series if self._selection.refused(series.key)}
        return (lambda other: other.without(keys)) if keys else None

    def _more_counts(self) -> dict[str, Any]:
        return {"coalesced": self._selection.coalesced, "left_out": self._selection.left_out}


class LogsExporter(SignalExporter):
    """The log signal."""

    wants = WANTS

    def __init__(self, where: Target, body: Literal["json", "map"], detectors: Sequence[str]) -> None:
        super().__init__(where, detectors)
        self._body: Literal["json", "map"] = body

    def _prepare(self, resource: bytes, position: Position) -> None:
        self._encoder = RecordsEncoder(resource, scope(), self._body)

    def _shipment_of(self, batch: Sequence[Event]) -> Shipment:
        return self._ship(self._encoder.select(batch), self._encoder.encode)


def signature(batch: Sequence[Event]) -> tuple[int, int, int]:
    """What tells a batch that comes again from another one of the same writer."""
    return (batch[0].seq, batch[-1].seq, len(batch)) if batch else (0, 0, 0)


def sender_of(where: Target) -> Sender:
    """The way to a destination, by its protocol."""
    if where.protocol == "grpc":
        from milepost.exporters.otlp.over_grpc import GrpcSender

        return GrpcSender(where)
    if where.protocol == "http/json":
        from milepost.exporters.otlp.as_json import JsonSender

        return JsonSender(where)
    from milepost.exporters.otlp.over_http import HttpSender

    return HttpSender(where)
