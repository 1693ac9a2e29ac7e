"""Values: whatever a program logs under a key becomes None, bool, int, float, str, a list, or a mapping with `_type`.

The rules are SEMANTICS L27-L37 of the design, which are those of `wandb.log`. Frameworks are recognised by the module of a
value's type and never imported: a tensor exists only where its framework is loaded already.
"""

import datetime
import enum
import math
import numbers
import sys
from collections import OrderedDict
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from pathlib import PurePath
from typing import Any, Final, Literal
from uuid import UUID

from milepost.media.base import Media
from milepost.sdk.errors import DataError

INT_MAX: Final = 2**63 - 1
INT_MIN: Final = -(2**63)
LIST_LIMIT: Final = 32
"""An array of more elements is kept as a histogram."""
MAX_DEPTH: Final = 200
MAX_TEXT: Final = 8 * 2**20
"""Characters of one string that are kept."""
MAX_ITEMS: Final = 1_000_000
"""Items of a generator that are kept."""
MAX_UNFOLDED: Final = 10_000_000
"""Items of one value, its inner containers unfolded."""

OnInvalid = Literal["raise", "placeholder"]

OWN_NAMES: Final = frozenset(("_step", "_runtime"))
"""Names in a row that are milepost's own: what a program logs under them is left out."""
SCALARS: Final = frozenset((float, int, str, bool, type(None)))
"""Types that travel as they are (ints within 64 bits, text that is valid Unicode)."""


_TOO_DEEP: Final = "it is nested too deeply"


class Unloggable(Exception):
    """Why one value cannot be logged; turned into a DataError or a placeholder by the caller, which knows the key."""


def leaf(value: Any, depth: int = 0) -> Any:
    """The form in which a value stands in a row. Raises `Unloggable`."""
    kind = type(value)
    convert = _BY_TYPE.get(kind)
    if convert is not None:
        return convert(value, depth)
    if kind in SCALARS:
        return value
    return _other(value, kind, depth)


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


def type_name(kind: type) -> str:
    """The name a person knows a type by: "int", "numpy.ndarray"."""
    try:
        module, name = kind.__module__, kind.__qualname__
        return name if module == "builtins" else clean_text(f"{module}.{name}")[:200]
    except Exception:  # noqa: BLE001 - a metaclass may answer with anything
        return str(type.__dict__["__name__"].__get__(kind))


def shown(value: Any) -> str:
    """A value as a message shows it: short, and safe for every object."""
    try:
        text = clean_text(repr(value))
    except Exception:  # noqa: BLE001 - the value's own __repr__ may raise anything
        return f"<{type_name(type(value))}>"
    return text if len(text) <= 100 else text[:100] + "..."


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


def _int(value: int, depth: int) -> int | float:
    if INT_MIN <= value <= INT_MAX:
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def clean_text(value: str) -> str:
    """Text that can be written: valid Unicode, of bounded length."""
    if len(value) > MAX_TEXT:
        value = value[:MAX_TEXT] + f"... [cut by milepost: {len(value)} characters, {MAX_TEXT} are kept]"
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # lone surrogates, as os.fsdecode makes them, have no UTF-8 form
            return value.encode("utf-8", "backslashreplace").decode()
    return value


def _str(value: str, depth: int) -> str:
    return clean_text(value)


def _bytes(value: bytes | bytearray, depth: int) -> str:
    try:
        return clean_text(value.decode())
    except UnicodeDecodeError as error:
        raise Unloggable(
            f"bytes must be UTF-8 text, and byte {error.start} is not; decode them or log an array"
        ) from None


def _sequence(value: Any, depth: int) -> list[Any]:
    if depth == 0 and not SCALARS.issuperset(map(type, value)):
        check_nesting(value)
    depth += 1
    return [item if type(item) is float else leaf(item, depth) for item in value]


