"""milepost.plot: charts of tables and of a classifier's predictions. Each is a value for `log()`, and yields its data.

    milepost.log({"roc": milepost.plot.roc_curve(y_true, y_probas, labels=["cat", "dog"])})

Names, arguments and numbers are those of `wandb.plot`; the curves are scikit-learn's, computed without it. The rows read back
as a table (`row["roc"].to_pandas()`), with the kind of chart and the names of the columns that it draws.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from milepost.media.chart import Chart, table_of
from milepost.media.curve_rows import interpolated_rows, roc_rows
from milepost.media.table import Table
from milepost.sdk.errors import DataError

__all__ = [
    "bar",
    "confusion_matrix",
    "histogram",
    "line",
    "line_series",
    "plot_table",
    "pr_curve",
    "roc_curve",
    "scatter",
]

_CURVE = "wandb/area-under-curve/v0"


def line(
    table: Any, x: str, y: str, stroke: str | None = None, title: str | None = None, split_table: bool = False
) -> Chart:
    """A line through the rows of a table, in their order.

    table:  a `milepost.Table` or a data frame.
    x, y:   columns of it.
    stroke: a column that tells lines apart.

    Raises DataError for a column that is not there. split_table has no effect.
    """
    fields = {"x": x, "y": y} if stroke is None else {"x": x, "y": y, "stroke": stroke}
    return Chart(table_of("line", table, fields), "wandb/line/v0", fields, {"title": title}, split_table)


def scatter(table: Any, x: str, y: str, title: str | None = None, split_table: bool = False) -> Chart:
    """A point per row of a table. x, y: columns of it. Errors as in `line`."""
    fields = {"x": x, "y": y}
    return Chart(table_of("scatter", table, fields), "wandb/scatter/v0", fields, {"title": title}, split_table)


def bar(table: Any, label: str, value: str, title: str | None = None, split_table: bool = False) -> Chart:
    """A bar per row of a table. label, value: the columns of its name and its length. Errors as in `line`."""
    fields = {"label": label, "value": value}
    return Chart(table_of("bar", table, fields), "wandb/bar/v0", fields, {"title": title}, split_table)


def histogram(table: Any, value: str, title: str | None = None, split_table: bool = False) -> Chart:
    """How the values of a column are distributed; the page makes the bins. Errors as in `line`."""
    fields = {"value": value}
    return Chart(table_of("histogram", table, fields), "wandb/histogram/v0", fields, {"title": title}, split_table)


def line_series(
    xs: Any,
    ys: Any,
    keys: Iterable[Any] | None = None,
    title: str | None = None,
    xname: str | None = None,
    split_table: bool = False,
) -> Chart:
    """Several lines in one chart.

    xs:    x values: one list for all lines, or one list per line.
    ys:    a list of y values per line.
    keys:  the names of the lines; line_0, line_1, ... without it.
    xname: what the x axis is called, "x" by default.

    Its table has the columns step, lineKey, lineVal. Raises DataError when numbers of lines, names or points do not fit.
    """
    lines = [_values(f"line_series: ys[{at}]", line) for at, line in enumerate(_values("line_series: ys", ys))]
    shared = _values("line_series: xs", xs)
    each = [shared] * len(lines)
    if shared and _is_many(shared[0]):
        each = [_values(f"line_series: xs[{at}]", line) for at, line in enumerate(shared)]
    if len(each) != len(lines):
        raise DataError(
            f"line_series: xs has {len(each)} lists and ys {len(lines)}; give one list of x values per line, or one for all"
        )
    names = [f"line_{at}" for at in range(len(lines))] if keys is None else [str(key) for key in keys]
    if len(names) != len(lines):
        raise DataError(f"line_series: keys has {len(names)} names for {len(lines)} lines; give one per line")
    for at, (x, y) in enumerate(zip(each, lines, strict=True)):
        if len(x) != len(y):
            raise DataError(f"line_series: line {names[at]!r} has {len(x)} x values and {len(y)} y values")
    rows = [
        [x, name, y] for xs_, name, ys_ in zip(each, names, lines, strict=True) for x, y in zip(xs_, ys_, strict=True)
    ]
    table = Table(columns=["step", "lineKey", "lineVal"], data=rows)
    fields = {"step": "step", "lineKey": "lineKey", "lineVal": "lineVal"}
    strings = {"title": title, "xname": xname or "x", "x-axis-title": xname or "x"}
    return Chart(table, "wandb/lineseries/v0", fields, strings, split_table)


def confusion_matrix(
    probs: Any = None,
    y_true: Any = None,
    preds: Any = None,
    class_names: Sequence[str] | None = None,
    title: str | None = None,
    split_table: bool = False,
    *,
    sample_weight: Any = None,
) -> Chart:
    """How often each true class was predicted as each class.

    probs:       shape (samples, classes): the column with the greatest value is the predicted class.
    preds:       the predicted classes, instead of probs.
    y_true:      the true classes: integers, text or booleans, one per sample.
    class_names: names of the classes 0, 1, ...; y_true and preds may also hold these names. Without it text classes name
                 themselves, others are Class_1, Class_2, ... in their order.
    sample_weight: what each sample counts for, 1 by default.

    Its table has the columns Actual, Predicted, nPredictions, a row for each pair of classes. Raises DataError.
    """
    from milepost.media.confusion import confusion

    names, counts = confusion("confusion_matrix", y_true, preds, probs, class_names, sample_weight)
    rows = [[names[i], names[j], count] for i, row in enumerate(counts.tolist()) for j, count in enumerate(row)]
    table = Table(columns=["Actual", "Predicted", "nPredictions"], data=rows)
    fields = {"Actual": "Actual", "Predicted": "Predicted", "nPredictions": "nPredictions"}
    return Chart(table, "wandb/confusion_matrix/v1", fields, {"title": title or "Confusion Matrix"}, split_table)


def roc_curve(
    y_true: Any = None,
    y_probas: Any = None,
    labels: Any = None,
    classes_to_plot: Any = None,
    title: str | None = None,
    split_table: bool = False,
    *,
    sample_weight: Any = None,
) -> Chart:
    """True over false positive rate of each class against all others, as scikit-learn's `roc_curve` gives them.

    y_true:   the true classes: integers, text or booleans, one per sample.
    y_probas: shape (samples, classes): scores, the higher the likelier; or the scores of the second of two classes. The columns
              are in the order of the sorted classes of y_true; with more columns than that, class i is column i.
    labels:   names of the classes 0, 1, ... (integers only).
    classes_to_plot: classes of y_true, all by default.
    sample_weight:   what each sample counts for, 1 by default.

    Its table has the columns class, fpr, tpr, to three decimals. Raises DataError.
    """
    rows = roc_rows("roc_curve", y_true, y_probas, labels, classes_to_plot, sample_weight)
    strings = {
        "title": title or "ROC Curve",
        "x-axis-title": "False positive rate",
        "y-axis-title": "True positive rate",
    }
    fields = {"x": "fpr", "y": "tpr", "class": "class"}
    return Chart(_rates(["class", "fpr", "tpr"], rows), _CURVE, fields, strings, split_table)


def pr_curve(
    y_true: Any = None,
    y_probas: Any = None,
    labels: Any = None,
    classes_to_plot: Any = None,
    interp_size: int = 21,
    title: str | None = None,
    split_table: bool = False,
    *,
    sample_weight: Any = None,
) -> Chart:
    """The best precision that each class reaches at even steps of recall.

    interp_size: how many recalls from 1 down to 0. The other arguments are those of `roc_curve`.

    Its table has the columns class, precision, recall, to three decimals. Raises DataError.
    """
    rows = interpolated_rows("pr_curve", y_true, y_probas, labels, classes_to_plot, interp_size, sample_weight)
    strings = {"title": title or "Precision-Recall Curve", "x-axis-title": "Recall", "y-axis-title": "Precision"}
    fields = {"x": "recall", "y": "precision", "class": "class"}
    return Chart(_rates(["class", "precision", "recall"], rows), _CURVE, fields, strings, split_table)


def plot_table(
    vega_spec_name: str,
    data_table: Any,
    fields: Any,
    string_fields: Mapping[str, Any] | None = None,
    split_table: bool = False,
) -> Chart:
    """A chart by wandb's name for its kind, such as "wandb/scatter/v0". Any other name is kept; the page then shows the table.

    fields: which column is drawn as what. string_fields: the chart's texts, such as "title". Errors as in `line`.
    """
    if not isinstance(vega_spec_name, str):
        raise DataError(f"plot_table: vega_spec_name must be a text, got {type(vega_spec_name).__name__}")
    if not isinstance(fields, Mapping):
        raise DataError(f"plot_table: fields must be a dict, {{'x': column}}, got {type(fields).__name__}")
    return Chart(table_of("plot_table", data_table, fields), vega_spec_name, fields, string_fields, split_table)


def _rates(columns: list[str], rows: list[list[Any]]) -> Table:
    return Table(columns=columns, data=rows, allow_mixed_types=True)


def _is_many(value: Any) -> bool:
    return hasattr(type(value), "__iter__") and not isinstance(value, str | bytes) and getattr(value, "ndim", 1) > 0


def _values(what: str, values: Any) -> list[Any]:
    """The items of a list, array, tensor or column. Raises DataError for what has none."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    if not _is_many(values) or isinstance(values, Mapping):
        raise DataError(f"{what} must be a list or array of values, got {type(values).__name__}")
    return list(values.tolist() if hasattr(values, "tolist") else values)
