"""milepost: log() for training runs, to any destination.

    import milepost

    milepost.init(project="digits")
    milepost.log({"train": {"loss": 0.5}, "accuracy": 0.9})
    milepost.finish()

This page is the whole public API. Classes and heavier parts are loaded when their name is first used.
"""

import sys as _sys
from collections.abc import Mapping, Sequence
from types import ModuleType as _ModuleType
from typing import TYPE_CHECKING, Any, Literal

from milepost.sdk.current import Before as _Before
from milepost.sdk.current import current as _current
from milepost.sdk.current import required as _required
from milepost.sdk.errors import (
    ConfigurationError,
    DataError,
    Error,
    MissingDependencyError,
    RunNotFoundError,
    UsageError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from milepost.media import plot, plots
    from milepost.media.annotations import Classes
    from milepost.media.audio import Audio
    from milepost.media.bokeh_document import Bokeh
    from milepost.media.graph import Graph
    from milepost.media.histogram import Histogram
    from milepost.media.html import Html
    from milepost.media.image import Image
    from milepost.media.molecule import Molecule
    from milepost.media.object3d import Object3D
    from milepost.media.plotly_figure import Plotly
    from milepost.media.table import Table
    from milepost.media.video import Video
    from milepost.sdk.api import Api
    from milepost.sdk.artifacts import Artifact
    from milepost.sdk.disabled import DisabledRun
    from milepost.sdk.event import Event
    from milepost.sdk.exporter import Exporter, ExportResult, RunInfo
    from milepost.sdk.metrics import Metric
    from milepost.sdk.migration import AlertLevel, Settings
    from milepost.sdk.run import Run
    from milepost.sdk.run_config import RunConfig
    from milepost.sdk.run_summary import RunSummary

    run: Run | None
    config: RunConfig
    summary: RunSummary

__version__ = "0.1.0"

__all__ = [
    "AlertLevel",
    "Api",
    "Artifact",
    "Audio",
    "Bokeh",
    "Classes",
    "ConfigurationError",
    "DataError",
    "Error",
    "Event",
    "ExportResult",
    "Exporter",
    "Graph",
    "Histogram",
    "Html",
    "Image",
    "MissingDependencyError",
    "Molecule",
    "Object3D",
    "Plotly",
    "Run",
    "RunInfo",
    "RunNotFoundError",
    "Settings",
    "Table",
    "UsageError",
    "Video",
    "alert",
    "config",
    "current_run",
    "define_metric",
    "finish",
    "init",
    "log",
    "log_artifact",
    "login",
    "plot",
    "plots",
    "run",
    "save",
    "summary",
    "watch",
]


def init(
    project: str | None = None,
    name: str | None = None,
    id: str | None = None,
    config: "Mapping[str, Any] | str | Path | object | None" = None,
    dir: "str | Path | None" = None,
    group: str | None = None,
    job_type: str | None = None,
    tags: Sequence[str] | str | None = None,
    notes: str | None = None,
    mode: Literal["online", "offline", "disabled"] | str | None = None,
    resume: Literal["allow", "must", "never", "auto"] | str | bool | None = None,
    config_file: "str | Path | None" = None,
    exporters: Sequence[Any] | None = None,
    processors: Sequence[Any] | None = None,
    settings: "Mapping[str, Any] | Settings | None" = None,
    **wandb_keywords: Any,
) -> "Run":
    """Start a run and make it the current one. Nothing is waited for: no network, no other process.

    project, name, id:   what it belongs to ("uncategorized"), what it is called (made up), its id (made up). Ranks of one
                         job that give the same id join one run.
    config:              hyperparameters: a dict, an argparse Namespace, or the path of a YAML file.
    dir:                 the runs directory, "./milepost-runs" by default; the run lives in DIR/PROJECT/ID/.
    group, job_type, tags, notes: for finding it again.
    mode:                "online", "offline" (keep rows for `milepost sync`) or "disabled" (every call does nothing).
    resume:              "allow", "must", "never", or "auto" / True for the last run that crashed here. Without it, an id that
                         exists begins a new attempt; nothing is ever overwritten.
    config_file:         the config file to use, instead of the one that is searched for.
    exporters:           destinations: names, {"name": {options}} mappings, or objects with `export(batch)`.
    processors:          the pipeline: names, {"name": {options}} mappings, or callables.
    settings:            a mapping with whatever the config file can say.
    wandb_keywords:      `reinit` works as in wandb; the other arguments of `wandb.init` are accepted, and one without effect
                         says so once. Any other keyword is a TypeError.

    Arguments win over MILEPOST_* variables, these over the config file. Raises ConfigurationError for settings that are
    wrong, UsageError for a run that cannot be started as asked (resume), DataError for a config that cannot be stored.
    """
    from milepost.sdk import migration, starting

    try:
        keywords = migration.Keywords(wandb_keywords)
        arguments = {
            "project": project,
            "name": name,
            "id": id,
            "dir": dir,
            "group": group,
            "job_type": job_type,
            "tags": tags,
            "notes": notes,
            "mode": mode,
            "resume": resume,
            "exporters": exporters,
            "processors": processors,
        }
        arguments, said = keywords.completed(arguments, settings)
        started: Any = starting.start(
            arguments, config=keywords.config(config), config_file=config_file, settings=said, reinit=keywords.reinit
        )
    except Error as error:  # the traceback shows the caller's line, not what milepost went through to find the mistake
        raise error.with_traceback(None) from error.__cause__
    return started  # type: ignore[no-any-return]  # a disabled run answers to the same calls


def log(data: Mapping[str, Any], step: int | None = None, commit: bool | None = None, sync: bool | None = None) -> None:
    """Log a dict of names and values as (part of) one row of the current run's history.

    data:    names to numbers, text, booleans, None, dates, lists, arrays, tensors, media, or nested dicts of these.
    step:    the row's step, >= 0. Without it, the row is the next one. A later step closes the open row, an earlier one drops
             the call with a warning, the same one joins it.
    commit:  whether this call closes its row. Default: True without a step, False with one.
    sync:    accepted as in wandb, without effect.

    Raises DataError for what cannot be logged (nothing of the call is stored), Error before `init()`.
    """
    now = _current.now
    fast = now.fast
    if fast is not None and commit is None:
        if not fast.log(data, step):
            now.long_way(data, step, commit)
        return
    active = _current.run
    if active is None:
        raise Error("You must call milepost.init() before milepost.log()")
    active.log(data, step, commit)


def define_metric(
    name: str,
    step_metric: "str | Metric | None" = None,
    step_sync: bool | None = None,
    hidden: bool | None = None,
    summary: str | None = None,
    goal: str | None = None,
    overwrite: bool | None = None,
) -> "Metric":
    """Say how a metric is to be read: its x axis and what its summary holds. See `Run.define_metric`."""
    return _required("define_metric()").define_metric(name, step_metric, step_sync, hidden, summary, goal, overwrite)


def finish(exit_code: int | None = None, timeout: float | None = None, *, quiet: bool | None = None) -> None:
    """Close the current run: commit the open row and deliver what exporters wait for. Nothing happens without a run.

    exit_code: 0 or None marks the run finished, anything else failed.
    timeout:   seconds to wait, 30 by default, 5 after an exception. What is unsent stays in the journal and is named.
    """
    if _current.run is not None:
        _current.run.finish(exit_code, timeout)


def current_run() -> "Run | DisabledRun":
    """The active run, or a silent one that takes every call and stores nothing: what a library calls."""
    from milepost.sdk.disabled import DisabledRun

    return _current.run or DisabledRun()


def save(glob_str: "str | Path", base_path: "str | Path | None" = None, policy: str = "live") -> list[str]:
    """Copy files into the current run's directory; the paths of the copies, none when nothing matches.

    glob_str:  a path or a pattern: `*`, `?`, `[...]`, `**` for folders of any depth.
    base_path: the folder whose layout is kept below RUN_DIR/files/; None for the working directory.
    policy:    "now" copies once; "live" now, and again at finish(); "end" at finish() only.
    """
    return _required("save()").save(glob_str, base_path, policy)


def log_artifact(
    artifact_or_path: Any,
    name: str | None = None,
    type: str | None = None,
    aliases: Any = None,
    tags: Any = None,
    **wandb_keywords: Any,
) -> "Artifact":
    """Copy the files of an artifact, or a file or folder, into the current run. See `Run.log_artifact`."""
    return _required("log_artifact()").log_artifact(artifact_or_path, name, type, aliases, tags)


def watch(
    models: Any,
    criterion: Any = None,
    log: str | None = "gradients",
    log_freq: int = 1000,
    idx: int | None = None,
    log_graph: bool = False,
) -> None:
    """Log histograms of a PyTorch model's gradients and parameters, as "gradients/NAME" and "parameters/NAME".

    models:   a torch.nn.Module, or several.
    log:      "gradients", "parameters", "all" or None.
    log_freq: batches between two times. The histograms join the row that the program's next log() closes.
    criterion, idx, log_graph: accepted as in wandb; idx numbers the models in the names.
    """
    _required("watch()").watch(models, criterion, log, log_freq, idx, log_graph)


def alert(title: str, text: str = "", level: "AlertLevel | str | None" = None, wait_duration: Any = None) -> None:
    """Record an alert in the current run and say it on the log. level: INFO, WARN or ERROR."""
    _required("alert()").alert(title, text, level, wait_duration)


def login(*args: Any, **keywords: Any) -> bool:
    """True: nothing needs a login here. A server's key goes into the config file or MILEPOST_API_KEY."""
    return True


_LAZY = {
    "AlertLevel": "milepost.sdk.migration",
    "Api": "milepost.sdk.api",
    "Artifact": "milepost.sdk.artifacts",
    "Audio": "milepost.media.audio",
    "Bokeh": "milepost.media.bokeh_document",
    "Classes": "milepost.media.annotations",
    "Event": "milepost.sdk.event",
    "ExportResult": "milepost.sdk.exporter",
    "Exporter": "milepost.sdk.exporter",
    "Graph": "milepost.media.graph",
    "Histogram": "milepost.media.histogram",
    "Html": "milepost.media.html",
    "Image": "milepost.media.image",
    "Molecule": "milepost.media.molecule",
    "Object3D": "milepost.media.object3d",
    "Plotly": "milepost.media.plotly_figure",
    "Run": "milepost.sdk.run",
    "RunInfo": "milepost.sdk.exporter",
    "Settings": "milepost.sdk.migration",
    "Table": "milepost.media.table",
    "Video": "milepost.media.video",
    "plot": "milepost.media",
    "plots": "milepost.media",
}


if not TYPE_CHECKING:  # type checkers know the names above; to them a misspelt one is an error

    def __getattr__(name: str) -> Any:
        """Names that change with the current run, and names that are loaded when first used."""
        if name == "run":
            return _current.run
        if name in ("config", "summary"):
            return _Before(name) if _current.run is None else getattr(_current.run, name)
        if name in _LAZY:
            from importlib import import_module

            module = _LAZY[name]
            if module.startswith("milepost.media"):
                import_module("milepost.sdk.encoding.queue")  # 10 ms that the first log() of media would take
            found = (
                import_module(f"{module}.{name}")
                if module == "milepost.media"
                else getattr(import_module(module), name)
            )
            globals()[name] = found
            return found
        if name.startswith("__"):
            raise AttributeError(f"module 'milepost' has no attribute {name!r}")
        from milepost.sdk.plugins import media_named

        found = media_named(name)
        if found is not None:
            return found
        from milepost.sdk.migration import attribute_of_module

        return attribute_of_module(name)


class _Module(_ModuleType):
    """This module: `milepost.config = {...}` sets the run's config, as wandb's own first example has it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "config":
            super().__setattr__(name, value)
            return
        from milepost.sdk.migration import set_config

        set_config(_current.run, value)


_sys.modules[__name__].__class__ = _Module


def __dir__() -> list[str]:
    return __all__
