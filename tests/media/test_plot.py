"""The charts' rows: those that wandb stores, and scikit-learn's numbers on real predictions."""

import logging
import math
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix
from sklearn.metrics import precision_recall_curve
from sklearn.metrics import roc_curve as sklearn_roc_curve

from milepost.media import plot, plots
from milepost.media.table import Table
from milepost.sdk.errors import DataError

TRUE = [0, 0, 1, 1]
SCORES = [[0.9, 0.1], [0.6, 0.4], [0.65, 0.35], [0.2, 0.8]]
BY_CLASS = ["cat", "dog"]


@pytest.fixture(scope="module")
def digits() -> tuple[Any, Any]:
    """True digits, and the probabilities that a trained model gives them."""
    images, labels = load_digits(return_X_y=True)
    model = LogisticRegression(max_iter=50, tol=1e-2).fit(images[:600] / 16, labels[:600])
    return labels[600:], model.predict_proba(images[600:] / 16)


def test_the_roc_of_four_samples() -> None:
    corners = [[0.0, 0.0], [0.0, 0.5], [0.5, 0.5], [0.5, 1.0], [1.0, 1.0]]

    for chart in (plot.roc_curve(TRUE, SCORES), plots.ROC(TRUE, SCORES)):
        assert chart.table.columns == ["class", "fpr", "tpr"]
        assert chart.table.data == [[name, *corner] for name in (0, 1) for corner in corners]


def test_the_precision_at_five_recalls_of_four_samples() -> None:
    chart = plot.pr_curve(TRUE, SCORES, labels=BY_CLASS, interp_size=5)

    assert chart.table.columns == ["class", "precision", "recall"]
    points = [[0.667, 1.0], [0.667, 0.75], [1.0, 0.5], [1.0, 0.25], [1.0, 0.0]]
    assert chart.table.data == [[name, *point] for name in BY_CLASS for point in points]
    assert len(plot.pr_curve(TRUE, SCORES).table.data) == 2 * 21


def test_precision_and_recall_at_twenty_thresholds_of_four_samples() -> None:
    chart = plots.precision_recall(TRUE, SCORES, BY_CLASS)

    assert chart.table.columns == ["class", "precision", "recall"]
    points = [[0.5, 1.0]] * 4 + [[0.667, 1.0]] * 4 + [[0.5, 0.5]] * 4 + [[1.0, 0.5]] * 4 + [[1.0, 0.0]] * 4
    assert chart.table.data == [[name, *point] for name in BY_CLASS for point in points]


def test_a_matrix_of_three_samples() -> None:
    chart = plot.confusion_matrix(preds=[2, 0, 2], y_true=[2, 0, 0])

    assert chart.table.columns == ["Actual", "Predicted", "nPredictions"]
    assert chart.table.data == [
        ["Class_1", "Class_1", 1],
        ["Class_1", "Class_2", 1],
        ["Class_2", "Class_1", 0],
        ["Class_2", "Class_2", 1],
    ]


def test_the_curves_of_a_trained_model_are_those_of_scikit_learn(digits: tuple[Any, Any]) -> None:
    true, scores = digits

    rates = plot.roc_curve(true, scores).table
    even = plot.pr_curve(true, scores).table
    sampled = plots.precision_recall(true, scores).table

    for digit in range(10):
        expected = sklearn_roc_curve(true == digit, scores[:, digit])
        ours = [row[1:] for row in rates.data if row[0] == digit]
        assert ours == np.round(np.column_stack(expected[:2]), 3).tolist()
        precision, recall, _ = precision_recall_curve(true == digit, scores[:, digit])
        for _, best, reached in [row for row in even.data if row[0] == digit]:
            assert best == round(float(precision[recall >= reached - 1e-9].max()), 3)
        chosen = [int(len(precision) * k / 20) for k in range(20)]
        ours = [row[1:] for row in sampled.data if row[0] == digit]
        assert ours == np.round(np.column_stack([precision[chosen], recall[chosen]]), 3).tolist()


def test_the_matrix_of_a_trained_model_is_that_of_scikit_learn(digits: tuple[Any, Any]) -> None:
    true, scores = digits
    names = [f"digit {at}" for at in range(10)]

    table = plot.confusion_matrix(probs=scores, y_true=true, class_names=names).table

    expected = sklearn_confusion_matrix(true, scores.argmax(axis=1))
    assert [row[2] for row in table.data] == expected.ravel().tolist()
    assert [row[:2] for row in table.data] == [[actual, predicted] for actual in names for predicted in names]


def test_a_long_curve_keeps_every_rounded_point_once() -> None:
    generator = np.random.default_rng(0)
    scores = generator.random(200_000)
    true = (generator.random(200_000) < scores).astype(int)

    rows = plot.roc_curve(true, scores).table.data

    x, y, _ = sklearn_roc_curve(true, scores)
    assert len(x) > 10_000
    assert len(rows) < 2_002
    assert {tuple(row[1:]) for row in rows} == set(map(tuple, np.round(np.column_stack([x, y]), 3).tolist()))


def test_weights_change_the_curves_as_in_scikit_learn() -> None:
    weight = [1, 2, 3, 4]

    rows = plot.roc_curve(TRUE, [row[1] for row in SCORES], sample_weight=weight).table.data

    x, y, _ = sklearn_roc_curve(TRUE, [row[1] for row in SCORES], sample_weight=weight)
    assert rows == [[1, *point] for point in np.round(np.column_stack([x, y]), 3).tolist()]


