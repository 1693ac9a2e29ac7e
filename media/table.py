"""Table: rows of named columns, with numbers, text, dates, arrays and media in the cells."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal

from milepost.media.adopt import adopted
from milepost.media.base import Payload
from milepost.media.cells import ANY, DATETIME, DURATION, NoCell, fast_kind, is_media, is_plain, kind_of, kind_of_type
from milepost.media.frames import is_frame
from milepost.media.table_file import encode
from milepost.media.table_input import TableError, listed, one_each, read, rows_of

LogMode = Literal["IMMUTABLE", "MUTABLE", "INCREMENTAL"]
LOG_MODES: Final = ("IMMUTABLE", "MUTABLE", "INCREMENTAL")
MAX_INCREMENTS: Final = 64
"""Files that an incremental table is read from; the next one holds all rows, or each row would name ever more files."""


class Table:
    """Rows of named columns.

    columns:    names, text or whole numbers; ["Input", "Output", "Expected"] when neither they nor the data name any.
    data:       rows: a list of lists, a 2-D array, a list of dicts, a dict of columns, or a data frame. `rows` is the same.
    dataframe:  a pandas, polars or Arrow frame; its columns are the table's. Its index is left out.
    dtype:      the type of the cells, or one per column: `int`, `float`, `str`, `bool`, `datetime.datetime`, `list`, `dict`,
                a media class, or `object` for any. Without it the first value of a column decides.
    optional:   whether None fits a column: True, False, or one of these per column.
    allow_mixed_types: whether a column may hold several types.
    log_mode:   "IMMUTABLE" and "MUTABLE": every log() stores all that the table holds by then (wandb loses the new rows of an
                immutable one). "INCREMENTAL": every log() stores the rows that are new, and reading gives all.

    Cells hold numbers, text, booleans, None, dates, durations, arrays, tensors, lists, dicts, and media, which are stored as if
    they were logged. There is no limit of rows.
    Raises DataError (a ValueError, a TypeError and, as in wandb, an AssertionError) for a row of another length, a cell that does
    not fit its column, wrong columns and modes.
    """

    MAX_ROWS: ClassVar[int] = 10_000
    """wandb's limit, for scripts that raise it. Here nothing is cut."""
    MAX_ARTIFACT_ROWS: ClassVar[int] = 200_000
    """As above."""

    def __init__(
        self,
        columns: Sequence[str | int] | None = None,
        data: Any = None,
        rows: Any = None,
        dataframe: Any = None,
        dtype: Any = None,
        optional: bool | list[bool] = True,
        allow_mixed_types: bool = False,
        log_mode: LogMode | str = "IMMUTABLE",
    ) -> None:
        if log_mode not in LOG_MODES:
            raise TableError(f"Table log_mode={log_mode!r} is not one of {', '.join(LOG_MODES)}")
        self.log_mode = log_mode
        given = data if dataframe is None else dataframe
        given = rows if given is None else given
        if dataframe is not None and not is_frame(dataframe):
            raise TableError(
                f"Table dataframe is a {type(dataframe).__name__}; it takes a pandas, polars or Arrow frame: give rows as data="
            )
        named, content = read(given, columns)
        self.columns: list[str | int] = named
        self.data: list[list[Any]] = []
        self._increments: list[Payload] = []
        self._increment_num = -1
        self._logged_rows = 0
        self._last: Payload | None = None
        self._kinds: list[str | None] = [ANY if allow_mixed_types else None] * len(named)
        self._optional = one_each("optional", optional, named)
        for name, kind in zip(named, one_each("dtype", dtype, named), strict=True):
            if kind is not None:
                self.cast(name, kind, self._optional[named.index(name)])
        self._add_rows([row if isinstance(row, list | tuple) else rows_of(row) for row in content])

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.data)

    def __repr__(self) -> str:
        return f"Table({len(self.data)} rows, columns: {listed(self.columns)})"

    def add_data(self, *data: Any) -> None:
        """Add a row: one value per column, in their order.

        Raises DataError for another number of values, or one that does not fit its column; the table is then as it was.
        """
        row = [value if is_plain(value) else _taken(value) for value in data]
        self._kinds = self._fitting(row, len(self.data))
        self.data.append(row)

    def add_row(self, *row: Any) -> None:
        """The older name of `add_data`."""
        self.add_data(*row)

    def add_column(self, name: str | int, data: Any, optional: bool = False) -> None:
        """Add a column with one value per row (or the first column of an empty table, which gives it rows).

        Raises DataError for a name that exists or another number of values.
        """
        if type(name) not in (str, int):
            raise TableError(f"Table.add_column: the name must be text or a whole number, got {type(name).__name__}")
        if name in self.columns:
            raise TableError(f"Table.add_column: there is a column {name!r} already ({listed(self.columns)})")
        if isinstance(data, str | bytes | Mapping) or not hasattr(type(data), "__iter__"):
            raise TableError(f"Table.add_column({name!r}): data must be a list or array, got {type(data).__name__}")
        values = [_taken(value) for value in rows_of(data)]
        if not self.columns and not self.data:
            self.data = [[] for _ in values]
        if len(values) != len(self.data):
            raise TableError(
                f"Table.add_column({name!r}): {len(values)} values for {len(self.data)} rows; give one value per row"
            )
        kind: str | None = None
        allow = optional or None not in map(_missing, values)
        for at, value in enumerate(values):
            kind = _fit(value, name, at, kind, allow)
        self.columns.append(name)
        self._kinds.append(kind)
        self._optional.append(allow)
        for row, value in zip(self.data, values, strict=True):
            row.append(value)
        self._begin_again()

    def add_computed_columns(self, fn: Callable[[int, dict[str | int, Any]], Mapping[str, Any]]) -> None:
        """Add columns that a function makes from each row: fn(index, {column: value}) gives {new column: value}."""
        made: dict[str, list[Any]] = {}
        for index, row in self.iterrows():
            for name, value in fn(index, dict(zip(self.columns, row, strict=True))).items():
                made.setdefault(name, [None] * index).append(value)
            for values in made.values():
                values.extend([None] * (index + 1 - len(values)))
        for name, values in made.items():
            self.add_column(name, values, optional=True)

    def get_column(self, name: str | int, convert_to: Literal["numpy"] | None = None) -> Any:
        """The values of a column, as a list or, with convert_to="numpy", as an array. Raises DataError for no such column."""
        if name not in self.columns:
            raise TableError(f"Table.get_column: there is no column {name!r}; there are {listed(self.columns)}")
        if convert_to not in (None, "numpy"):
            raise TableError(f'Table.get_column: convert_to={convert_to!r} is not "numpy" or None')
        at = self.columns.index(name)
        values = [row[at] for row in self.data]
        if convert_to is None:
            return values
        import numpy as np

        return np.array(values)

    def get_index(self) -> list[int]:
        """The numbers of the rows, from 0."""
        return list(range(len(self.data)))

    def iterrows(self) -> Iterator[tuple[int, list[Any]]]:
        """Each row with its number, from 0."""
        yield from enumerate(self.data)

    def get_dataframe(self) -> Any:
        """The rows as a pandas data frame. Raises an ImportError without pandas."""
        import pandas as pd

        return pd.DataFrame([list(row) for row in self.data], columns=list(self.columns))

    def cast(self, col_name: str | int, dtype: Any, optional: bool = False) -> None:
        """Say what a column holds. dtype: as for the constructor. Raises DataError when a value there does not fit."""
        if col_name not in self.columns:
            raise TableError(f"Table.cast: there is no column {col_name!r}; there are {listed(self.columns)}")
        at = self.columns.index(col_name)
        kind = _kind_of_type(dtype)
        for number, row in enumerate(self.data):
            _fit(row[at], col_name, number, kind, optional)
        self._kinds[at] = kind
        self._optional[at] = optional

    def _add_rows(self, rows: list[Any]) -> None:
        """Add rows: by the column where each holds one kind of values, else one by one, to name the one that does not fit."""
        if not self.data and all(len(row) == len(self.columns) for row in rows):
            kinds = [
                fast_kind(column, kind, optional)
                for column, kind, optional in zip(zip(*rows, strict=True), self._kinds, self._optional, strict=False)
            ]
            if rows and False not in kinds:
                self.data = [list(row) for row in rows]
                self._kinds = [kind if isinstance(kind, str) else None for kind in kinds]
                return
        for row in rows:
            self.add_data(*row)

    def _fitting(self, row: list[Any], number: int) -> list[str | None]:
        """The kinds of the columns with this row. Raises as `add_data` does."""
        if len(row) != len(self.columns):
            raise TableError(
                f"Table row {number} has {len(row)} values for {len(self.columns)} columns ({listed(self.columns)}); "
                "give one value per column, None where there is none"
            )
        return [
            _fit(value, name, number, kind, optional)
            for value, name, kind, optional in zip(row, self.columns, self._kinds, self._optional, strict=True)
        ]

    def as_value(self) -> dict[str, Any]:
        """The mapping that stands in the row: the number of rows and columns, and the file of what the table holds now."""
        kinds = [self._one_kind(at) if kind == ANY else kind for at, kind in enumerate(self._kinds)]
        types = {
            str(name): kind for name, kind in zip(self.columns, kinds, strict=True) if kind in (DATETIME, DURATION)
        }
        value: dict[str, Any] = {
            "_type": "table-file",
            "ncols": len(self.columns),
            "nrows": len(self.data),
            "log_mode": self.log_mode,
        }
        if types:
            value["column_types"] = types
        if self.log_mode != "INCREMENTAL":
            self._last = self._payload(self.data, self._last)
            return {**value, **self._last.fields()}
        if len(self.data) != self._logged_rows or not self._increments:
            if len(self._increments) == MAX_INCREMENTS or len(self.data) < self._logged_rows:
                self._begin_again()
            payload = self._payload(self.data[self._logged_rows :], None)
            self._increments.append(payload)
            self._increment_num += 1
            self._logged_rows = len(self.data)
        *earlier, last = self._increments
        value |= {"_type": "incremental-table-file", "increment_num": self._increment_num}
        return {**value, "previous_increments_paths": [payload.path() for payload in earlier], **last.fields()}

    def _begin_again(self) -> None:
        """The next increment holds all rows: there are many files, or the rows before changed."""
        self._increments = []
        self._logged_rows = 0

    def _one_kind(self, at: int) -> str | None:
        """The kind of all values of a column that may hold several; None when they are of several."""
        examples = {type(row[at]): row[at] for row in self.data if len(row) > at}
        found = {_missing(value) for value in examples.values()} - {None}
        return found.pop() if len(found) == 1 else None

    def _payload(self, rows: list[list[Any]], last: Payload | None) -> Payload:
        """The file of some rows; the last one again when it holds the same."""
        count = len(self.columns)
        for number, row in enumerate(self.data):
            if len(row) != count:
                raise TableError(
                    f"Table row {number} has {len(row)} values for {count} columns ({listed(self.columns)}); it was changed "
                    "in table.data: use add_data(...)"
                )
        try:
            data, children, places = encode(self.columns, rows)
        except NoCell as error:
            number, at = error.place
            number += len(self.data) - len(rows)
            raise TableError(f"Table row {number}, column {self.columns[at]!r}: {error}") from None
        if last is not None and not children and not last.children and last.data == data:
            return last
        if not children:
            return Payload(data, "table", "table.json")
        return Payload(data, "table", "table.json", f"{encode.__module__}:with_media", {"places": places}, children)


