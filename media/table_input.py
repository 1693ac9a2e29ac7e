"""Table input: column names and rows of whatever a program has its rows in."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from milepost.media.frames import columns_and_rows, is_frame
from milepost.sdk.errors import DataError

_DEFAULT_COLUMNS: Final = ("Input", "Output", "Expected")
_MANY: Final = 12


class TableError(DataError, AssertionError):
    """A table that cannot be made as asked. An AssertionError too, since wandb raises that for columns and modes."""


def read(given: Any, columns: Any) -> tuple[list[str | int], Iterable[Any]]:
    """Column names and rows of whatever was given as data."""
    if is_frame(given):
        return columns_and_rows(given)
    names = None if columns is None else _names(columns)
    if given is None:
        return (list(_DEFAULT_COLUMNS) if names is None else names), []
    if isinstance(given, Mapping):
        return _of_columns(given, names)
    if isinstance(given, str | bytes) or not hasattr(type(given), "__iter__"):
        raise TableError(
            f"Table data must be rows (a list of lists, an array, a data frame), got {type(given).__name__}"
        )
    rows = rows_of(given)
    if rows and all(isinstance(row, Mapping) for row in rows):
        if names is None:
            names = list(dict.fromkeys(name for row in rows for name in row))
            names = _names(names)
        return names, [_of_mapping(row, names, at) for at, row in enumerate(rows)]
    for at, row in enumerate(rows):
        if isinstance(row, str | bytes | Mapping) or not hasattr(type(row), "__iter__"):
            raise TableError(f"Table row {at} is a {type(row).__name__}; each row is a list of one value per column")
    return (list(_DEFAULT_COLUMNS) if names is None else names), rows


def rows_of(given: Any) -> list[Any]:
    """The items of a list, array or iterator; numbers of small arrays as Python's own."""
    return list(given.tolist() if hasattr(given, "tolist") and getattr(given, "ndim", 3) < 3 else given)


def _of_columns(given: Mapping[Any, Any], names: list[str | int] | None) -> tuple[list[str | int], list[list[Any]]]:
    """The rows of a dict of columns."""
    names = _names(list(given)) if names is None else names
    if set(names) != set(given):
        raise TableError(f"Table columns {listed(names)} are not the keys of data: {listed(list(given))}")
    values = {name: rows_of(given[name]) for name in names}
    lengths = {name: len(column) for name, column in values.items()}
    if len(set(lengths.values())) > 1:
        short, long = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
        raise TableError(
            f"Table columns differ in length: {short!r} has {lengths[short]} values, {long!r} {lengths[long]}; give one per row"
        )
    return names, [list(row) for row in zip(*values.values(), strict=True)]


def _of_mapping(row: Mapping[Any, Any], names: list[str | int], at: int) -> list[Any]:
    """A row that was given as a dict; a name that it lacks is None."""
    unknown = [name for name in row if name not in names]
    if unknown:
        raise TableError(f"Table row {at} has {unknown[0]!r}, which is no column; columns are {listed(names)}")
    return [row.get(name) for name in names]


def _names(columns: Any) -> list[str | int]:
    """Checked column names."""
    if isinstance(columns, str | bytes | Mapping | set) or not hasattr(type(columns), "__iter__"):
        raise TableError(f"Table columns must be a list of names, got {type(columns).__name__}")
    names = [str(name) if isinstance(name, str) else name for name in columns]
    for at, name in enumerate(names):
        if type(name) not in (str, int):
            raise TableError(f"Table columns[{at}] is a {type(name).__name__}; names are text or whole numbers")
        if name in names[:at]:
            raise TableError(f"Table columns name {name!r} twice; give each column its own name")
    return names


def one_each(argument: str, given: Any, names: list[str | int]) -> list[Any]:
    """One value per column, of a value or a list of them."""
    if not isinstance(given, list | tuple):
        return [given] * len(names)
    if len(given) != len(names):
        raise TableError(
            f"Table {argument} has {len(given)} values for {len(names)} columns; give one, or one per column"
        )
    return list(given)


def listed(names: list[Any]) -> str:
    """The names as one text, the first dozen of them."""
    return ", ".join(map(str, names[:_MANY])) + (f", ... ({len(names)} in all)" if len(names) > _MANY else "")
