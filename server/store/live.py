"""Live: what is known of a run without reading its points: facts, config, summary, figures of its keys.

Kept up to date by every batch, by the same `Summary` as in the program that logs; stored in one piece now and then, together with
the number of the last batch that it holds. After a crash the batches behind that number are taken in again.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from milepost.sdk.event import Event
from milepost.sdk.metrics import Metric, Metrics
from milepost.sdk.reading.replay import define
from milepost.sdk.summary import Summary, nest
from milepost.sdk.wire import WireEvent
from milepost.server.records import KeyRecord, RunRecord
from milepost.server.store.codec import Values, numbers_of
from milepost.server.store.parts import Part
from milepost.server.store.run_columns import kind_of

logger = logging.getLogger("milepost.server")

SILENT_S = 300.0
"""A run that has not ended and was not heard of for so long counts as crashed, until it is heard of again."""
AT_ONCE: Final = 1 << 18
"""Numbers that are looked at together for the limits of keys."""
STORE_HEARD_S = SILENT_S / 3
"""How old the stored time at which a run was heard of may become while it is only heard of."""


class WriterState(msgspec.Struct, kw_only=True):
    """One writer. id: in the database. state: what its run.finish said; "" before. gone: its program is dead.

    lag: seconds that the newest row of its last batch was old when it came.
    """

    id: int
    name: str
    attempt: int = 1
    rank: int | None = None
    parent: str = ""
    started: int = 0
    host: str = ""
    rows: int = 0
    last_seq: int = -1
    state: str = ""
    gone: bool = False
    lag: float = 0.0
    rewinds: list[tuple[int, int]] = []


class Kept(msgspec.Struct, kw_only=True):
    """What is stored of a run."""

    facts: dict[str, Any] = {}
    config: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    metrics: list[dict[str, Any]] = []
    writers: dict[str, WriterState] = {}
    final: dict[str, Any] | None = None
    last: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    keys: dict[str, KeyRecord] = {}
    counted: list[str] = []
    rows: int = 0
    last_step: int | None = None
    heard: float = 0.0
    finished: float | None = None


class LiveRun:
    """A run as the server knows it. rows_so_far: reads the rows again where a definition or a rewind asks for it."""

    def __init__(self, project: str, name: str, created: float, kept: Kept | None, edits: dict[str, Any]) -> None:
        self.project = project
        self.name = name
        self.created = created
        self.edits = edits
        self.kept = kept if kept is not None else Kept()
        self.batch = 0
        """The number of the last batch that was taken in."""
        self.dirty = False
        self.version = 0
        self._heard_stored = self.kept.heard
        self._metrics = Metrics()
        self._summary = Summary(self._metrics)
        for said in self.kept.metrics:
            self._define(said)
        for key, record in self.kept.keys.items():  # one text for all runs: half of the memory of a table of many runs
            record.key, record.kind = sys.intern(key), sys.intern(record.kind)
        self.kept.keys = {record.key: record for record in self.kept.keys.values()}
        if kept is not None:
            self._summary.restore(kept.summary)
            kept.summary = {}
        self.fill: Callable[[Any], Any] = lambda value: value
        """Gives a value with what is known of its media."""
        self.upto: int | None = None
        """The batch that is being taken in: `rows_so_far` ends with it."""
        self.rows_so_far: Callable[[LiveRun, int | None], Iterator[dict[str, Any]]] = lambda *_: iter(())

    # Who speaks for the run

    def attempt(self) -> int:
        """The last attempt."""
        return max((writer.attempt for writer in self.kept.writers.values()), default=1)

    def members(self) -> list[WriterState]:
        """All writers of the last attempt, in order of start."""
        last = self.attempt()
        found = [writer for writer in self.kept.writers.values() if writer.attempt == last]
        return sorted(found, key=lambda writer: (writer.started, writer.name))

    def leading(self) -> list[WriterState]:
        """The lowest rank's writers, without child processes: what they say of the run holds."""
        parents = [writer for writer in self.members() if not writer.parent]
        lowest = min((writer.rank or 0 for writer in parents), default=0)
        return [writer for writer in parents if (writer.rank or 0) == lowest]

    def speaking(self) -> list[WriterState]:
        """The writers whose rows are the run's, as `RunReader.select` has it."""
        members, chosen = self.members(), self.leading()
        if not any(writer.rows for writer in chosen):
            return [writer for writer in members if writer.parent and writer.rows] or chosen
        return chosen

    # What batches bring

    def take(self, writer: WriterState, parts: list[Part], events: list[WireEvent], now: float) -> None:
        """Take in what a batch of a writer brought, in order."""
        kept = self.kept
        self._heard(now)
        writer.gone = False
        self.dirty = True
        speaks = any(each is writer for each in self.speaking()) or not any(w.rows for w in self.speaking())
        rows = sum(map(len, parts))
        writer.rows += rows
        if rows:
            writer.lag = max(0.0, now - max(int(part.time.max()) for part in parts if len(part)) / 1e9)
        if rows and kept.finished is not None and not writer.state:
            kept.finished = None
        leads = speaks or any(each is writer for each in self.leading())
        first = min((int(part.seq[0]) for part in parts if len(part)), default=2**63)
        ordered = sorted(events, key=lambda event: event.seq)
        again = [self._event(writer, event, leads) for event in ordered if event.seq < first]
        if speaks and rows:
            if writer.name not in kept.counted:
                kept.counted.append(writer.name)
            kept.rows += rows
            kept.final = None
            for part in parts:
                self._rows(part)
        again += [self._event(writer, event, leads) for event in ordered if event.seq > first]
        others = set(kept.counted) - {each.name for each in self.speaking()}
        if any(again) or others:  # a lower rank, or the parent, spoke for the first time: others' rows were counted
            self.anew()

    def hear(self, writer: WriterState, now: float, *, alive: bool) -> None:
        """A writer's program lives, though it logs nothing; or it is gone."""
        kept = self.kept
        if alive:
            self._heard(now)
        changed = writer.gone is alive
        writer.gone = not alive
        self.dirty |= changed or abs(kept.heard - self._heard_stored) > STORE_HEARD_S

    def _heard(self, now: float) -> None:
        """Note when it was heard of; where the clock was set back, by the clock as it is."""
        before = self.kept.heard
        self.kept.heard = now if before - now > SILENT_S else max(before, now)

    def _rows(self, part: Part) -> None:
        if not len(part):
            return
        kept = self.kept
        step = int(part.step.max())
        kept.last_step = step if kept.last_step is None else max(kept.last_step, step)
        last_seq = int(part.seq[-1])
        if last_seq >= int(kept.last.get("seq", -1)) or float(part.time[-1]) > float(kept.last.get("time", 0)):
            last = {"time": part.time[-1], "runtime": part.runtime[-1], "step": part.step[-1]}
            kept.last = {"seq": last_seq, **{name: int(value) for name, value in last.items()}}
        wanted = {key for key in part.keys if self._summary.aggregate(key) is not None}
        plain = all(not isinstance(column, list) for column in part.values)
        if plain and not wanted:
            values = [column[-1].item() for column in part.values if not isinstance(column, list)]
            self._summary.add_row(last_seq, dict(zip(part.keys, values, strict=True)))
        else:
            for seq, row in part.rows():
                self._summary.add_row(seq, {key: row[key] for key in part.keys})
        between = int(part.step.min()), step
        for key, column, limits in zip(part.keys, part.values, _limits(part.values), strict=True):
            if not isinstance(column, list):
                self._figures(key, column[-1].item(), len(column), between, limits)
                continue
            there = np.array([value is not None for value in column], np.bool_)
            if there.any():
                steps, last = part.step[there], next(value for value in reversed(column) if value is not None)
                only = _limits([numbers_of(column)[0]])[0]
                self._figures(key, last, len(steps), (int(steps.min()), int(steps.max())), only)

    def _figures(
        self, key: str, last: Any, count: int, between: tuple[int, int], limits: tuple[float, float] | None
    ) -> None:
        """Add to what is known of a key. between: the least and the greatest step; limits: of the finite values."""
        record = self.kept.keys.get(key)
        if record is None:
            record = self.kept.keys[key] = KeyRecord(key=key, kind=kind_of(last))
        elif record.kind == "scalar" or not isinstance(last, (bool, int, float)):
            record.kind = kind_of(last)
        low, high = between
        record.first_step = min(record.first_step or 0, low) if record.count else low
        record.last_step = max(record.last_step or 0, high)
        record.count += count
        record.last = float(last) if isinstance(last, bool) else last
        if limits is not None:
            record.min = limits[0] if record.min is None else min(record.min, limits[0])
            record.max = limits[1] if record.max is None else max(record.max, limits[1])

    def _event(self, writer: WriterState, event: WireEvent, speaks: bool) -> bool:
        """Take in an event; whether the summary has to be made anew from all rows. One that makes no sense changes nothing."""
        try:
            return self._take_event(writer, event, speaks)
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
            where = f"{self.project}/{self.name}"
            logger.warning("milepost: event %d (%s) of %s makes no sense: %s", event.seq, event.kind, where, error)
            return False

    def _define(self, said: dict[str, Any]) -> Metric | None:
        """Add a definition; None when it is of no use."""
        try:
            return define(self._metrics, _event("metric", said))
        except (TypeError, ValueError, AttributeError):
            return None

    def _take_event(self, writer: WriterState, event: WireEvent, speaks: bool) -> bool:
        kept, values = self.kept, event.values
        if event.kind == "rewind" and isinstance(values.get("step"), int):
            writer.rewinds.append((event.seq, values["step"]))
            return True
        if event.kind == "run.finish":
            writer.state = str(values.get("state", "finished"))
            if speaks:
                kept.finished = event.time / 1e9
                final = values.get("summary")
                kept.final = _named(final) if isinstance(final, dict) else None
                kept.facts["duration"] = event.runtime / 1e6
            return False
        if not speaks:
            return False
        if event.kind == "run.start":
            kept.config.update(_named(values.get("config")))
            kept.facts.update({k: v for k, v in values.items() if k not in ("config", "settings", "environment")})
            kept.metadata.update(_named(values.get("environment")))
            kept.finished, kept.final = None, None
            if kept.rows:
                self._summary.begin()
        elif event.kind == "meta":
            kept.facts.update(values)
        elif event.kind == "environment":
            kept.metadata.update(values)
        elif event.kind == "config":
            kept.config.update(_named(values.get("set")))
            for name in values.get("deleted") or ():
                kept.config.pop(name, None)
        elif event.kind == "summary":
            for path, value in _named(values.get("set")).items():
                self._summary.set(path, value)
            for path in values.get("delete") or ():
                self._summary.delete(path, event.seq)
        elif event.kind == "metric":
            kept.metrics.append(values)
            metric = self._define(values)
            return bool(metric is not None and set(metric.summary) - {"none", "copy"} and kept.rows)
        return False

    def anew(self) -> None:
        """Make rows, last step, figures of keys and summary anew from all rows that stand."""
        kept = self.kept
        kept.rows, kept.last_step, kept.keys = 0, None, {}
        kept.counted = [writer.name for writer in self.speaking() if writer.rows]
        self._summary.rebase(self._counted())

    def _counted(self) -> Iterator[dict[str, Any]]:
        kept = self.kept
        fresh = not kept.last  # else it is told exactly
        for row in self.rows_so_far(self, self.upto):
            kept.rows += 1
            step = int(row["_step"])
            kept.last_step = step if kept.last_step is None else max(kept.last_step, step)
            for key, value in row.items():
                if not key.startswith("_") and value is not None:
                    self._figure(key, value, step)
            at = round(row["_timestamp"] * 1e9)
            if fresh and at >= kept.last.get("time", 0):
                kept.last = {"seq": -1, "time": at, "runtime": round(row["_runtime"] * 1e6), "step": step}
            yield row

    def _figure(self, key: str, value: Any, step: int) -> None:
        record = self.kept.keys.get(key)
        if record is None:
            record = self.kept.keys[key] = KeyRecord(key=key, kind=kind_of(value), first_step=step)
        record.count += 1
        record.first_step, record.last_step = min(record.first_step or 0, step), max(record.last_step or 0, step)
        record.last = float(value) if isinstance(value, bool) else value
        if isinstance(value, (int, float)) and value - value == 0:
            record.min = float(value) if record.min is None else min(record.min, float(value))
            record.max = float(value) if record.max is None else max(record.max, float(value))

    # What it says

    def stored(self) -> bytes:
        """What is stored of it."""
        self._heard_stored = self.kept.heard
        self.kept.summary = self._summary.state()
        told = msgspec.msgpack.encode(self.kept)
        self.kept.summary = {}
        return told

    def state(self) -> str:
        """ "running", "finished", "failed", "preempted" or "crashed"."""
        speaking = self.speaking()
        if speaking and all(writer.state for writer in speaking[-1:]):
            return speaking[-1].state
        leading = self.leading()
        if leading and leading[-1].gone:
            return "crashed"
        return "running" if abs(time.time() - self.kept.heard) < SILENT_S else "crashed"

    def flat_summary(self) -> dict[str, Any]:
        """The summary, flat, as the program saw it."""
        return {name: self.fill(value) for name, value in self._flat_summary().items()}

    def _flat_summary(self) -> dict[str, Any]:
        if self.kept.final is not None:
            return self.kept.final
        flat = self._summary.collect()
        last = self.kept.last
        if last:
            flat |= {"_step": last["step"], "_runtime": last["runtime"] / 1e6}
            flat.setdefault("_timestamp", last["time"] / 1e9)
        return flat

    def record(self) -> RunRecord:
        """The line of the run table."""
        kept, facts = self.kept, self.kept.facts | self.edits
        state = self.state()
        summary = nest(self.flat_summary())
        duration = facts.get("duration") if state != "running" else None
        if state == "running":
            duration = max(kept.heard - self.created, 0.0)
        elif duration is None and kept.last:
            duration = kept.last["runtime"] / 1e6
        tags = facts.get("tags")
        return RunRecord(
            id=self.name,
            project=self.project,
            name=_text(facts, "name") or self.name,
            state=state,
            group=_text(facts, "group"),
            job_type=_text(facts, "job_type"),
            tags=[str(tag) for tag in tags] if isinstance(tags, list) else [],
            notes=_text(facts, "notes"),
            created=self.created,
            heartbeat=kept.heard or None,
            finished=kept.finished,
            duration=duration,
            rows=kept.rows,
            last_step=kept.last_step,
            attempt=self.attempt(),
            archived=bool(self.edits.get("archived")),
            config={key: self.fill(value) for key, value in kept.config.items() if not key.startswith("_")},
            summary={key: value for key, value in summary.items() if not key.startswith("_")},
        )


