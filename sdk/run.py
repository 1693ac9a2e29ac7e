"""Run: one execution that logs. Owns the step, the pipeline, the writer, the summary and the exporters' deliveries.

`log` is the hot path: a call whose keys were seen before and whose values are plain goes straight into shared memory. All
else takes `_call`, which is the full meaning of `log` (SEMANTICS L1-L44). A call that interrupts another on its own thread
(a signal handler, `__del__`) is copied, set aside, and stored when the interrupted one is done.
"""

import logging
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import monotonic_ns, time_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from milepost.sdk import values as conversion
from milepost.sdk.call_arguments import arguments, usable
from milepost.sdk.delivery import Delivery, Route
from milepost.sdk.drain import drain
from milepost.sdk.errors import DataError, Error, UsageError
from milepost.sdk.event import Event
from milepost.sdk.fastpath import MAX_PACKED, MAX_PLANS, ROW_START, Fast, Gather, Plan, packers, plannable
from milepost.sdk.frame import HEADER_SIZE, INLINE, ROW, encode_payload, frame_seed
from milepost.sdk.journal import segment_name
from milepost.sdk.metrics import Metric, Metrics, parse
from milepost.sdk.pipeline import Pipeline
from milepost.sdk.processors.flatten import flatten_into
from milepost.sdk.run_config import RunConfig
from milepost.sdk.run_record import RunRecord
from milepost.sdk.run_summary import RunSummary
from milepost.sdk.summary import Summary, paths
from milepost.sdk.tail import Shared
from milepost.sdk.values import snapshot
from milepost.sdk.writer import Writer

logger = logging.getLogger("milepost")

_modules = sys.modules
_HAS_GIL: Final = getattr(sys, "_is_gil_enabled", lambda: True)()
"""Without it the fast path, which relies on it in place of a lock, is not taken."""

FINISH_TIMEOUT_S: Final = 30.0
FAILED_TIMEOUT_S: Final = 5.0

Trace = tuple[bytes, bytes]


