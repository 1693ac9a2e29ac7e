"""init: from arguments, environment and config file to a run that logs."""

import contextlib
import fcntl
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from milepost.sdk import lifecycle, names
from milepost.sdk.capture.ranks import RankInfo, detect
from milepost.sdk.current import current
from milepost.sdk.configuration import Component, Settings, effective, load
from milepost.sdk.delivery import Route
from milepost.sdk.disabled import DisabledRun
from milepost.sdk.errors import Error, UsageError
from milepost.sdk.exporter import CallableExporter, Exporter
from milepost.sdk.metrics import Metrics
from milepost.sdk.pipeline import Pipeline
from milepost.sdk.plugins import build
from milepost.sdk.processors.flatten import Flatten, flatten_into
from milepost.sdk.processors.merge import Merge
from milepost.sdk.processors.summarize import Summarize
from milepost.sdk.run import Run
from milepost.sdk.run_config import mapping
from milepost.sdk.run_record import RunRecord
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
    rank = detect(os.environ)
    routes = [route_of(component) for component in chosen.exporters]
    _unique_names(routes)
    processors = chosen.processors
    default_pipeline_of(processors, Summary(Metrics()))  # a wrong pipeline is an error before anything is made
    with _place(chosen, rank) as (record, found):
        record.settings = effective(chosen)
        record.writer_options = {
            "block_bytes": max(chosen.ring.bytes // 2, 64 * 1024),
            "ring_bytes": chosen.ring.max_bytes,
            "min_free": chosen.journal.min_free,
            "max_bytes": chosen.journal.max_bytes,
        }
        writer = record.new_writer()
        if chosen.strict and writer.promise != "ring":
            writer.close()
            raise Error(f"init(): strict is set, and here the promise is only: {writer.promise} ({getattr(writer, 'no_ring', record.dir)})")
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
    for metric in found.metrics:
        run.define_metric(**metric)
    lifecycle.began(run)
    if record.primary:
        record.write()
        _announce(run, chosen)
    _background(run, chosen)
    if chosen.resume_step is not None and record.resumed:
        run.rewind(chosen.resume_step)
    return run


class Found:
    """What a resumed run brings along."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}
        self.metrics: list[dict[str, Any]] = []


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
        active.path, f"; these arguments have no effect: {given}" if given else "",
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
            processors.append(build("processor", component.name, component.options))
    return Pipeline(processors)


def default_pipeline(summary: Summary) -> Pipeline:
    """flatten, merge, summarize."""
    return Pipeline([Flatten(), Merge(), Summarize(summary)])


def default_routes() -> list[Route]:
    """The file exporter alone: what a process that attaches to a run feeds."""
    return [Route("file", build("exporter", "file"))]


def route_of(component: Component) -> Route:
    """The exporter of a component and what stands before it, made from their options."""
    exporter = component.object if component.object is not None else build("exporter", component.name, component.options)
    if not isinstance(exporter, Exporter) and not hasattr(exporter, "export"):
        exporter = CallableExporter(exporter)
    processors = [
        inner.object if inner.object is not None else build("processor", inner.name, inner.options)
        for inner in component.processors
    ]
    return Route(component.name, exporter, processors)


def _unique_names(routes: list[Route]) -> None:
    """Two exporters of one name get their own cursors: console, console-2."""
    seen: dict[str, int] = {}
    for route in routes:
        seen[route.name] = seen.get(route.name, 0) + 1
        if seen[route.name] > 1:
            route.name = f"{route.name}-{seen[route.name]}"


@contextlib.contextmanager
def _place(chosen: Settings, rank: RankInfo) -> Iterator[tuple[RunRecord, Found]]:
    """Who the run is and where it lives, decided under a lock so that ranks that start together agree."""
    run_id = chosen.id or rank.shared_run_id
    resume = chosen.resume
    root = _writable(chosen)
    _recover_later(root)
    project = root / chosen.project
    if resume == "auto" and run_id is None:
        run_id = _last_crashed(project)
    elif resume == "must" and run_id is None:
        raise UsageError('init(resume="must") needs the id of the run to resume: init(id="...") or MILEPOST_RUN_ID')
    record = RunRecord(
        id=run_id or names.run_id(),
        project=chosen.project,
        name=chosen.name or "",
        dir=project,
        group=chosen.group or rank.group,
        job_type=chosen.job_type,
        tags=tuple(chosen.tags),
        notes=chosen.notes,
        mode=chosen.mode,
        rank=rank.rank,
        primary=not rank.rank,
    )
    record.dir = project / record.id
    found = Found()
    exists = (record.dir / "journal").is_dir()
    if resume == "must" and not exists:
        raise UsageError(f'init(resume="must"): there is no run {record.id} in {project}; see what is there with: milepost ls {root}')
    if resume == "never" and exists:
        raise UsageError(f'init(resume="never"): run {record.id} exists in {project}; choose another id, or resume="allow"')
    record.dir.mkdir(parents=True, exist_ok=True)
    with _locked(record.dir):
        if (record.dir / "journal").is_dir():
            _join_or_resume(record, found, chosen, rank)
        elif rank.attempt is not None and rank.shared_run_id is not None:
            record.attempt = rank.attempt
        record.name = record.name or names.run_name()
        yield record, found


def _join_or_resume(record: RunRecord, found: Found, chosen: Settings, rank: RankInfo) -> None:
    """The run's directory is there already: resume it, join it as another rank, or begin its next attempt."""
    from milepost.sdk.reader import open_run
    from milepost.sdk.recovery import recover

    recover(record.dir, settled_s=0.5)
    reader = open_run(record.dir)
    if not reader.writers:
        return
    card = reader.info
    record.name = record.name or str(card.get("name") or "")
    record.attempt = reader.attempt
    if chosen.resume in ("allow", "must", "auto"):
        _resume(record, found, reader)
        return
    others = [writer for writer in reader.members if writer.alive and not writer.parent]
    same_job = rank.shared_run_id is not None and (rank.attempt or reader.attempt) <= reader.attempt
    late = rank.rank is not None and all(w.rank is not None and w.rank != rank.rank for w in reader.members if not w.parent)
    if others or same_job or late:
        if rank.rank is None:
            record.primary = False
        return
    record.attempt = max(reader.attempt + 1, rank.attempt or 1)
    logger.warning(
        "milepost: run %s exists; this is its attempt %d. The earlier one is kept. To go on with it instead: init(resume=\"allow\")",
        record.id, record.attempt,
    )


def _resume(record: RunRecord, found: Found, reader: Any) -> None:
    """Take over what the run said so far."""
    from milepost.sdk.reading import replay
    from milepost.sdk.reading.rows import Wish

    writers = [w for w in reader.members if not w.parent and (w.rank or 0) == (record.rank or 0)] or reader.primary
    events = [event for writer in writers for event in writer.survey.events]
    facts = replay.facts(events)
    record.resumed = True
    record.name = record.name or str(facts.get("name") or "")
    record.group = record.group or facts.get("group")
    record.job_type = record.job_type or facts.get("job_type")
    record.tags = record.tags or tuple(facts.get("tags") or ())
    record.notes = record.notes or facts.get("notes")
    found.config = replay.config(events)
    flatten_into(found.summary, [], replay.summary(writers), "", ".")
    for key in ("_step", "_runtime", "_timestamp"):
        found.summary.pop(key, None)
    found.metrics = [
        {**event.values, "summary": ",".join(event.values.get("summary") or ())} for event in events if event.kind == "metric"
    ]
    last_step, last_runtime = -1, 0.0
    for row in reader.select(record.rank if record.rank else None).scan(Wish(keys=("_step", "_runtime")), lambda value: value):
        last_step, last_runtime = row["_step"], row["_runtime"]
    record.start_step = last_step + 1
    record.earlier_runtime_s = last_runtime


def _last_crashed(project: Path) -> str | None:
    """The id of the last run of a project that crashed or was preempted on this machine."""
    from milepost.sdk.api import Api

    if not project.is_dir():
        return None
    for run in Api(project.parent).runs(project.name):
        if run.state in ("crashed", "preempted", "failed"):
            return str(run.id)
    return None


def _writable(chosen: Settings) -> Path:
    """The runs directory, or where rows can be kept instead when it cannot be written; says so."""
    reasons: list[str] = []
    for root in (chosen.dir, Path(tempfile.gettempdir()) / f"milepost-{os.getuid()}" / "runs", Path("/dev/shm") / f"milepost-{os.getuid()}" / "runs"):  # noqa: S108
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root):
                pass
        except OSError as error:
            reasons.append(f"{root}: {error.strerror or error}")
            if chosen.strict:
                break
            continue
        if reasons:
            logger.warning("milepost: the runs directory cannot be written (%s); this run is kept in %s. Fix the directory, or "
                           "choose another with dir= or MILEPOST_DIR", reasons[0], root)
        _ignore(root)
        return root
    raise Error(f"init(): no runs directory can be written: {'; '.join(reasons)}; choose another with dir= or MILEPOST_DIR")