def _limits(columns: Sequence[Values]) -> list[tuple[float, float] | None]:
    """The least and the greatest finite value of each column of numbers; None where there is none, and of lists.

    Many columns at once: a call of numpy costs as much as a thousand numbers.
    """
    found: list[tuple[float, float] | None] = [None] * len(columns)
    places = [n for n, column in enumerate(columns) if not isinstance(column, list) and len(column)]
    together = max(AT_ONCE // len(columns[places[0]]), 1) if places else 1
    for start in range(0, len(places), together):
        some = places[start : start + together]
        numbers = np.array([columns[n] for n in some], np.float64)
        finite = np.isfinite(numbers)
        low, high = (
            (numbers, numbers) if finite.all() else (np.where(finite, numbers, sign * np.inf) for sign in (1, -1))
        )
        for n, least, most in zip(some, low.min(axis=1).tolist(), high.max(axis=1).tolist(), strict=True):
            found[n] = (least, most) if least <= most else None
    return found


def _text(facts: dict[str, Any], name: str) -> str | None:
    value = facts.get(name)
    return value if isinstance(value, str) and value else None


def _named(value: Any) -> dict[str, Any]:
    """What of a value has a name; nothing of what is no mapping."""
    return {name: each for name, each in value.items() if isinstance(name, str)} if isinstance(value, dict) else {}


def _event(kind: str, values: dict[str, Any]) -> Event:
    return Event(kind=kind, values=values)
