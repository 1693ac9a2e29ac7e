"""Table file: the rows of a table as JSON, `{"columns": [...], "data": [[...]]}`, and back.

NaN and the infinities are written as Python's json module writes them (NaN, Infinity, -Infinity), as in wandb's files. Dates and
durations are ISO 8601 text there; which columns hold them is said in the row's value, under `column_types`.
"""

import datetime
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Final

import msgspec

from milepost.media.cells import DATETIME, DURATION, NoCell, duration_nanoseconds, is_media, plain

_SIMPLE: Final = frozenset((int, float, bool, type(None), str))

Children = list[Mapping[str, Any]]
Places = list[list[Any]]
"""Where each child belongs: row, column, and what leads further into a list or dict."""


def encode(columns: Sequence[str | int], rows: Sequence[Sequence[Any]]) -> tuple[bytes, Children, Places]:
    """The file of a table with None where media belong, the row forms of those media, and their places.

    Raises NoCell, with `place` set to (row, column), for a cell that cannot be stored.
    """
    children: Children = []
    places: Places = []
    stored = [
        row if _SIMPLE.issuperset(map(type, row)) else _row(row, number, children, places)
        for number, row in enumerate(rows)
    ]
    content = {"columns": list(columns), "data": stored}
    try:
        text = msgspec.json.encode(content)
        nulls = text.count(b"null")  # msgspec writes NaN and the infinities as null, too
        if not nulls or nulls == sum(row.count(None) for row in stored) or not _has_nonfinite(stored):
            return text, children, places
    except (ValueError, OverflowError):  # a lone surrogate, or an integer of more than 64 bits
        content = {
            "columns": [plain(name) for name in columns],
            "data": [_row(row, number, [], []) for number, row in enumerate(rows)],
        }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(), children, places


def with_media(data: memoryview, options: Mapping[str, Any], target: BinaryIO) -> dict[str, int]:
    """Write a table's file with its media in their places: what `encode` left out, in the form in which they are read back.

    How many there are joins the fields of the row: whoever copies the table's file sees that it names others.
    """
    content = json.loads(bytes(data))
    for place, child in zip(options["places"], options["children"], strict=True):
        holder: Any = content["data"]
        for part in place[:-1]:
            holder = holder[part]
        holder[place[-1]] = child
    target.write(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode())
    return {"nmedia": len(options["places"])}


def decode(sources: Sequence[bytes], types: Mapping[str, str]) -> tuple[list[str | int], list[list[Any]]]:
    """Column names and rows of one file, or of the files of an incremental table in their order.

    types: of the columns that hold dates or durations, by name. Raises ValueError for a file that is no table's.
    """
    columns, rows = _content(sources)
    for at, name in enumerate(columns):
        kind = types.get(str(name))
        if kind in (DATETIME, DURATION):
            convert = _date if kind == DATETIME else _duration
            for row in rows:
                row[at] = convert(row[at]) if isinstance(row[at], str) else row[at]
    return columns, rows


def frame(sources: Sequence[bytes], types: Mapping[str, str]) -> Any:
    """The same as a pandas frame: whole numbers beside None are Int64, dates are datetime64."""
    import pandas as pd

    columns, rows = _content(sources)
    cells: list[Any] = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    made = [_series(pd, list(values), types.get(str(name), "")) for name, values in zip(columns, cells, strict=True)]
    result = pd.concat(made, axis=1) if made else pd.DataFrame(index=range(len(rows)))
    result.columns = pd.Index(columns)
    return result


def _content(sources: Sequence[bytes]) -> tuple[list[str | int], list[list[Any]]]:
    columns: list[str | int] = []
    rows: list[list[Any]] = []
    for source in sources:
        content = json.loads(source)
        if not isinstance(content, dict) or not {"columns", "data"} <= content.keys():
            raise ValueError("the file holds no table: it has no columns and data")
        columns = content["columns"]
        rows += content["data"]
    return columns, rows


def _series(pd: Any, values: list[Any], kind: str) -> Any:
    found = {type(value) for value in values}
    missing = type(None) in found
    if kind == DATETIME:
        try:
            return pd.Series(pd.to_datetime(pd.Series(values, dtype=object), format="ISO8601"))
        except ValueError:  # time zones that differ, or years that pandas has not
            return pd.Series([_date(value) for value in values], dtype=object)
    if kind == DURATION:
        nanoseconds = [None if value is None else duration_nanoseconds(value) for value in values]
        return (
            pd.Series(pd.array(nanoseconds, dtype="Int64")).astype("timedelta64[ns]")
            if missing
            else pd.Series(nanoseconds).astype("timedelta64[ns]")
        )
    found -= {type(None)}
    if found == {int} and missing and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return pd.Series(values, dtype="Int64")
    if found == {bool} and missing:
        return pd.Series(values, dtype="boolean")
    if found == {int, float} and any(type(value) is int and abs(value) > 2**53 for value in values):
        return pd.Series(values, dtype=object)
    if found == {float} and missing:
        return pd.Series([math.nan if value is None else value for value in values], dtype="float64")
    return pd.Series(values)


def _row(row: Sequence[Any], number: int, children: Children, places: Places) -> list[Any]:
    stored = []
    for at, value in enumerate(row):
        try:
            stored.append(_cell(value, [number, at], children, places))
        except NoCell as error:
            error.place = (number, at)
            raise
    return stored


def _cell(value: Any, place: list[Any], children: Children, places: Places) -> Any:
    if is_media(value):
        children.append(value.as_value())
        places.append(place)
        return None
    if type(value) in (list, tuple) and len(place) < 8:
        return [_cell(item, [*place, at], children, places) for at, item in enumerate(value)]
    if type(value) is dict and len(place) < 8:
        return {str(key): _cell(item, [*place, str(key)], children, places) for key, item in value.items()}
    return plain(value)


def _has_nonfinite(value: Any) -> bool:
    if type(value) is float:
        return not math.isfinite(value)
    if type(value) is dict:
        value = value.values()
    elif type(value) is not list and type(value) is not tuple:
        return False
    return any(_has_nonfinite(item) for item in value)


def _date(text: Any) -> Any:
    """A date, or a date and time, of ISO text; to the microsecond. Text that Python's years do not reach stays text."""
    if not isinstance(text, str):
        return text
    try:
        return datetime.datetime.fromisoformat(text) if "T" in text else datetime.date.fromisoformat(text)
    except ValueError:
        return text


def _duration(text: str) -> datetime.timedelta:
    return datetime.timedelta(microseconds=duration_nanoseconds(text) // 1000)
