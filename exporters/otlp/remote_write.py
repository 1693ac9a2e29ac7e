"""Remote write: the metrics signal as Prometheus takes it, for the exporter `prometheus_remote_write`.

Source: Prometheus Remote-Write 1.0 specification; OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility".
"""

import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from milepost.exporters.otlp import wire
from milepost.exporters.otlp.metrics import as_double, explicit_buckets
from milepost.exporters.otlp.naming import NAMELESS, prometheus_label, prometheus_name
from milepost.exporters.otlp.points import ACTIVE, KINDS, MILLISECOND, STEP, Points, Series, figures
from milepost.exporters.otlp.resource import attributes
from milepost.exporters.otlp.selection import Selection
from milepost.exporters.otlp.sender import Answer
from milepost.exporters.otlp.shipment import Shipment
from milepost.exporters.otlp.signal_exporter import SignalExporter
from milepost.exporters.otlp.target import Target
from milepost.sdk.event import Event
from milepost.sdk.exporter import Position, RunInfo

_IDENTIFYING: Final = ("service.name", "service.namespace", "service.instance.id")
_sample: Final = struct.Struct("<BBBd").pack
Compress = Callable[[bytes], bytes]
Labels = tuple[tuple[str, str], ...]
Samples = list[tuple[int, float]]


class RemoteWrite(SignalExporter):
    """Writes to one address. promoted: attributes of the resource that become labels of every series."""

    wants = KINDS

    def __init__(
        self,
        target: Target,
        selection: Selection,
        promoted: Sequence[str],
        detectors: Sequence[str],
        compress: Compress,
    ) -> None:
        super().__init__("prometheus_remote_write", target.endpoint, detectors, problem=target.problem)
        self._target = target
        self._promoted = promoted
        self._selection = selection
        self._compress = compress

    def position(self) -> dict[str, Any]:
        """Also what later batches depend on."""
        return {**super().position(), **self._selection.state()}

    def _prepare(self, run: RunInfo, position: Position) -> None:
        self._encoder = RemoteWriteEncoder(attributes(run, self._detectors), self._promoted)
        self._selection = self._selection.going_on(position)

    def _figures(self, event: Event, resource: dict[str, Any]) -> bytes:
        return RemoteWriteEncoder(resource, self._promoted).encode(figures(event))

    def _shipment_of(self, batch: Sequence[Event]) -> Shipment:
        return self._ship(self._selection.select(batch), self._encoder.encode, self._selection.condemned)

    def _settled(self) -> None:
        self._selection.settled()

    def _more_counts(self) -> dict[str, Any]:
        return self._selection.counts()

    def _new_sender(self) -> "SnappySender":
        return SnappySender(self._target, self._compress)


class SnappySender:
    """POSTs requests in snappy."""

    def __init__(self, target: Target, compress: Compress) -> None:
        from milepost.exporters.otlp.over_http import HttpSender

        self._compress = compress
        version = {"x-prometheus-remote-write-version": "0.1.0"}
        self._http = HttpSender(target, extra=version, encoding="snappy")

    def send(self, request: bytes) -> Answer:
        """Compress and POST it."""
        return self._http.send(self._compress(request))

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


