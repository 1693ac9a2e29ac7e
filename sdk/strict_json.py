"""JSON that every parser accepts: NaN and the infinities as the texts "NaN", "Infinity", "-Infinity", whatever else JSON
cannot say as a placeholder.

msgspec writes a row of ten numbers in about a microsecond. What it cannot say exactly (a NaN becomes null, a lone
surrogate is an error) is written a second time, leaf by leaf.
"""

import math
import re
from typing import Any, Final

import msgspec

from milepost.sdk.snapshot import placeholder

_ENCODER: Final = msgspec.json.Encoder()
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_DEPTH_LIMIT: Final = 200
_INT_BITS_LIMIT: Final = 14_000  # Python refuses to print integers of more than 4,300 digits


def json_lines(records: list[dict[str, Any]]) -> bytes:
    """The records, each as one line of JSON that ends in a newline. Takes any records and never raises."""
    text = encoded_lines(records, sum(list(record.values()).count(None) for record in records))
    if text is not None:
        return text
    if len(records) > 1:
        return b"".join(json_lines([record]) for record in records)
    return strict_json(records[0]) + b"\n"


def encoded_lines(records: list[Any], nones: int | None) -> bytes | None:
    """The records as msgspec writes them, one a line; None when one of them holds what JSON cannot say.

    nones: how many of their values are None. Another number of nulls is a NaN or an infinity that lost its name. None where
           the values are known to be other numbers.
    """
    try:
        text = _ENCODER.encode_lines(records)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
        return None
    return text if nones is None or text.count(b"null") == nones else None


def strict_json(value: Any, indent: int | None = None) -> bytes:
    """The value as JSON that every parser accepts, in UTF-8. Takes any value and never raises."""
    separators = (",", ": ") if indent else (",", ":")
    import json  # only here: a program that logs numbers starts without it

    text = json.dumps(jsonable(value), ensure_ascii=False, allow_nan=False, indent=indent, separators=separators)
    return text.encode()


def jsonable(value: Any, *, nan_as_text: bool = True, depth: int = 0) -> Any:
    """The value in what JSON can say: NaN and infinities as text, lone surrogates as U+FFFD, others as a placeholder.

    nan_as_text: False leaves NaN and the infinities as floats, for YAML, which can say them.
    """
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, int):
        return (
            int(value)
            if value.bit_length() <= _INT_BITS_LIMIT
            else placeholder(value, "integer of more than 4,000 digits")
        )
    if isinstance(value, float):
        return _float(value) if nan_as_text else float(value)
    if depth >= _DEPTH_LIMIT:
        return placeholder(value, f"nested deeper than {_DEPTH_LIMIT} levels")
    if isinstance(value, dict):
        return {_text(key): jsonable(item, nan_as_text=nan_as_text, depth=depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item, nan_as_text=nan_as_text, depth=depth + 1) for item in value]
    return placeholder(value, "not a value that JSON knows")


def _float(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return float(value)


def _text(key: Any) -> str:
    return _SURROGATE.sub("\ufffd", key if isinstance(key, str) else str(key))
