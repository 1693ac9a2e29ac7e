"""Forecast: what a run costs a metrics back end and a log back end, counted from the rows that it logged so far.

    series         what a back end keeps apart: one per number that is logged and per writer, one for the step, several for a
                   histogram; each new run adds as many
    samples        points of those series
    log records    one per row, and the events
    log streams    what a log back end such as Loki keeps apart: one per writer

Which keys hold numbers is seen in some hundred rows spread over the run; how often each is logged is counted in all of them.
"""

from collections import Counter
from typing import Any, Final

import msgspec
import numpy as np

from milepost.sdk import frame
from milepost.sdk.api import Run
from milepost.sdk.metrics import Metrics
from milepost.sdk.reader import WriterReader
from milepost.sdk.reading import replay
from milepost.sdk.reading.writer import ROWS
from milepost.sdk.strict_json import json_lines

SAMPLED: Final = 400
DAY_S: Final = 86_400


class Forecast(msgspec.Struct, kw_only=True):
    """The cost of one run. Rates are those from its first row to its last; None when it has fewer than two.

    gauges, histograms: keys that become one series, and several, in each writer.   other_keys: those only log records hold.
    series:  in all.      system_series: of them, those of the machine's own metrics.
    """

    run: str
    rows: int
    seconds: float
    writers: int
    gauges: int = 0
    histograms: int = 0
    other_keys: int = 0
    series: int = 0
    system_series: int = 0
    samples: int = 0
    samples_per_day: float | None = None
    log_records: int = 0
    log_records_per_day: float | None = None
    log_bytes_per_day: float | None = None
    log_streams: int = 0


def forecast(run: Run) -> Forecast:
    """Count what the run has logged so far."""
    reader = run.reader()
    found = Forecast(run=run.path, rows=0, seconds=0.0, writers=0)
    metrics = Metrics()
    for event in reader.events("metric"):
        replay.define(metrics, event)
    seconds = record_bytes = 0.0
    for writer in reader.members:
        seen = _Seen(writer, metrics)
        if not seen.rows:
            continue
        found.rows += seen.rows
        found.writers += 1
        found.gauges = max(found.gauges, len(seen.gauges))
        found.histograms = max(found.histograms, len(seen.histograms))
        found.other_keys = max(found.other_keys, len(seen.keys) - len(seen.gauges) - len(seen.histograms))
        found.system_series += len(seen.system)
        found.series += 1 + len(seen.gauges) + len(seen.system) + sum(seen.histograms.values())
        found.samples += seen.rows + seen.system_samples
        found.samples += sum(seen.keys[key] for key in seen.gauges)
        found.samples += sum(seen.keys[key] * width for key, width in seen.histograms.items())
        found.log_records += seen.rows + seen.events
        found.log_streams += 1
        seconds = max(seconds, seen.seconds)
        record_bytes += seen.row_bytes * seen.rows
    found.seconds = seconds
    if seconds > 0:
        found.samples_per_day = found.samples / seconds * DAY_S
        found.log_records_per_day = found.log_records / seconds * DAY_S
        found.log_bytes_per_day = record_bytes / seconds * DAY_S
    return found


class _Seen:
    """What one writer's journal holds: how often each key, and of which kind."""

    def __init__(self, writer: WriterReader, metrics: Metrics) -> None:
        self.rows = 0
        self.events = 0
        self.keys: Counter[str] = Counter()
        self.gauges: set[str] = set()
        self.histograms: dict[str, int] = {}
        self.system: set[str] = set()
        self.system_samples = 0
        self.row_bytes = 0.0
        self._metrics = metrics
        self._times: list[int] = []
        self._sizes: list[int] = []
        for block in writer.blocks():
            rows = np.flatnonzero(block.where(*ROWS))
            self.rows += len(rows)
            for schema, count in zip(*np.unique(block.schema[rows], return_counts=True), strict=True):
                if int(schema) != frame.INLINE:
                    self.keys.update(dict.fromkeys(writer.keys(int(schema)) or (), int(count)))
            for i in {*rows[:: max(len(rows) // SAMPLED, 1)].tolist(), *rows[-1:].tolist()}:
                event = writer.event(block, i)
                if event is not None:
                    self._look(event.values, event.time_unix_nano, inline=int(block.schema[i]) == frame.INLINE)
            for i in np.flatnonzero(block.where(frame.EVENT)).tolist():
                event = writer.event(block, i)
                if event is None:
                    continue
                if event.kind == "system":
                    self.system |= event.values.keys()
                    self.system_samples += len(event.values)
                else:
                    self.events += 1
        self.seconds = (max(self._times) - min(self._times)) / 1e9 if self._times else 0.0
        self.row_bytes = sum(self._sizes) / max(len(self._sizes), 1)

    def _look(self, values: dict[str, Any], time_ns: int, *, inline: bool) -> None:
        self._times.append(time_ns)
        if len(self._sizes) < SAMPLED:
            self._sizes.append(len(json_lines([values])))
        for key, value in values.items():
            if inline:
                self.keys[key] += 1
            metric = self._metrics.find(key)
            if metric is not None and metric.hidden:
                continue
            if isinstance(value, bool | int | float):
                self.gauges.add(key)
            elif isinstance(value, dict) and value.get("_type") == "histogram":
                # Below, between and above the edges one bucket each; and the count and the sum.
                self.histograms[key] = max(self.histograms.get(key, 0), len(value.get("values") or ()) + 4)