class Run:
    """A run in progress. Made by `milepost.init`; a context manager that finishes it.

    Attributes that can be set: name, tags, notes. Everything else is read only. Safe from any thread, signal handler and
    forked child (which becomes its own writer when it first logs).
    """

    def __init__(
        self,
        record: RunRecord,
        *,
        writer: Writer,
        pipeline: Callable[[Summary], Pipeline],
        routes: Sequence[Route],
        config: Mapping[str, Any],
        base_summary: Mapping[str, Any] | None = None,
        on_invalid: str = "raise",
        unordered: bool = False,
        timeouts_s: tuple[float, float] = (FINISH_TIMEOUT_S, FAILED_TIMEOUT_S),
        on_finish: Callable[["Run"], None] | None = None,
    ) -> None:
        self._record = record
        self._lock = threading.RLock()
        self._busy = False
        self._deferred: deque[tuple[Any, ...]] = deque()
        self._writer = writer
        self._metrics = Metrics()
        self._summary = Summary(self._metrics, base_summary)
        self._pipeline = pipeline(self._summary)
        self._standard = self._pipeline.is_standard
        self._gather = Gather()
        self._plans: dict[tuple[Any, ...], Plan] = {}
        self._fast: Fast | None = None
        self._began = monotonic_ns() - int(record.earlier_runtime_s * 1e9)
        self._step = record.start_step
        self._open = False
        self._may_rewind = record.resumed
        self._on_invalid = on_invalid
        self._unordered = unordered
        self._on_finish = on_finish
        self._timeouts_s = timeouts_s
        self._warned: set[str] = set()
        self._stale_calls = 0
        self._alerted: dict[str, float] = {}
        self._last: tuple[int, int, int, int] | None = None
        self._finished = False
        self._ended_at_exit = False
        self._exit_code: int | None = None
        self._forked_from: str | None = None
        self.closers: list[Callable[[], None]] = []
        """Called first at finish: the sampler, the console capture."""
        self._config = RunConfig(config, self._config_changed)
        self._routes = list(routes)
        self._deliveries: list[Delivery] = []
        self._emit("run.start", record.start_values(self._config.as_dict(), writer))
        self._serve()

    # -- logging ---------------------------------------------------------------------------------------------------------

    def log(
        self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None, sync: bool | None = None
    ) -> None:
        """Log a dict of names and values as (part of) one row of the history.

        data:    names to numbers, text, booleans, None, dates, lists, arrays, tensors, media, or nested dicts of these.
        step:    the row's step, >= 0. Without it the row is the next one. A later step closes the open row; an earlier one
                 drops the call with a warning; the same one joins it.
        commit:  whether this call closes its row. Default: True without a step, False with one.
        sync:    accepted as in wandb, without effect.

        Raises DataError for data, a step or a commit that cannot be logged (nothing of the call is stored), and Error after
        `finish()`. Never waits for a disk, a network or an exporter.
        """
        # There is no lock on this way: the row is made, and then stored only if nobody stored another one meanwhile. From that
        # check to the call that stores, no other call is made, so neither another thread nor a signal handler can come in
        # between (CPython switches between them at calls and jumps back).
        fast = self._fast
        if fast is not None and step is None and commit is None and type(data) is dict:
            plan: Plan | None = fast.plan
            if [*data] != plan.names:  # half the time of a look-up, and the plan used last nearly always fits
                plan = fast.plans.get(tuple(data))
            if plan is not None and "opentelemetry.trace" not in _modules:
                writer = self._writer
                seq = writer.seq
                now = monotonic_ns()
                row: list[Any] | None
                if plan.markers:
                    row = [seq, writer.clock_offset + now, (now - self._began) // 1000, self._step, *data.values()]
                else:
                    row = plan.build(
                        data.values(), seq, writer.clock_offset + now, (now - self._began) // 1000, self._step
                    )
                try:
                    payload = encode_payload(row)
                except (TypeError, ValueError, OverflowError):
                    row = None
                # In msgpack a float is 0xCB and eight bytes, and nothing else begins with 0xCB. So if the head is as long as its
                # numbers make it, the first value begins right behind it; if that is a float, the next one begins 9 bytes on,
                # and so on: all values are floats if each ninth byte says so. Asking each for its type takes three times as long.
                if seq >= fast.seq_limit or now >= fast.time_limit:
                    fast.measure(seq, self._step, now, self._began)
                block = writer.block
                if row is not None and block is not None:
                    size = len(payload)
                    start = block.pos
                    end = start + HEADER_SIZE + size
                    if (
                        end <= block.size
                        and size <= MAX_PACKED
                        and (not plan.markers or payload[fast.head + plan.wide :: 9] == plan.markers)
                    ):
                        crc = crc32(payload, plan.seed)
                        pack_into = packers[size]
                        if self._fast is fast and writer.seq == seq and block.pos == start:
                            block.pos = end
                            writer.seq = seq + 1
                            writer.rows += 1
                            self._step += 1
                            plan.last = row
                            fast.plan = plan
                            pack_into(block.buffer, start, ROW_START, size, crc, plan.schema, payload)
                            if plan.watched:
                                plan.watch(row)
                            return
        self._log(data, step, commit)

    def _log(self, data: Any, step: Any, commit: Any) -> None:
        """The long way, for whatever is not a planned row."""
        now = time_ns()
        runtime = (monotonic_ns() - self._began) // 1000
        trace = current_trace() if "opentelemetry.trace" in _modules else None
        # Held already: this call interrupts another one of its own thread. A Ctrl-C may have left `_busy` set without that.
        nested = self._lock._is_owned()  # type: ignore[attr-defined]  # of threading.RLock, as Condition uses it
        with self._lock:
            if self._ended_at_exit and threading.current_thread() is not threading.main_thread():
                late = True
            elif nested and self._busy:
                self._check_running("log")
                self._deferred.append(
                    (snapshot(data, self._mode(), self._bad_value), step, commit, now, runtime, trace)
                )
                return
            else:
                late = False
                self._busy = True
                self._fast = None
                try:
                    self._call(data, step, commit, now, runtime, trace)
                finally:
                    self._settle()
        if late:  # a daemon thread, and the interpreter is about to end: this call never returns
            threading.Event().wait()

    def _settle(self) -> None:
        """Store the calls and events that came while a call was busy, then open the fast path if it may be used."""
        while True:
            self._busy = True
            while self._deferred:
                waiting = self._deferred.popleft()
                if len(waiting) == 2:
                    self._emit(*waiting)
                    continue
                try:
                    self._call(*waiting)
                except Error as error:
                    logger.warning("milepost: a log() call made inside another one was not stored: %s", error)
            fast = self._standard and not self._open and not self._finished and _HAS_GIL
            self._busy = False
            self._fast = (
                Fast(self._plans) if fast and self._writer.block is not None and not self._writer.has_gap else None
            )
            if not self._deferred:
                return

    def _call(self, data: Any, step: Any, commit: Any, now: int, runtime: int, trace: Trace | None) -> None:
        """One call to `log`, in full."""
        self._check_running("log")
        if self._forked_from is not None:
            self._become_writer()
        try:
            given, closes = arguments(step, commit)
        except DataError:
            if self._mode() == "raise":
                raise
            given, closes = usable(step, commit)
            self._warn(
                f"argument:{type(step)}:{type(commit)}",
                f"log(step={conversion.shown(step)}, commit={conversion.shown(commit)}): step must be a whole number, commit True or "
                f"False; the call's values are stored {'without these' if given is None else f'at step {given}'}",
            )
        step = given
        try:
            flat, nested, plain = self._read(data)
        except DataError as error:
            if self._mode() == "raise":
                raise
            self._warn(f"data:{type(data)}", str(error))
            return
        if step is not None and step != self._step and not self._move_to(step, flat):
            return
        event = Event(
            kind="row",
            values=flat,
            nested=nested,
            step=self._step,
            commit=closes,
            time_unix_nano=now,
            runtime_s=runtime / 1e6,
            run=self.path,
            writer=self._writer.id,
            seq=self._writer.seq,
            trace_id=trace[0].hex() if trace else "",
            span_id=trace[1].hex() if trace else "",
        )
        row = self._pipeline.run(event)
        if closes:
            self._open = False
            self._step += 1
        else:
            self._open = True
        if row is not None:
            self._commit(row)
            if plain and self._standard and row.values.keys() == data.keys():
                self._plan(data)
        elif self._standard:
            self._writer.part(flat, event.step or 0, now, runtime)
        if not self._standard:  # also beside a row: the row that closes a window may open the next one
            for held in self._pipeline.parts():
                self._writer.part(self._flat(held.values), held.step or 0, now, runtime)

    def _read(self, data: Any) -> tuple[dict[str, Any], tuple[str, ...], bool]:
        """The clean values of a call (flat for the standard pipeline, nested for any other), the names of its inner dicts,
        and whether all keys and values were plain."""
        if type(data) is dict and self._standard:
            gathered = self._gather(data)
            if gathered is not None:
                flat, nested = gathered
                return flat, tuple(nested), not nested and plannable(data)
        clean = snapshot(data, self._mode(), self._bad_value)
        if not self._standard:
            return clean, (), False
        flat, nested = {}, []
        flatten_into(flat, nested, clean, "", ".")
        return flat, tuple(nested), False

    def _move_to(self, step: int, values: Mapping[str, Any]) -> bool:
        """Make an explicit step the current one, closing the open row; False when the step is behind and the call is dropped."""
        if step < self._step and not self._unordered:
            if not self._may_rewind:
                self._stale(step, values)
                return False
            self._rewind(step)
        self._may_rewind = False
        self._close_row()
        self._step = step
        return True

    def _stale(self, step: int, values: Mapping[str, Any]) -> None:
        """A step that is behind: the call is dropped, said once per pattern, and counted."""
        self._stale_calls += 1
        names = ", ".join(list(values)[:8]) + (", ..." if len(values) > 8 else "")
        self._warn(
            f"stale:{names}",
            f"log(step={step}) is behind this run's step {self._step}; this call's values were dropped: {names or 'none'}. "
            f"Log with step >= {self._step}, leave step out, give the metric an x axis of its own with define_metric(name, "
            'step_metric="..."), or set settings={"steps": "unordered"}. Further drops of these keys are counted without a word.',
        )

    def rewind(self, step: int) -> None:
        """Go on at an earlier step: rows logged before from there on are superseded (kept, hidden)."""
        with self._lock:
            self._check_running("rewind")
            self._busy = True
            self._fast = None
            try:
                if step < self._step:
                    self._rewind(step)
                    self._step = step
                self._may_rewind = False
            finally:
                self._settle()

    def _rewind(self, step: int) -> None:
        """A resumed run goes back: what earlier writers logged from `step` on is superseded (kept, hidden)."""
        self._close_row()
        self._emit("rewind", {"step": step})
        rows = self._record.earlier_rows(step)
        base: dict[str, Any] = {}
        for row in rows:
            base.update(
                {
                    key: value
                    for key, value in row.items()
                    if value is not None and key not in ("_step", "_runtime", "_timestamp")
                }
            )
        self._summary.rebase(base)
        logger.warning(
            "milepost: resumed run %s goes back from step %d to %d; its older rows from there on are superseded",
            self.id,
            self._step,
            step,
        )

    def _close_row(self) -> None:
        """Commit the open row, if any, under its own step."""
        if self._open:
            held = self._pipeline.merge.held()
            step = self._step if held is None or held.step is None else held.step
            closing = Event(
                kind="row",
                values={},
                step=step,
                time_unix_nano=held.time_unix_nano if held else time_ns(),
                runtime_s=held.runtime_s if held else self._runtime(),
                run=self.path,
                writer=self._writer.id,
                seq=self._writer.seq,
                trace_id=held.trace_id if held else "",
                span_id=held.span_id if held else "",
            )
            row = self._pipeline.run(closing)
            self._open = False
            self._step = step + 1
            if row is not None:
                self._commit(row)

    def _commit(self, row: Event) -> None:
        """Write a committed row, whatever processors made of its values."""
        trace = (bytes.fromhex(row.trace_id), bytes.fromhex(row.span_id)) if row.trace_id else None
        runtime = int(row.runtime_s * 1e6)
        step = self._step if row.step is None else row.step
        flat = row.values if self._standard else self._flat(row.values)
        try:
            seq = self._writer.row(flat, step, row.time_unix_nano, runtime, trace)
        except (
            TypeError,
            ValueError,
            OverflowError,
            UnicodeEncodeError,
        ):  # a processor put in what has no form in a row
            flat = self._flat(snapshot(flat, "placeholder", self._bad_value))
            seq = self._writer.row(flat, step, row.time_unix_nano, runtime, trace)
        self._last = (seq, row.time_unix_nano, runtime, step)

    @staticmethod
    def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
        if not any(type(value) is dict and "_type" not in value for value in values.values()):
            return dict(values)
        flat: dict[str, Any] = {}
        flatten_into(flat, [], dict(values), "", ".")
        return flat

    def _plan(self, data: dict[Any, Any]) -> None:
        """Remember what follows from these keys, so that the next such row is quick."""
        keys = tuple(data)
        types = tuple(map(type, data.values()))
        known = self._plans.get(keys)
        if known is not None:
            known.allow(types)
            return
        if len(self._plans) >= MAX_PLANS or self._metrics_sync(keys):
            return
        schema = self._writer.schema(keys)
        if schema == INLINE:
            return
        watched = [
            (at, aggregate)
            for at, key in enumerate(keys, start=4)
            if (aggregate := self._summary.aggregate(key)) is not None
        ]
        plan = Plan(keys, types, schema, frame_seed(self._writer.seed, ROW, schema), watched)
        self._plans[keys] = plan
        self._summary.plans.append(plan)

    def _metrics_sync(self, keys: tuple[str, ...]) -> bool:
        """Whether rows of these keys get a step metric filled in."""
        if not self._metrics:
            return False
        found = [self._metrics.find(key) for key in keys]
        return any(metric is not None and metric.syncs_step and metric.step_metric not in keys for metric in found)

    def _drop_plans(self) -> None:
        """Forget the plans: what followed from their keys has changed."""
        self._last = self._last_row()
        self._summary.absorb()
        self._plans.clear()

    # -- everything else that is said of a run -------------------------------------------------------------------------------

    def define_metric(
        self,
        name: str,
        step_metric: str | Metric | None = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: str | None = None,
        goal: str | None = None,
        overwrite: bool | None = None,
    ) -> Metric:
        """Say how a metric is to be read: its x axis and what its summary holds.

        name:        a metric, or a glob with `*` at the end ("train/*").
        step_metric: the metric that is its x axis; rows that lack it get its last value unless step_sync=False.
        summary:     comma list of min, max, mean, last, first, best, copy, none; the summary then holds a dict of these.
        goal:        "minimize" or "maximize", for best. hidden: not charted and not sent as a metric; the data stay.
        overwrite:   True replaces an earlier definition of the name; else the two are merged.

        Raises Error for an argument that is wrong. Rows logged before count, too.
        """
        metric = parse(name, step_metric, step_sync, hidden, summary, goal)
        with self._lock:
            self._check_running("define_metric")
            self._drop_plans()
            defined = self._metrics.define(metric, bool(overwrite))
            seen = [path for path in self._summary.known() if self._metrics.find(path) == defined]
            if seen and defined.summary:
                self._summary.replay(seen, self._all_rows())
            self._event(
                "metric",
                {
                    "name": metric.name,
                    "step_metric": metric.step_metric,
                    "step_sync": metric.step_sync,
                    "hidden": metric.hidden,
                    "summary": list(metric.summary),
                    "goal": metric.goal,
                    "overwrite": bool(overwrite),
                },
            )
        return defined

    def _all_rows(self) -> Sequence[Mapping[str, Any]]:
        """The rows of this run so far, from the journal."""
        self._writer.drain()
        return list(self._record.earlier_rows(None))

    @property
    def summary(self) -> RunSummary:
        """The summary: last values, aggregates, and what was set by hand. Reads and writes like nested dicts."""
        return RunSummary(self._read_summary, self._set_summary, self._delete_summary)

    def _read_summary(self) -> dict[str, Any]:
        with self._lock:
            flat = self._summary.collect()
            last = self._last_row()
            if last is not None:
                flat["_step"], flat["_runtime"] = last[3], last[2] / 1e6
                flat.setdefault("_timestamp", last[1] / 1e9)
            return flat

    def _last_row(self) -> tuple[int, int, int, int] | None:
        """(seq, time_ns, runtime_us, step) of the last committed row."""
        rows = [(row[0], row[1], row[2], row[3]) for plan in self._summary.plans if (row := plan.last) is not None]
        if self._last is not None:
            rows.append(self._last)
        return max(rows, default=None)

    def _set_summary(self, path: str, value: Any) -> None:
        with self._lock:
            self._check_running("summary")
            changed: dict[str, Any] = {}
            name, value = conversion.text_key(path), _summary_value(path, value)
            if isinstance(value, dict) and any(other.startswith(name + ".") for other in self._summary.collect()):
                self._delete_summary(name)  # a dict takes the place of what stood there
            for name, inner in paths(name, value):
                self._summary.set(name, inner)
                changed[name] = inner
            self._event("summary", {"set": changed, "delete": []})

    def _delete_summary(self, path: str) -> None:
        with self._lock:
            self._check_running("summary")
            self._drop_plans()
            self._summary.delete(path, self._writer.seq - 1)
            self._event("summary", {"set": {}, "delete": [path]})

    @property
    def config(self) -> RunConfig:
        """The run's hyperparameters; assigning to it is `config.update`."""
        return self._config

    @config.setter
    def config(self, value: Mapping[str, Any]) -> None:
        self._config.update(value)

    def _config_changed(self, values: dict[str, Any]) -> None:
        with self._lock:
            self._check_running("config")
            self._event("config", {"set": values})

    def alert(self, title: str, text: str = "", level: Any = None, wait_duration: Any = None) -> None:
        """Record an alert in the run and say it on the log.

        level:         "INFO" (default), "WARN" or "ERROR", or an `AlertLevel`.
        wait_duration: seconds or a timedelta, 60 s by default: within it an alert of the same title is recorded, not said again.
        """
        name = getattr(level, "value", level) or "INFO"
        name = name.upper() if isinstance(name, str) else name
        if name not in ("INFO", "WARN", "ERROR"):
            raise DataError(f'alert() level must be "INFO", "WARN" or "ERROR", got {conversion.shown(level)}')
        wait_s = getattr(wait_duration, "total_seconds", lambda: 60.0 if wait_duration is None else float(wait_duration))()
        alert = snapshot({"title": str(title), "text": str(text), "level": name})
        with self._lock:
            self._check_running("alert")
            self._event("alert", alert)
            now = time.monotonic()
            if now - self._alerted.get(alert["title"], -math.inf) < wait_s:
                return
            self._alerted[alert["title"]] = now
        logger.warning("milepost: alert %s: %s %s", name, alert["title"], alert["text"])

    def save(self, glob_str: Any, base_path: Any = None, policy: str = "live") -> list[str]:
        """Copy files into the run's directory; the paths of the copies. See `milepost.sdk.saving.save`."""
        from milepost.sdk.saving import save

        self._check_running("save")
        return save(self, glob_str, base_path, policy)

    def watch(
        self, models: Any, criterion: Any = None, log: str | None = "gradients", log_freq: int = 1000, idx: int | None = None,
        log_graph: bool = False,
    ) -> None:
        """Log histograms of a PyTorch model's gradients and parameters. See `milepost.sdk.watching.watch`."""
        from milepost.sdk.watching import watch

        self._check_running("watch")
        handles = watch(lambda data, commit: None if self._finished else self.log(data, commit=commit), models, log, log_freq, idx or 0)
        self.closers.extend(handle.remove for handle in handles)

    def record(self, kind: str, values: Mapping[str, Any]) -> None:
        """Add an event that is no row (system metrics, environment, console output) to the run's stream."""
        clean = snapshot(values, "placeholder")
        with self._lock:
            if not self._finished:
                self._event(kind, clean)

    def _emit(self, kind: str, values: Mapping[str, Any]) -> int:
        return self._writer.event(kind, values, None, time_ns(), (monotonic_ns() - self._began) // 1000)

    def _event(self, kind: str, values: Mapping[str, Any]) -> None:
        """Say something of the run, alone with the writer; inside a call of the same thread, after it."""
        if self._busy:
            self._deferred.append((kind, values))
            return
        self._busy = True
        self._fast = None
        try:
            if self._forked_from is not None:
                self._become_writer()
            self._emit(kind, values)
        finally:
            self._settle()

    # -- who it is ---------------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The run's id, unique in its project."""
        return self._record.id

    @property
    def project(self) -> str:
        """The project's name."""
        return self._record.project

    @property
    def path(self) -> str:
        """ "project/run_id"."""
        return f"{self._record.project}/{self._record.id}"

    @property
    def name(self) -> str:
        """The name shown to people."""
        return self._record.name

    @name.setter
    def name(self, value: str) -> None:
        self._set_meta(name=str(value))

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags; assign a sequence of texts to change them."""
        return self._record.tags

    @tags.setter
    def tags(self, value: Sequence[str] | None) -> None:
        tags = (value,) if isinstance(value, str) else tuple(str(tag) for tag in value or ())
        self._set_meta(tags=tags)

    @property
    def notes(self) -> str | None:
        """Free text."""
        return self._record.notes

    @notes.setter
    def notes(self, value: str | None) -> None:
        self._set_meta(notes=value)

    def _set_meta(self, **values: Any) -> None:
        clean = snapshot(values)
        with self._lock:
            self._check_running(next(iter(values)))
            self._record.change({key: tuple(value) if isinstance(value, list) else value for key, value in clean.items()})
            self._event("meta", clean)

    @property
    def group(self) -> str | None:
        """The group of runs it belongs to."""
        return self._record.group

    @property
    def job_type(self) -> str | None:
        """What it does within its group: train, eval, ..."""
        return self._record.job_type

    @property
    def dir(self) -> str:
        """The run's directory."""
        return str(self._record.dir)

    @property
    def step(self) -> int:
        """The step that the next value lands in."""
        return self._step

    @property
    def starting_step(self) -> int:
        """The step this process began with; more than 0 for a resumed run."""
        return self._record.start_step

    @property
    def state(self) -> str:
        """ "running", "finished", "failed" or "preempted"."""
        return self._record.state

    @property
    def resumed(self) -> bool:
        """Whether it goes on from an earlier process."""
        return self._record.resumed

    @property
    def attempt(self) -> int:
        """1 for the first start of this id; one more each time it was started anew without resume."""
        return self._record.attempt

    @property
    def rank(self) -> int | None:
        """The place in a distributed job, or None."""
        return self._record.rank

    @property
    def writer(self) -> str:
        """The id of this process as a writer of the run."""
        return self._writer.id

    @property
    def promise(self) -> str:
        """What a crash can cost here, as one sentence."""
        from milepost.sdk.writer import PROMISES

        return PROMISES[self._writer.promise]

    @property
    def start_time(self) -> float:
        """When this process began the run, in seconds since 1970."""
        return self._writer.started_unix_nano / 1e9

    @property
    def mode(self) -> str:
        """ "online" or "offline"."""
        return self._record.mode

    @property
    def offline(self) -> bool:
        """Whether nothing is sent over a network."""
        return self._record.mode == "offline"

    @property
    def disabled(self) -> bool:
        """False: a disabled run is a `DisabledRun`."""
        return False

    @property
    def entity(self) -> None:
        """None: milepost has no entities."""
        return

    @property
    def url(self) -> None:
        """None: no page of a server belongs to this run."""
        return

    if not TYPE_CHECKING:  # to type checkers a misspelt attribute is an error

        def __getattr__(self, name: str) -> Any:
            """What wandb's runs have besides: a call without effect, or an error that says what to use instead."""
            from milepost.sdk.migration import attribute_of_run

            return attribute_of_run(self, name)

    def __repr__(self) -> str:
        return f"<milepost run {self.path} ({self.state}, step {self._step})>"

    # -- the end -----------------------------------------------------------------------------------------------------------

    def flush(self, durable: bool = False, timeout: float = FINISH_TIMEOUT_S) -> bool:
        """Move all rows into the journal, and with durable=True onto the disk; True when that was done."""
        with self._lock:
            writer = self._writer
        deadline = time.monotonic() + timeout
        while not writer.drain(sync=durable):
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        return True

    def finish(self, exit_code: int | None = None, timeout: float | None = None, *, quiet: bool | None = None) -> None:
        """Close the run: commit the open row, deliver what exporters still wait for, and release everything.

        exit_code: 0 or None marks it finished, anything else failed.
        timeout:   seconds to wait for exporters, 30 by default and 5 after an exception; what is unsent then stays in the
                   journal and is named. A second call does nothing. Never raises.
        """
        self._finish("finished" if not exit_code else "failed", exit_code or 0, timeout)

    def _finish(self, state: str, exit_code: int, timeout: float | None) -> None:
        for close in self.closers:
            try:
                close()
            except Exception:
                logger.exception("milepost: closing a part of the run failed; the run is finished all the same")
        with self._lock:
            if self._finished:
                return
            if self._forked_from is not None:
                self._finished = True  # a child that never logged has nothing to close
                return
            self._settle()
            self._busy = True
            self._fast = None
            self._close_row()
            for event in self._pipeline.flush():
                self._commit(event)
            self._record.state = state
            self._exit_code = exit_code
            self._emit("run.finish", self._last_words(state, exit_code))
            self._finished = True
            self._busy = False
        if timeout is None:
            timeout = self._timeouts_s[0] if state == "finished" else self._timeouts_s[1]
        deadline = time.monotonic() + timeout
        try:
            self._deliver_rest(deadline)
        finally:
            self._release()

    def _last_words(self, state: str, exit_code: int) -> dict[str, Any]:
        """What the event run.finish says."""
        words: dict[str, Any] = {"state": state, "exit_code": exit_code, "summary": self._read_summary()}
        if self._stale_calls:
            words["dropped_calls"] = {"stale_step": self._stale_calls}
        return words

    def _deliver_rest(self, deadline: float) -> None:
        """Drain, let every exporter catch up until the deadline, and say what is left."""
        while not self._writer.drain(sync=True) and time.monotonic() < deadline:
            time.sleep(0.05)
        for delivery in self._deliveries:
            delivery.finish(deadline)
        for delivery in self._deliveries:
            delivery.join(deadline - time.monotonic() + 0.2)
        behind = [delivery for delivery in self._deliveries if not delivery.join(0) or delivery.pending()]
        for delivery in behind:
            unsent = max(self._writer.rows - delivery.cursor.rows, 0)
            logger.warning(
                "milepost: %d rows of %s are not delivered to %s yet; they are safe in %s. Deliver them with: milepost sync %s",
                unsent,
                self.path,
                delivery.route.name,
                self._writer.directory,
                self.dir,
            )

    def _release(self) -> None:
        drain.remove(self._writer)
        self._writer.close()
        self._record.finished(self._exit_code, self._writer)
        if self._on_finish is not None:
            self._on_finish(self)

    def _preempt(self) -> None:
        """SIGTERM: the run ends as preempted. Its lock stays taken: no call returns any more, as the process is about to end."""
        if not self._lock.acquire(timeout=FAILED_TIMEOUT_S):
            return  # a processor hangs in log(); the rows are where they survive
        if self._finished or self._forked_from is not None:
            return
        self._settle()
        self._busy = True
        self._fast = None
        self._close_row()
        for event in self._pipeline.flush():
            self._commit(event)
        self._record.state = "preempted"
        self._emit("run.finish", self._last_words("preempted", 143))
        deadline = time.monotonic() + FAILED_TIMEOUT_S
        self._writer.drain(sync=True)
        for delivery in self._deliveries:
            delivery.finish(deadline)
        for delivery in self._deliveries:
            delivery.join(deadline - time.monotonic())
        self._record.finished(143, self._writer)

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        code = 0 if kind is None else 1
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        self.finish(exit_code=code)
        return False

    # -- processes ---------------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Start the drain and one delivery per exporter for the writer."""
        drain.add(self._writer)
        if self._writer.journal is not None:
            info = self._record.info(self._writer, self._config.as_dict())
            shared = Shared()
            self._deliveries = [Delivery(route, info, self._writer.directory, shared) for route in self._routes]
            for delivery in self._deliveries:
                if self._record.keep == "undelivered":
                    delivery.stored = self._trim
                delivery.start()

    def _trim(self) -> None:
        """journal.keep is "undelivered": remove the segments that every exporter has behind it."""
        needed = min(delivery.stored_segment() for delivery in self._deliveries)
        for index in range(needed - 1, -1, -1):
            try:
                (self._writer.directory / segment_name(index)).unlink()
            except OSError:  # removed before, and with it all that are older
                break

    def _after_fork(self) -> None:
        """In a forked child: the ring, the journal and the threads are the parent's; become a writer when first needed."""
        self._lock = threading.RLock()
        self._busy = False
        self._deferred.clear()
        self._fast = None
        self._deliveries = []
        self._plans.clear()
        if self._forked_from is None:
            self._forked_from = self._writer.id
        self.closers.clear()
        self._pipeline.discard()
        self._open = False
        self._writer.forget()

    def _become_writer(self) -> None:
        """In a forked child that logs: its own writer, ring, journal and exporters, under the same run."""
        parent, self._forked_from = self._forked_from, None
        self._last = self._last_row()
        self._summary.absorb()
        self._writer = self._record.new_writer(parent=parent)
        self._record.primary = False
        self._emit("run.start", self._record.start_values(self._config.as_dict(), self._writer))
        self._serve()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled into another process, a run attaches there as a writer of its own."""
        from milepost.sdk.lifecycle import attach

        return attach, (self._record.pickled(), self._step, self._forked_from or self._writer.id)

    # -- small things --------------------------------------------------------------------------------------------------------

    def _runtime(self) -> float:
        return (monotonic_ns() - self._began) / 1e9

    def _mode(self) -> Any:
        if self._on_invalid == "raise_first":
            return "raise" if self._writer.rows < 100 else "placeholder"
        return self._on_invalid

    def _bad_value(self, key: str, value: Any, reason: str) -> None:
        self._warn(
            f"bad:{key}:{type(value)}",
            f'"{key}" of type {conversion.type_name(type(value))} cannot be logged: {reason}; a placeholder stands in its place',
        )

    def _warn(self, pattern: str, text: str) -> None:
        """Say something once per pattern."""
        if pattern not in self._warned and len(self._warned) < 1000:
            self._warned.add(pattern)
            logger.warning("milepost: %s", text)

    def _check_running(self, what: str) -> None:
        if self._finished:
            raise UsageError(
                f"run.{what} after finish(): run {self.path} is {self.state}; start another with milepost.init()"
            )


def current_trace() -> Trace | None:
    """Trace and span id of the OpenTelemetry span that is active, or None."""
    try:
        context = _modules["opentelemetry.trace"].get_current_span().get_span_context()
        if not context.is_valid:
            return None
        return context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big")
    except Exception:  # another version of that API: a row without a trace is better than no row
        return None


def _summary_value(path: str, value: Any) -> Any:
    """A value set by hand, as it is stored: a large array becomes its statistics (SEMANTICS S6)."""
    if (
        type(value).__module__ == "numpy"
        and getattr(value, "size", 0) > conversion.LIST_LIMIT
        and value.dtype.kind in "fiub"
    ):
        import numpy as np

        low, quarter, three_quarters, high = (float(part) for part in np.percentile(value, [10, 25, 75, 90]))
        return {
            "_type": "numpy.ndarray",
            "var": float(value.var()),
            "mean": float(value.mean()),
            "min": value.min().item(),
            "max": value.max().item(),
            "10%": low,
            "25%": quarter,
            "75%": three_quarters,
            "90%": high,
            "size": int(value.size),
        }
    return conversion.nested(value, path)
