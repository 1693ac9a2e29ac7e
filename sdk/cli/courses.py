"""Courses: the numbers of each metric of a run over its x axis, every one of a small run, a fair sample of a large one.

Metrics that were always logged together are read together, so that what is logged every thousandth step is not lost in a
sample of all rows.
"""

import fnmatch
import math
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from milepost.sdk.cli.chart import Points
from milepost.sdk.metrics import Metrics
from milepost.sdk.reading import replay
from milepost.sdk.reading.history import Selection
from milepost.sdk.reading.rows import Row, Wish

_VALUES: Final = 2_000_000
"""Numbers that are read at most, about a second's work."""
_ROWS_LEAST: Final = 400
_GROUPS: Final = 8
_NUMBERS: Final = frozenset((int, float))


class Course(msgspec.Struct, kw_only=True):
    """The numbers of one metric.

    points:   the finite ones.     count: all that were read.    strange: those that are NaN or infinite.
    first, last: as logged, NaN included.      minimum, maximum: of the finite ones, None without any.
    total_rows: rows of its group; more than were read when `sampled`.
    """

    name: str
    points: Points
    count: int = 0
    strange: int = 0
    first: float = math.nan
    last: float = math.nan
    minimum: float | None = None
    maximum: float | None = None
    sampled: bool = False
    total_rows: int = 0

    def add(self, x: float, y: float) -> None:
        """Take one number in."""
        if not self.count:
            self.first = y
        self.count += 1
        self.last = y
        if not math.isfinite(y):
            self.strange += 1
            return
        self.minimum = y if self.minimum is None or y < self.minimum else self.minimum
        self.maximum = y if self.maximum is None or y > self.maximum else self.maximum
        self.points.x.append(x)
        self.points.y.append(y)


def definitions(selection: Selection) -> Metrics:
    """What define_metric said in this run."""
    metrics = Metrics()
    for writer in selection.writers:
        for event in writer.survey.events:
            if event.kind == "metric":
                replay.define(metrics, event)
    return metrics


def matching(names: Iterable[str], globs: Sequence[str]) -> list[str]:
    """The names that fit one of the globs, in their order; all without globs."""
    return [name for name in names if not globs or any(fnmatch.fnmatchcase(name, glob) for glob in globs)]


def courses(selection: Selection, names: Sequence[str], metrics: Metrics, rows: int) -> list[Course]:
    """The courses of these metrics, in their order; those without a number are left out. rows: how many there are."""
    budget = max(_ROWS_LEAST, _VALUES // max(len(names), 1))
    if rows <= budget or selection.has_inline_keys:
        found = _read(selection.scan(Wish(), _plain), names, metrics, rows, sampled=False)
    else:
        found = {}
        for group in _groups(selection, names):
            axes = {axis for name in group if (axis := _axis(metrics, name)) != "_step"}
            wish = Wish(tuple(group), along=("_step", *sorted(axes - set(group))), require="any")
            chosen, total = selection.sample(wish, _plain, max(_ROWS_LEAST, budget // _GROUPS))
            found |= _read(chosen, group, metrics, total, sampled=len(chosen) < total)
    return [course for name in names if (course := found.get(name)) is not None and course.count]


def _read(
    rows: Iterable[Row], names: Sequence[str], metrics: Metrics, total: int, *, sampled: bool
) -> dict[str, Course]:
    found: dict[str, Course] = {}
    axes: dict[str, str] = {name: _axis(metrics, name) for name in names}
    for name in names:
        points = Points(array("d"), array("d"), axes[name])
        found[name] = Course(name=name, points=points, sampled=sampled, total_rows=total)
    for row in rows:
        for name, value in row.items():
            if type(value) in _NUMBERS and name in found:
                x: Any = row.get(axes[name])
                if type(x) in _NUMBERS and math.isfinite(at := _float(x)):
                    found[name].add(at, _float(value))
    return found


def _groups(selection: Selection, names: Sequence[str]) -> list[list[str]]:
    """Names that stand in the same sets of keys, together; what is left over after a few groups makes the last one."""
    places: dict[str, list[tuple[str, int]]] = {name: [] for name in names}
    for writer in selection.writers:
        for schema in writer.survey.schemas:
            for key in writer.keys(schema) or ():
                if key in places:
                    places[key].append((writer.id, schema))
    groups: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for name, where in places.items():
        groups.setdefault(tuple(sorted(where)), []).append(name)
    ordered = list(groups.values())
    rest = [name for group in ordered[_GROUPS - 1 :] for name in group]
    return ordered[: _GROUPS - 1] + ([rest] if rest else [])


def _axis(metrics: Metrics, name: str) -> str:
    metric = metrics.find(name)
    return "_step" if metric is None or metric.step_metric is None else metric.step_metric


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer beyond what a float holds
        return math.inf if value > 0 else -math.inf


def _plain(value: dict[str, Any]) -> Any:
    return value
