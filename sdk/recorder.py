"""Recorder: what `log()` does, from a call to rows in the writer's hands.

`log` is the hot path: a call whose keys were seen before and whose values are plain goes straight into shared memory. Such a
call with `step=` or `commit=` is taken by the open row (`open_row.py`). All else takes `_call`, the full meaning of `log`. A call
that interrupts another on its own thread (a signal handler, `__del__`) is copied, set aside, and stored when that one is done;
`finish()` in such a place ends the run when that one is done.
"""

import contextlib
import logging
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from time import monotonic_ns, time_ns
from typing import Any, Final

from milepost.sdk.call_arguments import arguments, usable
from milepost.sdk.drain import drain
from milepost.sdk.encoding.refs import MediaLeaf
from milepost.sdk.errors import DataError, Error, UsageError
from milepost.sdk.event import Event
from milepost.sdk.fastpath import Fast, Steps
from milepost.sdk.gather import Gather
from milepost.sdk.metrics import Metrics
from milepost.sdk.now import Now
from milepost.sdk.open_row import OpenRow, flat_values
from milepost.sdk.pipeline import Pipeline
from milepost.sdk.plans import Plans
from milepost.sdk.processors.flatten import flatten_into
from milepost.sdk.run_record import RunRecord
from milepost.sdk.snapshot import KEYS_ARE_TEXT, snapshot
from milepost.sdk.summary import Summary
from milepost.sdk.text import shown, type_name
from milepost.sdk.writer import Writer

logger = logging.getLogger("milepost")

_modules = sys.modules
_HAS_GIL: Final = getattr(sys, "_is_gil_enabled", lambda: True)()
"""Without it the fast path, which relies on it in place of a lock, is not taken."""

Trace = tuple[bytes, bytes]


