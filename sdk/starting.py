"""init: from arguments, environment and config file to a run that logs."""

import contextlib
import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from milepost.sdk import lifecycle
from milepost.sdk.capture.ranks import detect
from milepost.sdk.configuration import Component, Settings, effective, load
from milepost.sdk.current import current
from milepost.sdk.delivery import Route
from milepost.sdk.disabled import DisabledRun
from milepost.sdk.errors import Error
from milepost.sdk.exporter import CallableExporter, Exporter
from milepost.sdk.metrics import Metrics
from milepost.sdk.pipeline import Pipeline
from milepost.sdk.placing import place
from milepost.sdk.plugins import build, resolve
from milepost.sdk.processor import check_exporter_processors
from milepost.sdk.processors.flatten import Flatten
from milepost.sdk.processors.merge import Merge
from milepost.sdk.processors.summarize import Summarize
from milepost.sdk.run import Run
from milepost.sdk.run_config import mapping
from milepost.sdk.summary import Summary

logger = logging.getLogger("milepost")


def start(
    arguments: Mapping[str, Any],
    *,
    config: Any,
    config_file: str | Path | None,
    settings: Mapping[str, Any] | None,
    reinit: Any = None,
) -> Run | DisabledRun:
    """Start a run, or give back the one that is active. See `milepost.init` for the arguments."""
    user_config = {} if config is None else mapping(config)
    chosen = load(config_file=config_file, settings=settings, arguments=arguments)
    for warning in chosen.warnings:
        logger.warning("milepost: %s", warning)
    active = _active(reinit, arguments)
    if active is not None:
        if user_config:
            active.config.update(user_config, allow_val_change=True)
        return active
    if chosen.mode == "disabled":
        disabled = DisabledRun(user_config, chosen.project)
        lifecycle.began(disabled)
        return disabled
    chosen = msgspec.structs.replace(chosen, exporters=tuple(completed(each) for each in chosen.exporters))
    rank = detect(os.environ)
    routes = [route for component in chosen.exporters for route in routes_of(component)]
    _unique_names(routes)
    processors = chosen.processors
    default_pipeline_of(processors, Summary(Metrics()))  # a wrong pipeline is an error before anything is made
    with place(chosen, rank) as (record, found):
        record.settings = effective(chosen)
        record.keep = chosen.journal.keep
        record.writer_options = {
            "block_bytes": max(chosen.ring.bytes // 2, 64 * 1024),
            "ring_bytes": chosen.ring.max_bytes,
            "min_free": chosen.journal.min_free,
            "max_bytes": chosen.journal.max_bytes,
        }
        writer = record.new_writer()
        if chosen.strict and writer.promise != "ring":
            writer.close()
            raise Error(
                f"init(): strict is set, and here the promise is only: {writer.promise} "
                f"({getattr(writer, 'no_ring', record.dir)})"
            )
    run = Run(
        record,
        writer=writer,
        pipeline=lambda summary: default_pipeline_of(processors, summary),
        routes=routes,
        config={**found.config, **user_config},
        base_summary=found.summary,
        on_invalid=chosen.on_invalid,
        unordered=chosen.steps == "unordered",
        timeouts_s=(chosen.finish.timeout / 1000, chosen.finish.timeout_after_exception / 1000),
        on_finish=lifecycle.finished,
    )
    for metric in found.summary.metrics if found.summary is not None else ():
        run.record("metric", {**metric.as_values(), "overwrite": True})
    lifecycle.began(run)
    if record.primary:
        record.write()
        _announce(run, chosen)
    _background(run, chosen, primary=record.primary)
    if chosen.resume_step is not None and record.resumed:
        run.rewind(chosen.resume_step)
    return run


def _active(reinit: Any, arguments: Mapping[str, Any]) -> Run | DisabledRun | None:
    """The run that init() gives back instead of starting one: the active one, unless asked otherwise."""
    active = current.run
    if active is None or reinit == "create_new":
        return None
    if reinit in (True, "finish_previous") or _in_notebook():
        active.finish()
        return None
    given = ", ".join(name for name, value in arguments.items() if value is not None)
    logger.warning(
        "milepost: init() was called while run %s is active, which is given back%s. Call milepost.finish() first for a new "
        'run, or init(reinit="create_new") for a second one beside it',
        active.path,
        f"; these arguments have no effect: {given}" if given else "",
    )
    return active


def _in_notebook() -> bool:
    return "ipykernel" in sys.modules and "IPython" in sys.modules


def default_pipeline_of(components: Sequence[Component], summary: Summary) -> Pipeline:
    """The pipeline of these components; `summarize` keeps this summary."""
    processors: list[Any] = []
    for component in components:
        if component.object is not None:
            processors.append(component.object)
        elif component.name == "summarize":
            processors.append(Summarize(summary))
        else:
            processors.append(build("processor", component.name, component.options, component.where))
    return Pipeline(processors)


def default_pipeline(summary: Summary) -> Pipeline:
    """flatten, merge, summarize."""
    return Pipeline([Flatten(), Merge(), Summarize(summary)])


def default_routes() -> list[Route]:
    """The file exporter alone: what a process that attaches to a run feeds."""
    return [Route("file", build("exporter", "file"))]


def completed(component: Component) -> Component:
    """The component with what its options leave open filled from variables of the environment, where its class reads some.

    So the run stores what was in force, and the shipper, which has another environment, makes the same exporter.
    """
    if component.object is not None:
        return component
    fill = getattr(resolve("exporter", component.name), "with_environment", None)
    if fill is None:
        return component
    return msgspec.structs.replace(component, options=fill(component.options, os.environ))


def routes_of(component: Component) -> list[Route]:
    """The exporter of a component and what stands before it, made from their options; one route for each signal it has."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", component.name)[:64].lstrip(".")  # its cursor is a file of that name
    name = name or "exporter"
    if component.object is not None:
        exporter = component.object
        if not isinstance(exporter, Exporter) and not hasattr(exporter, "export"):
            exporter = CallableExporter(exporter)
        return [Route(name, exporter, _processors_of(component))]
    parts = getattr(resolve("exporter", component.name), "parts", None)
    signals = {"": component.options} if parts is None else parts(component.options)
    routes: list[Route] = []
    for signal, options in signals.items():
        made = build("exporter", component.name, options, component.where)
        if not hasattr(made, "export"):
            made = CallableExporter(made)
        routes.append(Route(f"{name}-{signal}" if signal else name, made, _processors_of(component)))
    return routes


def _processors_of(component: Component) -> list[Any]:
    """What stands before an exporter, made anew, since each signal is delivered on a thread of its own."""
    processors = [
        inner.object if inner.object is not None else build("processor", inner.name, inner.options, inner.where)
        for inner in component.processors
    ]
    check_exporter_processors(component.name, processors)
    return processors


def _unique_names(routes: list[Route]) -> None:
    """Two exporters of one name get their own cursors: console, console-2."""
    seen: dict[str, int] = {}
    for route in routes:
        seen[route.name] = seen.get(route.name, 0) + 1
        if seen[route.name] > 1:
            route.name = f"{route.name}-{seen[route.name]}"


def _announce(run: Run, chosen: Settings) -> None:
    """Two lines on standard error: which run this is, where it is, what is in force."""
    if os.environ.get("MILEPOST_SILENT", "").lower() in ("1", "true") or os.environ.get("WANDB_SILENT", "").lower() in (
        "1",
        "true",
    ):
        return
    verb = "resuming" if run.resumed else "logging"
    lines = [f"milepost: {verb} run {run.name} ({run.path}) in {_short(run.dir)}"]
    if chosen.file is not None:
        lines.append(f"milepost: settings from {_short(str(chosen.file))}")
    lines.append(f"milepost: {run.promise}")
    with contextlib.suppress(Exception):  # a closed standard error is no reason not to train
        print("\n".join(lines), file=sys.stderr, flush=True)


def _short(path: str) -> str:
    relative = os.path.relpath(path)
    return relative if len(relative) < len(path) and not relative.startswith("../..") else path


def _background(run: Run, chosen: Settings, *, primary: bool) -> None:
    """Start what is gathered by itself: environment once, system metrics at intervals, console output when asked for."""
    from milepost.sdk.capture.gathering import Gathering

    gathering = Gathering(run, chosen.capture, primary=primary)
    run.closers.append(gathering.close)
    gathering.start()
