"""init: from arguments, environment and config file to a run that logs."""

import contextlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from milepost.sdk import lifecycle
from milepost.sdk.capture.ranks import detect
from milepost.sdk.configuration import Component, Settings, effective, load
from milepost.sdk.current import current
from milepost.sdk.disabled import DisabledRun
from milepost.sdk.errors import Error
from milepost.sdk.metrics import Metrics
from milepost.sdk.pipeline import Pipeline
from milepost.sdk.placing import place
from milepost.sdk.plugins import BUILT_IN_EXPORTERS, build, check
from milepost.sdk.processors.flatten import Flatten
from milepost.sdk.processors.merge import Merge
from milepost.sdk.processors.summarize import Summarize
from milepost.sdk.route import Route
from milepost.sdk.routing import absolute, completed, is_network, named, routes_of
from milepost.sdk.run import Run
from milepost.sdk.run_config import mapping
from milepost.sdk.shipper.plan import Plan, Shipped, cannot_start, shipped
from milepost.sdk.summary import Summary

logger = logging.getLogger("milepost")

_promised: set[str] = set()
"""The promises that were printed."""


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
    stored = effective(chosen)
    here, plan = _divide(chosen, stored)
    routes = [route for name, component in here.items() for route in routes_of(name, component)]
    processors = chosen.processors
    default_pipeline_of(processors, Summary(Metrics()))  # a wrong pipeline is an error before anything is made
    with place(chosen, rank) as (record, found):
        record.settings = stored
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
    run = _class_of(chosen.device_values)(
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
        plan=plan and msgspec.structs.replace(plan, run_dir=str(record.dir.absolute())),
        media={"encode_in": chosen.media.encode_in, "max_waiting_bytes": chosen.media.max_waiting_bytes},
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


def _class_of(device_values: str) -> type[Run]:
    """The class of the run: one that waits for accelerators, or not."""
    if device_values == "read":
        return Run
    from milepost.sdk.deferring import DeferringRun

    return DeferringRun


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


def _divide(chosen: Settings, stored: Mapping[str, Any]) -> tuple[dict[str, Component], Plan | None]:
    """The exporters that run in this program, by the name of their route, and the plan for those that the shipper runs.

    An offline run has none that use the network: their rows wait for `milepost sync`.
    """
    here: dict[str, Component] = {}
    there: list[Shipped] = []
    options = [value for entry in stored["exporters"] for value in entry.values()]
    for (name, component), told in zip(named(chosen.exporters).items(), options, strict=True):
        if not is_network(component):
            here[name] = component
        elif chosen.mode != "offline":
            wanted = chosen.shipper.run_in == "process" and not cannot_start()
            made = msgspec.structs.replace(component, options=absolute(component.options, Path.cwd()))
            handed = shipped(name, made, told) if wanted else None
            if handed is None:
                here[name] = component
            else:
                if component.name not in BUILT_IN_EXPORTERS:  # whose declarations they were held against
                    check("exporter", component.name, component.options, component.where)
                there.append(handed)
    if not there:
        return here, None
    return here, Plan(
        run_dir="",
        exporters=tuple(there),
        local=tuple(here),
        keep=chosen.journal.keep,
        linger_s=chosen.shipper.linger / 1000,
    )


def _announce(run: Run, chosen: Settings) -> None:
    """Two lines on standard error: which run this is, where it is, what is in force. A promise is said once a process."""
    if os.environ.get("MILEPOST_SILENT", "").lower() in ("1", "true") or os.environ.get("WANDB_SILENT", "").lower() in (
        "1",
        "true",
    ):
        return
    verb = "resuming" if run.resumed else "logging"
    lines = [f"milepost: {verb} run {run.name} ({run.path}) in {_short(run.dir)}"]
    if chosen.file is not None:
        lines.append(f"milepost: settings from {_short(str(chosen.file))}")
    if run.promise not in _promised:
        _promised.add(run.promise)
        lines.append(f"milepost: {run.promise}")
    if not "".join(lines).isprintable():  # a name may hold what the terminal would obey
        from milepost.sdk.terminal import printable

        lines = [printable(line) for line in lines]
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