@pytest.mark.parametrize(("true", "rates"), [([0, 0], [1.0, math.nan]), ([1, 1], [math.nan, 1.0])])
def test_one_class_only_gives_nan_and_says_so(
    true: list[int], rates: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    rows = plot.roc_curve(true, [0.2, 0.8]).table.data

    assert str(rows[-1]) == str([1, *rates])
    assert "of class 1; half of its curve has no meaning" in caplog.text


def test_scikit_learn_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sklearn", "pandas", "scipy"):
        monkeypatch.setitem(sys.modules, name, None)

    assert plot.roc_curve(TRUE, SCORES).table.data
    assert plot.pr_curve(TRUE, SCORES).table.data
    assert plots.precision_recall(TRUE, SCORES).table.data
    assert plot.confusion_matrix(preds=TRUE, y_true=TRUE).table.data


# charts of tables


def table() -> Table:
    return Table(columns=["step", "loss", "phase"], data=[[0, 0.5, "a"], [1, 0.25, "b"]])


@pytest.mark.parametrize(
    ("chart", "kind", "fields"),
    [
        (plot.line(table(), "step", "loss", title="t"), "line", {"x": "step", "y": "loss"}),
        (plot.line(table(), "step", "loss", "phase", "t"), "line", {"x": "step", "y": "loss", "stroke": "phase"}),
        (plot.scatter(table(), "step", "loss", "t"), "scatter", {"x": "step", "y": "loss"}),
        (plot.bar(table(), "phase", "loss", "t"), "bar", {"label": "phase", "value": "loss"}),
        (plot.histogram(table(), "loss", "t"), "histogram", {"value": "loss"}),
        (plot.plot_table("wandb/bar/v0", table(), {"label": "phase"}, {"title": "t"}), "bar", {"label": "phase"}),
        (plot.plot_table("me/mine", table(), {"label": "phase"}, {"title": "t"}), "custom", {"label": "phase"}),
    ],
)
def test_a_chart_is_its_table_and_a_few_words_on_how_to_draw_it(chart: Any, kind: str, fields: dict[str, str]) -> None:
    value = chart.as_value()

    assert chart.table.data == table().data
    assert {name: value[name] for name in ("_type", "kind", "title", "fields", "nrows", "ncols")} == {
        "_type": "chart-file",
        "kind": kind,
        "title": "t",
        "fields": fields,
        "nrows": 2,
        "ncols": 3,
    }


def test_a_data_frame_is_taken_for_a_table() -> None:
    assert plot.line(pd.DataFrame({"x": [1], "y": [2]}), "x", "y").table.data == [[1, 2]]


@pytest.mark.parametrize(
    ("xs", "ys", "keys", "rows"),
    [
        ([0, 1], [[1, 2], [3, 4]], None, [[0, "line_0", 1], [1, "line_0", 2], [0, "line_1", 3], [1, "line_1", 4]]),
        ([[0, 1], [5]], [[1, 2], [3]], ["a", "b"], [[0, "a", 1], [1, "a", 2], [5, "b", 3]]),
        (np.arange(2), np.array([[1, 2]]), ["a"], [[0, "a", 1], [1, "a", 2]]),
        (range(2), [np.array([0.5, 1.5])], None, [[0, "line_0", 0.5], [1, "line_0", 1.5]]),
        (["mon", "tue"], [[1, None]], ["a"], [["mon", "a", 1], ["tue", "a", None]]),
    ],
)
def test_line_series_are_rows_of_step_name_and_value(xs: Any, ys: Any, keys: Any, rows: list[Any]) -> None:
    chart = plot.line_series(xs, ys, keys, title="t", xname="epoch")

    assert chart.table.columns == ["step", "lineKey", "lineVal"]
    assert chart.table.data == rows
    assert (chart.kind, chart.strings["title"], chart.strings["xname"]) == ("line_series", "t", "epoch")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: plot.line(table(), "step", "los"),
            "line: y='los' is no column of the table; columns are step, loss, phase",
        ),
        (lambda: plot.bar([[1, 2]], "a", "b"), "bar: table must be a milepost.Table or a data frame, got list"),
        (lambda: plot.line_series([[0], [1], [2]], [[0], [1]]), "xs has 3 lists and ys 2"),
        (lambda: plot.line_series([0], [[0]], keys=["a", "b"]), "keys has 2 names for 1 lines"),
        (lambda: plot.line_series([0, 1], [[0]]), "line 'line_0' has 2 x values and 1 y values"),
        (lambda: plot.line_series([0, 1], [0, 1]), r"ys\[0\] must be a list or array of values, got int"),
        (lambda: plot.line_series(3, [[0]]), "xs must be a list or array of values, got int"),
        (lambda: plot.pr_curve(TRUE, SCORES, interp_size=0), "interp_size must be a whole number"),
        (plot.roc_curve, "roc_curve: y_true is missing"),
        (lambda: plots.precision_recall(TRUE), "precision_recall: y_probas is missing"),
        (lambda: plot.confusion_matrix(y_true=TRUE), "preds is missing"),
        (lambda: plot.plot_table(3, table(), {}), "vega_spec_name must be a text"),  # type: ignore[arg-type]
    ],
)
def test_a_mistake_is_an_error_that_names_it(make: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()


@pytest.mark.parametrize("name", ["HeatMap", "named_entity"])
def test_a_chart_that_is_not_there_names_what_to_use(name: str) -> None:
    with pytest.raises(AttributeError, match=f"{name} is not in milepost; instead"):
        getattr(plots, name)


def test_warnings_go_to_the_logger_of_milepost(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    plot.roc_curve([1, 1], [0.1, 0.2])

    assert {record.name for record in caplog.records} == {"milepost"}
