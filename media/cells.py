"""Cells: what may stand in a table, which kind of thing it is, and the JSON it is stored as.

Numbers, text and booleans are stored as they are; dates and durations as ISO 8601 text; arrays and tensors as lists of any
length; whatever has a natural text form (Decimal, Path, UUID, enums of text, ...) as that. None fits every column.
"""

import datetime
import enum
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath
from typing import Any, Final, Literal
from uuid import UUID

BOOLEAN, NUMBER, STRING, DATETIME, DURATION, LIST, DICT, ANY = (
    "boolean", "number", "string", "datetime", "duration", "list", "dict", "any",
)  # fmt: skip
ACCEPTED: Final = "numbers, text, booleans, None, dates, arrays, lists, dicts and media"
MAX_DEPTH: Final = 50
_INT_BITS_LIMIT: Final = 14_000  # Python refuses to print integers of more than 4,300 digits

_KINDS: Final[dict[type, str]] = {
    bool: BOOLEAN, int: NUMBER, float: NUMBER, Decimal: STRING, Fraction: STRING, complex: STRING, UUID: STRING, str: STRING,
    bytes: STRING, bytearray: STRING, datetime.datetime: DATETIME, datetime.date: DATETIME, datetime.time: STRING,
    datetime.timedelta: DURATION, list: LIST, tuple: LIST, set: LIST, frozenset: LIST, range: LIST, dict: DICT,
}  # fmt: skip
_ARRAY_KINDS: Final = {
    "b": BOOLEAN,
    "i": NUMBER,
    "u": NUMBER,
    "f": NUMBER,
    "c": STRING,
    "U": STRING,
    "S": STRING,
    "M": DATETIME,
    "m": DURATION,
}
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class NoCell(Exception):
    """Why a value cannot stand in a table; turned into an error by the table, which knows row and column."""

    place: tuple[int, int] = (-1, -1)
    """Row and column, where they are known."""


def kind_of(value: Any) -> str | None:
    """The kind of a cell: one of the words above, or the class name of a media value; None for what is missing.

    Raises NoCell for what cannot stand in a table.
    """
    kind = type(value)
    if value is None:
        return None
    known = _KINDS.get(kind)
    if known is not None:
        return known
    if is_media(value):
        return kind.__name__
    if isinstance(value, enum.Enum):
        return kind_of(value.value)
    if kind.__name__ in ("NAType", "NaTType"):
        return None
    dtype = getattr(value, "dtype", None)
    shape = getattr(value, "shape", None)
    if dtype is not None and shape is not None:
        if len(shape):
            return LIST
        letter = getattr(dtype, "kind", "b" if "bool" in str(dtype) else "f")  # a tensor's has none
        of_dtype = _ARRAY_KINDS.get(letter, NUMBER)
        return None if of_dtype in (DATETIME, DURATION) and str(value) == "NaT" else of_dtype
    for base, word in _KINDS.items():
        if isinstance(value, base):
            return word
    if isinstance(value, PurePath) or (callable(value) and hasattr(value, "__qualname__")):
        return STRING
    if isinstance(value, Mapping):
        return DICT
    if hasattr(value, "__array__"):
        return LIST
    raise NoCell(f"{_name(kind)} has no form in a table; accepted are {ACCEPTED}: give str(value), or its numbers")


def fast_kind(column: Iterable[Any], kind: str | None, optional: bool) -> "str | Literal[False] | None":
    """The kind of a column whose values are all of Python's own types, of one kind; False where a closer look is needed."""
    types = set(map(type, column))
    found = {_KINDS.get(one) for one in types - {type(None)}}
    if None in found or (type(None) in types and not optional):
        return False
    if kind == ANY or not found:
        return kind
    return found.pop() if len(found) == 1 and kind in (None, *found) else False


def kind_of_type(dtype: Any) -> str | None:
    """The kind of a Python type, a numpy dtype or a media class; None for others."""
    if isinstance(dtype, type) and dtype in _KINDS:
        return _KINDS[dtype]
    if isinstance(dtype, type) and hasattr(dtype, "as_value"):
        return dtype.__name__
    import numpy as np

    try:
        return _ARRAY_KINDS.get(np.dtype(dtype).kind)
    except TypeError:
        return None


def is_plain(value: Any) -> bool:
    """Whether a value is of one of Python's own types that stand in tables as they are."""
    return type(value) in _KINDS or value is None


def is_media(value: Any) -> bool:
    """Whether a value knows its own form in a row."""
    return hasattr(type(value), "as_value")


def plain(value: Any, depth: int = 0) -> Any:
    """A cell as JSON says it; NaN and the infinities stay floats. Raises NoCell. Media are not for this function."""
    kind = type(value)
    if kind is str:
        return value if value.isascii() else _SURROGATE.sub("\ufffd", value)
    if value is None or kind in (float, bool):
        return value
    if kind is int:
        if value.bit_length() > _INT_BITS_LIMIT:
            raise NoCell("it is an integer of more than 4,000 digits; give a float or text")
        return value
    if depth > MAX_DEPTH:
        raise NoCell(f"it is nested deeper than {MAX_DEPTH} levels, or holds itself")
    if kind in (list, tuple, range):
        return [plain(item, depth + 1) for item in value]
    if kind is dict:
        return {_key(key): plain(item, depth + 1) for key, item in value.items()}
    try:
        return _plain(value, kind, depth)
    except NoCell:
        raise
    except Exception as error:  # noqa: BLE001 - a value's own methods may raise anything
        raise NoCell(f"reading it raised {type(error).__name__}: {error}") from None


