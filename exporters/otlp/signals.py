"""Signals: the metrics and the logs of OTLP, each an exporter with a target of its own."""

from collections.abc import Sequence
from typing import Any, Literal

from milepost.exporters.otlp.metrics import MetricsEncoder
from milepost.exporters.otlp.points import KINDS, figures
from milepost.exporters.otlp.records import WANTS, RecordsEncoder
from milepost.exporters.otlp.resource import attributes, encoded, scope
from milepost.exporters.otlp.selection import Selection
from milepost.exporters.otlp.sender import Sender
from milepost.exporters.otlp.shipment import Shipment
from milepost.exporters.otlp.signal_exporter import GRPC_LIMIT, HTTP_LIMIT, SignalExporter
from milepost.exporters.otlp.target import Target
from milepost.sdk.event import Event
from milepost.sdk.exporter import Position, RunInfo


class _OtlpSignal(SignalExporter):
    """One signal to one target."""

    def __init__(self, where: Target, detectors: Sequence[str]) -> None:
        limit = GRPC_LIMIT if where.protocol == "grpc" else HTTP_LIMIT
        super().__init__(f"otlp-{where.signal}", where.endpoint, detectors, problem=where.problem, limit=limit)
        self._target = where

    def _new_sender(self) -> Sender:
        return sender_of(self._target)


class MetricsExporter(_OtlpSignal):
    """The metrics signal."""

    wants = KINDS

    def __init__(
        self, where: Target, selection: Selection, temporality: Literal["cumulative", "delta"], detectors: Sequence[str]
    ) -> None:
        super().__init__(where, detectors)
        self._selection = selection
        self._temporality: Literal["cumulative", "delta"] = temporality

    def position(self) -> dict[str, Any]:
        """Also what later batches depend on: hidden keys, and where histograms begin."""
        return {**super().position(), **self._selection.state()}

    def _prepare(self, run: RunInfo, position: Position) -> None:
        self._encoder = MetricsEncoder(encoded(attributes(run, self._detectors)), scope(), self._temporality)
        self._selection = self._selection.going_on(position)

    def _figures(self, event: Event, resource: dict[str, Any]) -> bytes:
        return MetricsEncoder(encoded(resource), scope(), self._temporality).encode(figures(event))

    def _shipment_of(self, batch: Sequence[Event]) -> Shipment:
        return self._ship(self._selection.select(batch), self._encoder.encode, self._selection.condemned)

    def _settled(self) -> None:
        self._selection.settled()

    def _more_counts(self) -> dict[str, Any]:
        return self._selection.counts()


class LogsExporter(_OtlpSignal):
    """The log signal."""

    wants = WANTS

    def __init__(self, where: Target, body: Literal["json", "map"], detectors: Sequence[str]) -> None:
        super().__init__(where, detectors)
        self._body: Literal["json", "map"] = body

    def _prepare(self, run: RunInfo, position: Position) -> None:
        own = {"milepost.writer": run.writer}  # with the number of a row it names that row for ever
        resource = {**attributes(run, self._detectors), **own}
        self._encoder = RecordsEncoder(encoded(resource), scope(), self._body)

    def _figures(self, event: Event, resource: dict[str, Any]) -> bytes:
        encoder = RecordsEncoder(encoded(resource), scope(), self._body)
        return encoder.encode(encoder.select([event]))

    def _shipment_of(self, batch: Sequence[Event]) -> Shipment:
        return self._ship(self._encoder.select(batch), self._encoder.encode)


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
