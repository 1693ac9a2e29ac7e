"""Metrics: series of points as an OTLP request, written byte by byte.

Gauges carry start time 0 ("unknown"), as the specification wants it for them. A histogram is the distribution of its row
alone; as CUMULATIVE it starts at the row before, which a back end reads as a counter that begins anew each time. OTLP's
buckets close on the right where numpy's close on the left: a value on an edge counts one bucket further down.

Source: opentelemetry-proto, metrics/v1/metrics.proto.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from milepost.exporters.otlp import wire
from milepost.exporters.otlp.points import Points, Series
from milepost.exporters.otlp.resource import key_value

DELTA, CUMULATIVE = 1, 2
INT_MIN, INT_MAX = -(2**63), 2**63 - 1
_POINT: Final = b"\x0a\x12\x19"
"""data_points, 18 bytes, time_unix_nano."""
_AS_DOUBLE: Final = 0x21
_AS_INT: Final = 0x31
_pack_double: Final = struct.Struct("<3sQBd").pack
_pack_int: Final = struct.Struct("<3sQBq").pack
_GAUGE, _SUM, _HISTOGRAM = 5, 7, 9
_STEP_ATTRIBUTE: Final = "milepost.step"


class MetricsEncoder:
    """Makes ExportMetricsServiceRequest messages for one resource.

    resource, scope: encoded Resource and InstrumentationScope.
    """

    def __init__(
        self, resource: bytes, scope: bytes, temporality: Literal["cumulative", "delta"] = "cumulative"
    ) -> None:
        self._resource = wire.message(1, resource)
        self._scope = wire.message(1, scope)
        self._temporality = DELTA if temporality == "delta" else CUMULATIVE

    def encode(self, points: Points) -> bytes:
        """The request; of no points, an empty one."""
        metrics = b"".join(wire.message(2, metric) for series in points.series if (metric := self._metric(series)))
        if not metrics:
            return b""
        return wire.message(1, self._resource + wire.message(2, self._scope + metrics))

    def _metric(self, series: Series) -> bytes:
        head = wire.text(1, series.name) + wire.text(3, series.unit)
        attributes = b"".join(key_value(7, name, value) for name, value in series.attributes)
        if series.kind == "histogram":
            found = b"".join(self._histograms(series))
            return head + wire.message(_HISTOGRAM, found + wire.number(2, self._temporality)) if found else b""
        found = _numbers(series, attributes)
        if series.kind == "gauge":
            return head + wire.message(_GAUGE, found)
        return head + wire.message(
            _SUM, found + wire.number(2, CUMULATIVE) + wire.number(3, int(series.kind == "counter"))
        )

    def _histograms(self, series: Series) -> Iterator[bytes]:
        start = series.start
        for at, (time, value) in enumerate(zip(series.times, series.values, strict=True)):
            buckets = explicit_buckets(value)
            if buckets is not None:
                counts, bounds = buckets
                step = key_value(9, _STEP_ATTRIBUTE, series.steps[at]) if series.steps else b""
                yield wire.message(
                    1,
                    wire.fixed64(2, start if 0 < start < time else time - 1)
                    + wire.fixed64(3, time)
                    + wire.fixed64(4, sum(counts))
                    + wire.packed_fixed64(6, counts)
                    + wire.packed_doubles(7, bounds)
                    + step
                    + wire.double(11, bounds[0])
                    + wire.double(12, bounds[-1]),
                )
            start = time


def _numbers(series: Series, attributes: bytes) -> bytes:
    """The data points of a series, each in its field."""
    if attributes or series.steps:
        return b"".join(_attributed(series, attributes))
    types = set(map(type, series.values))
    if types == {float}:
        return b"".join(
            [
                _pack_double(_POINT, time, _AS_DOUBLE, value)
                for time, value in zip(series.times, series.values, strict=True)
            ]
        )
    return b"".join([_number(time, value) for time, value in zip(series.times, series.values, strict=True)])


def _number(time: int, value: float) -> bytes:
    if isinstance(value, int) and INT_MIN <= value <= INT_MAX:
        return _pack_int(_POINT, time, _AS_INT, value)
    return _pack_double(_POINT, time, _AS_DOUBLE, as_double(value))


def _attributed(series: Series, attributes: bytes) -> Iterator[bytes]:
    for at, (time, value) in enumerate(zip(series.times, series.values, strict=True)):
        step = key_value(7, _STEP_ATTRIBUTE, series.steps[at]) if series.steps else b""
        yield wire.message(1, attributes + step + _number(time, value)[2:])


def as_double(value: float) -> float:
    """The number as a double; a whole number that is too large for one is infinite."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def explicit_buckets(value: Mapping[str, Any]) -> tuple[list[int], list[float]] | None:
    """Counts and bounds of a histogram's row form: all edges are bounds, so the first and the last bucket are empty.

    n + 2 counts and n + 1 bounds; bins without width go into their neighbour. None for what is no histogram of whole
    numbers, such as densities.
    """
    try:
        counts = [int(count) for count in value["values"]]
        edges = [float(edge) for edge in value["bins"]]
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    whole = all(count == given and 0 <= count < 2**63 for count, given in zip(counts, value["values"], strict=True))
    if not whole or len(edges) != len(counts) + 1 or not edges:
        return None
    found, bounds = [0], [edges[0]]
    for count, edge in zip(counts, edges[1:], strict=True):
        if edge > bounds[-1]:
            found.append(count)
            bounds.append(edge)
        elif edge == bounds[-1]:
            found[-1] += count
        else:
            return None
    return [*found, 0], bounds