def check_nesting(value: Any, kinds: tuple[type, ...] = (dict, list, tuple, set, frozenset)) -> None:
    """Raise Unloggable for a container that holds itself, is nested too deeply, or unfolds into too many items.

    Two lists that hold each other twice unfold into 2**200 items before any limit of depth ends that, so each container is
    counted once, however often it stands in others.
    """
    known: dict[int, tuple[int, int]] = {}  # of containers that were counted: items once unfolded, and depth
    path: list[tuple[int, Iterator[Any]]] = [(id(value), _inner(value, kinds) or iter(()))]
    inside = {id(value)}
    items, depths = [0], [1]
    while path:
        for item in path[-1][1]:
            items[-1] += 1
            inner = None if type(item) in SCALARS else _inner(item, kinds)
            if inner is None:
                continue
            key = id(item)
            if key in inside:
                raise Unloggable("it holds itself")
            if len(path) + (known[key][1] if key in known else 1) > MAX_DEPTH:
                raise Unloggable(f"it is nested deeper than {MAX_DEPTH} levels")
            if key not in known:
                path.append((key, inner))
                inside.add(key)
                items.append(0)
                depths.append(1)
                break
            items[-1] += known[key][0]
            depths[-1] = max(depths[-1], known[key][1] + 1)
        else:
            key = path.pop()[0]
            inside.remove(key)
            total, depth = known[key] = items.pop(), depths.pop()
            if path:
                items[-1] += total
                depths[-1] = max(depths[-1], depth + 1)
            if total > MAX_UNFOLDED:
                raise Unloggable(f"it unfolds into more than {MAX_UNFOLDED} items")


def _inner(value: Any, kinds: tuple[type, ...]) -> Iterator[Any] | None:
    """What a container of these kinds holds; None for a leaf."""
    kind = type(value)
    for base in kinds:
        if issubclass(kind, base):
            return iter(dict.values(value)) if base is dict else base.__iter__(value)  # type: ignore[attr-defined]
    return None


def _set(value: Any, depth: int) -> list[Any]:
    items = _sequence(value, depth)
    try:
        items.sort()
    except TypeError:  # mixed types have no order
        pass
    return items


