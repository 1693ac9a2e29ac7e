"""By step: rows that were logged in any order, in the order of their steps, a range of steps at a time.

The steps alone are read first, 8 bytes a row; they say where to cut so that a range holds no more rows than fit into memory.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Row = dict[str, Any]
AT_ONCE: Final = 32_768


def by_step(
    steps: NDArray[np.int64], rows: Callable[[int, int], Iterator[tuple[int, Row]]], at_once: int = AT_ONCE
) -> Iterator[tuple[int, Row]]:
    """Step and row of each, by step; rows of one step as they come. rows: those with low <= step < high."""
    ordered = np.sort(steps)
    start = 0
    while start < len(ordered):
        low = int(ordered[start])
        stop = min(start + at_once, len(ordered))
        # A step is never cut in two: the range ends before one that goes on behind it, unless it is that step alone.
        high = int(ordered[stop]) if stop < len(ordered) else int(ordered[-1]) + 1
        high = high if high > low else low + 1
        yield from sorted(rows(low, high), key=lambda each: each[0])
        start = int(np.searchsorted(ordered, high))
