"""Points: the series of one batch with their points, between the choice (selection.py) and the wire (metrics.py).

A batch that is refused is divided here: by time first, then by series, down to a single point.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from milepost.sdk.event import Event

Kind = Literal["gauge", "sum", "counter", "histogram"]
Key = str | tuple[str, ...]
"""What a series is found by: the name for what was logged, a tuple for what was not."""

KINDS: Final = frozenset(("row", "system", "metric", "run.start", "run.finish"))
STEP: Final = ("milepost.step",)
ACTIVE: Final = ("milepost.run.active",)
MILLISECOND: Final = 1_000_000


class Series:
    """The points of one series in one batch.

    times, values: one entry per point, in the order of the batch; times in nanoseconds. A histogram's value is its row form.
    steps:         the step of each point, where points carry it as an attribute; else empty.
    next_ms:       the first millisecond in which the series may have its next point.
    settled_ms:    what next_ms was before this batch.
    last:          the last value that coalesced: its time, itself and its step; None when the last point of all was sent.
    start:         of a histogram: the time of the point before.
    """

    __slots__ = (
        "attributes", "key", "kind", "last", "name", "next_ms", "settled_ms", "start", "steps", "times", "unit", "values",
    )  # fmt: skip

    def __init__(
        self, key: Key, name: str, kind: Kind = "gauge", unit: str = "", attributes: tuple[tuple[str, str], ...] = ()
    ) -> None:
        self.key = key
        self.name = name
        self.kind: Kind = kind
        self.unit = unit
        self.attributes = attributes
        self.times: list[int] = []
        self.values: list[Any] = []
        self.steps: list[int] = []
        self.next_ms = self.settled_ms = 0
        self.last: tuple[int, Any, int] | None = None
        self.start = 0

    def only(self, places: Sequence[int]) -> "Series":
        """The points at these places of the lists."""
        part = Series(self.key, self.name, self.kind, self.unit, self.attributes)
        part.times = [self.times[at] for at in places]
        part.values = [self.values[at] for at in places]
        part.steps = [self.steps[at] for at in places] if self.steps else []
        part.start = self.times[places[0] - 1] if places and places[0] else self.start
        return part

    def clear(self) -> None:
        """No points."""
        self.times, self.values, self.steps = [], [], []


class Points:
    """The series of one batch, in the order in which they came up.

    rows: the times of the rows that have a point here.
    """

    def __init__(self, series: Iterable[Series], rows: frozenset[int]) -> None:
        self.series = [each for each in series if each.times]
        self.rows = rows

    @property
    def count(self) -> int:
        """How many points there are."""
        return sum(len(each.times) for each in self.series)

    def halves(self) -> "tuple[Points, Points] | None":
        """The earlier and the later half; of one time, two halves of its series; None for a single point.

        By time first: a back end that demands order sees it kept.
        """
        times = sorted({time for each in self.series for time in each.times})
        if len(times) > 1:
            middle = times[len(times) // 2]
            early = [each.only([at for at, time in enumerate(each.times) if time < middle]) for each in self.series]
            late = [each.only([at for at, time in enumerate(each.times) if time >= middle]) for each in self.series]
        elif len(self.series) > 1:
            cut = len(self.series) // 2
            early, late = self.series[:cut], self.series[cut:]
        else:
            return None
        return Points(early, self.rows), Points(late, self.rows)

    def without(self, keys: "frozenset[Key] | set[Key]") -> "Points":
        """All but these series."""
        return Points((each for each in self.series if each.key not in keys), self.rows)

    def row_ids(self) -> set[int]:
        """What tells the rows apart of which there are points here."""
        return {time for each in self.series for time in each.times if time in self.rows}


_FIGURES: Final[Mapping[str, tuple[Kind, str]]] = {
    "milepost.sdk.exporter.rows.delivered": ("counter", "{row}"),
    "milepost.sdk.exporter.rows.filtered": ("counter", "{row}"),
    "milepost.sdk.exporter.rows.rejected": ("counter", "{row}"),
    "milepost.sdk.exporter.rows.dropped": ("counter", "{row}"),
    "milepost.sdk.exporter.pending.bytes": ("sum", "By"),
    "milepost.sdk.exporter.lag": ("gauge", "s"),
}


def figures(event: Event) -> Points:
    """The figures of a delivery, as the shipper tells them, as points: `milepost.sdk.*`, after `otel.sdk.*`."""
    component = (("milepost.component.name", str(event.values.get("milepost.component.name", ""))),)
    found: list[Series] = []
    for name, (kind, unit) in _FIGURES.items():
        value = event.values.get(name)
        if isinstance(value, int | float):
            series = Series(("sdk", name), name, kind, unit, component)
            series.times, series.values = [event.time_unix_nano], [value]
            found.append(series)
    return Points(found, frozenset())
