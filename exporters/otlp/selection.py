"""Selection: which numbers of a batch become points of which series.

    number, boolean     a gauge of the key's name (True is 1)
    histogram           a histogram of the key's name
    a row               a point of `milepost.step` with the row's time, so that a back end can join values and steps
    a system sample     OpenTelemetry's names, units and attributes, as capture/sampler.py has them
    start and finish    `milepost.run.active`: 1 while the run lives, 0 from its end on
    text, lists, media  nothing: the log signal has them

All points of a row share its time. Prometheus keeps one point per series and millisecond, so rows of one key that fall
into the same millisecond (or `interval`) coalesce, which is counted; the log signal stays exact.
"""

import itertools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from milepost.exporters.otlp.naming import NAMELESS, prometheus_name
from milepost.exporters.otlp.points import ACTIVE, MILLISECOND, STEP, Key, Kind, Points, Series
from milepost.sdk.batch import Rows, parts
from milepost.sdk.capture.sampler import METRICS, split
from milepost.sdk.event import Event
from milepost.sdk.metrics import Metric, Metrics

logger = logging.getLogger("milepost")

ACTIVE_EVERY_MS: Final = 15_000
_NAN: Final = math.nan
_NUMBERS: Final = frozenset((float, int, bool))
_BANNED_AFTER: Final = 3


