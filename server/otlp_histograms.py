"""Histograms of OTLP as the media type Histogram has them: n counts and n + 1 rising edges, 512 bins at the most.

OTLP leaves out the two outer edges: they are the least and the greatest value where these are told, else the nearest edge.
The buckets of an exponential histogram are powers of 2^(2^-scale), below and above zero; zero has a bucket of its own. Where
there are too many, neighbours become one: of an exponential histogram by a smaller scale, which stays exact.

Source: OpenTelemetry metrics data model, "Histogram" and "ExponentialHistogram"; metrics.proto.
"""

import math
from itertools import pairwise
from typing import Any, Final

from milepost.media.histogram import MAX_BINS

MOST_BUCKETS: Final = 100_000
_LARGEST: Final = 1.7976931348623157e308


class NotTaken(ValueError):
    """A point that cannot be taken. Its text is the reason, without numbers: reasons are counted."""


def histogram_of(point: Any) -> dict[str, Any]:
    """A HistogramDataPoint as a value. Raises `NotTaken`."""
    bounds, counts = [float(bound) for bound in point.explicit_bounds], [int(count) for count in point.bucket_counts]
    if not counts:  # the count and the sum alone
        bounds, counts = [], [int(point.count)]
    if len(counts) != len(bounds) + 1:
        raise NotTaken("histogram whose counts are not one more than its bounds")
    bounds, counts = _without_infinite(bounds, counts)
    if not all(math.isfinite(bound) for bound in bounds) or any(a >= b for a, b in pairwise(bounds)):
        raise NotTaken("histogram whose bounds do not rise")
    low, high = _outer(point, bounds[0] if bounds else 0.0, bounds[-1] if bounds else 0.0)
    edges = [min([low, *bounds[:1]]), *bounds, max([high, *bounds[-1:]])]
    first, filled = _trimmed(0, counts)
    if filled:  # an SDK's default bounds go to 10,000, whatever is measured
        counts, edges = filled, edges[first : first + len(filled) + 1]
    while len(counts) > MAX_BINS:
        counts = [sum(counts[at : at + 2]) for at in range(0, len(counts), 2)]
        edges = [*edges[:-1:2], edges[-1]]
    return _value(counts, edges, low, high)


def _without_infinite(bounds: list[float], counts: list[int]) -> tuple[list[float], list[int]]:
    """Prometheus writes a last bound of +Inf, behind which there is nothing: the bucket before it goes on for ever."""
    if bounds and bounds[-1] == math.inf and not counts[-1]:
        return bounds[:-1], counts[:-1]
    return bounds, counts


def exponential_histogram_of(point: Any) -> dict[str, Any]:
    """An ExponentialHistogramDataPoint as a value. Raises `NotTaken`."""
    scale = int(point.scale)
    sides = [(int(side.offset), [int(c) for c in side.bucket_counts]) for side in (point.negative, point.positive)]
    if sum(len(counts) for _, counts in sides) > MOST_BUCKETS or not -11 <= scale <= 31:
        raise NotTaken("exponential histogram of an absurd size or scale")
    sides = [_trimmed(*side) for side in sides]
    while sum(len(counts) for _, counts in sides) > MAX_BINS - 1:
        scale -= 1
        sides = [_halved(*side) for side in sides]
    (below, negative), (above, positive) = sides
    threshold = float(point.zero_threshold) if 0 <= point.zero_threshold < math.inf else 0.0
    under = [-_power(below + n, scale) for n in range(len(negative), -1, -1)] if negative else []
    over = [_power(above + n, scale) for n in range(len(positive) + 1)] if positive else []
    counts, edges = [*negative[::-1], *positive], [*under, *over]
    zero = int(point.zero_count)
    if zero or (under and over) or not edges:
        # The bucket of zero reaches to its neighbours: nothing was counted between them.
        counts = [*negative[::-1], zero, *positive]
        edges = [*(under or [-threshold]), *(over or [threshold])]
    return _value(counts, edges, *_outer(point, edges[0], edges[-1]))


def _trimmed(offset: int, counts: list[int]) -> tuple[int, list[int]]:
    """Without empty buckets at either end."""
    first = next((n for n, count in enumerate(counts) if count), len(counts))
    last = next((n for n in range(len(counts), first, -1) if counts[n - 1]), first)
    return offset + first, counts[first:last]


def _halved(offset: int, counts: list[int]) -> tuple[int, list[int]]:
    """At a scale of one less: bucket i goes into i >> 1."""
    if not counts:
        return offset, counts
    padded = [0] * (offset & 1) + counts
    return offset >> 1, [sum(padded[at : at + 2]) for at in range(0, len(padded), 2)]


def _power(index: int, scale: int) -> float:
    """The lower bound of a bucket, within the numbers that there are."""
    exponent = index * 2.0**-scale
    return _LARGEST if exponent >= 1024 else max(2.0**exponent, 5e-324)


def _outer(point: Any, low: float, high: float) -> tuple[float, float]:
    """The least and the greatest value where they are told."""
    low = float(point.min) if point.HasField("min") and math.isfinite(point.min) else low
    high = float(point.max) if point.HasField("max") and math.isfinite(point.max) else high
    return low, high


def _value(counts: list[int], edges: list[float], low: float, high: float) -> dict[str, Any]:
    """The mapping of the row. The least and greatest value are exact; the outer edges are where buckets end.

    Edges rise: equal ones, of a single value, are put apart as numpy does.
    """
    if edges[0] < low < edges[1]:
        edges[0] = low
    if edges[-2] < high < edges[-1]:
        edges[-1] = high
    if len(edges) == 2 and not edges[0] < edges[1]:
        edges = [edges[0] - 0.5, edges[0] + 0.5]
    for at in range(1, len(edges)):
        if not edges[at - 1] < edges[at]:
            edges[at] = math.nextafter(edges[at - 1], math.inf)
    return {"_type": "histogram", "values": counts, "bins": edges}
