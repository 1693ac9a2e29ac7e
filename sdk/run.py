"""Run: one execution that logs, as the program that started it sees it.

What `log()` does is in `recorder.py`, what can be asked of a run in `identity.py`; here are metric definitions, summary,
config and alerts, the exporters' deliveries, and the end.
"""

import datetime
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from milepost.sdk.delivery import Delivery, Route, Unsent
from milepost.sdk.drain import drain
from milepost.sdk.encoding.refs import Facts, filled, holds_payload, parsed
from milepost.sdk.errors import DataError
from milepost.sdk.event import Event
from milepost.sdk.identity import Identity
from milepost.sdk.keeper import STUCK_S
from milepost.sdk.lanes import Lanes
from milepost.sdk.metrics import Metric, parse
from milepost.sdk.pipeline import Pipeline
from milepost.sdk.run_config import RunConfig
from milepost.sdk.run_record import RunRecord
from milepost.sdk.run_summary import RunSummary
from milepost.sdk.snapshot import nested, snapshot
from milepost.sdk.summary import Summary, paths
from milepost.sdk.tail import Shared
from milepost.sdk.text import shown
from milepost.sdk.trimming import trim
from milepost.sdk.values import text_key
from milepost.sdk.writer import Writer

if TYPE_CHECKING:  # a run whose exporters are all local needs nothing of it
    from milepost.sdk.shipper.plan import Plan
    from milepost.sdk.shipper.program import Shipping

if TYPE_CHECKING:
    from milepost.sdk.artifacts import Artifact
    from milepost.sdk.encoding.queue import MediaQueue

logger = logging.getLogger("milepost")

FINISH_TIMEOUT_S: Final = 30.0
FAILED_TIMEOUT_S: Final = 5.0


