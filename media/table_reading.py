"""Table reading: the rows of a table's or chart's value, as a pandas frame or as dicts.

The rows of an incremental table are in several files; its value names those before its own.
"""

from typing import Any

from milepost.media.table_file import decode, frame
from milepost.sdk.errors import MissingDependencyError


def to_pandas(value: Any) -> Any:
    """The rows as a pandas frame; media in cells are media values. Raises MissingDependencyError without pandas."""
    try:
        made = frame(_sources(value), _types(value))
    except ImportError:
        raise MissingDependencyError(
            'to_pandas() needs pandas; install it with: pip install "milepost[pandas]", or use load()'
        ) from None
    for at, kind in enumerate(made.dtypes):
        if str(kind) == "object":
            made.isetitem(at, [value.beside(cell) for cell in made.iloc[:, at]])
    return made


def to_dicts(value: Any) -> list[dict[str | int, Any]]:
    """The rows as dicts of column to cell; media in cells are media values."""
    columns, rows = decode(_sources(value), _types(value))
    return [{name: value.beside(cell) for name, cell in zip(columns, row, strict=True)} for row in rows]


def _sources(value: Any) -> list[bytes]:
    """The bytes of all files, in order. Raises RunNotFoundError for one that is gone."""
    found: list[bytes] = []
    for path in (*value.get("previous_increments_paths", ()), value.get("path")):
        with value.beside({**value, "path": path}).open() as file:
            found.append(file.read())
    return found


def _types(value: Any) -> dict[str, str]:
    types = value.get("column_types")
    return types if isinstance(types, dict) else {}
