"""Grouping: runs by the values of columns, figures of each group, and the curves of its runs as one with a band.

Runs that lack a column are a group of their own, under null. 1 and 1.0 are one value, 1 and true are two. The mean of curves
is that of the web page (server/web/src/chart/curves.ts), to the last digit: at the places of all of them, in straight lines
between the points of each; a curve counts only between its own ends.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np

from milepost.server.filters import MAX_LENGTH
from milepost.server.records import RunLine
from milepost.server.series import FloatArray

MAX_COLUMNS: Final = 5
_LONG_KEY: Final = 200
_PLAIN: Final = re.compile(r"[A-Za-z_][\w./:%-]*")


@dataclass
class Group:
    """Runs that share values. values: one for each column they were grouped by, in that order; key: as `key_of` tells it."""

    values: list[Any]
    runs: list[RunLine] = field(default_factory=list)
    key: str = ""

    def as_json(self, by: Sequence[str], columns: Sequence[str]) -> dict[str, Any]:
        """Its values, how many runs it has and in which states, a filter that finds them, figures of columns."""
        states: dict[str, int] = {}
        for run in self.runs:
            states[run.state] = states.get(run.state, 0) + 1
        return {
            "key": self.key,
            "by": dict(zip(by, self.values, strict=True)),
            "runs": len(self.runs),
            "states": states,
            "filter": filter_of(by, self.values),
            "columns": {column: self.figures(column) for column in columns},
        }

    def figures(self, column: str) -> dict[str, Any]:
        """Of the finite numbers among its runs' values: count, mean, standard deviation, least, greatest; and what they share."""
        values = [run.value(column) for run in self.runs]
        shared = values[0] if values and all(_same(value) == _same(values[0]) for value in values[1:]) else None
        found = np.array([v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)], np.float64)
        found = found[np.isfinite(found)]
        if not len(found):
            return {"count": 0, "mean": None, "std": None, "min": None, "max": None, "shared": shared}
        with np.errstate(over="ignore", invalid="ignore"):
            mean, std = float(found.mean()), float(found.std())
        return {
            "count": len(found),
            "mean": mean if math.isfinite(mean) else None,
            "std": std if math.isfinite(std) else None,
            "min": float(found.min()),
            "max": float(found.max()),
            "shared": shared,
        }


def groups_of(runs: Iterable[RunLine], by: Sequence[str]) -> list[Group]:
    """The groups, by value: numbers, then texts, then the rest, what is not there last."""
    found: dict[str, Group] = {}
    for run in runs:
        key = key_of(run, by)
        if key not in found:
            found[key] = Group([run.value(column) for column in by], key=key)
        found[key].runs.append(run)
    return sorted(found.values(), key=lambda group: [_order(value) for value in group.values])


def key_of(run: RunLine, by: Sequence[str]) -> str:
    """What runs of one group have in common, and no other has: a text to compare, not to read, that an address has room for."""
    text = json.dumps([_same(run.value(column)) for column in by], sort_keys=True, default=str)
    return text if len(text) <= _LONG_KEY else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _same(value: Any) -> Any:
    """The value as it is compared: an integral float is the integer, NaN is itself."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else {"float": repr(value)}
    if isinstance(value, (list, tuple)):
        return [_same(each) for each in value]
    return value


def _order(value: Any) -> tuple[int, Any]:
    if value is None:
        return 4, ""
    if isinstance(value, bool):
        return 0, float(value)
    if isinstance(value, (int, float)):
        return (1, value) if value == value else (1, math.inf)
    if isinstance(value, str):
        return 2, [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in re.split(r"(\d{1,18})", value)]
    return 3, str(value)


def filter_of(by: Sequence[str], values: Sequence[Any]) -> str | None:
    """A filter that lets the runs of a group through; None where the language has no words for a value, or too many."""
    parts: list[str] = []
    for column, value in zip(by, values, strict=True):
        name = column if _PLAIN.fullmatch(column) else f"`{column}`"
        if "`" in column or isinstance(value, (list, dict)) or (isinstance(value, float) and not math.isfinite(value)):
            return None
        if isinstance(value, str):
            told = re.sub(r'(["\\])', r"\\\1", value)
            parts.append(f'{name} == "{told}"')
        else:
            parts.append(f"{name} == {msgspec.json.encode(value).decode()}")
    found = " and ".join(parts)
    return found if len(found) <= MAX_LENGTH else None


@dataclass(frozen=True, slots=True)
class Mean:
    """Several curves as one. x, mean, low, high, std: floats; count: curves that have a value there."""

    x: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray
    std: FloatArray
    count: np.ndarray[Any, np.dtype[np.int64]]


def mean_of(curves: Sequence[tuple[FloatArray, FloatArray]], places: int) -> Mean:
    """Mean and spread of curves (x, which rises, and y, in which NaN is a hole) at about so many of their places."""
    every = np.unique(np.concatenate([x for x, _ in curves])) if curves else np.empty(0)
    step = max(1.0, len(every) / places)
    sums = np.cumsum(np.full(min(len(every), places + 1), step)) - step  # one after the other, as the page adds them
    at = np.floor(sums[sums < len(every)]).astype(np.int64)
    if len(every) and at[-1] != len(every) - 1:
        at = np.append(at, len(every) - 1)
    x = every[at] if len(every) else every
    values = np.array([_at(*curve, x) for curve in curves]).reshape(len(curves), len(x))
    there = ~np.isnan(values)
    count = there.sum(0)
    n = np.where(count > 0, count, np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.where(there, values, 0.0).sum(0) / n
        squares = np.where(there, values * values, 0.0).sum(0) / n
        std = np.sqrt(np.maximum(0.0, squares - mean * mean))
    low = np.where(there, values, np.inf).min(0, initial=np.inf)
    high = np.where(there, values, -np.inf).max(0, initial=-np.inf)
    return Mean(x, mean, np.where(count > 0, low, np.nan), np.where(count > 0, high, np.nan), std, count)


def _at(x: FloatArray, y: FloatArray, places: FloatArray) -> FloatArray:
    """A curve's values at places, in straight lines between its points; NaN outside it and beside its holes."""
    if not len(x):
        return np.full(len(places), np.nan)
    right = np.minimum(np.searchsorted(x, places), len(x) - 1)
    left = np.maximum(right - 1, 0)
    gap = x[right] - x[left]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        between = y[left] + (y[right] - y[left]) * ((places - x[left]) / gap)
    found = np.where(x[right] == places, y[right], between)
    return np.where((places < x[0]) | (places > x[-1]), np.nan, found)