def _dict(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    """A dict inside a list, or one that carries `_type`."""
    if depth == 0:
        check_nesting(value)
    return {text_key(key): leaf(item, depth + 1) for key, item in items_of(value)}


def items_of(value: dict[Any, Any]) -> Iterable[tuple[Any, Any]]:
    """The items of a dict as they are, whatever its class makes of `items`."""
    return OrderedDict.items(value) if isinstance(value, OrderedDict) else dict.items(value)


def _generator(value: Generator[Any, Any, Any], depth: int) -> list[Any]:
    items = list(islice(value, MAX_ITEMS + 1))
    if len(items) > MAX_ITEMS:
        raise Unloggable(f"a generator of more than {MAX_ITEMS} items; log a list of them")
    return _sequence(items, depth)


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
    int: _int,
    str: _str,
    bytes: _bytes,
    bytearray: _bytes,
    list: _sequence,
    tuple: _sequence,
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
        raise Unloggable(_TOO_DEEP) from None
    except Exception as error:  # noqa: BLE001 - a value's own methods (__array__, __float__, item, ...) may raise anything
        raise Unloggable(f"reading it raised {_told(error)}") from None


def _told(error: Exception) -> str:
    """An error of somebody else's code, in one short line."""
    try:
        return clean_text(f"{type_name(type(error))}: {error}")[:300]
    except Exception:  # noqa: BLE001 - its own __str__ may raise anything
        return type_name(type(error))


def _convert(value: Any, kind: type, depth: int) -> Any:
    module = (getattr(kind, "__module__", "") or "").partition(".")[0]
    if module == "numpy":
        return _numpy(value, depth)
    if module == "torch":
        return _torch(value, kind, depth)
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
    if hasattr(kind, "as_value") and isinstance(value, Media):
        return _dict(value.as_value(), depth)
    if isinstance(value, Mapping):
        raise Unloggable("a nested mapping must be a dict; convert it with dict(...)")
    if module in ("pandas", "polars") and kind.__name__ in ("DataFrame", "LazyFrame"):
        raise Unloggable(
            "a data frame is a table, which this version does not log yet; log its columns as lists or arrays"
        )
    if hasattr(kind, "__array__") or module in ("tensorflow", "cupy", "jax", "jaxlib"):
        return _array_like(value, module, depth)
    if isinstance(value, numbers.Integral):
        return _int(int(value), depth)
    if isinstance(value, numbers.Real):
        return float(value)
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


def _numpy(value: Any, depth: int) -> Any:
    """numpy scalars and arrays; 0-d and one-element arrays are scalars."""
    np = sys.modules["numpy"]
    if isinstance(value, np.ma.MaskedArray):
        value = value.astype(float).filled(math.nan) if value.dtype.kind in "fiub" else value.filled()
    if isinstance(value, np.ndarray):
        if value.size == 1:
            return _numpy_scalar(value.reshape(())[()], depth)
        return _array(value, depth)
    if isinstance(value, np.generic):
        return _numpy_scalar(value, depth)
    if isinstance(value, type) or callable(value):
        return f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else str(value)
    if isinstance(value, np.dtype):
        return str(value)
    raise Unloggable("this numpy type has no form in a row")


def _numpy_scalar(value: Any, depth: int) -> Any:
    dtype = getattr(value, "dtype", None)
    kind = getattr(dtype, "kind", "")
    if kind == "f":
        return float(value)
    if kind in "iu":
        return _int(int(value), depth)
    if kind == "b":
        return bool(value)
    if kind == "M":
        return str(value)
    if kind == "V":
        if getattr(dtype, "names", None):
            raise Unloggable("a structured numpy value; log its fields one by one")
        return float(value)  # bfloat16 and its kin (ml_dtypes)
    item = value.item() if hasattr(value, "item") else value
    if type(item).__module__ == "numpy":
        raise Unloggable("this numpy type has no form in a row")
    return leaf(item, depth + 1)


def _array(value: Any, depth: int) -> Any:
    if value.size == 0:
        return []
    kind = value.dtype.kind
    if kind == "O" and depth:  # it could hold itself
        raise Unloggable("an array of objects inside a list; convert it with tolist()")
    if kind == "V" and not value.dtype.names:
        value, kind = value.astype("float32"), "f"
    if value.size > LIST_LIMIT and kind in "fiub":
        from milepost.media.histogram import Histogram

        return Histogram(value, num_bins=LIST_LIMIT).as_value()
    if kind == "M":
        return _sequence(value.astype(str).tolist(), depth)
    return _sequence(value.tolist(), depth)


def _torch(value: Any, kind: type, depth: int) -> Any:
    """Tensors and parameters, read off their device now; other torch objects by name."""
    torch = sys.modules["torch"]
    if isinstance(value, torch.Tensor):
        value = value.detach()
        if value.is_sparse or value.is_quantized:
            value = value.to_dense() if value.is_sparse else value.dequantize()
        value = value.cpu()
        if value.dtype in (torch.bfloat16, *(getattr(torch, name) for name in dir(torch) if name.startswith("float8"))):
            value = value.float()
        if value.dtype in (torch.float64, torch.float32, torch.float16) and value.numel() == 1:
            return float(value)
        return _numpy(value.resolve_conj().resolve_neg().numpy(), depth)
    if kind.__name__ == "Size":
        return list(value)
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return f"{value.__module__}.{value.__qualname__}"
    if kind.__name__ in ("dtype", "device"):
        return str(value)
    raise Unloggable("this torch type has no form in a row")


def _array_like(value: Any, module: str, depth: int) -> Any:
    """JAX, TensorFlow, CuPy and whatever else offers `__array__`."""
    import numpy as np

    if module == "tensorflow" and hasattr(value, "numpy"):
        value = value.numpy()
    elif module == "cupy" and hasattr(value, "get"):
        value = value.get()
    array = np.asarray(value)
    if array.dtype.kind == "V" and not array.dtype.names:
        array = array.astype(np.float32)
    if array.dtype.kind == "O" and array.shape == ():
        raise Unloggable("this type has no form in a row")
    return _numpy(array, depth)


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
                report(shown(key), key, "keys are text")
        name = _key(key, on_invalid)
        if name and name not in own_names:
            out[name] = nested(value, name, on_invalid, report)
    return out


def _items(data: Any) -> list[tuple[Any, Any]]:
    """The names and values of one call. Raises DataError for what is no mapping, and for a mapping that cannot be read."""
    try:
        if issubclass(type(data), dict):
            return list(items_of(data))
        if isinstance(data, Mapping):
            return [(key, value) for key, value in islice(data.items(), MAX_ITEMS)]
    except Exception as error:  # noqa: BLE001 - a mapping's own items() may raise anything
        raise DataError(f"reading the data of log() raised {_told(error)}. Nothing of this call was stored.") from None
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
