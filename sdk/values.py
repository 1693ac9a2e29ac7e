"""Values: whatever a program logs under a key becomes None, bool, int, float, str, a list, or a mapping with `_type`.

The rules are those of `wandb.log`. Frameworks are recognised by the module of a
value's type and never imported: a tensor exists only where its framework is loaded already.
"""

import datetime
import enum
import math
import numbers
import sys
from collections.abc import Callable, Generator, Mapping
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from pathlib import PurePath
from types import ModuleType
from typing import Any, Final
from uuid import UUID

from milepost.media.adopt import FOREIGN, adopted
from milepost.media.base import Payload
from milepost.sdk.encoding.refs import MediaLeaf, holds_payload
from milepost.sdk.nesting import SCALARS, Unloggable, check_nesting, items_of
from milepost.sdk.text import MAX_TEXT, clean_text, told, type_name

INT_MAX: Final = 2**63 - 1
INT_MIN: Final = -(2**63)
MAX_ITEMS: Final = 1_000_000
"""Items of a generator that are kept."""


def leaf(value: Any, depth: int = 0) -> Any:
    """The form in which a value stands in a row. Raises `Unloggable`."""
    kind = type(value)
    convert = _BY_TYPE.get(kind)
    if convert is not None:
        return convert(value, depth)
    if kind in SCALARS:
        return value
    return _other(value, kind, depth)


def text_key(key: Any) -> str:
    """A nested key as text: 1 -> "1", True -> "true", None -> "None"."""
    if type(key) is str and key.isascii() and len(key) <= MAX_TEXT:
        return key
    if issubclass(type(key), str):
        return clean_text(str.__str__(key))
    if key is True or key is False:
        return "true" if key else "false"
    try:
        return clean_text(str(key))
    except Exception as error:  # noqa: BLE001 - the key's own __str__ may raise anything
        raise Unloggable(
            f"a nested key of type {type_name(type(key))} cannot become text: {type_name(type(error))}"
        ) from None


def whole(value: int, depth: int) -> int | float:
    """An int as it is within 64 bits, and as a float beyond."""
    if INT_MIN <= value <= INT_MAX:
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _str(value: str, depth: int) -> str:
    return clean_text(value)


def _bytes(value: bytes | bytearray, depth: int) -> str:
    try:
        return clean_text(value.decode())
    except UnicodeDecodeError as error:
        raise Unloggable(
            f"bytes must be UTF-8 text, and byte {error.start} is not; decode them or log an array"
        ) from None


def sequence(value: Any, depth: int) -> Any:
    """The items of a list, tuple or set, converted one by one; a list of media of one type as that type has it."""
    if depth == 0 and not SCALARS.issuperset(map(type, value)):
        check_nesting(value)
        device = sys.modules.get("milepost.media.device")
        if device is not None and (later := device.waiting(value)) is not None:
            return later
        grouped = _group(value)
        if grouped is not None:
            return grouped
    depth += 1
    return [item if type(item) is float else leaf(item, depth) for item in value]


def _group(items: Any) -> Any:
    """The row form of a list of media, or None for any other list. Raises Unloggable for a list of media and other values."""
    try:
        found = [media_of(item) for item in items]
    except Exception:  # noqa: BLE001 - a hostile item, or one that cannot be drawn: taken one by one they say what is wrong
        return None
    if not any(item is not None for item in found):
        return None
    if any(media is None for media in found):
        odd = next(item for item, media in zip(items, found, strict=True) if media is None)
        raise Unloggable(
            f"a list holds media and a value of type {type_name(type(odd))}; log them under names of their own"
        )
    kinds = {type(item) for item in found}
    group = getattr(kinds.pop(), "group", None) if len(kinds) == 1 else None
    if group is None:
        return [media_value(item, 1) for item in found]
    grouped = group(found)
    return _leaf_of(grouped) if isinstance(grouped, dict) else [_leaf_of(one) for one in grouped]


def media_of(value: Any) -> Any:
    """The media object that a value is, or that stands for it (a matplotlib figure), else None."""
    kind = type(value)
    if kind in SCALARS:
        return None
    try:
        if callable(getattr(kind, "as_value", None)):
            return value
        module = (getattr(kind, "__module__", "") or "").partition(".")[0]
    except Exception:  # noqa: BLE001 - a class that raises when it is asked is no media
        return None
    return adopted(value) if module in FOREIGN or kind is ModuleType else None


def media_value(value: Any, depth: int) -> Any:
    """The row form of a media object, its payloads still in it."""
    return _leaf_of(value.as_value(), depth)


def _leaf_of(value: dict[str, Any], depth: int = 0) -> Any:
    converted = _dict(value, depth)
    if not holds_payload(converted):
        return converted
    return _media_leaf(MediaLeaf(converted), depth)


def _media_leaf(value: MediaLeaf, depth: int) -> MediaLeaf:
    """A media value that was converted before."""
    MediaLeaf.made += 1
    return value


def _set(value: Any, depth: int) -> Any:
    items = sequence(value, depth)
    try:
        items.sort()
    except (TypeError, AttributeError):  # mixed types have no order, nor has a set of media
        pass
    return items


