"""Forms: the same answer as JSON, msgpack or Arrow, whichever a client accepts.

    application/json                      numbers as text; NaN as "NaN", or null in the columns of a curve
    application/msgpack                   values as they are; in an answer of curves a column is {"f8": bytes} or {"i8": bytes}
    application/vnd.apache.arrow.stream   a table, which pyarrow, pandas, polars, DuckDB and R open without a copy

Source: RFC 9110, 12.5.1 (Accept); Apache Arrow, "IPC streaming format".
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import msgspec
import numpy as np
from starlette.requests import Request

from milepost.server.problems import Problem

TYPES: Final[Mapping[str, str]] = {
    "json": "application/json",
    "msgpack": "application/msgpack",
    "arrow": "application/vnd.apache.arrow.stream",
    "jsonl": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
NEEDS_PYARROW: Final = frozenset(("arrow", "parquet"))
VARY: Final = {"Vary": "Accept"}

_OTHER_NAMES: Final = {"application/x-msgpack": "application/msgpack", "application/vnd.msgpack": "application/msgpack"}
_FLOATS: Final = frozenset(("x", "min", "max", "mean", "last", "std"))

packed: Final = msgspec.msgpack.Encoder(enc_hook=str).encode
"""Any value of an answer as msgpack."""


def form_of(request: Request, offered: Sequence[str]) -> str:
    """The form that the client likes best, of those offered; the first when it says nothing. Raises `Problem` 406 or 501."""
    accepted = request.headers.getlist("accept")
    wanted = _weights(",".join(accepted)) if accepted else {"*/*": 1.0}
    liked = [(weight, form) for form in offered if (weight := _weight(wanted, TYPES[form].partition(";")[0])) > 0]
    if not liked:
        types = ", ".join(TYPES[form].partition(";")[0] for form in offered)
        raise Problem(406, "not acceptable", f"this is answered as {types}; Accept is {','.join(accepted)[:200]!r}")
    there = [each for each in liked if each[1] not in NEEDS_PYARROW or find_spec("pyarrow") is not None]
    return max(there or liked, key=lambda each: each[0])[1]


def check_pyarrow(form: str) -> None:
    """Raise `Problem` 501 for a form that needs pyarrow where it is not installed."""
    if form in NEEDS_PYARROW and find_spec("pyarrow") is None:
        text = f'{form} needs pyarrow, on the server; install it there with: pip install "milepost[parquet]"'
        raise Problem(501, "not available", text)


def _weights(accept: str) -> dict[str, float]:
    """Media ranges and how much they are liked."""
    found: dict[str, float] = {}
    for part in accept.split(","):
        name, *parameters = (each.strip() for each in part.split(";"))
        weight = next((_number(each[2:]) for each in parameters if each.lower().startswith("q=")), 1.0)
        if name:
            found[_OTHER_NAMES.get(name.lower(), name.lower())] = weight
    return found or {"*/*": 1.0}


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 <= value <= 1 else 0.0


def _weight(wanted: Mapping[str, float], kind: str) -> float:
    """How much a type is liked: the most exact range that fits says it."""
    for name in (kind, f"{kind.partition('/')[0]}/*", "*/*"):
        if name in wanted:
            return wanted[name]
    return 0.0


def curves_as_msgpack(body: Mapping[str, Any]) -> bytes:
    """An answer of curves with its columns as bytes, little-endian: 8 for a number, NaN for one that is not there."""
    told = dict(body)
    for name in ("series", "groups"):
        if told.get(name) is not None:
            told[name] = [_columns_as_bytes(each) for each in told[name]]
    return packed(told)


def _columns_as_bytes(curve: Mapping[str, Any]) -> dict[str, Any]:
    told = dict(curve)
    for name in _FLOATS & told.keys():
        told[name] = {"f8": np.array(told[name], "<f8").tobytes()}
    told["count"] = {"i8": np.array(told["count"], "<i8").tobytes()}
    return told


def curves_as_arrow(body: Mapping[str, Any]) -> bytes:
    """An answer of curves as one table, a line for each bucket; what is no column is JSON in the schema's metadata.

    Columns: run and key (or value, as JSON, and key), x, min, max, mean, last or std, count.
    """
    grouped = body.get("groups") is not None
    curves: list[Mapping[str, Any]] = body["groups"] if grouped else body["series"]
    pyarrow: Any = import_module("pyarrow")
    names = ["x", "mean", "std", "min", "max"] if grouped else ["x", "min", "max", "mean", "last"]
    lengths = [len(curve["x"]) for curve in curves]
    who = "value" if grouped else "run"
    texts = [msgspec.json.encode(curve["value"]).decode() if grouped else curve["run"] for curve in curves]
    columns = {
        who: _repeated(pyarrow, texts, lengths),
        "key": _repeated(pyarrow, [curve["key"] for curve in curves], lengths),
        **{name: pyarrow.array(_joined(curves, name), pyarrow.float64()) for name in names},
        "count": pyarrow.array(_joined(curves, "count"), pyarrow.int64()),
    }
    rest = {**body, "series": []}
    rest["groups" if grouped else "series"] = [
        {name: value for name, value in curve.items() if name not in (*names, "count")} for curve in curves
    ]
    table = pyarrow.table(columns).replace_schema_metadata({"milepost": msgspec.json.encode(rest)})
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _joined(curves: Iterable[Mapping[str, Any]], name: str) -> list[Any]:
    return [value for curve in curves for value in curve[name]]


def _repeated(pyarrow: Any, texts: Sequence[str], lengths: Sequence[int]) -> Any:
    """Each text as often as its curve has lines, stored once."""
    unique = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    indices = np.repeat(np.array([unique[text] for text in texts], np.int32), lengths)
    return pyarrow.DictionaryArray.from_arrays(
        pyarrow.array(indices, pyarrow.int32()), pyarrow.array(list(unique), pyarrow.string())
    )