def _ignore(root: Path) -> None:
    """Keep runs out of the user's repository."""
    with contextlib.suppress(OSError):
        fd = os.open(root / ".gitignore", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(fd, b"# made by milepost: runs are data, not code\n*\n")
        os.close(fd)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Alone with a run's directory, against other processes that start the same run."""
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # a file system without locks: ranks then agree by starting apart
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _announce(run: Run, chosen: Settings) -> None:
    """Two lines on standard error: which run this is, where it is, what is in force."""
    if os.environ.get("MILEPOST_SILENT", "").lower() in ("1", "true") or os.environ.get("WANDB_SILENT", "").lower() in ("1", "true"):
        return
    verb = "resuming" if run.resumed else "logging"
    lines = [f"milepost: {verb} run {run.name} ({run.path}) in {_short(run.dir)}"]
    if chosen.file is not None:
        lines.append(f"milepost: settings from {_short(str(chosen.file))}")
    if run._writer.promise != "ring":
        lines.append(f"milepost: {run.promise}")
    with contextlib.suppress(Exception):  # a closed standard error is no reason not to train
        print("\n".join(lines), file=sys.stderr, flush=True)


def _short(path: str) -> str:
    relative = os.path.relpath(path)
    return relative if len(relative) < len(path) and not relative.startswith("../..") else path


def _recover_later(root: Path) -> None:
    """Put orphan rings of this runs directory away, off the caller's path."""
    from milepost.sdk.ring import shared_memory

    with contextlib.suppress(OSError):
        if any(shared_memory().glob("*.ring")):
            from milepost.sdk.recovery import recover

            threading.Thread(target=recover, args=(root,), name="milepost-recover", daemon=True).start()


def _background(run: Run, chosen: Settings) -> None:
    """Start what is gathered by itself: environment once, system metrics at intervals, console output when asked for."""
    from milepost.sdk.capture.gathering import Gathering

    gathering = Gathering(run, chosen.capture, primary=run._record.primary)
    run.closers.append(gathering.close)
    gathering.start()