class Run(Identity):
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
        base_summary: Summary | None = None,
        on_invalid: str = "raise",
        unordered: bool = False,
        timeouts_s: tuple[float, float] = (FINISH_TIMEOUT_S, FAILED_TIMEOUT_S),
        on_finish: Callable[["Run"], None] | None = None,
        plan: "Plan | None" = None,
        media: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(record, writer, pipeline, base_summary, on_invalid, unordered)
        self._media: MediaQueue | None = None
        """Made with the first media of this process."""
        self._media_options = dict(media or {})
        self._facts_of_others: Any = None
        self._on_finish = on_finish
        self._timeouts_s = timeouts_s
        self._alerted: dict[str, float] = {}
        self._exit_code: int | None = None
        self.closers: list[Callable[[], None]] = []
        """Called first at finish: the sampler, the console capture."""
        self._config = RunConfig(config, self._config_changed)
        self._routes = list(routes)
        self._lanes = Lanes((), int)
        self._ship_plan = plan
        self._shipping: Shipping | None = None
        self._names = frozenset(self.__dict__)
        self._emit("run.start", self._start_values())
        self._serve()

    def _start_values(self) -> dict[str, Any]:
        return self._record.start_values(self._config.as_dict(), self._writer)

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
            before = self._metrics.defined(metric.name)
            defined = self._metrics.define(metric, bool(overwrite))
            seen = [path for path in self._summary.known() if self._metrics.find(path) == defined]
            if seen and defined.summary and defined != before:
                self._summary.replay(seen, self._all_rows())
            self._event("metric", {**metric.as_values(), "overwrite": bool(overwrite)})
        return defined

    def _all_rows(self) -> Iterable[Mapping[str, Any]]:
        """The rows of this run so far, from the journal."""
        self._writer.drain()
        return self._record.earlier_rows(None)

    @property
    def summary(self) -> RunSummary:
        """The summary: last values, aggregates, and what was set by hand. Reads and writes like nested dicts."""
        return RunSummary(self._read_summary, self._set_summary, self._delete_summary)

    @summary.setter
    def summary(self, values: Mapping[str, Any]) -> None:
        self.summary.update(values)

    def _set_summary(self, path: str, value: Any) -> None:
        with self._lock:
            self._check_running("summary")
            changed: dict[str, Any] = {}
            top, value = text_key(path), _summary_value(path, value)
            if isinstance(value, dict) and any(other.startswith(top + ".") for other in self._summary.collect()):
                self._delete_summary(top)  # a dict takes the place of what stood there
            given = dict(paths(top, value))
            for name, inner in (self._take_media(given, "summary", ()) if holds_payload(given) else given).items():
                self._summary.set(name, inner)
                changed[name] = inner
            self._event("summary", {"set": changed, "delete": []})

    def _delete_summary(self, path: str) -> None:
        with self._lock:
            self._check_running("summary")
            path = text_key(path)
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
            raise DataError(f'alert() level must be "INFO", "WARN" or "ERROR", got {shown(level)}')
        if isinstance(wait_duration, datetime.timedelta):
            wait_duration = wait_duration.total_seconds()
        if wait_duration is not None and (
            isinstance(wait_duration, bool) or not isinstance(wait_duration, (int, float))
        ):
            raise DataError(f"alert() wait_duration must be seconds or a timedelta, got {shown(wait_duration)}")
        wait_s = 60.0 if wait_duration is None else wait_duration
        alert = snapshot({"title": str(title), "text": str(text), "level": name})
        with self._lock:
            self._check_running("alert")
            self._event("alert", alert)
            now = time.monotonic()
            if now - self._alerted.get(alert["title"], -math.inf) < wait_s:
                return
            self._alerted[alert["title"]] = now
        logger.warning("milepost: alert %s: %s %s", name, alert["title"], alert["text"])

    def save(self, glob_str: Any = None, base_path: Any = None, policy: str = "live") -> list[str]:
        """Copy files into the run's directory; the paths of the copies. See `milepost.sdk.saving.save`.

        Without a path there is nothing to do: old wandb scripts call `run.save()` after they set the run's name.
        """
        from milepost.sdk.saving import save

        self._check_running("save")
        if glob_str is None and base_path is None:
            return []
        return save(self, glob_str, base_path, policy)

    def log_artifact(
        self,
        artifact_or_path: Any,
        name: str | None = None,
        type: str | None = None,
        aliases: Any = None,
        tags: Any = None,
        **wandb_keywords: Any,
    ) -> "Artifact":
        """Copy the files of an artifact, or a file or folder, into RUN_DIR/files/artifacts/NAME/vN/; the artifact.

        name, type:    of a file or folder; by default "run-ID-FILE" and "unspecified".
        aliases, tags: kept with it.

        There is no registry: nothing can be fetched by name, which is said once. See `milepost.sdk.artifacts`.
        """
        from milepost.sdk.artifacts import log_artifact

        self._check_running("log_artifact")
        return log_artifact(self, artifact_or_path, name, type, aliases, tags, f"run-{self.id}")

    def watch(
        self,
        models: Any,
        criterion: Any = None,
        log: str | None = "gradients",
        log_freq: int = 1000,
        idx: int | None = None,
        log_graph: bool = False,
    ) -> None:
        """Log histograms of a PyTorch model's gradients and parameters. See `milepost.sdk.watching.watch`."""
        from milepost.sdk.watching import watch

        self._check_running("watch")
        handles = watch(
            lambda data, commit: None if self._finished else self.log(data, commit=commit),
            models,
            log,
            log_freq,
            idx or 0,
        )
        self.closers.extend(handle.remove for handle in handles)

    def record(self, kind: str, values: Mapping[str, Any]) -> None:
        """Add an event that is no row (system metrics, environment, console output) to the run's stream."""
        clean = snapshot(values, "placeholder")
        with self._lock:
            if not self._finished:
                self._event(kind, self._take_media(clean, kind, ()) if holds_payload(clean) else clean)

    if not TYPE_CHECKING:  # to type checkers a misspelt attribute is an error

        def __getattr__(self, name: str) -> Any:
            """What wandb's runs have besides: a call without effect, or an error that says what to use instead."""
            from milepost.sdk.migration import attribute_of_run

            return attribute_of_run(self, name)

        def __setattr__(self, name: str, value: Any) -> None:
            """As in wandb, a name that a run does not have cannot be assigned to: `run.note = "..."` would be lost."""
            if "_names" in self.__dict__ and name not in self._names:
                known = getattr(type(self), name, None)
                if known is None or (isinstance(known, property) and known.fset is None):
                    from milepost.sdk.migration import refuse_to_set

                    refuse_to_set(self, name)
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"<milepost run {self.path} ({self.state}, step {self._step})>"

    # -- the end -----------------------------------------------------------------------------------------------------------

    def flush(self, durable: bool = False, timeout: float = FINISH_TIMEOUT_S) -> bool:
        """Move all rows into the journal, and with durable=True onto the disk; True when that was done.

        After `finish()`, which does so itself, there is nothing left to move.
        """
        with self._lock:
            writer = self._writer
            if self._finished:
                return writer.broken is None
        return writer.drain_until(time.monotonic() + timeout, durable=durable)

    def finish(self, exit_code: int | None = None, timeout: float | None = None, *, quiet: bool | None = None) -> None:
        """Close the run: commit the open row, deliver what exporters still wait for, and release everything.

        exit_code: 0 or None marks it finished, anything else failed.
        timeout:   seconds to wait for exporters, 30 by default and 5 after an exception; what is unsent then stays in the
                   journal and is named. A second call does nothing. Raises for a timeout that is no number, and nothing else.
        """
        if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, (int, float))):
            raise DataError(f"finish() timeout must be seconds or None, got {shown(timeout)}; the run goes on")
        self._finish("finished" if not exit_code else "failed", exit_code or 0, timeout)

    def _finish(self, state: str, exit_code: int, timeout: float | None) -> None:
        if self._stale_calls:
            logger.warning(
                "milepost: %s of log() made no row of %s: the step was behind the run's",
                "1 call" if self._stale_calls == 1 else f"{self._stale_calls} calls",
                self.path,
            )
        if timeout is None:
            timeout = self._timeouts_s[0] if state == "finished" else self._timeouts_s[1]
        deadline = time.monotonic() + timeout
        for close in self.closers:
            try:
                close()
            except Exception:
                logger.exception("milepost: closing a part of the run failed; the run is finished all the same")
        if self._media is not None and not self._finished:
            self._media.flush(deadline)
        with self._lock:
            if self._finished:
                return
            if self._forked_from is None:
                self._config.store_changes()
            if self._forked_from is not None:
                self._finished = True  # a child that never logged has nothing to close
                return
            self._settle()
            self._now.busy = True
            self._pause()
            self._close_row()
            for event in self._pipeline.flush():
                self._commit(event)
            self._record.state = state
            self._exit_code = exit_code
            words = self._last_words(state, exit_code)
            self._emit("run.finish", words)
            self._finished = True
            self._now.busy = False
        try:
            self._deliver_rest(deadline, words)
        finally:
            self._release()

    def _last_words(self, state: str, exit_code: int) -> dict[str, Any]:
        """What the event run.finish says."""
        words: dict[str, Any] = {"state": state, "exit_code": exit_code, "summary": self._read_summary()}
        if self._stale_calls:
            words["dropped_calls"] = {"stale_step": self._stale_calls}
        return words

    def _deliver_rest(self, deadline: float, words: Mapping[str, Any]) -> None:
        """Drain, let every exporter catch up until the deadline, and say what is left. words: what run.finish says."""
        if not self._writer.drain_until(deadline):
            deadline = min(deadline, time.monotonic() + STUCK_S)  # what is not in the journal cannot be delivered
        if self._writer.broken is not None:
            self._lanes.say_end(self._end_event(words))
        self._lanes.finish(deadline)
        unsent = self._shipping.finish(self._writer.seq - 1, deadline) if self._shipping is not None else []
        late = self._lanes.join(deadline - time.monotonic() + 0.2)
        unsent += [
            Unsent(delivery.route.name, delivery.cursor.rows, "")
            for delivery in self._lanes.deliveries
            if delivery in late or delivery.pending() or self._misses_rows(delivery)
        ]
        for each in unsent:
            rows = max(self._writer.rows - each.rows, 0)
            logger.warning(
                "milepost: %d %s of %s %s not delivered to %s yet%s; %s",
                rows,
                "row" if rows == 1 else "rows",
                self.path,
                "is" if rows == 1 else "are",
                each.name,
                f" ({each.error})" if each.error else "",
                self._where_rows_are(),
            )

    def _misses_rows(self, delivery: Delivery) -> bool:
        """Whether rows that the journal does not take are missing at an exporter."""
        return self._writer.broken is not None and delivery.wants_rows and self._writer.rows > delivery.cursor.rows

    def _where_rows_are(self) -> str:
        """Where rows are that were not delivered, and what to do."""
        if self._writer.broken is None or self._writer.ring is None:
            return f"they are safe in {self._writer.directory}. Deliver them with: milepost sync {self.dir}"
        dropped = sum(self._writer.dropped.values())
        counted = f", but for {dropped:,} that found no room there either and are counted as dropped" if dropped else ""
        if self._writer.at_limit:
            return (
                f"they are in shared memory until this machine restarts{counted}, for the journal is as large as "
                "journal.max_bytes allows. The next init() or Api of this directory moves them to the disk, beyond that limit; "
                f"to do so now: milepost sync {self.dir}"
            )
        return (
            f"they are in shared memory until this machine restarts{counted}: {self._writer.broken}. When the disk has room "
            f"again: milepost sync {self.dir}"
        )

    def _end_event(self, words: Mapping[str, Any]) -> Event:
        """The event run.finish as an exporter gets it that cannot read it from the journal."""
        now = time.time_ns()
        return Event(
            run=self.path,
            writer=self._writer.id,
            seq=self._writer.seq - 1,
            step=None,
            time_unix_nano=now,
            runtime_s=(time.monotonic_ns() - self._began) / 1e9,
            kind="run.finish",
            values={**words, "rows": self._writer.rows},
        )

    def _release(self) -> None:
        if self._media is not None:
            self._media.close()
        drain.remove(self._writer)
        self._writer.close()
        self._record.finished(self._exit_code, self._writer)
        if self._on_finish is not None:
            self._on_finish(self)

    def _preempt(self) -> None:
        """SIGTERM: the run ends as preempted. Its lock stays taken: no call returns any more, as the process is about to end."""
        if self._media is not None:
            self._media.flush(time.monotonic() + FAILED_TIMEOUT_S / 2)
        if not self._lock.acquire(timeout=FAILED_TIMEOUT_S):
            return  # a processor hangs in log(); the rows are where they survive
        if self._finished or self._forked_from is not None:
            return
        self._settle()
        self._now.busy = True
        self._pause()
        self._close_row()
        for event in self._pipeline.flush():
            self._commit(event)
        self._record.state = "preempted"
        self._emit("run.finish", self._last_words("preempted", 143))
        deadline = time.monotonic() + FAILED_TIMEOUT_S
        self._writer.drain(sync=True)
        self._lanes.finish(deadline)
        if self._shipping is not None:
            self._shipping.finish(self._writer.seq - 1, deadline)
        self._lanes.join(deadline - time.monotonic())
        self._record.finished(143, self._writer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        code = 0 if kind is None else 1
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        self.finish(exit_code=code)
        return False

    # -- media -------------------------------------------------------------------------------------------------------------

    def _take_media(self, values: dict[str, Any], step: int | str, nested: tuple[str, ...]) -> dict[str, Any]:
        if self._forked_from is not None:
            self._become_writer()
        if self._media is None:
            from milepost.sdk.encoding.queue import (
                MediaQueue,
            )  # loaded with the first name of a media type, not by init

            self._media = MediaQueue(self._writer, self._add, self._say_media, **self._media_options)
        return self._media.take(values, step, nested)

    def _add(self, kind: str, values: Mapping[str, Any]) -> None:
        """Add an event, inside a call or not. Called under the lock."""
        if self._now.busy:
            self._emit(kind, values)
        else:
            self._event(kind, values)

    def _say_media(self, kind: str, values: Mapping[str, Any]) -> bool:
        """Add what became of a payload; False when the journal takes nothing right now, or no more."""
        with self._lock:
            if self._finished:
                return False
            self._event(kind, values)
            return not self._writer.has_gap

    def _media_facts(self, ref: str) -> Facts | None:
        """What is known of a media file of this run, whoever logged it."""
        media = self._media
        facts = None if media is None else media.lookup(ref)
        found = parsed(ref)
        if facts is None and (found is None or found[0] != self._writer.id):
            if self._facts_of_others is None:
                from milepost.sdk.encoding.facts import RunFacts

                self._facts_of_others = RunFacts(self._record.dir)
            facts = self._facts_of_others.lookup(ref)
        return facts

    def _read_summary(self) -> dict[str, Any]:
        flat = super()._read_summary()
        if not {dict, list}.isdisjoint(map(type, flat.values())):
            flat = {name: filled(value, self._media_facts) for name, value in flat.items()}
        return flat

    # -- processes ---------------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Start the drain and one delivery per exporter for the writer."""
        writer = self._writer
        journal = writer.journal
        if journal is None:
            drain.add(writer)
            return
        info = self._record.info(writer, self._config.as_dict())
        shared = Shared()
        deliveries = [Delivery(route, info, writer.directory, shared) for route in self._routes]
        for delivery in deliveries:
            delivery.media = self._media_facts
        if self._record.keep == "undelivered":
            for delivery in deliveries:
                delivery.stored = self._trim
        self._lanes = Lanes(deliveries, lambda: journal.total)
        self._lanes.start()
        drain.add(writer, self._lanes.look)
        if self._ship_plan is not None:
            from milepost.sdk.shipper.program import Shipping

            self._shipping = Shipping(self._ship_plan, info, writer.directory)
            self._shipping.start()

    def _trim(self) -> None:
        """journal.keep is "undelivered": remove the segments that every exporter has behind it."""
        names = [delivery.route.name for delivery in self._lanes.deliveries]
        if self._shipping is not None:
            if not self._shipping.names:
                return  # who they are is not known yet
            names += self._shipping.names
        trim(self._writer.directory, names)

    def _after_fork(self) -> None:
        """In a forked child: the ring, the journal and the threads are the parent's; become a writer when first needed."""
        self._lock = threading.RLock()
        self._now.busy = False
        self._deferred.clear()
        self._pause()
        self._lanes = Lanes((), int)
        if self._shipping is not None:
            self._shipping.forget()
            self._shipping = None
        self._plans.clear()
        self._now.held = None
        if self._forked_from is None:
            self._forked_from = self._writer.id
        self.closers.clear()
        self._pipeline.discard()
        self._now.open = False
        if self._media is not None:
            self._media.forget()
            self._media = None
        self._writer.forget()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled into another process, a run attaches there as a writer of its own."""
        from milepost.sdk.lifecycle import attach

        return attach, (self._record.pickled(), self._step, self._forked_from or self._writer.id)


def _summary_value(path: str, value: Any) -> Any:
    """A value set by hand, as it is stored: a large array becomes its statistics."""
    if type(value).__module__ == "numpy":
        from milepost.sdk.arrays import statistics

        found = statistics(value)
        if found is not None:
            return found
    return nested(value, path)
