"""Rows in any order come by step, also when they do not fit into memory at once."""

import numpy as np
import pytest

from milepost.server.store.by_step import Row, by_step


@pytest.mark.parametrize("at_once", [1, 3, 50, 10_000])
def test_every_row_comes_once_by_step_and_no_range_is_larger_than_it_has_to_be(at_once: int) -> None:
    steps = np.array([n * 37 % 101 for n in range(500)] + [7] * 20, np.int64)
    every: list[tuple[int, Row]] = [(int(step), {"n": n}) for n, step in enumerate(steps)]
    sizes: list[int] = []

    def rows(low: int, high: int) -> list[tuple[int, Row]]:
        found = [each for each in every if low <= each[0] < high]
        sizes.append(len(found))
        return found

    assert list(by_step(steps, lambda low, high: iter(rows(low, high)), at_once)) == sorted(every, key=lambda e: e[0])
    assert max(sizes) <= max(at_once, 25)
