"""The arguments `step` and `commit` of a call to log(), checked."""

from typing import Any

from milepost.sdk.errors import DataError
from milepost.sdk.text import shown, type_name
from milepost.sdk.values import INT_MAX

_YES_OR_NO = (bool, int)


def arguments(step: Any, commit: Any) -> tuple[int | None, bool]:
    """The step and whether the call closes its row. Raises DataError for other types than the documented ones."""
    if step is not None and type(step) is not int:
        step = _whole(step)
    if step is not None and step > INT_MAX:
        raise DataError(f"log() step {shown(step)} does not fit 64 bits; the largest step is {INT_MAX}")
    if commit is None:
        return step, step is None
    if type(commit) not in _YES_OR_NO and type(commit).__module__ == "numpy":
        commit = _number(commit)
    if type(commit) not in _YES_OR_NO or commit not in (0, 1):
        raise DataError(
            f"log() commit must be True or False, got {shown(commit)} of type {type_name(type(commit))}. "
            "Nothing of this call was stored."
        )
    return step, bool(commit)


def usable(step: Any, commit: Any) -> tuple[int | None, bool]:
    """What can be made of arguments that `arguments` refuses, so that the call's values are not lost.

    A whole number of another type (2.0) is that step. Anything else counts as not given.
    """
    try:
        number = float(step)
        found = int(number) if type(step) is not bool and number.is_integer() and abs(number) <= 2**53 else None
    except Exception:  # noqa: BLE001 - the step's own methods may raise anything
        found = None
    return arguments(found, commit if type(commit) is bool else None)


def _whole(step: Any) -> int:
    """A step of another type: numpy ints and 0-d int arrays are fine, floats, text and booleans are not."""
    if not isinstance(step, (bool, str, float)) and hasattr(type(step), "__index__"):
        try:
            return int(step.__index__())
        except Exception:  # noqa: BLE001 - as for all others: not a whole number
            pass
    raise DataError(
        f"log() step must be a whole number (int), got {shown(step)} of type {type_name(type(step))}; use step=int(...). "
        "Nothing of this call was stored."
    )


def _number(value: Any) -> Any:
    """A boolean or whole number of numpy as Python's."""
    try:
        item = value.item()
    except Exception:  # noqa: BLE001 - an array of several: refused as what it is
        return value
    return item if type(item) in _YES_OR_NO else value