class Selection:
    """Makes points of batches, and knows what earlier batches said.

    step:       whether a companion gauge carries the step, or each point does.
    max_series: how many series there may be; further keys are left out and counted.
    interval:   milliseconds between two points of a series.
    histograms: whether histograms become points.
    """

    def __init__(
        self,
        *,
        step: Literal["companion", "attribute", "none"] = "companion",
        max_series: int = 10_000,
        interval: int = 1,
        histograms: bool = True,
    ) -> None:
        self._step: Literal["companion", "attribute", "none"] = step
        self._max_series = max_series
        self._interval = interval
        self._histograms = histograms
        self._metrics = Metrics()
        self._known: dict[Key, Series | None] = {}
        self._translated: dict[str, str] = {prometheus_name(name): name for name in (STEP[0], ACTIVE[0])}
        self._refused: dict[Key, int] = {}
        self._rows: set[int] = set()
        self._touched: dict[Key, Series] = {}
        self._held_back = 0
        self._newest = 0
        self._alive_ms = 0
        self._alive_due = 0
        self._full = False
        self._full_of_buckets = False
        self._bounds: set[tuple[str, int]] = set()
        self._buckets = 0
        self.began = 0
        self.coalesced = 0
        self.left_out = 0

    def select(self, batch: Sequence[Event]) -> Points:
        """The points of a batch. Call `settled` once it is delivered, before the next batch."""
        for series in self._touched.values():  # of a batch that was never settled
            series.clear()
            series.next_ms, series.last = series.settled_ms, None
        self._rows, self._touched, self._held_back = set(), {}, 0
        for part in parts(batch):
            if not (isinstance(part, Rows) and self._columns(part)):
                for event in part:
                    self._take(event)
        return Points(self._touched.values(), frozenset(self._rows))

    def _take(self, event: Event) -> None:
        kind = event.kind
        if kind == "row":
            self._row(event)
        elif kind == "system":
            self._system(event)
        elif kind == "metric":
            self._define(event.values)
        elif kind == "run.start":
            self.began = self.began or event.time_unix_nano
            self._alive(event.time_unix_nano)
        elif kind == "run.finish":
            self._release()
            self._dead(event.time_unix_nano)

    def _columns(self, rows: Rows) -> bool:
        """Rows of the same names by the column, a third of the cost; False for what only the other way does right.

        That is rows whose columns are not all plain numbers or all of something else, whose clock went back, or that are
        to be thinned.
        """
        _, times, _, steps, *columns = rows.columns
        if self._interval > 1 or self._step == "attribute":
            return False
        stamps = [time // MILLISECOND for time in times]
        numbers: list[tuple[str, Sequence[Any]]] = []
        for key, column in zip(rows.keys, columns, strict=True):
            types = set(map(type, column))
            if types <= _NUMBERS:
                numbers.append((key, column))
            elif types & _NUMBERS or dict in types:
                return False
        last: dict[int, int] = {stamp: at for at, stamp in enumerate(stamps)}
        if any(one > other for one, other in itertools.pairwise(last)):
            return False
        chosen = [series for key, _ in numbers if (series := self._open(key)) is not None]
        if not chosen:
            return True
        step_series = self._open(STEP) if self._step == "companion" else None
        if any(series.next_ms > stamps[0] for series in [*chosen, *([step_series] if step_series else [])]):
            return False
        places = list(last.values()) if len(last) < len(stamps) else None
        kept = times if places is None else [times[at] for at in places]
        coalesced = len(stamps) - len(kept)
        self.left_out += (len(numbers) - len(chosen)) * (len(kept) - 1)
        by_key = dict(numbers)
        for series in chosen:
            column = by_key[series.name]
            self._extend(series, kept, _plain(column if places is None else [column[at] for at in places]), stamps[-1])
        if step_series is not None:
            self._extend(step_series, kept, steps if places is None else [steps[at] for at in places], stamps[-1])
        self._held_back += coalesced * (len(chosen) + (step_series is not None))
        self._rows.update(times)
        self._newest = kept[-1]
        for time in times:
            if time >= self._alive_due:
                self._alive(time)
        return True

    def _extend(self, series: Series, times: Sequence[int], values: Sequence[Any], last_ms: int) -> None:
        series.times.extend(times)
        series.values.extend(values)
        series.next_ms = last_ms + 1
        series.last = None

    def settled(self) -> None:
        """The last batch is delivered, or refused for good: the next one goes on from it."""
        self.coalesced += self._held_back
        self._held_back = 0
        for series in self._touched.values():
            if series.times:
                series.start = series.times[-1]
                series.clear()
        self._touched = {}

    def condemned(self, load: Points) -> Callable[[Points], Points] | None:
        """Note that a back end refused this point for good: what takes the points of its series out of others, or None."""
        keys = {series.key for series in load.series if self.refused(series.key)}
        return (lambda other: other.without(keys)) if keys else None

    def counts(self) -> dict[str, int]:
        """Points that were not sent: coalesced with a later one of their series, or of a series that is left out."""
        return {"coalesced": self.coalesced, "left_out": self.left_out}

    def refused(self, key: Key) -> bool:
        """Note that a back end refused a point of this series; True from the third on: the series is left out then."""
        self._refused[key] = self._refused.get(key, 0) + 1
        if self._refused[key] < _BANNED_AFTER:
            return False
        self._known[key] = None
        return True

    def state(self) -> dict[str, Any]:
        """What a later process has to know."""
        hidden = {metric.name: metric.hidden for metric in self._metrics if metric.hidden is not None}
        starts = {key: s.start for key, s in self._known.items() if s is not None and s.kind == "histogram"}
        named = {key[0]: start for key, start in starts.items() if isinstance(key, tuple)}
        return {"began": self.began, "hidden": hidden, "histograms": dict(list(named.items())[:1000])}

    def going_on(self, state: Mapping[str, Any]) -> "Selection":
        """One with the same options for the run that begins now: it knows what an earlier process had noted, and nothing of
        another run that had this exporter."""
        found = Selection(
            step=self._step, max_series=self._max_series, interval=self._interval, histograms=self._histograms
        )
        found.began = int(state.get("began") or 0)
        counts = state.get("counts") or {}
        found.coalesced, found.left_out = int(counts.get("coalesced") or 0), int(counts.get("left_out") or 0)
        for name, hidden in (state.get("hidden") or {}).items():
            found._metrics.define(Metric(name=str(name), hidden=bool(hidden)))
        for name, start in (state.get("histograms") or {}).items():
            series = Series((str(name), "histogram"), str(name), "histogram")
            series.start = int(start)
            found._known[series.key] = series
        return found

    def _row(self, event: Event) -> None:
        """The hot path: every number of every row passes here."""
        time, touched = event.time_unix_nano, self._touched
        ms = time // MILLISECOND
        interval = self._interval
        step = event.step or 0
        per_point = self._step == "attribute"
        sent = False
        for key, value in event.values.items():
            kind = type(value)
            number = value
            if kind is float:
                if value != value:
                    number = _NAN  # one of many bit patterns means "this series has ended" to Prometheus
            elif kind is bool:
                number = 1 if value else 0
            elif kind is dict:
                if self._histograms and value.get("_type") == "histogram":
                    sent = self._put(self._open((key, "histogram")), time, value, step) or sent
                continue
            elif kind is not int:
                continue
            series = touched.get(key)
            if series is None:
                series = self._open(key)
                if series is None:
                    continue
            if ms >= series.next_ms:
                series.times.append(time)
                series.values.append(number)
                series.next_ms = ms + interval
                if per_point:
                    series.steps.append(step)
                sent = True
            else:
                sent = self._put(series, time, number, step) or sent
        if sent:
            self._rows.add(time)
            self._newest = time
            if self._step == "companion":
                self._put(self._open(STEP), time, step, step)
            self._alive(time)

    def _put(self, series: Series | None, time: int, value: Any, step: int) -> bool:
        """Add a point, or let it coalesce with the one before; whether it is among those to be sent."""
        if series is None or (series.kind == "histogram" and not self._affordable(series, value)):
            return False
        ms = time // MILLISECOND
        if series.next_ms - self._interval <= ms < series.next_ms:
            self._held_back += 1
            if not series.times or ms != series.times[-1] // MILLISECOND:
                series.last = (time, value, step)
                return False
            series.times.pop()  # the same millisecond: the last value stands
            series.values.pop()
            if self._step == "attribute":
                series.steps.pop()
        series.times.append(time)
        series.values.append(value)
        if self._step == "attribute" and not isinstance(series.key, tuple):
            series.steps.append(step)
        series.next_ms = ms + self._interval
        series.last = None
        return True

    def _affordable(self, series: Series, value: Mapping[str, Any]) -> bool:
        """Whether the buckets of a histogram may become series: each bound is one in Prometheus, and bins that follow the
        data have new bounds in every row. They may take half of max_series."""
        bins = value.get("bins")
        try:
            bounds = (series.name, hash(tuple(bins))) if isinstance(bins, list) else None
        except TypeError:  # lists in it
            bounds = None
        if bounds is None or not isinstance(bins, list):
            return False  # no histogram, whatever it calls itself
        if bounds in self._bounds:
            return True
        size = len(bins) + 2
        if self._buckets + size > self._max_series // 2:
            self.left_out += 1
            if not self._full_of_buckets:
                self._full_of_buckets = True
                logger.warning(
                    "milepost: the bins of %r change from row to row, and in Prometheus each bound is a series: after %d of "
                    "them, histograms with new bins go to the logs only. Give Histogram the same np_histogram edges each "
                    "time, or raise max_series",
                    series.name[:100],
                    self._buckets,
                )
            return False
        self._bounds.add(bounds)
        self._buckets += size
        return True

    def _system(self, event: Event) -> None:
        for key, value in event.values.items():
            if isinstance(value, int | float):
                self._put(self._open(("system", key)), event.time_unix_nano, value, 0)
        self._alive(event.time_unix_nano)

    def _alive(self, time: int) -> None:
        """A sign of life, every now and then."""
        ms = time // MILLISECOND
        if ms >= self._alive_ms + ACTIVE_EVERY_MS or ms < self._alive_ms:
            self._alive_ms = ms
            self._alive_due = (ms + ACTIVE_EVERY_MS) * MILLISECOND
            self._put(self._open(ACTIVE), time, 1, 0)

    def _dead(self, time: int) -> None:
        """The end of the run, at a time that no sign of life has."""
        time = max(time, (self._alive_ms + 1) * MILLISECOND)
        self._put(self._open(ACTIVE), time, 0, 0)

    def _release(self) -> None:
        """At the end of the run: the last value of each key where it coalesced, unless something newer was sent since."""
        waiting = [series for series in self._known.values() if series is not None and series.last is not None]
        for series in sorted(waiting, key=lambda each: each.last or (0, 0, 0)):
            time, value, step = series.last or (0, 0, 0)
            if time >= self._newest and series.key != STEP:
                self._newest = time
                self._force(self._open(series.key), time, value, step)
                if self._step == "companion":
                    self._force(self._open(STEP), time, step, step)

    def _force(self, series: Series | None, time: int, value: Any, step: int) -> None:
        """Send a point although the interval is not over; never a second one of the same millisecond."""
        if series is not None and time // MILLISECOND > series.next_ms - self._interval:
            series.next_ms = 0
            self._put(series, time, value, step)

    def _define(self, values: Mapping[str, Any]) -> None:
        """Note which keys `define_metric` hides."""
        name = values.get("name")
        if isinstance(name, str) and name:
            metric = Metric(name=name, hidden=values.get("hidden"))
            self._metrics.define(metric, overwrite=bool(values.get("overwrite")))
            for key in [key for key, series in self._known.items() if isinstance(key, str) and series is None]:
                del self._known[key]  # it may be shown again

    def _open(self, key: Key) -> Series | None:
        """The series of a key for this batch; None when it has none."""
        series = self._touched.get(key)
        if series is not None:
            return series
        if key in self._known:
            series = self._known[key]
            if series is not None and self._metrics and self._hidden(series.name) and not isinstance(key, tuple):
                series = self._known[key] = None
        else:
            series = self._new(key)
        if series is None:
            self.left_out += 1
            return None
        self._touched[key] = series
        series.settled_ms = series.next_ms
        return series

    def _hidden(self, key: str) -> bool:
        metric = self._metrics.find(key) if self._metrics else None
        return metric is not None and bool(metric.hidden)

    def _new(self, key: Key) -> Series | None:
        """A series that was not there before; None for what is hidden, has no name, or comes after max_series others."""
        name = key if isinstance(key, str) else key[0]
        if isinstance(key, str) or key[-1] == "histogram":
            if not name or name in (STEP[0], ACTIVE[0]) or self._hidden(name):
                self._known[key] = None
                return None
            if len(self._known) >= self._max_series:
                self._say_full(name)
                return None
            self._note_name(name)
        if key[0] == "system" and isinstance(key, tuple):
            series = _system_series(key)
        else:
            series = Series(key, name, "histogram" if key[-1] == "histogram" and isinstance(key, tuple) else "gauge")
            series.start = self.began
        self._known[key] = series
        return series

    def _say_full(self, name: str) -> None:
        if not self._full:
            self._full = True
            logger.warning(
                "milepost: this run has %d series of metrics, and max_series is %d: %r and other new keys go to the logs only. "
                "Raise max_series, or leave keys out with a filter",
                len(self._known),
                self._max_series,
                name[:100],
            )

    def _note_name(self, name: str) -> None:
        translated = prometheus_name(name)
        first = self._translated.setdefault(translated, name)
        if not translated and first == name:
            logger.warning(
                "milepost: %r has no letter or digit that a translated name in Prometheus may have: it is refused there over "
                "OTLP, unless translation_strategy keeps names; remote write calls it %s{milepost_key=%r}",
                name[:100],
                NAMELESS,
                name[:100],
            )
        elif translated and first != name:
            logger.warning(
                "milepost: %r and %r are both %r in Prometheus, which keeps one of them when it translates names itself; rename "
                "one, or set translation_strategy: NoTranslation there",
                first[:100],
                name[:100],
                translated[:100],
            )


def _plain(column: Sequence[Any]) -> Sequence[Any]:
    """A column of numbers with truth values as 1 and 0, and every NaN as the usual one."""
    types = set(map(type, column))
    if bool in types:
        column = [int(value) if value is True or value is False else value for value in column]
    if float in types and math.isnan(sum(map(float, column) if len(types) > 1 else column)):
        return [_NAN if value != value else value for value in column]
    return column


def _system_series(key: tuple[str, ...]) -> Series:
    """OpenTelemetry's name, unit, instrument and attributes of a sampled number."""
    name, attributes = split(key[1])
    metric = METRICS.get(name)
    kinds: dict[str, Kind] = {"counter": "counter", "updowncounter": "sum"}
    kind = kinds.get(metric.instrument, "gauge") if metric else "gauge"
    return Series(key, name, kind, metric.unit if metric else "", tuple(attributes.items()))
