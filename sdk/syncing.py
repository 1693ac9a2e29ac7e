"""Syncing: deliver what the exporters of a run have not delivered yet, as the run itself would have done.

Nothing here exports: a `Delivery` does, the one that a live run uses, started from the stored cursor. What is decided here
is which exporters, with which options, and for whom:

exporters   those that the run was started with, as its journal says; or the one that is asked for by name
options     of an exporter asked for, those of the config file in force, then the run's own; else the run's own. Secrets
            are not stored with a run: where an option is masked, the config file in force must have the exporter
writers     those whose process is gone. A living one delivers by itself, except to an exporter that it does not have
"""

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from milepost.sdk.accounting import LIVE_ONLY, account
from milepost.sdk.configuration import Component, Settings
from milepost.sdk.configuration.node import MASK
from milepost.sdk.delivery import Delivery, Route, load_cursor
from milepost.sdk.errors import ConfigurationError, Error
from milepost.sdk.exporter import RunInfo, resource_of
from milepost.sdk.reader import WriterReader, open_run
from milepost.sdk.reading import replay
from milepost.sdk.reading.alive import alive
from milepost.sdk.reading.files import Unreadable, read_file
from milepost.sdk.recovery import recover
from milepost.sdk.ring import HEADER_SIZE, read_header, shared_memory

logger = logging.getLogger("milepost")

PATIENCE_S: Final = 60.0
"""How long an exporter may go without taking anything before it is left for the next time."""
SETTLED_S: Final = 0.5
"""Age of a ring from which on its writer has its lock, if it lives."""

State = Literal["delivered", "pending", "running", "busy", "refused"]


class Outcome(msgspec.Struct, kw_only=True):
    """What one sync did for one writer and one exporter, in rows.

    state:    "delivered": nothing is left.  "pending": the exporter did not take everything.  "running": the writer lives
              and delivers by itself.  "busy": another process is delivering.  "refused": the exporter cannot be made here.
    rejected, filtered, delivered: by this sync.      pending: what is left.      note: why, for people.
    """

    run: str
    writer: str
    exporter: str
    state: State
    delivered: int = 0
    filtered: int = 0
    rejected: dict[str, int] = {}
    dropped: dict[str, int] = {}
    pending: int = 0
    note: str = ""

    @property
    def settled(self) -> bool:
        """Whether nothing is left that this machine could deliver."""
        return self.state in ("delivered", "running")


def sync(
    run_dir: Path,
    *,
    to: str | None = None,
    in_force: Settings | None = None,
    patience_s: float = PATIENCE_S,
    moved: Callable[[int], None] | None = None,
) -> list[Outcome]:
    """Deliver what is left of one run; one outcome per writer and exporter.

    to:        one exporter by name, instead of those that the run was started with.
    in_force:  the settings in force here, for options and secrets.
    moved:     called with the number of rows settled, now and then.
    Raises ConfigurationError when nothing is called `to`.
    """
    recover_settled(run_dir)
    outcomes: list[Outcome] = []
    for writer in open_run(run_dir).writers:
        stored = stored_exporters(writer)
        names = [name for name in stored if name not in LIVE_ONLY] if to is None else [to]
        for name in names:
            if writer.alive and name in stored:
                outcomes.append(Outcome(run=writer.run, writer=writer.id, exporter=name, state="running"))
                continue
            try:
                component = _choose(name, stored, in_force, asked=to is not None)
            except _Refused as refused:
                outcomes.append(_refused(writer, name, str(refused)))
            else:
                outcomes += _sync_one(writer, component, patience_s, moved)
    return outcomes


def complete(run_dir: Path, patience_s: float = PATIENCE_S) -> int:
    """Bring the files of a run whose processes are gone up to its journal; how many rows they had missed.

    For whoever has just recovered a run (`init` does it in the background). Raises nothing: what fails is logged.
    """
    rows = 0
    try:
        for writer in open_run(run_dir).writers:
            component = stored_exporters(writer).get("file")
            if component is not None and not writer.alive:
                rows += sum(outcome.delivered for outcome in _sync_one(writer, component, patience_s, None))
    except (Error, OSError) as error:
        logger.warning("milepost: the files of %s could not be completed: %s", run_dir, error)
    return rows


def recover_settled(directory: Path) -> int:
    """Put away the rings of dead writers at or below a directory, also of one that died a moment ago."""
    recovered = len(recover(directory, settled_s=SETTLED_S))
    if not orphan_rings(directory):
        return recovered
    time.sleep(SETTLED_S)
    return recovered + len(recover(directory, settled_s=SETTLED_S))


def orphan_rings(directory: Path) -> list[Path]:
    """The rings at or below a directory whose writers are dead: rows in shared memory that are not in the journal yet."""
    found: list[Path] = []
    with contextlib.suppress(OSError):
        for path in sorted(shared_memory().glob("*-*.ring")):
            writer = path.name.partition("-")[0]
            try:
                header = read_header(read_file(path, HEADER_SIZE))
            except Unreadable:
                continue  # put away meanwhile
            where = Path(str(header.get("run_dir"))) if header is not None else None
            if where is not None and where.is_relative_to(directory.absolute()):
                if not alive(writer, {}, where / "journal" / writer):
                    found.append(path)
    return found


