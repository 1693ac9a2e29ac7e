"""milepost.plots: the older names of wandb's charts of a classifier. `milepost.plot` has the newer ones, and more.

milepost.log({"pr": milepost.plots.precision_recall(y_true, y_probas, labels)})
"""

from typing import Any, Final

from milepost.media.chart import Chart
from milepost.media.curve_rows import roc_rows, sampled_rows
from milepost.media.table import Table

__all__ = ["ROC", "precision_recall"]


def precision_recall(
    y_true: Any = None,
    y_probas: Any = None,
    labels: Any = None,
    plot_micro: bool = True,
    classes_to_plot: Any = None,
) -> Chart:
    """Precision over recall of each class against all others: 20 points of scikit-learn's curve, by rising threshold.

    y_true:   the true classes: integers, text or booleans, one per sample.
    y_probas: shape (samples, classes): scores, the higher the likelier; or the scores of the second of two classes.
    labels:   names of the classes 0, 1, ... (integers only).
    classes_to_plot: classes of y_true, all by default.
    plot_micro: accepted as in wandb, without effect.

    Its table has the columns class, precision, recall, to three decimals. Raises DataError.
    """
    rows = sampled_rows("precision_recall", y_true, y_probas, labels, classes_to_plot)
    strings = {"title": "Precision v. Recall", "x-axis-title": "Recall", "y-axis-title": "Precision"}
    fields = {"x": "recall", "y": "precision", "class": "class"}
    table = Table(columns=["class", "precision", "recall"], data=rows, allow_mixed_types=True)
    return Chart(table, "wandb/pr_curve/v1", fields, strings)


def ROC(  # noqa: N802 - its name in wandb
    y_true: Any = None,
    y_probas: Any = None,
    labels: Any = None,
    plot_macro: bool = True,
    plot_micro: bool = True,
    classes_to_plot: Any = None,
) -> Chart:
    """True over false positive rate of each class against all others, as scikit-learn's `roc_curve` gives them.

    The arguments are those of `precision_recall`. Its table has the columns class, fpr, tpr, to three decimals.
    """
    rows = roc_rows("ROC", y_true, y_probas, labels, classes_to_plot)
    strings = {"title": "ROC", "x-axis-title": "False positive rate", "y-axis-title": "True positive rate"}
    fields = {"x": "fpr", "y": "tpr", "class": "class"}
    table = Table(columns=["class", "fpr", "tpr"], data=rows, allow_mixed_types=True)
    return Chart(table, "wandb/roc/v1", fields, strings)


_INSTEAD: Final = {
    "HeatMap": "log a matplotlib figure with imshow, or milepost.plot.confusion_matrix",
    "explain_text": "log what the explainer gives as milepost.Html or milepost.Table",
    "named_entity": "log what displacy.render gives as milepost.Html",
    "part_of_speech": "log what displacy.render gives as milepost.Html",
    "roc": "use milepost.plots.ROC",
}


def __getattr__(name: str) -> Any:
    if name in _INSTEAD:
        raise AttributeError(f"milepost.plots.{name} is not in milepost; instead, {_INSTEAD[name]}")
    raise AttributeError(f"module 'milepost.plots' has no attribute {name!r}")
