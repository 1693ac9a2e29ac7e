"""Curve rows: the tables of a classifier's curves, one row per point: class, and two rates to three decimals."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from milepost.media import curves
from milepost.media.classes import ClassScores, one_against_rest, weights
from milepost.sdk.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

logger = logging.getLogger("milepost")

MANY_ROWS = 10_000
"""Rows of a table from which on equal points in a row are stored once."""

Rows = list[list[Any]]


def roc_rows(
    caller: str, y_true: Any, y_probas: Any, labels: Any, classes_to_plot: Any, sample_weight: Any = None
) -> Rows:
    """class, false positive rate, true positive rate: the corners of each class's curve."""
    return _rows(caller, y_true, y_probas, labels, classes_to_plot, sample_weight, curves.roc)


def interpolated_rows(
    caller: str, y_true: Any, y_probas: Any, labels: Any, classes_to_plot: Any, size: Any, sample_weight: Any = None
) -> Rows:
    """class, precision, recall: the best precision at `size` even recalls from 1 down to 0."""
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 1_000_000:
        raise DataError(f"{caller}: interp_size must be a whole number from 1 to 1,000,000, got {size!r}")
    return _rows(
        caller,
        y_true,
        y_probas,
        labels,
        classes_to_plot,
        sample_weight,
        lambda positive, score, weight: curves.best_precision(*curves.precision_recall(positive, score, weight), size),
    )


def sampled_rows(caller: str, y_true: Any, y_probas: Any, labels: Any, classes_to_plot: Any) -> Rows:
    """class, precision, recall: 20 points of each class's curve, by rising threshold."""

    def points(positive: "Array", score: "Array", weight: "Array | None") -> "tuple[Array, Array]":
        precision, recall = curves.precision_recall(positive, score, weight)
        return curves.picked(precision), curves.picked(recall)

    return _rows(caller, y_true, y_probas, labels, classes_to_plot, None, points)


def _rows(
    caller: str,
    y_true: Any,
    y_probas: Any,
    labels: Any,
    classes_to_plot: Any,
    sample_weight: Any,
    curve: "Callable[[Array, Array, Array | None], tuple[Array, Array]]",
) -> Rows:
    questions = one_against_rest(caller, y_true, y_probas, labels, classes_to_plot)
    weight = weights(caller, sample_weight, len(questions[0].positive))
    made: list[tuple[ClassScores, Array, Array]] = []
    for question in questions:
        if question.positive.all() or not question.positive.any():
            share = "all samples are" if question.positive.all() else "no sample is"
            logger.warning(
                "milepost: %s: %s of class %r; half of its curve has no meaning", caller, share, question.name
            )
        x, y = curve(question.positive, question.score, weight)
        made.append((question, x.round(curves.ROUNDED_TO), y.round(curves.ROUNDED_TO)))
    if sum(len(x) for _, x, _ in made) > MANY_ROWS:
        made = [(question, *curves.without_repeats(x, y)) for question, x, y in made]
    return [
        [question.name, first, second]
        for question, x, y in made
        for first, second in zip(x.tolist(), y.tolist(), strict=True)
    ]
