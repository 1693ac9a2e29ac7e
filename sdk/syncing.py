"""Syncing: deliver what the exporters of a run have not delivered yet, as the run itself would have done.

Nothing here exports: a `Delivery` does, the one that a live run uses, started from the stored cursor. What is decided here
is which exporters, with which options, and for whom:

exporters   those that the run was started with, as its journal says; or the one that is asked for by name
options     of an exporter asked for, those of the config file in force, then the run's own; else the run's own. Secrets
            are not stored with a run: where an option is masked, the config file in force must have the exporter
writers     those whose process is gone. A living one delivers by itself, except to an exporter that it does not have, and
            except to the network while its run is offline: so a login node ships what compute nodes log on a shared disk
"""

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from milepost.sdk.accounting import LIVE_ONLY, account
from milepost.sdk.configuration import Component, Settings
from milepost.sdk.configuration.node import MASK
from milepost.sdk.cursor import load_cursor
from milepost.sdk.delivery import Delivery
from milepost.sdk.encoding.orphans import finish_media
from milepost.sdk.errors import ConfigurationError, Error
from milepost.sdk.exporter import RunInfo, resource_of
from milepost.sdk.reader import WriterReader, open_run
from milepost.sdk.reading import replay
from milepost.sdk.reading.alive import alive
from milepost.sdk.reading.files import Unreadable, read_file
from milepost.sdk.recovery import recover
from milepost.sdk.ring import HEADER_SIZE, read_header, shared_memory
from milepost.sdk.routing import completed, is_network, named, parts_of, routes_of
from milepost.sdk.shipper.release import NOTE, release

logger = logging.getLogger("milepost")

PATIENCE_S: Final = 60.0
"""How long an exporter may go without taking anything before it is left for the next time."""
SETTLED_S: Final = 0.5
"""Age of a ring from which on its writer has its lock, if it lives."""

State = Literal["delivered", "pending", "running", "busy", "refused"]


class Outcome(msgspec.Struct, kw_only=True):
    """What one sync did for one writer and one exporter, in rows.

    state:    "delivered": nothing is left.  "pending": the exporter did not take everything.  "running": the writer lives
              and delivers by itself, or has logged more meanwhile.  "busy": another process is delivering.  "refused": the
              exporter cannot be made here.
    rejected, filtered, delivered: by this sync.      pending: what is left.      note: why, for people.
    waiting:  of an exporter that takes no rows, what is left of what it takes: "3 files".
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
    waiting: str = ""

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
    finish_media(run_dir)
    outcomes: list[Outcome] = []
    for writer in open_run(run_dir).writers:
        stored = stored_exporters(writer)
        names = [name for name in stored if name not in LIVE_ONLY] if to is None else [to]
        for name in names:
            if writer.alive and name in stored and _delivers_itself(writer, stored[name]):
                outcomes.append(Outcome(run=writer.run, writer=writer.id, exporter=name, state="running"))
                continue
            try:
                component = _choose(name, stored, in_force, asked=to is not None)
                routes = parts_of(name, component)
            except _Refused as refused:
                outcomes.append(_refused(writer, name, str(refused)))
            except ConfigurationError as error:
                if to is not None:
                    raise
                outcomes.append(_refused(writer, name, str(error)))
            else:
                found = [_sync_one(writer, each, name, component, patience_s, moved) for each in routes]
                if to is None:
                    _name_the_other_address(name, component, in_force, found)
                outcomes += found
    if all(outcome.state == "delivered" for outcome in outcomes):
        with contextlib.suppress(OSError):
            (run_dir / NOTE).unlink(missing_ok=True)
    return outcomes


def _delivers_itself(writer: WriterReader, component: Component | None) -> bool:
    """Whether a living writer sees to an exporter: not to one that uses the network, when its run is offline."""
    offline = writer.start is not None and writer.start.values.get("mode") == "offline"
    try:
        return not (offline and component is not None and is_network(component))
    except ConfigurationError:
        return True


def complete(run_dir: Path, patience_s: float = PATIENCE_S) -> int:
    """Bring the files of a run whose processes are gone up to its journal; how many rows they had missed.

    For whoever has just recovered a run (`init` does it in the background). Raises nothing: what fails is logged.
    """
    rows = 0
    finish_media(run_dir)
    try:
        for writer in open_run(run_dir).writers:
            component = stored_exporters(writer).get("file")
            if component is not None and not writer.alive:
                rows += _sync_one(writer, "file", "file", component, patience_s, None).delivered
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


def stored_entries(writer: WriterReader) -> dict[str, tuple[str, Any]]:
    """The exporters a writer's process had, by the name of their route: the exporter's name, and what was stored of its
    options (a mapping, None, or a text for an object)."""
    settings = writer.start.values.get("settings") if writer.start is not None else None
    entries = settings.get("exporters") if isinstance(settings, dict) else None
    if not isinstance(entries, list):
        return {"file": ("file", None)}
    listed = [(str(name), options) for entry in entries if isinstance(entry, dict) for name, options in entry.items()]
    return dict(zip(named(Component(name=name) for name, _ in listed), listed, strict=True))


def stored_exporters(writer: WriterReader) -> dict[str, Component | None]:
    """The exporters a writer's process had, by the name of their route; None for one that was given as an object."""
    return {name: _stored(exporter, options) for name, (exporter, options) in stored_entries(writer).items()}


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
    here = named(in_force.exporters).get(name) if in_force is not None else None
    here = completed(here) if here is not None else None
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