def _dict(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    """A dict inside a list, or one that carries `_type`."""
    if depth == 0:
        check_nesting(value)
    return {text_key(key): leaf(item, depth + 1) for key, item in items_of(value)}


def _generator(value: Generator[Any, Any, Any], depth: int) -> Any:
    items = list(islice(value, MAX_ITEMS + 1))
    if len(items) > MAX_ITEMS:
        raise Unloggable(f"a generator of more than {MAX_ITEMS} items; log a list of them")
    return sequence(items, depth)


def _complex(value: complex, depth: int) -> str:
    return str(value).strip("()")


def _iso(value: Any, depth: int) -> str:
    return str(value.isoformat())


def _duration(value: datetime.timedelta, depth: int) -> str:
    """ISO 8601: timedelta(days=1, seconds=2) -> "P1DT2S"."""
    sign, value = ("-", -value) if value.days < 0 else ("", value)
    seconds = f"{value.seconds}.{value.microseconds:06d}".rstrip("0") if value.microseconds else str(value.seconds)
    days = f"{value.days}D" if value.days else ""
    clock = f"T{seconds}S" if seconds != "0" else ""
    return f"{sign}P{days}{clock}" if days or clock else "PT0S"


def _as_text(value: Any, depth: int) -> str:
    return clean_text(str(value))


_BY_TYPE: Final[dict[type, Callable[[Any, int], Any]]] = {
    MediaLeaf: _media_leaf,
    Payload: lambda value, depth: value,
    int: whole,
    str: _str,
    bytes: _bytes,
    bytearray: _bytes,
    list: sequence,
    tuple: sequence,
    set: _set,
    frozenset: _set,
    dict: _dict,
    complex: _complex,
    datetime.datetime: _iso,
    datetime.date: _iso,
    datetime.time: _iso,
    datetime.timedelta: _duration,
    Decimal: _as_text,
    Fraction: _as_text,
    UUID: _as_text,
}


def _other(value: Any, kind: type, depth: int) -> Any:
    """Values of less usual types: subclasses, media, arrays, tensors, dates, callables."""
    try:
        return _convert(value, kind, depth)
    except Unloggable:
        raise
    except RecursionError:
        raise Unloggable("it is nested too deeply") from None
    except Exception as error:  # noqa: BLE001 - a value's own methods (__array__, __float__, item, ...) may raise anything
        raise Unloggable(f"reading it raised {told(error)}") from None


def _convert(value: Any, kind: type, depth: int) -> Any:
    module = (getattr(kind, "__module__", "") or "").partition(".")[0]
    device = sys.modules.get("milepost.media.device")
    if device is not None and (later := device.waiting(value)) is not None:
        return later
    if module == "numpy":
        from milepost.sdk.arrays import numpy_value

        return numpy_value(value, depth)
    if module == "torch":
        from milepost.sdk.arrays import torch_value

        return torch_value(value, kind, depth)
    if callable(getattr(kind, "as_value", None)):
        return media_value(value, depth)
    if isinstance(value, enum.Enum):
        return leaf(value.value, depth + 1)
    if module == "pandas" and kind.__name__ in ("NAType", "NaTType"):
        return None
    for base in _BASES:
        if isinstance(value, base):
            return _BY_TYPE[base](_BASES[base](value), depth)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, PurePath):
        return clean_text(str(value))
    if isinstance(value, Generator):
        return _generator(value, depth)
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return f"{value.__module__}.{value.__qualname__}"
    media = media_of(value)
    if media is not None:
        return media_value(media, depth)
    if isinstance(value, Mapping):
        raise Unloggable("a nested mapping must be a dict; convert it with dict(...)")
    if module in ("pandas", "polars") and kind.__name__ in ("DataFrame", "LazyFrame"):
        raise Unloggable("a lazy data frame has no rows yet; log what its collect() gives")
    if hasattr(kind, "__array__") or module in ("tensorflow", "cupy", "jax", "jaxlib"):
        from milepost.sdk.arrays import array_like

        return array_like(value, module, depth)
    if isinstance(value, numbers.Integral):
        return whole(int(value), depth)
    if isinstance(value, numbers.Real):
        return float(value)
    if depth:
        raise Unloggable(f"it holds a value of type {type_name(kind)}, which has no form in a row")
    raise Unloggable("this type has no form in a row")


# Subclasses are read through their base, so that an overridden method of theirs cannot change what is stored.
_BASES: Final[dict[type, Callable[[Any], Any]]] = {
    str: str.__str__,
    int: int.__int__,
    dict: lambda value: value,
    list: lambda value: list(list.__iter__(value)),
    tuple: lambda value: list(tuple.__iter__(value)),
    set: lambda value: set(set.__iter__(value)),
    frozenset: lambda value: set(frozenset.__iter__(value)),
    bytes: bytes,
    bytearray: bytes,
    datetime.datetime: lambda value: value,
    datetime.date: lambda value: value,
    datetime.time: lambda value: value,
    datetime.timedelta: lambda value: value,
    Decimal: lambda value: value,
    Fraction: lambda value: value,
    UUID: lambda value: value,
}
