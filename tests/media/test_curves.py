"""The curves' numbers are scikit-learn's, on whatever samples a program has."""

import tracemalloc
import warnings
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve
from sklearn.metrics import roc_curve as sklearn_roc_curve

from milepost.media import curves
from tests.media.properties import CHECKED

Array = NDArray[Any]

SCORES = st.one_of(
    st.integers(-3, 3).map(float),  # many ties
    st.floats(-1e6, 1e6, allow_nan=False),
    st.sampled_from([0.0, -0.0, 5e-324, 1e-300, 0.1, 0.1 + 2**-55, 1e300]),
)
SAMPLES = st.lists(st.tuples(st.booleans(), SCORES), min_size=1, max_size=60)
WEIGHTED = st.lists(
    st.tuples(st.booleans(), SCORES, st.one_of(st.just(0.0), st.floats(1e-3, 1e3))), min_size=1, max_size=60
).filter(lambda samples: any(weight for _, _, weight in samples))
DTYPES = st.sampled_from([np.float64, np.float32, np.int64])


def columns(samples: list[Any], dtype: Any = np.float64) -> tuple[Array, ...]:
    positive, score, *weight = (np.asarray(column) for column in zip(*samples, strict=True))
    with np.errstate(over="ignore"):
        score = np.nan_to_num(np.clip(score, -1e9, 1e9).astype(dtype))
    return (positive.astype(bool), score, *weight)


@CHECKED
@given(SAMPLES, DTYPES)
def test_precision_and_recall_are_those_of_scikit_learn(samples: list[tuple[bool, float]], dtype: Any) -> None:
    positive, score = columns(samples, dtype)

    precision, recall = curves.precision_recall(positive, score)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where there is no positive sample
        expected = precision_recall_curve(positive, score)
    assert_array_equal(precision, expected[0])
    assert_array_equal(recall, expected[1])


@CHECKED
@given(SAMPLES, DTYPES)
def test_the_roc_is_that_of_scikit_learn(samples: list[tuple[bool, float]], dtype: Any) -> None:
    positive, score = columns(samples, dtype)

    false_rate, true_rate = curves.roc(positive, score)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where one class is missing
        expected = sklearn_roc_curve(positive, score)
    assert_array_equal(false_rate, expected[0])
    assert_array_equal(true_rate, expected[1])


@CHECKED
@given(WEIGHTED)
def test_weighted_precision_and_recall_are_those_of_scikit_learn(samples: list[tuple[bool, float, float]]) -> None:
    positive, score, weight = columns(samples)

    precision, recall = curves.precision_recall(positive, score, weight)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = precision_recall_curve(positive, score, sample_weight=weight)
    assert_allclose(precision, expected[0], rtol=1e-9, atol=1e-12)
    assert_allclose(recall, expected[1], rtol=1e-9, atol=1e-12)


@CHECKED
@given(st.lists(st.tuples(st.booleans(), SCORES, st.integers(0, 8)), min_size=1, max_size=60))
def test_a_weighted_roc_is_that_of_scikit_learn(samples: list[tuple[bool, float, int]]) -> None:
    """Whole weights: with others the last bit decides which points lie on a line."""
    if not any(weight for _, _, weight in samples):
        samples[0] = (samples[0][0], samples[0][1], 1)
    positive, score, weight = columns(samples)

    false_rate, true_rate = curves.roc(positive, score, weight)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = sklearn_roc_curve(positive, score, sample_weight=weight)
    assert_allclose(false_rate, expected[0])
    assert_allclose(true_rate, expected[1])


@CHECKED
@given(SAMPLES, st.integers(1, 50))
def test_the_best_precision_of_a_recall_is_the_best_of_all_thresholds_that_reach_it(
    samples: list[tuple[bool, float]], size: int
) -> None:
    precision, recall = curves.precision_recall(*columns(samples))

    best, reached = curves.best_precision(precision, recall, size)

    assert_array_equal(reached, np.linspace(0, 1, size)[::-1])
    for value, at_least in zip(best, reached, strict=True):
        assert value == precision[recall >= at_least].max()


@CHECKED
@given(st.integers(1, 400))
def test_twenty_points_are_picked_at_even_places(length: int) -> None:
    curve = np.arange(length)

    assert curves.picked(curve).tolist() == [int(length * k / 20) for k in range(20)]


def test_repeats_of_a_point_become_one() -> None:
    x, y = curves.without_repeats(np.array([0, 0, 0, 1, 1, 0]), np.array([0, 0, 1, 1, 1, 0]))

    assert list(zip(x.tolist(), y.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 1), (0, 0)]


def test_a_million_samples_take_less_memory_than_ten_copies_of_them() -> None:
    generator = np.random.default_rng(0)
    score = generator.random(1_000_000)
    positive = generator.random(1_000_000) < score
    tracemalloc.start()
    try:
        curves.roc(positive, score)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 10 * score.nbytes