def _name_the_other_address(name: str, used: Component, in_force: Settings | None, outcomes: Iterable[Outcome]) -> None:
    """Say how rows that one back end did not take reach another: the one of the config file in force, if it moved.

    Not by itself: the file in force where somebody syncs may be that of another project.
    """
    here = named(in_force.exporters).get(name) if in_force is not None else None
    here = completed(here) if here is not None and here.object is None else None
    if here is None or here.name != used.name or here.options == used.options:
        return
    for outcome in outcomes:
        if outcome.state == "pending":
            outcome.note += f"; the config file in force has other options for it: milepost sync --to {name} uses them"


def _masked(component: Component) -> bool:
    return _holds_mask(component.options) or any(_masked(processor) for processor in component.processors)


def _holds_mask(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_mask(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return any(_holds_mask(inner) for inner in value)
    return isinstance(value, str) and (value == MASK or f":{MASK}@" in value)


def _sync_one(
    writer: WriterReader,
    route: str,
    base: str,
    component: Component,
    patience_s: float,
    moved: Callable[[int], None] | None,
) -> Outcome:
    """Deliver one writer's rows through one route of a component."""
    outcome = Outcome(run=writer.run, writer=writer.id, exporter=route, state="delivered")
    with contextlib.ExitStack() as stack:
        if not stack.enter_context(delivering(writer.dir, route)):
            release(writer.dir.parent.parent)  # a shipper that lingers, with nobody to ship for
            if not stack.enter_context(delivering(writer.dir, route)):
                outcome.state, outcome.note = "busy", "another process is delivering it"
                return outcome
        try:
            made = next(each for each in routes_of(base, component) if each.name == route)
            delivery = Delivery(made, run_info(writer), writer.dir)
        except ConfigurationError as error:
            if component.where == "--to":
                raise
            return _refused(writer, route, str(error))
        before = msgspec.structs.replace(delivery.cursor)
        if not delivery.behind:
            return outcome
        everything = delivery.run_to_end(patience_s, moved)
        cursor = delivery.cursor
    outcome.delivered = cursor.delivered - before.delivered
    outcome.filtered = cursor.filtered - before.filtered
    outcome.rejected = _more(cursor.rejected, before.rejected)
    outcome.dropped = _more(cursor.dropped, before.dropped)
    books = account(writer, cursor)
    outcome.pending = books.pending
    if books.of != "rows" and books.waiting:
        outcome.waiting = f"{books.waiting:,} {books.of}"
    if not everything:
        outcome.state, outcome.note = "pending", cursor.last_error
    elif books.behind and alive(writer.id, writer.info, writer.dir):
        outcome.state, outcome.note = "running", "logged meanwhile"
    elif books.behind:
        outcome.state, outcome.note = "pending", "written meanwhile: sync again"
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
def delivering(writer_dir: Path, exporter: str) -> Iterator[bool]:
    """Whether this process alone delivers the writer's rows through one exporter, for as long as it is held."""
    descriptor = -1
    try:
        with contextlib.suppress(
            OSError
        ):  # a medium that cannot be written: nobody else can store a cursor there either
            path = writer_dir / f"cursor-{exporter}.lock"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        alone = True
        try:
            if descriptor >= 0:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            alone = False
        except OSError:
            pass  # a file system without locks: two syncs at once are the user's care
        yield alone
    finally:
        if descriptor >= 0:
            os.close(descriptor)