class Recorder:
    """The step counter, the pipeline and the writer of one process for one run. The base of `Run`.

    record: who the run is. writer: where its events go. pipeline: made around the summary that it keeps.
    base_summary: what a resumed run begins with.
    on_invalid, unordered: the settings `on_invalid` and `steps`.
    """

    _logs_directly = True
    """Whether `milepost.log` may go past `log`, to the fast path and the long way: not where a subclass has its own."""

    def __init__(
        self,
        record: RunRecord,
        writer: Writer,
        pipeline: Callable[[Summary], Pipeline],
        base_summary: Summary | None = None,
        on_invalid: str = "raise",
        unordered: bool = False,
    ) -> None:
        self._record = record
        self._lock = threading.RLock()
        self._now = Now(record.start_step, record.resumed, self._log)
        self._deferred: deque[tuple[Any, ...]] = deque()
        self._summary = Summary(Metrics()) if base_summary is None else base_summary
        self._metrics = self._summary.metrics
        self._pipeline = pipeline(self._summary)
        self._standard = self._pipeline.is_standard
        if not self._standard:  # else it is done before the call goes through the pipeline
            self._pipeline.encode_media.take = self._take_media
        self._gather = Gather()
        self._began = monotonic_ns() - int(record.earlier_runtime_s * 1e9)
        self._on_invalid = on_invalid
        self._unordered = unordered
        self._warned: set[str] = set()
        self._stale_calls = 0
        self._finished = False
        self._ended_at_exit = False
        self._end_wanted: tuple[Any, ...] | None = None
        """A `finish()` that waits for the call which it interrupted: the thread, and the arguments of `_finish`."""
        self._forked_from: str | None = None
        self._write_by(writer)

    def _write_by(self, writer: Writer) -> None:
        """From now on this writer takes the rows."""
        self._writer = writer
        self._plans = Plans(writer, self._summary, self._metrics)
        self._row = OpenRow(
            self._now, writer, self._plans, self._pipeline, self.path, self._began, bad_value=self._bad_value
        )

    @property
    def path(self) -> str:
        """ "project/run_id"."""
        return f"{self._record.project}/{self._record.id}"

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
        `finish()`. Never waits for a network or an exporter, and for a disk only where rows outrun it (a second at the most).
        """
        fast = self._now.fast
        if fast is None or commit is not None or not fast.log(data, step):
            self._log(data, step, commit)

    def _pause(self) -> None:
        """Leave the fast path: from now on number, step and open row are where all others look for them."""
        now = self._now
        fast = now.fast
        if fast is not None:
            fast.end = 0  # no call stores anything any more, whichever was under way
            self._writer.seq, now.at = fast.seq, fast.at
            if isinstance(fast, Steps):
                now.held = fast.plan, fast.row
                self._writer.parts = fast.parts
            now.fast = None
            fast.release()  # somebody may keep it: an exception that came out of a call, or a call that ended the run

    @property
    def _step(self) -> int:
        """The step that the next values land in."""
        now = self._now
        return now.at if now.fast is None else now.fast.at

    def _log(self, data: Any, step: Any, commit: Any) -> None:
        """The long way, for whatever is not a planned row."""
        now = time_ns()
        runtime = (monotonic_ns() - self._began) // 1000
        trace = current_trace() if "opentelemetry.trace" in _modules else None
        # Held already: this call interrupts another one of its own thread. A Ctrl-C may have left `_busy` set without that.
        nested = self._lock._is_owned()  # type: ignore[attr-defined]  # noqa: SLF001 - of threading.RLock, as Condition uses it
        try:
            with self._lock:
                if self._ended_at_exit and threading.current_thread() is not threading.main_thread():
                    late = True
                else:
                    late = False
                    self._check_running("log")
                    if nested and self._now.busy:
                        clean = snapshot(data, self._mode(), self._bad_value)
                        self._deferred.append((clean, step, commit, now, runtime, trace))
                        return
                    self._now.busy = True
                    if self._now.fast is not None:
                        self._pause()
                    quick = self._standard and trace is None and self._forked_from is None
                    try:
                        if not (quick and self._row.planned(data, step, commit, now, runtime)):
                            self._call(data, step, commit, now, runtime, trace)
                    finally:
                        self._now.busy = False
                        self._settle()
        finally:
            if self._end_wanted is not None:
                self._end_if_wanted()
        if late:  # a daemon thread, and the interpreter is about to end: this call never returns
            threading.Event().wait()

    def _settle(self) -> None:
        """Store the calls and events that came while a call was busy, then open the fast path if it may be used."""
        while True:
            self._store_deferred()
            now, writer = self._now, self._writer
            block, held = writer.block, now.held
            quick = self._standard and not self._finished and _HAS_GIL and self._forked_from is None
            if quick and (held is not None or not now.open) and block is not None and not writer.has_gap:
                # While busy, so that a call that interrupts is set aside: were it stored, its number would be used a second time.
                if held is not None:
                    now.fast = Steps(*held, writer, block, self._began)
                else:
                    now.fast = Fast(self._plans.by_keys, writer, block, now.at, self._began)
            self._now.busy = False
            if not self._deferred:
                return

    def _store_deferred(self) -> None:
        """Store the calls and events that were set aside; busy from here on, so that more of them are set aside."""
        self._now.busy = True
        self._pause()
        while self._deferred:
            waiting = self._deferred.popleft()
            if len(waiting) == 2:
                self._emit(*waiting)
                continue
            try:
                self._call(*waiting)
            except Error as error:
                logger.warning("milepost: a log() call made inside another one was not stored: %s", error)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the run's lock, for all but `log()`; then see to a `finish()` that came meanwhile on this thread."""
        try:
            with self._lock:
                yield
        finally:
            self._end_if_wanted()

    def _end_if_wanted(self) -> None:
        """End the run if `finish()` was called, unless this thread is in the middle of something. `Run` does so."""

    def _call(self, data: Any, step: Any, commit: Any, now: int, runtime: int, trace: Trace | None) -> None:
        """One call to `log`, in full."""
        self._row.let_go()
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
                f"log(step={shown(step)}, commit={shown(commit)}): step must be a whole number, "
                f"commit True or False; the call's values are stored {'without these' if given is None else f'at step {given}'}",
            )
        step = given
        media = MediaLeaf.made
        try:
            flat, nested, plain = self._read(data)
        except DataError as error:
            if self._mode() == "raise":
                raise
            self._warn(f"data:{type(data)}", str(error))
            return
        if step is not None and step != self._step and not self._move_to(step, flat):
            return
        if self._standard and media != MediaLeaf.made:
            flat = self._take_media(flat, self._step, nested)
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
            span_id=trace[1][:8].hex() if trace else "",
            trace_flags=trace[1][8] if trace else 0,
        )
        row = self._row.hand_on(event)
        if plain:
            self._plans.learn(data, tuple(flat), nested)
        if row is None and self._standard:
            self._writer.part(flat, event.step or 0, now, runtime)
        if not self._standard:  # also beside a row: the row that closes a window may open the next one
            for held in self._pipeline.parts():
                self._writer.part(flat_values(held.values), held.step or 0, now, runtime)

    def _read(self, data: Any) -> tuple[dict[str, Any], tuple[str, ...], bool]:
        """The clean values of a call (flat for the standard pipeline, nested for any other), the names of its inner dicts,
        and whether the fast path might take the next one like it."""
        if type(data) is dict and self._standard:
            gathered = self._gather(data)
            if gathered is not None:
                flat, nested = gathered
                return flat, tuple(nested), True
        clean = snapshot(data, self._mode(), self._bad_value)
        if not self._standard:
            return clean, (), False
        flat, nested = {}, []
        flatten_into(flat, nested, clean, "", ".")
        return flat, tuple(nested), False

    def _move_to(self, step: int, values: Mapping[str, Any]) -> bool:
        """Make an explicit step the current one, closing the open row; False when the step is behind and the call is dropped."""
        if step < self._step and not self._unordered:
            if not self._now.may_rewind:
                self._stale(step, values)
                return False
            self._rewind(step)
        self._now.may_rewind = False
        self._row.close()
        self._now.at = step
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
        with self._alone():
            self._check_running("rewind")
            self._now.busy = True
            self._pause()
            try:
                if step < self._step:
                    self._rewind(step)
                    self._now.at = step
                self._now.may_rewind = False
            finally:
                self._settle()

    def _rewind(self, step: int) -> None:
        """A resumed run goes back: what earlier writers logged from `step` on is superseded (kept, hidden)."""
        self._row.close()
        self._emit("rewind", {"step": step})
        self._summary.rebase(self._record.earlier_rows(step))
        logger.warning(
            "milepost: resumed run %s goes back from step %d to %d; its older rows from there on are superseded",
            self._record.id,
            self._step,
            step,
        )

    def _take_media(self, values: dict[str, Any], step: int | str, nested: tuple[str, ...]) -> dict[str, Any]:
        """Keep the payloads of these values; references in their place. A run does so, in `Run`."""
        return values

    def _drop_plans(self) -> None:
        """Forget the plans: what followed from their keys has changed."""
        self._pause()
        self._row.let_go()
        self._row.last = self._last_row()
        self._summary.absorb()
        self._plans.clear()

    # -- what is no row ------------------------------------------------------------------------------------------------------

    def _emit(self, kind: str, values: Mapping[str, Any]) -> int:
        return self._writer.event(kind, values, None, time_ns(), (monotonic_ns() - self._began) // 1000)

    def _event(self, kind: str, values: Mapping[str, Any]) -> None:
        """Say something of the run, alone with the writer; inside a call of the same thread, after it."""
        if self._now.busy:
            self._deferred.append((kind, values))
            return
        self._now.busy = True
        self._pause()
        try:
            if self._forked_from is not None:
                self._become_writer()
            self._emit(kind, values)
        finally:
            self._settle()

    def _read_summary(self) -> dict[str, Any]:
        with self._alone():
            flat = self._summary.collect()
            last = self._last_row()
            if last is not None:
                flat["_step"], flat["_runtime"] = last[3], last[2] / 1e6
                flat.setdefault("_timestamp", last[1] / 1e9)
            return flat

    def _last_row(self) -> tuple[int, int, int, int] | None:
        """(seq, time_ns, runtime_us, step) of the last committed row."""
        rows = [(row[0], row[1], row[2], row[3]) for plan in self._summary.plans if (row := plan.last) is not None]
        if self._row.last is not None:
            rows.append(self._row.last)
        return max(rows, default=None)

    def _become_writer(self) -> None:
        """In a forked child that logs: its own writer, ring, journal and exporters, under the same run."""
        last = self._last_row()
        self._summary.begin()
        self._write_by(self._record.new_writer(parent=self._forked_from))
        self._row.last = last and (-1, *last[1:])  # before any row of its own, as its numbers start at 0
        self._forked_from = None  # last: until then the writer is the parent's, and must not be written
        self._record.primary = False
        self._emit("run.start", self._start_values())
        self._serve()

    def _start_values(self) -> dict[str, Any]:
        """What the run.start event of a writer says."""
        return self._record.start_values({}, self._writer)

    def _serve(self) -> None:
        """Have the writer drained, and its exporters fed."""
        drain.add(self._writer)

    # -- small things --------------------------------------------------------------------------------------------------------

    def _mode(self) -> Any:
        if self._on_invalid == "raise_first":
            return "raise" if self._writer.rows < 100 else "placeholder"
        return self._on_invalid

    def _bad_value(self, key: str, value: Any, reason: str) -> None:
        if reason is KEYS_ARE_TEXT:
            told = f"log() keys are text, got {key} of type {type_name(type(value))}; its value is stored under that as text"
            self._warn(f"key:{type(value)}", told)
            return
        self._warn(
            f"bad:{key}:{type(value)}",
            f'"{key}" of type {type_name(type(value))} cannot be logged: {reason}; a placeholder stands in its place',
        )

    def _warn(self, pattern: str, text: str) -> None:
        """Say something once per pattern."""
        if pattern not in self._warned and len(self._warned) < 1000:
            self._warned.add(pattern)
            logger.warning("milepost: %s", text)

    def _check_running(self, what: str) -> None:
        if self._finished or self._now.ended:
            raise UsageError(
                f"run.{what} after finish(): run {self.path} is {self._record.state}; start another with milepost.init()"
            )


def current_trace() -> Trace | None:
    """Trace id, and span id with the trace flags, of the OpenTelemetry span that is active, or None."""
    try:
        context = _modules["opentelemetry.trace"].get_current_span().get_span_context()
        if not context.is_valid:
            return None
        flags = int(context.trace_flags) & 0xFF
        return context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big") + bytes((flags,))
    except Exception:  # noqa: BLE001 - another version of that API: a row without a trace is better than no row
        return None
