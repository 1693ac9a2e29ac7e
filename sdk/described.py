"""Described: what a script says of its run besides rows: metric definitions, summary, config, alerts, files, models to watch.

Everything said becomes an event in the run's stream, in order with the rows. Names that only wandb's runs have are answered here,
too.
"""

import datetime
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from milepost.sdk.encoding.refs import holds_payload
from milepost.sdk.errors import DataError
from milepost.sdk.identity import Identity
from milepost.sdk.metrics import Metric, parse
from milepost.sdk.pipeline import Pipeline
from milepost.sdk.run_config import RunConfig
from milepost.sdk.run_record import RunRecord
from milepost.sdk.run_summary import RunSummary
from milepost.sdk.snapshot import nested, snapshot
from milepost.sdk.summary import Summary, paths
from milepost.sdk.text import shown
from milepost.sdk.values import text_key
from milepost.sdk.writer import Writer

if TYPE_CHECKING:
    from milepost.sdk.artifacts import Artifact

logger = logging.getLogger("milepost")


class Described(Identity):
    """The ways to describe a run. The base of `Run`.

    config: the hyperparameters it begins with.
    """

    _names: frozenset[str]
    """The attributes that a run has, once it is made."""

    def __init__(
        self,
        record: RunRecord,
        writer: Writer,
        pipeline: Callable[[Summary], Pipeline],
        config: Mapping[str, Any],
        base_summary: Summary | None,
        on_invalid: str,
        unordered: bool,
    ) -> None:
        super().__init__(record, writer, pipeline, base_summary, on_invalid, unordered)
        self._config = RunConfig(config, self._config_changed)
        self._alerted: dict[str, float] = {}
        self.closers: list[Callable[[], None]] = []
        """Called first at finish: the sampler, the console capture."""

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
        metric = parse(name, step_metric, step_sync, hidden, summary, goal, overwrite)
        with self._alone():
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
        with self._alone():
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
        with self._alone():
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
        with self._alone():
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
        with self._alone():
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
        with self._alone():
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


def _summary_value(path: str, value: Any) -> Any:
    """A value set by hand, as it is stored: a large array becomes its statistics."""
    if type(value).__module__ == "numpy":
        from milepost.sdk.arrays import statistics

        found = statistics(value)
        if found is not None:
            return found
    return nested(value, path)
