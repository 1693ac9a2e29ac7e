"""The course of a metric in bounded memory."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from milepost.exporters.series import BUCKETS, Series

CHECKED = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def series(*batches: list[float]) -> Series:
    made = Series()
    for batch in batches:
        made.extend(batch)
    return made


def test_few_values_are_their_own_course() -> None:
    made = series([1.0, 2.0], [5])
    assert (made.course(), made.minimum, made.maximum, made.last, made.strange) == ([1, 2, 5], 1, 5, 5, 0)


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
def test_many_values_keep_their_course_in_a_bounded_number_of_buckets(batch: int) -> None:
    made = series(
        *([float(value) for value in range(first, min(first + batch, 10_000))] for first in range(0, 10_000, batch))
    )
    course = made.course()
    assert BUCKETS / 2 <= len(course) <= BUCKETS
    assert course == sorted(course)
    assert course[0] == pytest.approx(10_000 / len(course) / 2, rel=0.1)
    assert (made.minimum, made.maximum, made.last) == (0, 9_999, 9_999)


def test_values_that_are_not_finite_are_counted_and_leave_a_gap() -> None:
    made = series([1.0, math.nan, math.inf, 2.0])
    assert [str(value) for value in made.course()] == ["1.0", "nan", "nan", "2.0"]
    assert (made.strange, made.minimum, made.maximum) == (2, 1, 2)


def test_a_bucket_with_a_finite_value_shows_it() -> None:
    made = series([1.0] * 128)
    made.extend([math.nan, 3.0, math.nan, 3.0])
    assert made.course()[-2:] == [3.0, 3.0] or made.course()[-1] == 3.0
    assert made.strange == 2


def test_numbers_beyond_a_float_do_not_fail() -> None:
    made = series([10**400, 1, -(10**400)], [1.7e308, 1.7e308, -1.7e308])
    assert made.strange == 2
    assert all(math.isfinite(value) for value in made.course() if not math.isnan(value))


@CHECKED
@given(st.lists(st.lists(st.floats() | st.integers(), min_size=1, max_size=200), max_size=10))
def test_smallest_and_largest_are_exact_whatever_comes(batches: list[list[float]]) -> None:
    made = series(*batches)
    finite = [
        value
        for batch in batches
        for value in batch
        if abs(value) < 1.7976931348623157e308 or math.isfinite(float(value))
    ]
    count = sum(map(len, batches))
    assert made.strange == count - len(finite)
    assert len(made.course()) <= BUCKETS
    if finite:
        assert (made.minimum, made.maximum) == (min(finite), max(finite))
        assert all(
            float(made.minimum) <= mean <= float(made.maximum)
            for mean in made.course()
            if math.isfinite(mean) and count < 32
        )
    else:
        assert math.isnan(made.minimum)
