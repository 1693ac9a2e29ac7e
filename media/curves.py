"""Curves: precision over recall, and true over false positive rate, at each threshold of a score.

Plain functions of NumPy arrays, without scikit-learn. Their results are those of its `precision_recall_curve` and `roc_curve`
(1.1 and later), to the last bit where samples have no weights; tests hold them equal.

    positive: shape (n,), bool, n >= 1: whether a sample belongs to the class.
    score:    shape (n,), finite numbers: the higher, the more likely it does.
    weight:   shape (n,), finite and >= 0, or None for 1 each. A sample of weight 0 counts as absent.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

ROUNDED_TO = 3
"""Decimals of the rates in a chart's table. Both axes then have 1001 places: a curve that only rises has at most 2001 points."""


def precision_recall(positive: "Array", score: "Array", weight: "Array | None" = None) -> "tuple[Array, Array]":
    """Precision and recall at each distinct score, by rising threshold, and the end (1, 0): shape (thresholds + 1,) both.

    Without a positive sample recall is 1 wherever it has no meaning, as in scikit-learn.
    """
    import numpy as np

    false, true = _counts(positive, score, weight)
    chosen = true + false
    precision = np.zeros_like(true)
    np.divide(true, chosen, out=precision, where=chosen != 0)
    recall = np.ones_like(true) if true[-1] == 0 else true / true[-1]
    return np.append(precision[::-1], 1.0), np.append(recall[::-1], 0.0)


def roc(positive: "Array", score: "Array", weight: "Array | None" = None) -> "tuple[Array, Array]":
    """False and true positive rates, by falling threshold, from (0, 0) to (1, 1), without points in the middle of a line.

    Without a negative sample the false positive rate is NaN, without a positive one the true positive rate.
    """
    import numpy as np

    false, true = _counts(positive, score, weight)
    if len(true) > 2:
        bends = np.logical_or(np.diff(false, 2), np.diff(true, 2))
        corners = np.concatenate(([True], bends, [True]))
        false, true = false[corners], true[corners]
    false, true = np.append(0.0, false), np.append(0.0, true)
    nowhere = np.full(len(true), np.nan)
    return (false / false[-1] if false[-1] > 0 else nowhere), (true / true[-1] if true[-1] > 0 else nowhere)


def best_precision(precision: "Array", recall: "Array", size: int) -> "tuple[Array, Array]":
    """The best precision of any threshold that reaches a recall, for `size` even recalls from 1 down to 0.

    precision, recall: as `precision_recall` gives them.
    """
    import numpy as np

    reached = np.linspace(0.0, 1.0, size)[::-1]
    best = np.maximum.accumulate(precision)[::-1]
    return best[np.searchsorted(recall[::-1], reached, side="left")], reached


def picked(curve: "Array", size: int = 20) -> "Array":
    """Points 0, len / size, 2 len / size, ... of a curve: what wandb's `plots.precision_recall` keeps of one."""
    return curve[[int(len(curve) * at / size) for at in range(size)]]


def without_repeats(x: "Array", y: "Array") -> "tuple[Array, Array]":
    """A rounded curve with each run of equal points as one point."""
    import numpy as np

    moved = np.logical_or(x[1:] != x[:-1], y[1:] != y[:-1])
    kept = np.concatenate(([True], moved))
    return x[kept], y[kept]


def _counts(positive: "Array", score: "Array", weight: "Array | None") -> "tuple[Array, Array]":
    """False and true positives (their weight) when all samples from a score up are called positive, by falling score."""
    import numpy as np

    if weight is not None:
        present = weight != 0
        positive, score, weight = positive[present], score[present], weight[present]
    order = np.argsort(score, kind="stable")[::-1]
    score, positive = score[order], positive[order]
    last = np.append(np.flatnonzero(score[1:] != score[:-1]), len(score) - 1)
    if weight is None:
        true = np.cumsum(positive, dtype=np.float64)[last]
        return 1.0 + last - true, true
    weight = weight[order].astype(np.float64)
    return np.cumsum(~positive * weight)[last], np.cumsum(positive * weight)[last]
