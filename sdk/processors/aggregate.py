"""aggregate: one row for a window of rows, for loops that run faster than anybody looks.

every 3, using "mean"

row   step 0  {"loss": 3.0, "phase": "warm"}   ->  held
row   step 1  {"loss": 2.0}                    ->  held
row   step 2  {"loss": 1.0, "phase": "main"}   ->  step 2  {"loss": 2.0, "phase": "main"}
"""

import operator
from collections.abc import Callable, Mapping
from math import isnan
from typing import Any, ClassVar, Final, Literal

from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event
from milepost.sdk.processor import HISTORY_KINDS, is_open
from milepost.sdk.processors.keys import PerKey, literal_prefix, matcher

Number = int | float
FunctionName = Literal["mean", "min", "max", "last", "sum", "count"]


class Aggregate:
    """Turn a window of committed rows into one row that holds an aggregate per key.

    every:     whole number >= 1: a window closes with its N-th row.
    interval:  whole number >= 1, milliseconds of run time: the first row that comes this long after the window's first
               row closes the window and opens the next one. There is no timer; a window waits for the next row, a
               reader or `finish()`.
    using:     "mean" (the default), "min", "max", "last", "sum" or "count", or a mapping of key glob to one of these.
               Of several globs that fit a key, that with the longest literal prefix counts; without one it is "mean".
    With both `every` and `interval`, whichever comes first.

    The row carries step, time and trace of the last row in the window. A key is aggregated over the rows of the window
    that hold it. Numbers are aggregated. Text, bool, lists, media and keys that start with "_" keep their last value,
    and so does a key whose last value is no number. None counts only for a key that held nothing else. NaN makes mean,
    min, max and sum NaN; count counts it. A mean is sum / count as float; min, max, last and sum of whole numbers stay
    whole.

    Stands behind `merge`: it counts rows, not calls. Behind `summarize` the summary sees every row, before it windows.
    A kill loses nothing: the open window, and an open row as if it were committed, are in the journal as parts.
    Raises ConfigurationError when neither every nor interval is given, or a value is not as above.
    """

    must_follow: ClassVar[str] = "merge"

    def __init__(
        self,
        every: int | None = None,
        interval: int | None = None,
        using: FunctionName | Mapping[str, FunctionName] = "mean",
    ) -> None:
        if every is None and interval is None:
            raise ConfigurationError("aggregate: give every (rows) or interval (milliseconds), or both")
        self._every = _whole("every", "rows", every)
        interval_ms = _whole("interval", "milliseconds", interval)
        self._interval_s = None if interval_ms is None else interval_ms / 1000
        self._function = PerKey(_chooser(using))
        self._cells: dict[str, _Cell] = {}
        self._rows = 0
        self._first_s = 0.0
        self._last: Event | None = None

    def __call__(self, event: Event) -> Event | None:
        """A closed window as one row, or None while it is open. An open row comes back as the window with it."""
        if event.kind not in HISTORY_KINDS:
            return event
        if is_open(event):
            return self._preview(event)
        closed: Event | None = None
        if self._interval_s is not None and self._rows and event.runtime_s - self._first_s >= self._interval_s:
            closed = self.flush()
        self._add(event)
        if self._rows == self._every:
            return self.flush()  # never together with `closed`: a window of one row is never left open
        return closed

    def held(self) -> Event | None:
        """The open window as one row, as `flush` would give it now."""
        if self._last is None:
            return None
        return self._last.with_values({key: cell.result() for key, cell in self._cells.items()})

    def flush(self) -> Event | None:
        """Close the window and give its row; None when it is empty."""
        row = self.held()
        self._cells = {}
        self._rows = 0
        self._last = None
        return row

    def _add(self, row: Event) -> None:
        if not self._rows:
            self._first_s = row.runtime_s
        self._rows += 1
        self._last = row
        cells, function = self._cells, self._function
        for key, value in row.values.items():
            cell = cells.get(key)
            if cell is None:
                cell = cells[key] = _Cell(function[key])
            cell.add(value)

    def _preview(self, open_row: Event) -> Event:
        """The row's keys with what they would hold if it were committed now and the window closed.

        Keys that it does not name stand in earlier parts with the same meaning, so all parts together, last value per
        key, are the row that `finish()` would have written.
        """
        results: dict[str, Any] = {}
        for key, value in open_row.values.items():
            cell = self._cells.get(key)
            cell = _Cell(self._function[key]) if cell is None else cell.copy()
            cell.add(value)
            results[key] = cell.result()
        return open_row.with_values(results)


def _smaller(held: Number, value: Number) -> Number:
    return value if value < held or isnan(value) else held  # a NaN takes the place and keeps it


def _larger(held: Number, value: Number) -> Number:
    return value if value > held or isnan(value) else held


def _later(_held: Number, value: Number) -> Number:
    return value


FUNCTIONS: Final[Mapping[str, Callable[[Number, Number], Number]]] = {
    "mean": operator.add,
    "min": _smaller,
    "max": _larger,
    "last": _later,
    "sum": operator.add,
    "count": _later,
}
INT64: Final = range(-(2**63), 2**63)


class _Cell:
    """What one key held in the rows of the window."""

    __slots__ = ("count", "fold", "function", "number", "other")

    def __init__(self, function: str) -> None:
        self.function = function
        self.fold = FUNCTIONS[function]
        self.number: Number = 0
        self.count = 0
        self.other: Any = None

    def add(self, value: Any) -> None:
        if type(value) is float or type(value) is int:  # bool is no number here, as in the summary
            self.number = self.fold(self.number, value) if self.count else value
            self.count += 1
            self.other = None
        elif value is not None:
            self.other = value

    def result(self) -> Any:
        if self.other is not None:
            return self.other
        if not self.count:
            return None
        if self.function == "mean":
            return self.number / self.count
        if self.function == "count":
            return self.count
        if type(self.number) is int and self.number not in INT64:
            return float(self.number)  # a sum may outgrow what the journal holds exactly
        return self.number

    def copy(self) -> "_Cell":
        twin = _Cell(self.function)
        twin.number, twin.count, twin.other = self.number, self.count, self.other
        return twin


def _chooser(using: object) -> Callable[[str], str]:
    """Which function a key gets."""
    if isinstance(using, Mapping):
        fitting = [(matcher([_glob(glob)]), literal_prefix(glob), _function(name)) for glob, name in using.items()]
        fitting.sort(key=lambda entry: entry[1], reverse=True)
    else:
        fitting = [(matcher(["*"]), 0, _function(using))]

    def choose(key: str) -> str:
        if key.startswith("_"):
            return "last"
        return next((name for fits, _, name in fitting if fits(key)), "mean")

    return choose


def _glob(value: object) -> str:
    if isinstance(value, str) and value:
        return value
    raise ConfigurationError(f"aggregate: using must map key globs to functions; {value!r} is no glob")


def _function(name: object) -> str:
    if isinstance(name, str) and name in FUNCTIONS:
        return name
    raise ConfigurationError(
        f"aggregate: using must be one of {', '.join(FUNCTIONS)}, or map globs to these, not {name!r}"
    )


def _whole(option: str, unit: str, value: object) -> int | None:
    if value is None or (type(value) is int and value >= 1):
        return value
    raise ConfigurationError(f"aggregate: {option} must be a whole number of {unit} >= 1, not {value!r}")
