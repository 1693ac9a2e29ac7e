"""Series: the points of one key as columns, and blocks of them as minimum, maximum, sum, last and count.

A block may be one point, 64, or 4,096 (a rollup), or a bucket of a chart: all of them are made by the one function
`reduce_blocks`, so that a chart over ten million steps reads a few thousand blocks and says the same as one over the points.
"""

from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FACTOR: Final = 64
"""Points in a block of level 1; blocks of level 1 in one of level 2."""

AXES: Final = ("_step", "_timestamp", "_runtime")


@dataclass(slots=True)
class Points:
    """The points of one key in the order of its rows. All arrays have shape (points,).

    step: the row's step. time: seconds since 1970, UTC. runtime: seconds. value: as float64.
    seq: number of the row within its writer; writer: index into the run's list of writers.
    """

    step: IntArray
    time: FloatArray
    runtime: FloatArray
    value: FloatArray
    seq: IntArray
    writer: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.value)

    def some(self, which: Any) -> "Points":
        """Some of them: a slice, a mask or positions."""
        return Points(*(getattr(self, field.name)[which] for field in fields(self)))

    def blocks(self, x: FloatArray | None = None) -> "Blocks":
        """Each point as a block of its own. x: its place on the only axis that is asked for."""
        if x is None:
            return single_blocks(np.stack((self.step.astype(np.float64), self.time, self.runtime)), self.value)
        return single_blocks(np.broadcast_to(x, (len(AXES), len(x))), self.value)


@dataclass(slots=True)
class Blocks:
    """Blocks of consecutive points. Arrays have shape (blocks,), `first` and `end` (3, blocks): one line for each of AXES.

    first, end: where its first and last point stand.  points: all of them.  count: the finite ones.
    low, high, total, last: over the finite points; inf, -inf, 0 and NaN where there are none.
    nan, positive, negative: how many are NaN, +inf, -inf.
    """

    first: FloatArray
    end: FloatArray
    points: IntArray
    count: IntArray
    low: FloatArray
    high: FloatArray
    total: FloatArray
    last: FloatArray
    nan: IntArray
    positive: IntArray
    negative: IntArray

    def __len__(self) -> int:
        return len(self.points)

    def some(self, which: Any) -> "Blocks":
        """Some of them: a slice, a mask or positions."""
        return Blocks(*(getattr(self, field.name)[..., which] for field in fields(self)))

    @staticmethod
    def joined(parts: "list[Blocks]") -> "Blocks":
        """One after the other."""
        if len(parts) == 1:
            return parts[0]
        return Blocks(*(np.concatenate([getattr(p, f.name) for p in parts], axis=-1) for f in fields(Blocks)))


def single_blocks(place: FloatArray, value: FloatArray) -> Blocks:
    """Points as blocks of one each. place: where they stand, shape (3, points). What is alike of all of them takes no memory."""
    finite = np.isfinite(value)
    if finite.all():
        one, none = (np.broadcast_to(np.int64(each), value.shape) for each in (1, 0))
        return Blocks(place, place, one, one, value, value, value, value, none, none, none)
    return Blocks(
        first=place,
        end=place,
        points=np.ones(len(value), np.int64),
        count=finite.astype(np.int64),
        low=np.where(finite, value, np.inf),
        high=np.where(finite, value, -np.inf),
        total=np.where(finite, value, 0.0),
        last=np.where(finite, value, np.nan),
        nan=np.isnan(value).astype(np.int64),
        positive=(value == np.inf).astype(np.int64),
        negative=(value == -np.inf).astype(np.int64),
    )


def rising(values: NDArray[Any]) -> bool:
    """Whether numbers never fall; False when one is NaN."""
    return bool((values[1:] >= values[:-1]).all())


def rolled_points(points: Points, factor: int = FACTOR) -> Blocks:
    """As `rolled_up` of the points' blocks, which are not made."""
    starts = np.arange(0, len(points), factor)
    if not len(starts):
        return points.blocks()
    ends = np.append(starts[1:], len(points)) - 1
    rolled = reduce_blocks(points.blocks(points.runtime), starts)
    rolled.first, rolled.end = (
        np.stack((points.step[at].astype(np.float64), points.time[at], points.runtime[at])) for at in (starts, ends)
    )
    return rolled


def reduce_blocks(blocks: Blocks, starts: IntArray) -> Blocks:
    """Groups of consecutive blocks as one block each. starts: where each group begins, rising from 0."""
    ends = np.append(starts[1:], len(blocks)) - 1
    last = blocks.last[ends]
    if not (blocks.count > 0).all():  # the last finite value of a group is that of its last block that has one
        place = np.maximum.accumulate(np.where(blocks.count > 0, np.arange(len(blocks)), -1))[ends]
        last = np.where(place >= starts, blocks.last[np.maximum(place, 0)], np.nan)
    return Blocks(
        first=blocks.first[:, starts],
        end=blocks.end[:, ends],
        points=np.add.reduceat(blocks.points, starts),
        count=np.add.reduceat(blocks.count, starts),
        low=np.minimum.reduceat(blocks.low, starts),
        high=np.maximum.reduceat(blocks.high, starts),
        total=np.add.reduceat(blocks.total, starts),
        last=last,
        nan=np.add.reduceat(blocks.nan, starts),
        positive=np.add.reduceat(blocks.positive, starts),
        negative=np.add.reduceat(blocks.negative, starts),
    )


def rolled_up(blocks: Blocks, factor: int = FACTOR) -> Blocks:
    """Every `factor` consecutive blocks as one; the last one may hold fewer."""
    return reduce_blocks(blocks, np.arange(0, len(blocks), factor)) if len(blocks) else blocks
