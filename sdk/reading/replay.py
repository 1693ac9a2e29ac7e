"""What a run said about itself, put together again from its events: config, summary, metric definitions, name, tags, notes.

The summary goes through the same `Summary` that the live run uses, so that both agree. Where no aggregate is asked for, only the
last row of each set of keys is decoded.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from milepost.sdk import frame
from milepost.sdk.encoding.refs import filled, refs
from milepost.sdk.errors import Error
from milepost.sdk.event import Event
from milepost.sdk.metrics import Metric, Metrics, parse
from milepost.sdk.reading.history import Selection
from milepost.sdk.reading.writer import ROWS, WriterReader
from milepost.sdk.summary import Summary, nest


def config(events: Iterable[Event]) -> dict[str, Any]:
    """The config: that of the start, and every change since; nested plain values."""
    values: dict[str, Any] = {}
    for event in events:
        if event.kind == "run.start":
            values.update(_mapping(event.values.get("config")))
        elif event.kind == "config":
            values.update(_mapping(event.values.get("set")))
            for name in event.values.get("deleted") or ():
                values.pop(name, None)
    return values


def facts(events: Iterable[Event]) -> dict[str, Any]:
    """Name, tags, notes and the other words of the start, with what was changed later."""
    found: dict[str, Any] = {}
    for event in events:
        if event.kind == "run.start":
            found.update(
                {key: value for key, value in event.values.items() if key not in ("config", "settings", "environment")}
            )
        elif event.kind == "meta":
            found.update(event.values)
    return found


def summary(writers: Sequence[WriterReader]) -> dict[str, Any]:
    """The summary as the live object had it, nested. writers: those that speak for the run, in order of start."""
    selection = Selection(writers, writers, merged=False)
    last = selection.writers[-1].survey if selection.writers else None
    for event in reversed(last.events if last is not None else []):
        if event.kind == "run.finish" and last is not None and event.seq > last.last_row and not last.leftover:
            flat = event.values.get("summary")
            if isinstance(flat, dict) and "_step" in flat:  # else it logged no row: the last one is of an earlier start
                return nest(final_values(flat, selection.writers[-1].dir))
    live, row = _replayed(selection)
    flat = live.collect()
    if row is not None:
        flat |= {"_step": row.step, "_runtime": row.runtime_s}
        flat.setdefault("_timestamp", row.time_unix_nano / 1e9)
    return nest(final_values(flat, selection.writers[-1].dir) if selection.writers else flat)


def final_values(flat: dict[str, Any], writer_dir: Path) -> dict[str, Any]:
    """Flat values with what became of their media filled in. writer_dir: of any writer of the run."""
    if {dict, list}.isdisjoint(map(type, flat.values())) or not refs(dict(flat)):
        return flat
    from milepost.sdk.reading.media import Source

    source = Source(writer_dir.parent.parent)
    return {name: filled(value, source.lookup) for name, value in flat.items()}


def live_summary(writers: Sequence[WriterReader]) -> Summary:
    """The summary, ready to go on with: what a resumed run begins with."""
    live, _ = _replayed(Selection(writers, writers, merged=False))
    live.begin()
    return live


def _replayed(selection: Selection) -> tuple[Summary, Event | None]:
    """The live summary after all that was said, and the last row."""
    metrics = Metrics()
    live = Summary(metrics)
    row: Event | None = None
    rows = 0
    for number, event in enumerate(_told(selection)):
        if event.kind == "row":
            row, rows = event, rows + 1
            live.add_row(number, event.values)
        elif event.kind == "summary":
            for path, value in _mapping(event.values.get("set")).items():
                live.set(path, value)
            for path in event.values.get("delete") or ():
                live.delete(path, number)
        else:
            before = metrics.defined(str(event.values.get("name")))
            metric = define(metrics, event)
            if metric is not None and metric.summary and metric != before and rows:  # it holds for earlier rows too
                seen = [path for path in live.known() if metrics.find(path) == metric]
                earlier = (told.values for told in _told(selection) if told.kind == "row")
                live.replay(seen, islice(earlier, rows))
    return live, row


def define(metrics: Metrics, event: Event) -> Metric | None:
    """Add the definition of a "metric" event; None when it is of no use."""
    said = event.values
    wanted = said.get("summary")
    try:
        metric = parse(
            said.get("name"),
            said.get("step_metric"),
            said.get("step_sync"),
            said.get("hidden"),
            ",".join(wanted) if isinstance(wanted, list) else wanted,
            said.get("goal"),
            escaped=False,
        )
    except Error:
        return None  # of a newer milepost: the others hold
    return metrics.define(metric, overwrite=bool(said.get("overwrite")))


def _told(selection: Selection) -> Iterator[Event]:
    """The events that make a summary, in order; all rows only where aggregates are asked for or rows were superseded."""
    told = [event for writer in selection.writers for event in writer.survey.events if event.kind == "metric"]
    aggregated = any(set(event.values.get("summary") or ()) - {"none", "copy"} for event in told)
    for writer in selection.writers:
        if aggregated or selection.cuts(writer):
            events = writer.events("row", "summary", "metric")
            yield from (event for event in events if selection.stands(writer, event))
            continue
        kept = [*_last_rows(writer), *(event for event in writer.survey.events if event.kind in ("summary", "metric"))]
        if writer.survey.leftover is not None:
            kept.append(writer.survey.leftover)
        yield from sorted(kept, key=lambda event: event.seq)


def _last_rows(writer: WriterReader) -> list[Event]:
    """The rows that hold the last value, other than None, of each name, and the last row of all."""
    rows: dict[int, Event] = {}
    for block in writer.blocks():
        at = np.flatnonzero(block.where(*ROWS))
        schemas = block.schema[at]
        for schema in np.unique(schemas).tolist():
            wanted: set[str] | None = None
            for i in at[schemas == schema][::-1].tolist():
                event = writer.event(block, i)
                if event is None:
                    continue
                held = {name for name, value in event.values.items() if value is not None}
                if wanted is None or schema == frame.INLINE or held & wanted:
                    rows[event.seq] = event
                wanted = (set(event.values) if wanted is None else wanted) - held
                if not wanted and schema != frame.INLINE:
                    break
    return list(rows.values())


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
