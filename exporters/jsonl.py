"""Rows as lines of strict JSON: flat dotted names, NaN and the infinities as the texts "NaN", "Infinity", "-Infinity"."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from milepost.sdk.batch import Rows
from milepost.sdk.event import Event
from milepost.sdk.strict_json import encoded_lines, json_lines

_WIDEST: Final = 200  # names up to which a struct is made for them
_SLICE: Final = 512  # values encoded in one go, about 50 us during which no other thread runs


def row(event: Event) -> dict[str, Any]:
    """The row as it is read back: `_step`, `_timestamp` (seconds since 1970), `_runtime` (seconds), then its values."""
    return {
        "_step": event.step,
        "_timestamp": event.time_unix_nano / 1e9,
        "_runtime": event.runtime_s,
        **event.values,
    }


def lines(events: Iterable[Event]) -> bytes | bytearray:
    """The rows, each as one line of JSON that ends in a newline. Takes any rows and never raises."""
    if isinstance(events, Rows):
        text = _lines_of(events)
        if text is not None:
            return text
    return _lines(events)


def _lines_of(rows: Rows) -> bytes | None:
    """The same by the column, without a dict per row; None for what only the other way can write."""
    record = _record(rows.keys)
    if record is None:
        return None
    _, times, runtimes, steps, *columns = rows.columns
    seconds, runtime = [time / 1e9 for time in times], [time / 1e6 for time in runtimes]
    nones = None if all(map(finite, columns)) else sum(column.count(None) for column in columns)
    return encoded_lines(list(map(record, steps, seconds, runtime, *columns)), nones)


def finite(column: Sequence[Any]) -> bool:
    """Whether all values are numbers, and neither NaN nor infinite: then their sum is so as well."""
    try:
        return math.isfinite(sum(column))
    except (TypeError, OverflowError):  # the latter of integers beyond what a float holds
        return False


@lru_cache(maxsize=64)
def _record(keys: tuple[str, ...]) -> Callable[..., Any] | None:
    """A struct that JSON writes as a row of these names, its fields in order; None where the names do not allow it."""
    if len(keys) > _WIDEST or "_timestamp" in keys:
        return None
    names = ("_step", "_timestamp", "_runtime", *keys)
    fields = [f"f{at}" for at in range(len(names))]
    try:
        return msgspec.defstruct("Record", fields, rename=dict(zip(fields, names, strict=True)), gc=False)
    except ValueError:  # quotes or control characters in a name
        return None


def _lines(events: Iterable[Event]) -> bytearray:
    text = bytearray()
    records: list[dict[str, Any]] = []
    weight = 0
    for event in events:
        records.append(row(event))
        weight += len(event.values)
        if weight >= _SLICE:
            text += json_lines(records)
            records, weight = [], 0
    return text + json_lines(records)
