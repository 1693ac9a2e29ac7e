"""Frames: the columns and rows of a data frame (pandas, polars, Arrow), found by their module and never imported.

An index is left out, as in wandb. What is missing becomes None, but a float column keeps its NaN.
"""

from typing import Any

Rows = list[list[Any]]


def is_frame(value: Any) -> bool:
    """Whether a value is a data frame that `columns_and_rows` reads."""
    kind = type(value)
    names = {"pandas": ("DataFrame",), "polars": ("DataFrame",), "pyarrow": ("Table",)}
    modules = [(base.__module__ or "").partition(".")[0] for base in kind.__mro__]
    return any(base.__name__ in names.get(module, ()) for base, module in zip(kind.__mro__, modules, strict=True))


def columns_and_rows(frame: Any) -> tuple[list[str | int], Rows]:
    """The names of a frame's columns and its rows, of Python's own types where those say the same."""
    if hasattr(frame, "iloc"):
        names = [name if type(name) in (str, int) else _text(name) for name in frame.columns.tolist()]
        columns = [_pandas_column(frame.iloc[:, at]) for at in range(len(names))]
        count = len(frame)
    elif hasattr(frame, "column_names"):
        names, columns = list(frame.column_names), [column.to_pylist() for column in frame.columns]
        count = frame.num_rows
    else:
        names, columns = list(frame.columns), [column.to_list() for column in frame.get_columns()]
        count = frame.height
    rows = [list(row) for row in zip(*columns, strict=True)] if columns else [[] for _ in range(count)]
    return _distinct(names), rows


def _pandas_column(series: Any) -> list[Any]:
    """The cells of a pandas column: None for what is missing, except in columns of floats."""
    kind = getattr(series.dtype, "kind", "O")
    values: list[Any] = series.tolist()
    if kind in "biu" and not series.hasnans:
        return values
    if kind == "f" and type(series.dtype).__module__.startswith("numpy"):
        return values
    missing = series.isna().tolist()
    return [None if gone else value for value, gone in zip(values, missing, strict=True)]


def _text(name: Any) -> str:
    """A column's name that is no text: the levels of several joined with dots."""
    return ".".join(str(part) for part in name if str(part)) if isinstance(name, tuple) else str(name)


def _distinct(names: list[Any]) -> list[str | int]:
    """The names, a repeated one with a number: a, a.1, a.2."""
    found: list[str | int] = []
    for name in names:
        candidate, number = name, 0
        while candidate in found:
            number += 1
            candidate = f"{name}.{number}"
        found.append(candidate)
    return found
