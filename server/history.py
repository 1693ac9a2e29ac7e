"""History: the points of many keys of many runs, in buckets along one axis, and what was aggregated.

A bucket is an interval [i * width, (i + 1) * width) of the axis, so that two answers with one width fit together: live
updates ask for what came after a watermark and add it to what they have. Where a series has more than a few hundred points
per bucket, blocks of 64 or 4,096 points are read in place of points; a block stands whole in the bucket of its first point.
"""

import math
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

from milepost.server.series import AXES, FACTOR, Blocks, FloatArray, reduce_blocks

BLOCKS_PER_BUCKET: Final = 2
"""As coarse as blocks may get: an edge of a bucket is then off by half of it at the most."""
_ROUND: Final = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)


class Series(Protocol):
    """One key of one run along one axis, as a store gives it. Blocks of a level stand in order of rows."""

    axis: str
    monotonic: bool
    """Whether the axis never falls from one row to the next."""

    def size(self) -> int:
        """How many points there are."""
        ...

    def extent(self) -> tuple[float, float] | None:
        """The least and the greatest place on the axis; None without points."""
        ...

    def blocks(self, level: int, low: float | None, high: float | None) -> Blocks:
        """The blocks of level 0 (points), 1 or 2 that may touch low <= x <= high."""
        ...


@dataclass(frozen=True, slots=True)
class Grid:
    """Buckets of one width, counted from 0; low, high: what was asked for, both inclusive."""

    width: float
    low: float
    high: float


def grid(low: float, high: float, buckets: int) -> Grid:
    """The grid that divides low..high into about so many buckets; its width is a round number."""
    span = max(high - low, 0.0)
    if not math.isfinite(span) or span == 0.0:
        return Grid(1.0, low, high)
    exact = span / buckets
    power = 10.0 ** math.floor(math.log10(exact))
    if power == 0.0:  # denormal
        return Grid(exact, low, high)
    width = next(power * step for step in _ROUND if power * step >= exact * (1 - 1e-9))
    return Grid(width, low, high)


def sampled(series: Series, on: Grid) -> dict[str, Any]:
    """The series in buckets, as columns: x, min, max, mean, last, count, the places of NaN and infinities, what was done."""
    row = _row(series.axis)
    level, blocks = 0, None
    if series.monotonic:
        for candidate in (2, 1):
            if series.size() < FACTOR**candidate * BLOCKS_PER_BUCKET:
                continue
            coarse = series.blocks(candidate, on.low, on.high)
            narrow = (coarse.end[row] - coarse.first[row]) * BLOCKS_PER_BUCKET <= on.width
            if coarse.points[narrow].sum() >= 0.9 * coarse.points.sum() > 0:  # by points: some stand alone at the end
                level, blocks = candidate, coarse
                break
    if blocks is None:
        blocks = series.blocks(0, on.low, on.high)
    place = blocks.first[row]
    inside = (blocks.end[row] >= on.low) & (place <= on.high)  # False for NaN
    if not inside.all():
        at = np.flatnonzero(inside)
        some: Any = slice(at[0], at[-1] + 1) if len(at) and at[-1] - at[0] < len(at) else inside  # a slice is no copy
        blocks, place = blocks.some(some), place[some]
    points = int(blocks.points.sum())
    if len(blocks):
        number = np.floor(place / on.width)
        order = np.diff(number)
        if (order < 0).any():
            arranged = np.argsort(number, kind="stable")
            blocks, number = blocks.some(arranged), number[arranged]
            order = np.diff(number)
        starts = np.concatenate(([0], np.flatnonzero(order) + 1))
        if len(starts) < len(blocks):
            blocks = reduce_blocks(blocks, starts)
    return _columns(blocks, blocks.end[row], level, points)


def _columns(blocks: Blocks, x: FloatArray, level: int, points: int) -> dict[str, Any]:
    exact = level == 0 and len(blocks) == points
    return {
        "x": x.tolist(),
        "min": _or_null(blocks.low),
        "max": _or_null(blocks.high),
        "mean": _or_null(blocks.total / np.where(blocks.count > 0, blocks.count, np.nan)),
        "last": _or_null(blocks.last),
        "count": blocks.points.tolist(),
        "marks": {
            name: [[float(x[i]), int(found[i])] for i in np.flatnonzero(found).tolist()]
            for name, found in (("nan", blocks.nan), ("inf", blocks.positive), ("-inf", blocks.negative))
            if found.any()
        },
        "aggregated": {
            "exact": exact,
            "points": points,
            "buckets": len(blocks),
            "block_points": FACTOR**level,
            "text": f"{points:,} points, none left out"
            if exact
            else f"{points:,} points in {len(blocks):,} buckets: min, max, mean and last of each",
        },
    }


def _or_null(values: FloatArray) -> list[float | None]:
    """Numbers as JSON can say them."""
    if np.isfinite(values).all():
        found: list[float | None] = values.tolist()
        return found
    return [value if math.isfinite(value) else None for value in values.tolist()]


def _row(axis: str) -> int:
    return AXES.index(axis) if axis in AXES else 0