def _plain(value: Any, kind: type, depth: int) -> Any:
    if kind.__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, enum.Enum):
        return plain(value.value, depth + 1)
    if hasattr(value, "dtype") or hasattr(value, "__array__"):
        return _numbers(value, depth)
    for base, convert in _BASES.items():
        if isinstance(value, base):
            return convert(value)
    if isinstance(value, set | frozenset):
        items = [plain(item, depth + 1) for item in value]
        try:
            return sorted(items)
        except TypeError:  # mixed types have no order
            return items
    if isinstance(value, Mapping):
        return plain(dict(value), depth)
    if isinstance(value, list | tuple):
        return plain(list(value), depth)
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    raise NoCell(f"{_name(kind)} has no form in a table; accepted are {ACCEPTED}: give str(value), or its numbers")


def _numbers(value: Any, depth: int) -> Any:
    """Scalars, arrays and tensors of numpy and of the frameworks."""
    import numpy as np

    if hasattr(value, "detach"):  # PyTorch
        value = value.detach().cpu()
        value = value.float() if "float16" in str(value.dtype) or "float8" in str(value.dtype) else value
    array = np.asarray(value)
    if array.dtype.kind == "V" and not array.dtype.names:
        array = array.astype(np.float32)  # bfloat16 and its kin
    if array.dtype.kind in "mM":
        texts = [iso_time(item) for item in array.ravel()]
        return texts[0] if array.shape == () else np.asarray(texts, dtype=object).reshape(array.shape).tolist()
    if array.dtype.kind == "V":
        raise NoCell(f"an array of records ({array.dtype}); give its fields as columns")
    if array.dtype.kind == "O" and array.shape == ():
        raise NoCell(f"{_name(type(value))} has no form in a table; accepted are {ACCEPTED}")
    return array.tolist() if array.dtype.kind in "biuf" else plain(array.tolist(), depth + 1)


def iso_time(value: Any) -> str | None:
    """A date, time or duration of Python, numpy or pandas as ISO 8601 text; None for NaT."""
    if str(value) == "NaT":
        return None
    if isinstance(value, datetime.timedelta):
        return _duration(value // datetime.timedelta(microseconds=1), getattr(value, "nanoseconds", 0))
    if type(value).__module__ != "numpy":
        return str(value.isoformat())
    if value.dtype.kind == "M":
        return str(value)
    nanoseconds = int(value.astype("m8[ns]").astype("int64"))
    return _duration(*divmod(nanoseconds, 1000))


def _duration(microseconds: int, nanoseconds: int = 0) -> str:
    """ISO 8601: one day and two seconds -> "P1DT2S"."""
    total = microseconds * 1000 + nanoseconds
    sign, total = ("-", -total) if total < 0 else ("", total)
    seconds, fraction = divmod(total, 10**9)
    days, seconds = divmod(seconds, 86_400)
    text = f"{seconds}.{fraction:09d}".rstrip("0") if fraction else str(seconds)
    clock = f"T{text}S" if text != "0" else ""
    return f"{sign}P{f'{days}D' if days else ''}{clock}" if days or clock else "PT0S"


def duration_nanoseconds(text: str) -> int:
    """The nanoseconds of a duration as `iso_time` writes it."""
    found = re.fullmatch(r"(-?)P(?:(\d+)D)?(?:T(\d+)(?:\.(\d{1,9}))?S)?", text)
    if found is None:
        raise ValueError(f"{text!r} is no duration such as P1DT2.5S")
    sign, days, seconds, fraction = found.groups()
    total = (int(days or 0) * 86_400 + int(seconds or 0)) * 10**9 + int((fraction or "0").ljust(9, "0"))
    return -total if sign else total


def _key(key: Any) -> str:
    return _SURROGATE.sub("\ufffd", key if isinstance(key, str) else str(key))


def _text(value: Any) -> str:
    return _SURROGATE.sub("\ufffd", str(value))


def _bytes(value: Any) -> str:
    try:
        return bytes(value).decode()
    except UnicodeDecodeError as error:
        raise NoCell(f"bytes must be UTF-8 text, and byte {error.start} is not; decode them or give an array") from None


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


_BASES: Final[dict[type, Callable[[Any], Any]]] = {
    str: _text,
    bool: bool,
    int: lambda value: plain(int.__int__(value)),
    float: float.__float__,
    datetime.date: iso_time,
    datetime.timedelta: iso_time,
    datetime.time: iso_time,
    bytes: _bytes,
    bytearray: _bytes,
    complex: lambda value: str(value).strip("()"),
    Decimal: _text,
    Fraction: _text,
    UUID: _text,
    PurePath: _text,
}
