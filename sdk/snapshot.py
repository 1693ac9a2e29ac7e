"""Snapshot: a copy of what one call was given, which nothing can change any more; and what stands for a value without a form."""

from collections.abc import Callable, Container, Mapping
from itertools import islice
from typing import Any, Final, Literal

from milepost.sdk.errors import DataError
from milepost.sdk.nesting import MAX_DEPTH, Unloggable, check_nesting, items_of
from milepost.sdk.text import shown, told, type_name
from milepost.sdk.values import MAX_ITEMS, leaf, text_key

OnInvalid = Literal["raise", "placeholder"]
OWN_NAMES: Final = frozenset(("_step", "_runtime"))
"""Names in a row that are milepost's own: what a program logs under them is left out."""
_TOO_DEEP: Final = "it is nested too deeply"
KEYS_ARE_TEXT: Final = "keys are text"
"""The reason told of a key that is none: its value is stored, under the key as text."""


def snapshot(
    data: Any,
    on_invalid: OnInvalid = "raise",
    report: Callable[[str, Any, str], None] | None = None,
    own_names: Container[str] = OWN_NAMES,
) -> dict[str, Any]:
    """A copy of one call's data that nothing can change any more: text keys, nested dicts, and leaves as `leaf` makes them.

    Raises `DataError` for data that is not a mapping, a top-level key that is not text, or a value with no form in a row.
    With on_invalid="placeholder" a bad leaf becomes a placeholder, a bad key its text, and `report(key, value, reason)` is
    called for each. An empty top-level key is left out; so are `own_names`.
    """
    out: dict[str, Any] = {}
    for key, value in _items(data):
        if not issubclass(type(key), str):
            if on_invalid == "raise":
                raise DataError(
                    f"log() keys are text, got {shown(key)} of type {type_name(type(key))}: use str(key). "
                    "Nothing of this call was stored."
                )
            if report is not None:
                report(shown(key), key, KEYS_ARE_TEXT)
        name = _key(key, on_invalid)
        if name and name not in own_names:
            out[name] = nested(value, name, on_invalid, report)
    return out


def nested(
    value: Any,
    path: str,
    on_invalid: OnInvalid = "raise",
    report: Callable[[str, Any, str], None] | None = None,
    inside: tuple[int, ...] | None = (),
) -> Any:
    """A dict with its leaves converted, or one converted leaf. path: its name, for messages. Errors as in `snapshot`.

    inside: the ids of the dicts around it; None when it is known to end.
    """
    try:
        if not _is_plain_dict(value):
            return leaf(value)
        bad: dict[int, str] = {}
        if inside is not None:
            bad, inside = _endless(value, (*inside, id(value)))
        inner: dict[str, Any] = {}
        for key, item in items_of(value):
            name = _key(key, on_invalid)
            if id(item) in bad:
                inner[name] = _refuse(item, f"{path}.{name}", bad[id(item)], on_invalid, report)
            else:
                inner[name] = nested(item, f"{path}.{name}", on_invalid, report, inside)
        return inner
    except Unloggable as error:
        reason = str(error)
    except RecursionError:
        reason = _TOO_DEEP
    return _refuse(value, path, reason, on_invalid, report)


def placeholder(value: Any, reason: str) -> dict[str, Any]:
    """What stands in a row for a value that cannot be logged: its type and the reason, never its content."""
    return {"_type": "placeholder", "type": type_name(type(value)), "reason": reason}


def data_error(key: str, value: Any, reason: str) -> DataError:
    """The error for a value that cannot be logged."""
    key = key if len(key) <= 200 else f"{key[:200]}..."
    return DataError(
        f'cannot log "{key}": {reason} (type {type_name(type(value))}); accepted are numbers, text, booleans, None, dates, '
        "lists, dicts, arrays and tensors of these, and milepost's media types. Nothing of this call was stored."
    )


def _items(data: Any) -> list[tuple[Any, Any]]:
    """The names and values of one call. Raises DataError for what is no mapping, and for a mapping that cannot be read."""
    try:
        if issubclass(type(data), dict):
            return list(items_of(data))
        if isinstance(data, Mapping):
            return [(key, value) for key, value in islice(data.items(), MAX_ITEMS)]
    except Exception as error:  # noqa: BLE001 - a mapping's own items() may raise anything
        raise DataError(f"reading the data of log() raised {told(error)}. Nothing of this call was stored.") from None
    raise DataError(
        f'log() takes a dict of names and values, got {type_name(type(data))}: use milepost.log({{"name": value}}). '
        "Nothing of this call was stored."
    )


def _key(key: Any, on_invalid: OnInvalid) -> str:
    try:
        return text_key(key)
    except Unloggable as error:
        if on_invalid == "raise":
            raise DataError(f"{error}. Nothing of this call was stored.") from None
        return f"<{type_name(type(key))}>"


def _refuse(
    value: Any, path: str, reason: str, on_invalid: OnInvalid, report: Callable[[str, Any, str], None] | None
) -> dict[str, Any]:
    """The placeholder for a value that cannot be logged, or its DataError."""
    if on_invalid == "raise":
        raise data_error(path, value, reason)
    if report is not None:
        report(path, value, reason)
    return placeholder(value, reason)


def _is_plain_dict(value: Any) -> bool:
    return issubclass(type(value), dict) and not dict.__contains__(value, "_type")


def _endless(value: dict[Any, Any], inside: tuple[int, ...]) -> tuple[dict[int, str], tuple[int, ...] | None]:
    """What in a dict cannot be followed to its end, by id with the reason; and `inside` for the rest of its dicts.

    Where only one inner dict is bad it is looked into, so that what stands beside the bad one deeper down is kept.
    """
    if _reason(value) is None:
        return {}, None
    dicts = {id(item): item for item in dict.values(value) if _is_plain_dict(item)}
    bad = {key: reason for key, item in dicts.items() if (reason := _reason(item)) is not None}
    around = {key: "it holds itself" for key in bad if key in inside}
    if len(bad) == 1 and not around and len(inside) < MAX_DEPTH:
        return {}, inside
    return bad | around, inside


def _reason(value: dict[Any, Any]) -> str | None:
    """Why the dicts in a dict cannot be followed to their end; None when they can."""
    try:
        check_nesting(value, (dict,))
    except Unloggable as error:
        return str(error)
    return None
