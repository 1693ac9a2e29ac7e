"""What the console remembers of a metric: its course in at most 64 buckets, its smallest, largest and last value.

Every bucket is the mean of equally many values; when all are full, neighbours are joined and the buckets hold twice as
many. A metric so takes under a kilobyte, however long the run.
"""

import math
from array import array
from collections.abc import Sequence
from typing import Final

BUCKETS: Final = 64


class Series:
    """The course of one metric.

    minimum, maximum: of the finite values; NaN while there is none.
    strange:          how many values were NaN or infinite.
    last:             the last value, whatever it was.
    """

    __slots__ = ("_count", "_finite", "_mean", "_means", "_width", "last", "maximum", "minimum", "strange")

    def __init__(self) -> None:
        self.minimum = math.nan
        self.maximum = math.nan
        self.strange = 0
        self.last: float = math.nan
        self._means = array("d")
        self._width = 1  # values per bucket
        self._count = 0  # values in the bucket being filled,
        self._finite = 0  # how many of them are finite,
        self._mean = math.nan  # and the mean of those

    def extend(self, values: Sequence[float]) -> None:
        """Take values in, in order: numbers of any size, NaN and infinities too."""
        self.last = values[-1]
        place, count = 0, len(values)
        while place < count:
            room = self._width - self._count
            chunk = values if place == 0 and count <= room else values[place : place + room]
            place += len(chunk)
            self._count += len(chunk)
            self._add(chunk)
            if self._count == self._width:
                self._close_bucket()

    def course(self) -> list[float]:
        """The buckets' means, the one being filled included; NaN for a bucket without a finite value."""
        return [*self._means, self._mean] if self._count else list(self._means)

    def _add(self, chunk: Sequence[float]) -> None:
        total = _sum(chunk)
        if math.isfinite(total):
            mean = total / len(chunk)
        else:
            finite = [float(value) for value in chunk if _is_finite(value)]
            self.strange += len(chunk) - len(finite)
            mean = sum(value / len(finite) for value in finite)
            chunk = finite
        if chunk:
            share = len(chunk) / (self._finite + len(chunk))
            self._mean = mean * share + (self._mean * (1 - share) if self._finite else 0)
            self._finite += len(chunk)
            low, high = min(chunk), max(chunk)
            if not self.minimum <= low:  # also when there was none, and it is NaN
                self.minimum = low
            if not self.maximum >= high:
                self.maximum = high

    def _close_bucket(self) -> None:
        self._means.append(self._mean)
        self._count, self._finite, self._mean = 0, 0, math.nan
        if len(self._means) == BUCKETS:
            pairs = zip(self._means[::2], self._means[1::2], strict=True)
            self._means = array("d", (_middle(left, right) for left, right in pairs))
            self._width *= 2


def _sum(values: Sequence[float]) -> float:
    try:
        return float(sum(values))
    except OverflowError:  # whole numbers beyond what a float holds
        return math.inf


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _middle(left: float, right: float) -> float:
    if math.isnan(left):
        return right
    return left if math.isnan(right) else left / 2 + right / 2
