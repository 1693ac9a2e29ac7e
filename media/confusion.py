"""Confusion matrix: how often each true class was predicted as each class."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from milepost.media.classes import numbers, score_columns, true_labels, weights
from milepost.sdk.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def confusion(
    caller: str,
    y_true: Any,
    preds: Any = None,
    probs: Any = None,
    class_names: Any = None,
    sample_weight: Any = None,
) -> "tuple[list[str], Array]":
    """Names of the n classes, and counts of shape (n, n): rows are the true classes, columns the predicted ones.

    y_true, preds: labels, equally many.
    probs:         shape (samples, classes) instead of preds: the column with the greatest value is the predicted class.
    class_names:   the name of class 0, 1, ...; labels may also be these names themselves. Without it the classes are those
                   that occur, sorted: text is its own name, numbers are "Class_1", "Class_2", ...
    sample_weight: what each sample counts for, instead of 1.

    Raises DataError, which names caller, argument and what is expected.
    """
    import numpy as np

    if probs is not None and preds is not None:
        raise DataError(f"{caller}: both probs and preds are given; give one of them")
    if probs is None and preds is None:
        raise DataError(f"{caller}: preds is missing; give the predicted classes as preds, or their scores as probs")
    names = None if class_names is None else _names(caller, class_names)
    true = _codes(caller, "y_true", true_labels(caller, y_true), names)
    if preds is not None:
        predicted = _codes(caller, "preds", true_labels(caller, preds, "preds"), names)
    else:
        predicted, true = _most_likely(caller, probs, true, names)
    if len(predicted) != len(true):
        given = "preds" if preds is not None else "probs"
        raise DataError(
            f"{caller}: {given} has {len(predicted)} predictions and y_true {len(true)} values; give one per sample"
        )
    weight = weights(caller, sample_weight, len(true))
    if names is None:
        if (true.dtype.kind == "U") != (predicted.dtype.kind == "U"):
            raise DataError(
                f"{caller}: y_true and preds must be of one kind, text or numbers; got {true.dtype} and {predicted.dtype}"
            )
        classes, codes = np.unique(np.concatenate([true, predicted]), return_inverse=True)
        codes = codes.reshape(-1)
        true, predicted = codes[: len(true)], codes[len(true) :]
        names = classes.tolist() if classes.dtype.kind == "U" else [f"Class_{at + 1}" for at in range(len(classes))]
    count = len(names)
    places = true.astype(np.int64) * count + predicted.astype(np.int64)
    return names, np.bincount(places, weights=weight, minlength=count * count).reshape(count, count)


def _names(caller: str, class_names: Any) -> list[str]:
    if isinstance(class_names, str) or not (isinstance(class_names, Sequence) or hasattr(class_names, "__array__")):
        raise DataError(f"{caller}: class_names must be a list of names, got {type(class_names).__name__}")
    names = [str(name) for name in class_names]
    if not names:
        raise DataError(f"{caller}: class_names is empty; name every class, or leave it out")
    return names


def _codes(caller: str, argument: str, labels: "Array", names: list[str] | None) -> "Array":
    """Labels as the index of their name, or as they are without names. Raises DataError for a label without a name."""
    import numpy as np

    if labels.dtype.kind == "f":
        broken = np.flatnonzero(labels != np.rint(labels))
        if len(broken):
            raise DataError(
                f"{caller}: {argument}[{broken[0]}] is {labels[broken[0]]}, which is no class; give classes as {argument}, "
                "or scores as probs"
            )
    if labels.dtype.kind == "b":
        labels = labels.astype(np.int64)
    if names is None:
        return labels
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    if labels.dtype.kind == "U":
        place = {name: at for at, name in enumerate(names)}
        unknown = [(at, value) for at, value in enumerate(labels.tolist()) if value not in place]
        if unknown:
            raise DataError(
                f"{caller}: {argument}[{unknown[0][0]}] is {unknown[0][1]!r}, and class_names are {shown}; name every class"
            )
        return np.asarray([place[value] for value in labels.tolist()], dtype=np.int64)
    outside = np.flatnonzero((labels < 0) | (labels >= len(names)))
    if len(outside):
        raise DataError(
            f"{caller}: {argument}[{outside[0]}] is {labels[outside[0]]}, and class_names has {len(names)} names ({shown}), "
            f"which are the classes 0 to {len(names) - 1}; name every class"
        )
    return labels


def _most_likely(caller: str, probs: Any, true: "Array", names: list[str] | None) -> "tuple[Array, Array]":
    """The class with the greatest score of each sample, and the true labels in the same terms. Raises DataError."""
    import numpy as np

    if numbers(caller, "probs", probs).ndim == 1:
        raise DataError(
            f"{caller}: probs has one score per sample; give shape (samples, classes), or preds such as preds=probs > 0.5"
        )
    scores = score_columns(caller, probs, "probs")
    if names is not None and scores.shape[1] != len(names):
        raise DataError(
            f"{caller}: probs has {scores.shape[1]} columns and class_names {len(names)} names; give one name per column"
        )
    predicted = scores.argmax(axis=1)
    if true.dtype.kind != "U":
        return predicted, true
    classes = np.unique(true)
    if len(classes) != scores.shape[1]:
        raise DataError(
            f"{caller}: probs has {scores.shape[1]} columns and y_true {len(classes)} classes of text; "
            "give class_names, one per column"
        )
    return classes[predicted], true