class RemoteWriteEncoder:
    """Makes WriteRequest messages for one resource.

    resource: its attributes. promoted: those of them that become labels of every series.
    """

    def __init__(self, resource: Mapping[str, Any], promoted: Sequence[str] = ()) -> None:
        service, namespace = str(resource.get("service.name", "")), resource.get("service.namespace")
        own = [
            ("job", f"{namespace}/{service}" if namespace else service),
            ("instance", str(resource.get("service.instance.id", ""))),
        ]
        self._labels = [*own, *_labels({name: resource[name] for name in promoted if name in resource})]
        self._target_info = _labels({name: value for name, value in resource.items() if name not in _IDENTIFYING})
        self._encoded: dict[Labels, bytes] = {}
        self._owners: dict[Labels, str] = {
            (("__name__", prometheus_name(name)),): name for name in (STEP[0], ACTIVE[0])
        }
        self._owners[("__name__", "target_info"),] = ""

    def encode(self, points: Points) -> bytes:
        """The request; of no points, an empty one."""
        stamps: dict[int, bytes] = {}
        return b"".join(
            wire.message(1, self._labels_of(labels) + _samples(samples, stamps))
            for series in points.series
            for labels, samples in self._series(series)
        )

    def _series(self, series: Series) -> Iterator[tuple[Labels, Samples]]:
        labels = [(prometheus_label(name), value) for name, value in series.attributes]
        name = prometheus_name(series.name, series.unit, counter=series.kind == "counter", gauge=series.kind == "gauge")
        # Two names that become one would be two values at one time, for which the whole request is refused. A series without
        # a name is left out by Prometheus, without a word.
        if not name or self._owners.setdefault((("__name__", name), *labels), series.name) != series.name:
            name = name or NAMELESS
            labels.append(("milepost_key", series.name))
        if series.kind == "histogram":
            yield from _histogram(name, labels, series)
            return
        yield (
            (("__name__", name), *labels),
            [(time, as_double(value)) for time, value in zip(series.times, series.values, strict=True)],
        )
        if series.key == ACTIVE:
            yield (("__name__", "target_info"), *self._target_info), [(time, 1.0) for time in series.times]

    def _labels_of(self, labels: Labels) -> bytes:
        """The labels of a series, sorted by name as the protocol wants them."""
        found = self._encoded.get(labels)
        if found is None:
            if len(self._encoded) > 50_000:
                self._encoded.clear()
            merged = {**dict(self._labels), **{name: value for name, value in labels if value}}
            found = b"".join(wire.message(1, wire.text(1, n) + wire.text(2, v)) for n, v in sorted(merged.items()))
            self._encoded[labels] = found
        return found


def _samples(samples: Samples, stamps: dict[int, bytes]) -> bytes:
    """The samples of a series; `stamps` holds the encoded times, which the series of a row share."""
    parts: list[bytes] = []
    for time, value in samples:
        stamp = stamps.get(time)
        if stamp is None:
            stamp = stamps[time] = b"\x10" + wire.varint(time // MILLISECOND)
        parts.append(_sample(0x12, 9 + len(stamp), 0x09, value) + stamp)
    return b"".join(parts)


def _histogram(name: str, labels: Sequence[tuple[str, str]], series: Series) -> Iterator[tuple[Labels, Samples]]:
    """The series of a classic histogram: buckets up to each bound, and the count. Its sum is not known."""
    found: dict[Labels, Samples] = {}
    for time, value in zip(series.times, series.values, strict=True):
        buckets = explicit_buckets(value)
        if buckets is None:
            continue
        counts, bounds = buckets
        total = 0
        for count, bound in zip(counts, [*map(bound_text, bounds), "+Inf"], strict=True):
            total += count
            found.setdefault((("__name__", f"{name}_bucket"), *labels, ("le", bound)), []).append((time, float(total)))
        found.setdefault((("__name__", f"{name}_count"), *labels), []).append((time, float(total)))
    yield from found.items()


def bound_text(bound: float) -> str:
    """A bound as Prometheus writes it: the shortest decimals that mean it, without an exponent."""
    text = repr(bound)
    if "e" in text or "E" in text:
        from decimal import Decimal

        text = format(Decimal(text), "f")
    return re.sub(r"\.0$", "", text)


def _labels(attributes: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Attributes as labels. Those that become one label share it, as the standard translation has it; those of which nothing
    is left are left out."""
    found: dict[str, list[str]] = {}
    for name in sorted(attributes):
        label = prometheus_label(name)
        if label.strip("_"):
            found.setdefault(label, []).append(_text(attributes[name]))
    return [(label, ";".join(values)) for label, values in found.items()]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)
