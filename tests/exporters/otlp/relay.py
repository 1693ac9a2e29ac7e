"""Relay: OTLP metrics in, Prometheus remote write out. It joins a collector without a Prometheus exporter to Debian's
Prometheus, which does not take OTLP, as the Collector's prometheusremotewrite exporter would. For tests and the demo only.
"""

import struct
import urllib.request
from collections.abc import Iterator
from typing import Any

from cramjam import snappy
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from milepost.exporters.otlp.naming import prometheus_label, prometheus_name
from tests.exporters.otlp.sink import attributes

Labels = dict[str, str]


class Relay:
    """Call it with each request, as a Sink does. write: the address that takes remote write."""

    def __init__(self, write: str) -> None:
        self._write = write

    def __call__(self, request: ExportMetricsServiceRequest) -> None:
        """Pass the numbers of a request on. Raises where Prometheus refuses them."""
        body = b"".join(
            _field(1, _labels(labels) + b"".join(_field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(ms))
                                                 for ms, value in found))
            for labels, found in _series(request)
        )  # fmt: skip
        headers = {"content-encoding": "snappy", "content-type": "application/x-protobuf"}
        sent = urllib.request.Request(self._write, bytes(snappy.compress_raw(body)), headers)
        urllib.request.urlopen(sent, timeout=10).close()


def _series(request: ExportMetricsServiceRequest) -> Iterator[tuple[Labels, list[tuple[int, float]]]]:
    for of_resource in request.resource_metrics:
        told = attributes(of_resource.resource)
        base = {"job": str(told.get("service.name", "")), "instance": str(told.get("service.instance.id", ""))}
        for of_scope in of_resource.scope_metrics:
            for metric in of_scope.metrics:
                yield from _of_metric(metric, base)


def _of_metric(metric: Any, base: Labels) -> Iterator[tuple[Labels, list[tuple[int, float]]]]:
    kind = metric.WhichOneof("data")
    counter = kind == "sum" and metric.sum.is_monotonic
    name = prometheus_name(metric.name, metric.unit, counter=counter, gauge=kind == "gauge")
    if kind == "histogram":
        return
    found: dict[tuple[tuple[str, str], ...], list[tuple[int, float]]] = {}
    for point in getattr(metric, kind).data_points:
        labels = {**base, "__name__": name, **{prometheus_label(k): str(v) for k, v in attributes(point).items()}}
        value = point.as_double if point.HasField("as_double") else float(point.as_int)
        found.setdefault(tuple(sorted(labels.items())), []).append((point.time_unix_nano // 1_000_000, value))
    for labels_of, points in found.items():
        yield dict(labels_of), points


def _labels(labels: Labels) -> bytes:
    return b"".join(_field(1, _field(1, n.encode()) + _field(2, v.encode())) for n, v in sorted(labels.items()))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])
