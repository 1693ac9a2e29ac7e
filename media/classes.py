"""Classes: true labels and scores as programs have them, checked and taken apart into one yes-or-no question per class.

Labels may be numbers, text or booleans, in lists, arrays, tensors or data frames' columns; scores one column per class, or one
for the second of two classes.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from milepost.sdk.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

logger = logging.getLogger("milepost")

Name = str | int | float | bool


@dataclass(frozen=True)
class ClassScores:
    """One class against all others.

    name:     what its rows are called.
    positive: shape (n,), bool: which samples are of the class.
    score:    shape (n,): how likely they are said to be.
    """

    name: Name
    positive: "Array"
    score: "Array"


def one_against_rest(
    caller: str, y_true: Any, y_probas: Any, labels: Any = None, classes_to_plot: Any = None
) -> list[ClassScores]:
    """One question per class in y_true, in the order of the classes.

    y_true:          n labels.
    y_probas:        n scores of the second of two classes (of class 1, where all samples are of class 0 or 1), or shape
                     (n, classes): column i is the i-th of the classes that are in y_true, in their order. With more columns
                     than that, labels that are integers name their column.
    labels:          names for integer labels: a list that they index, or a mapping.
    classes_to_plot: the labels to take, all by default.

    Raises DataError, which names caller, argument, place and what is expected.
    """
    import numpy as np

    true = true_labels(caller, y_true)
    scores = score_columns(caller, y_probas)
    if len(scores) != len(true):
        raise DataError(
            f"{caller}: y_true has {len(true)} values and y_probas {len(scores)} rows; give one row per value"
        )
    if true.dtype.kind == "f" and not np.array_equal(true, np.rint(true)):
        at = int(np.flatnonzero(true != np.rint(true))[0])
        raise DataError(
            f"{caller}: y_true[{at}] is {true[at]}, which is no class; give the true labels: integers, text or booleans"
        )
    if scores.shape[1] == 1 and true.dtype.kind != "U" and np.isin(true, (0, 1)).all():
        classes = np.array([0, 1], dtype=true.dtype)  # scores of class 1, also when all samples are of one class
        member = true.astype(np.intp)
    else:
        classes, member = np.unique(true, return_inverse=True)
        member = member.reshape(-1)
    columns = _columns(caller, classes, scores.shape[1], labels)
    wanted = _wanted(caller, classes, classes_to_plot)
    names = class_names(caller, classes, labels)
    return [ClassScores(names[at], member == at, scores[:, column]) for at, column in columns.items() if at in wanted]


def weights(caller: str, sample_weight: Any, count: int) -> "Array | None":
    """Checked sample weights, or None. Raises DataError."""
    import numpy as np

    if sample_weight is None:
        return None
    array = numbers(caller, "sample_weight", sample_weight)
    if array.shape != (count,):
        raise DataError(f"{caller}: sample_weight has shape {array.shape}; give {count} weights, one per sample")
    bad = np.flatnonzero(~(np.isfinite(array) & (array >= 0)))
    if len(bad):
        raise DataError(f"{caller}: sample_weight[{bad[0]}] is {array[bad[0]]}; weights are finite and not negative")
    if not array.any():
        raise DataError(f"{caller}: all of sample_weight is 0; at least one sample must count")
    return array


def true_labels(caller: str, values: Any, argument: str = "y_true") -> "Array":
    """Labels as an array of shape (n,) of integers, floats, booleans or text, n >= 1, none missing. Raises DataError."""
    import numpy as np

    array = _array(caller, argument, values, "class labels, one per sample")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        more = "" if array.ndim != 2 else f"; for one-hot rows give {argument}.argmax(axis=1)"
        raise DataError(f"{caller}: {argument} has shape {array.shape}; expected one class label per sample{more}")
    if not len(array):
        raise DataError(f"{caller}: {argument} is empty; there is nothing to compute")
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise DataError(
            f"{caller}: {argument}[{int(np.flatnonzero(np.isnan(array))[0])}] is NaN; leave samples without a label out"
        )
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind == "O":
        return _plain_labels(caller, argument, array.tolist())
    if array.dtype.kind == "U" and isinstance(
        values, list | tuple
    ):  # numpy makes text of numbers that stand beside text
        return _plain_labels(
            caller, argument, [value[0] if isinstance(value, list | tuple) else value for value in values]
        )
    if array.dtype.kind not in "iufbU":
        raise DataError(f"{caller}: {argument} has dtype {array.dtype}; class labels are integers, text or booleans")
    return array


def score_columns(caller: str, values: Any, argument: str = "y_probas") -> "Array":
    """Scores as an array of shape (n, columns), n >= 1, all finite. Raises DataError."""
    import numpy as np

    array = numbers(caller, argument, values)
    if array.ndim == 1:
        array = array[:, np.newaxis]
    if array.ndim != 2 or 0 in array.shape:
        raise DataError(f"{caller}: {argument} has shape {array.shape}; expected (samples, classes), or (samples,)")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        row, column = (int(at) for at in bad[0])
        raise DataError(
            f"{caller}: {argument}[{row}, {column}] is {array[row, column]}, and {len(bad)} in all are not finite; a score "
            "that is no number has no place in a curve: repair or leave out those samples"
        )
    return array


def numbers(caller: str, argument: str, values: Any) -> "Array":
    """An array of real numbers, of any shape. Raises DataError."""
    import numpy as np

    array = _array(caller, argument, values, "numbers")
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"{caller}: {argument} must be numbers: {error}") from None
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind not in "iuf":
        raise DataError(f"{caller}: {argument} has dtype {array.dtype}; expected numbers")
    return array


def class_names(caller: str, classes: "Array", labels: Any) -> list[Name]:
    """What each class is called. labels: names of integer classes, by index or by key. Raises DataError for one without."""
    values: list[Name] = classes.tolist()
    if labels is None or classes.dtype.kind == "U":
        return values
    if isinstance(labels, str) or not (isinstance(labels, Mapping | Sequence) or hasattr(labels, "__array__")):
        raise DataError(f"{caller}: labels must be a list of names, got {type(labels).__name__}")
    table = labels if isinstance(labels, Mapping) else dict(enumerate(labels))
    unnamed = [value for value in values if int(value) not in table]
    if unnamed:
        raise DataError(
            f"{caller}: y_true holds class {unnamed[0]!r}, and labels has {len(table)} names, of "
            f"{', '.join(map(repr, table)) or 'no class'}; label i names class i"
        )
    return [str(table[int(value)]) for value in values]


def _columns(caller: str, classes: "Array", count: int, labels: Any) -> dict[int, int]:
    """Which column holds the scores of which class, by the place of the class. Raises DataError when that cannot be known."""
    if count == len(classes):
        return {at: at for at in range(count)}
    if count == 1 and len(classes) == 2:
        return {1: 0}
    if count > len(classes):
        values = classes.tolist()
        if classes.dtype.kind != "U" and all(0 <= value < count for value in values):
            return {at: int(value) for at, value in enumerate(values)}
        named = [] if labels is None or isinstance(labels, Mapping) else [str(label) for label in labels]
        if len(named) == count and set(values) <= set(named):
            return {at: named.index(value) for at, value in enumerate(values)}
    present = ", ".join(repr(value) for value in classes.tolist()[:10]) + (", ..." if len(classes) > 10 else "")
    raise DataError(
        f"{caller}: y_probas has {count} column{'s' if count != 1 else ''} and y_true {len(classes)} classes ({present}); "
        "give one column per class, in the order of the sorted classes, or one column for the second of two classes"
    )


def _wanted(caller: str, classes: "Array", classes_to_plot: Any) -> set[int]:
    """The places of the classes that were asked for. Raises DataError when none is there."""
    if classes_to_plot is None:
        return set(range(len(classes)))
    asked = true_labels(caller, classes_to_plot, "classes_to_plot").tolist()
    values = classes.tolist()
    absent = [value for value in asked if value not in values]
    if len(absent) == len(asked):
        raise DataError(f"{caller}: none of classes_to_plot {asked} is in y_true, which holds {values}")
    if absent:
        logger.warning("milepost: %s: no sample is of class %s; it has no curve", caller, ", ".join(map(repr, absent)))
    return {at for at, value in enumerate(values) if value in asked}


def _array(caller: str, argument: str, values: Any, wanted: str) -> "Array":
    """Whatever holds values as an array. Raises DataError."""
    import numpy as np

    if values is None:
        raise DataError(f"{caller}: {argument} is missing; give {wanted}")
    if isinstance(values, str | bytes | Mapping | set | frozenset):
        raise DataError(
            f"{caller}: {argument} must be a list or array of {wanted}, got {type(values).__name__}, which has no order"
            if isinstance(values, set | frozenset)
            else f"{caller}: {argument} must be a list or array of {wanted}, got {type(values).__name__}"
        )
    try:
        if hasattr(values, "detach"):  # PyTorch
            values = values.detach().cpu()
            values = values.float() if str(values.dtype) == "torch.bfloat16" else values
        if not (hasattr(values, "__array__") or isinstance(values, Sequence)):
            values = list(values)
        elif isinstance(values, Sequence) and values and hasattr(values[0], "detach"):
            values = [value.detach().cpu().numpy() for value in values]
        array = np.asarray(values)
    except Exception as error:  # noqa: BLE001 - a value's own __array__ or __iter__ may raise anything
        raise DataError(f"{caller}: {argument} cannot be read as {wanted}: {type(error).__name__}: {error}") from None
    if array.dtype.kind == "V" and not array.dtype.names:
        array = array.astype(np.float32)  # bfloat16 and its kin
    return array


def _plain_labels(caller: str, argument: str, values: list[Any]) -> "Array":
    """Labels of Python objects as an array of one kind. Raises DataError for one that is missing or of another type."""
    import numpy as np

    for at, value in enumerate(values):
        if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
            raise DataError(f"{caller}: {argument}[{at}] is {value}; leave samples without a label out")
    whole, real = (int, np.integer), (int, float, np.integer, np.floating)
    known: list[tuple[Any, Any]] = [(str, np.str_), ((bool, np.bool_), np.bool_), (whole, np.int64), (real, np.float64)]
    for kind, dtype in known:
        if all(isinstance(value, kind) for value in values):
            return np.asarray(values, dtype=dtype)
    kinds = list(dict.fromkeys(type(value).__name__ for value in values))
    raise DataError(
        f"{caller}: {argument} mixes {', '.join(kinds)}; class labels are all integers, all text or all booleans"
    )