def adopt(value: Any) -> Any:
    """The table for a data frame that is logged directly, or None for another object of its library."""
    return Table(dataframe=value, allow_mixed_types=True) if is_frame(value) else None


def _taken(value: Any) -> Any:
    """A cell as it is, or the media object that shows it: a matplotlib figure, a PIL image."""
    if is_plain(value) or is_media(value):
        return value
    found = adopted(value)
    return value if found is None else found


def _missing(value: Any) -> str | None:
    try:
        return kind_of(value)
    except Exception:  # noqa: BLE001 - `_fit` tells it, with the row
        return ANY


def _fit(value: Any, column: str | int, row: int, kind: str | None, optional: bool) -> str | None:
    """The kind of a column with this value in it. Raises TableError when it does not fit."""
    try:
        found = kind_of(value)
    except NoCell as error:
        raise TableError(f"Table row {row}, column {column!r}: {error}") from None
    except Exception as error:  # noqa: BLE001 - a value's own properties may raise anything
        raise TableError(
            f"Table row {row}, column {column!r}: reading a {type(value).__name__} raised {type(error).__name__}: {error}"
        ) from None
    if found is None:
        if not optional:
            raise TableError(
                f"Table row {row}, column {column!r} is None, and the column is not optional; give a value, or optional=True"
            )
        return kind
    if kind is None or kind in (found, ANY):
        return kind or found
    raise TableError(
        f"Table row {row}, column {column!r}: a value of type {type(value).__name__} ({found}) in a column that holds {kind}s; "
        "convert it, or make the table with allow_mixed_types=True"
    )


def _kind_of_type(dtype: Any) -> str | None:
    """The kind that a type stands for. None: the first value decides. Raises TableError."""
    if dtype is None:
        return None
    if dtype is object or dtype is Any:
        return ANY
    kind = kind_of_type(dtype)
    if kind is None:
        raise TableError(
            f"Table dtype {dtype!r} is not known; give a type such as int, float, str, bool, datetime.datetime, list or object"
        )
    return kind