def stored_exporters(writer: WriterReader) -> dict[str, Component | None]:
    """The exporters a writer's process had, by name; None for one that was given as an object."""
    settings = writer.start.values.get("settings") if writer.start is not None else None
    entries = settings.get("exporters") if isinstance(settings, dict) else None
    if not isinstance(entries, list):
        return {"file": Component(name="file")}
    found: dict[str, Component | None] = {}
    for entry in entries:
        if isinstance(entry, dict):
            found.update({str(name): _stored(str(name), options) for name, options in entry.items()})
    return found


class _Refused(Exception):
    """An exporter cannot be made here; the text says why and what to do."""


def _stored(name: str, options: Any) -> Component | None:
    """A component from what `effective()` stored of it; None where it holds an object."""
    if isinstance(options, str):
        return None
    told = dict(options) if isinstance(options, Mapping) else {}
    processors: list[Component] = []
    for entry in told.pop("processors", None) or ():
        for inner, inner_options in entry.items() if isinstance(entry, dict) else ():
            processor = _stored(str(inner), inner_options)
            if processor is None:
                return None
            processors.append(processor)
    return Component(name=name, options=told, processors=tuple(processors), where="the run's settings")


def _choose(name: str, stored: Mapping[str, Component | None], in_force: Settings | None, *, asked: bool) -> Component:
    """The component to deliver with. Raises `_Refused`, and ConfigurationError when nothing has that name."""
    here = next((c for c in in_force.exporters if c.name == name), None) if in_force is not None else None
    before = stored.get(name)
    if asked:
        return (
            here
            or (before if before is not None and not _masked(before) else None)
            or Component(name=name, where="--to")
        )
    if before is None:
        raise _Refused("was given to init() as an object, which only that program has")
    if not _masked(before):
        return before
    if here is None:
        raise _Refused(
            "has secrets, which are not stored with a run: put it into the config file in force (milepost config show)"
        )
    return here


def _masked(component: Component) -> bool:
    return _holds_mask(component.options) or any(_masked(processor) for processor in component.processors)


def _holds_mask(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_mask(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return any(_holds_mask(inner) for inner in value)
    return isinstance(value, str) and (value == MASK or f":{MASK}@" in value)


def _sync_one(
    writer: WriterReader, component: Component, patience_s: float, moved: Callable[[int], None] | None
) -> list[Outcome]:
    """Deliver what is left for one exporter: one outcome, or one for each of its signals."""
    from milepost.sdk.starting import routes_of

    with _alone(writer.dir) as alone:
        if not alone:
            note = "another process is delivering it"
            return [Outcome(run=writer.run, writer=writer.id, exporter=component.name, state="busy", note=note)]
        try:
            routes = routes_of(component)
        except ConfigurationError as error:
            if component.where == "--to":
                raise
            return [_refused(writer, component.name, str(error))]
        return [_deliver(writer, route, patience_s, moved) for route in routes]


def _deliver(writer: WriterReader, route: Route, patience_s: float, moved: Callable[[int], None] | None) -> Outcome:
    outcome = Outcome(run=writer.run, writer=writer.id, exporter=route.name, state="delivered")
    delivery = Delivery(route, run_info(writer), writer.dir)
    before = msgspec.structs.replace(delivery.cursor)
    if not delivery.behind:
        return outcome
    everything = delivery.run_to_end(patience_s, moved)
    cursor = delivery.cursor
    outcome.delivered = cursor.delivered - before.delivered
    outcome.filtered = cursor.filtered - before.filtered
    outcome.rejected = _more(cursor.rejected, before.rejected)
    outcome.dropped = _more(cursor.dropped, before.dropped)
    outcome.pending = account(writer, cursor).pending
    if not everything:
        outcome.state, outcome.note = "pending", cursor.last_error
    return outcome


def run_info(writer: WriterReader) -> RunInfo:
    """What the exporters of a writer's process were told."""
    told = writer.start.values if writer.start is not None else {}
    project, _, run_id = writer.run.partition("/")
    return RunInfo(
        id=str(told.get("id") or run_id),
        project=str(told.get("project") or project),
        name=str(told.get("name") or run_id),
        dir=writer.dir.parent.parent,
        writer=writer.id,
        attempt=writer.attempt,
        rank=writer.rank,
        primary=bool(told.get("primary", not writer.rank and not writer.parent)),
        resumed=bool(told.get("resumed")),
        config=replay.config(writer.events("run.start", "config")),
        group=_text(told.get("group")),
        job_type=_text(told.get("job_type")),
        tags=tuple(str(tag) for tag in told.get("tags") or ()),
        host=str(writer.info.get("host") or told.get("host") or ""),
        parent=writer.parent,
        resource=resource_of(told.get("settings") or {}),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _refused(writer: WriterReader, exporter: str, note: str) -> Outcome:
    cursor = load_cursor(writer.dir / f"cursor-{exporter}.json", exporter)
    pending = account(writer, cursor).pending
    state: State = "refused" if pending else "delivered"
    return Outcome(run=writer.run, writer=writer.id, exporter=exporter, state=state, pending=pending, note=note)


def _more(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {reason: count - before.get(reason, 0) for reason, count in now.items() if count != before.get(reason, 0)}


@contextlib.contextmanager
def _alone(writer_dir: Path) -> Iterator[bool]:
    """Whether this process alone delivers the writer's rows, for as long as it is held."""
    descriptor = os.open(writer_dir, os.O_RDONLY | os.O_CLOEXEC)
    try:
        alone = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            alone = False
        except OSError:
            pass  # a file system without locks: two syncs at once are the user's care
        yield alone
    finally:
        os.close(descriptor)
