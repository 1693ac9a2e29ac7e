"""DirectoryStore: the runs of a runs directory, live, read only. What `milepost server --runs DIR` serves.

A thread looks at the directory once a second, at the runs that go on four times, and reads what changed: the run table never
waits for a disk. Rows are read when a chart first asks for them, and from then on only what was added.
"""

import contextlib
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from milepost.sdk.api import Api, run_dirs
from milepost.sdk.cli.card import card, leaves
from milepost.sdk.encoding.refs import filled
from milepost.sdk.errors import RunNotFoundError, UsageError
from milepost.sdk.reading.files import writer_dirs
from milepost.sdk.reading.media import Source, inside
from milepost.sdk.reading.run import ENDS, Run
from milepost.sdk.reading.run_files import run_files
from milepost.server.records import KeyRecord, RunLine, RunRecord, is_aggregate
from milepost.server.store import Change, Row, RowQuery, last_of, media_query
from milepost.server.store.media_page import MediaPage, media_page
from milepost.server.store.run_columns import KeySeries, RunColumns, kind_of

logger = logging.getLogger("milepost.server")

LOOK_S: Final = 1.0
FOLLOW_S: Final = 0.25
"""How often the runs that go on are looked at: a point that was logged is to be seen while it is news."""
KEPT_BYTES: Final = 256 << 20
"""Columns of runs that are kept; beyond it the run that was not asked for longest is forgotten, and read again when it is."""
KEPT_CHANGES: Final = 10_000

_Print = tuple[Any, ...]


class _Known:
    """A run of the directory, as it was when it was last read."""

    def __init__(self, directory: Path) -> None:
        self.dir = directory
        self.print: _Print = ()
        self.told: _Print = ()
        self.record: RunRecord | None = None
        self.keys: dict[str, str] = {}
        self.read_s = 0.0
        self.read_at = 0.0
        self.lock = threading.Lock()


class DirectoryStore:
    """The runs below a runs directory. `start()` begins to look, `stop()` ends it."""

    writable = False

    def __init__(self, directory: Path) -> None:
        self.dir = directory
        Api(directory)  # raises when it is not there; puts the rings of dead programs in order
        self._known: dict[Path, _Known] = {}
        self._index: dict[tuple[str, str], _Known] = {}
        self._columns: OrderedDict[Path, RunColumns] = OrderedDict()
        self._lock = threading.Lock()
        self._changes: deque[Change] = deque(maxlen=KEPT_CHANGES)
        self._version = (
            time.time_ns() // 1000
        )  # above all that were told before a restart: a page that comes back misses nothing
        self._stop = threading.Event()
        self._looked = threading.Event()
        self._thread: threading.Thread | None = None

    # Looking

    def start(self) -> None:
        """Look at the directory from now on."""
        self._thread = threading.Thread(target=self._run, name="milepost-server-look", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        next_look = 0.0
        while not self._stop.is_set():
            started = time.monotonic()
            whole = started >= next_look
            try:
                if whole:
                    self.look()
                else:
                    self.follow()
            except Exception:
                logger.exception("milepost: looking at %s failed; it is tried again", self.dir)
            self._looked.set()
            took = time.monotonic() - started
            if whole:
                next_look = started + max(LOOK_S, 4 * took)
            self._stop.wait(max(FOLLOW_S, (3 if whole else 10) * took))

    def look(self) -> None:
        """Read what changed in the directory."""
        there: set[Path] = set()
        for path in run_dirs(self.dir):
            if self._stop.is_set():
                return
            there.add(path)
            known = self._known.get(path) or _Known(path)
            self._look_at(known)
        for path in [path for path in self._known if path not in there]:
            self._forget(path)
        self._looked.set()

    def follow(self) -> None:
        """Read what the runs that go on have added."""
        for known in list(self._known.values()):
            if self._stop.is_set():
                return
            if known.record is not None and known.record.state == "running":
                self._look_at(known, only_added=True)

    def _look_at(self, known: _Known, *, only_added: bool = False) -> None:
        record = known.record
        seen = _fingerprint(known.dir, ended=record is not None and record.state in ENDS)
        same = seen == known.print
        if record is not None and time.monotonic() - known.read_at < 20 * known.read_s:
            # Long runs are read again less often. Their row of the table is behind by a few seconds; their charts are not, as
            # whoever hears that there are rows asks for them, and those are read from where the last ones ended.
            if not same and seen != known.told:
                with self._lock:
                    known.told = seen
                    self._tell("rows", record, {"rows": record.rows, "last_step": record.last_step})
            return
        if same and (only_added or record is None or record.state != "running"):
            return
        started = time.monotonic()
        try:
            fresh, keys = _read(known.dir)
        except Exception:
            logger.exception("milepost: the run in %s cannot be read", known.dir)
            known.print = seen
            return
        known.read_at, known.read_s = time.monotonic(), time.monotonic() - started
        known.print, known.keys = seen, keys
        if same and record is not None and record.state == fresh.state:
            record.duration = fresh.duration
            return
        with self._lock:
            known.record = fresh
            self._known[known.dir] = known
            self._index[fresh.project, fresh.id] = known
            if record is None or _said(record) != _said(fresh):
                self._tell("run", fresh, {"state": fresh.state, "name": fresh.name})
            if record is None or record.rows != fresh.rows:
                facts: dict[str, Any] = {"rows": fresh.rows, "last_step": fresh.last_step}
                self._tell("rows", fresh, facts)

    def _forget(self, path: Path) -> None:
        with self._lock:
            known = self._known.pop(path)
            self._columns.pop(path, None)
            if known.record is not None:
                self._index.pop((known.record.project, known.record.id), None)
                self._tell("deleted", known.record, {})

    def _tell(self, kind: str, record: RunRecord, facts: dict[str, Any]) -> None:
        self._version += 1
        self._changes.append(Change(self._version, kind, record.project, record.id, facts))

    # The table

    def projects(self) -> list[str]:
        """The projects that hold runs, by name."""
        self._looked.wait(60)
        with self._lock:
            return sorted({project for project, _ in self._index})

    def runs(self, project: str) -> list[RunRecord]:
        """The runs of a project, newest first."""
        self._looked.wait(60)
        with self._lock:
            found = [known.record for (of, _), known in self._index.items() if of == project]
        return sorted(
            (record for record in found if record is not None), key=lambda record: (-record.created, record.id)
        )

    def run(self, project: str, run: str) -> RunRecord:
        """One run."""
        record = self._find(project, run).record
        assert record is not None
        return record

    def _find(self, project: str, run: str) -> _Known:
        self._looked.wait(60)  # a server that has just started knows none of them yet
        with self._lock:
            known = self._index.get((project, run))
        if known is None:
            raise RunNotFoundError(f"no run {run!r} in project {project!r}")
        return known

    def project_keys(self, project: str, runs: Sequence[str] | None) -> dict[str, tuple[str, int]]:
        """The keys of a project's runs: kind, and in how many runs."""
        wanted = None if runs is None else set(runs)
        with self._lock:
            chosen = [k for (of, run), k in self._index.items() if of == project and (wanted is None or run in wanted)]
        found: dict[str, tuple[str, int]] = {}
        for known in chosen:
            for key, kind in known.keys.items():
                found[key] = (kind, found[key][1] + 1 if key in found else 1)
        return found

    # One run

    def details(self, project: str, run: str) -> dict[str, Any]:
        """What else a run says of itself."""
        found = Run(self._find(project, run).dir)
        reader = found.reader()
        metrics = [event.values for event in reader.events("metric")]
        writers = [
            {
                "id": writer.id,
                "rank": writer.rank,
                "attempt": writer.attempt,
                "parent": writer.parent,
                "started": writer.started_unix_nano / 1e9,
                "alive": writer.alive,
                "rows": writer.survey.rows + (writer.survey.leftover is not None),
                "last_seq": writer.survey.last,
            }
            for writer in reader.writers
        ]
        return {
            "attempts": found.attempts,
            "metadata": found.metadata,
            "metrics": metrics,
            "writers": writers,
            "completeness": {**found.accounting(), "gaps": _gaps(reader.events("gap"))},
        }

    def keys(self, project: str, run: str) -> list[KeyRecord]:
        """The keys of a run in order of first sight."""
        known = self._find(project, run)
        with known.lock:
            return list(self._read_columns(known).key_records())

    def series(
        self,
        project: str,
        run: str,
        key: str,
        axis: str,
        *,
        until: str,
        everyone: bool = False,
        after: str | None = None,
        rewound: bool = False,
    ) -> KeySeries | None:
        """The points of a key along an axis."""
        known = self._find(project, run)
        with known.lock:
            columns = self._columns.get(known.dir) or self._read_columns(known)
            limits = None if after is None else columns.after(after)
            return columns.series(
                key, axis, everyone=everyone, after=limits, until=columns.after(until), rewound=rewound
            )

    def watermark(self, project: str, run: str) -> str:
        """How far the run is known; reads what was added."""
        known = self._find(project, run)
        with known.lock:
            return self._read_columns(known).watermark()

    def delta(self, project: str, run: str, after: str) -> bool:
        """Whether `after` still tells what is new."""
        known = self._find(project, run)
        with known.lock:
            return (self._columns.get(known.dir) or self._read_columns(known)).after(after) is not None

    def _read_columns(self, known: _Known) -> RunColumns:
        with self._lock:
            columns = self._columns.setdefault(known.dir, RunColumns())
            self._columns.move_to_end(known.dir)
        seen = _fingerprint(known.dir, ended=False)
        if not columns.closed or seen != columns.fingerprint:
            columns.follow(Run(known.dir).reader())
            columns.fingerprint = seen
        with self._lock:
            while len(self._columns) > 1 and sum(each.nbytes for each in self._columns.values()) > KEPT_BYTES:
                self._columns.popitem(last=False)
        return columns

    def rows(self, project: str, run: str, query: RowQuery, skip: int = 0) -> Iterator[list[Row]]:
        """Rows as they were logged, exact, some hundred at a time, without the first `skip` of them."""
        directory = self._find(project, run).dir
        asked = query.wish()
        pages = Run(directory).reader().select(query.writer).pages(asked, _final(directory))
        return _behind(pages, skip) if skip else pages

    def media(
        self, project: str, run: str, keys: Sequence[str], step: int | None, offset: int, limit: int
    ) -> MediaPage:
        """A page of the media values under some keys, of one step or of all."""
        pages = self.rows(project, run, media_query(keys, step))
        return media_page(chain.from_iterable(pages), keys, offset, limit)

    def sample(self, project: str, run: str, query: RowQuery, samples: int) -> tuple[list[Row], int]:
        """At most so many of the rows, evenly spaced; and how many there are."""
        directory = self._find(project, run).dir
        asked = query.wish()
        return Run(directory).reader().select(query.writer).sample(asked, _final(directory), samples)

    def summary(self, project: str, run: str) -> dict[str, Any]:
        """The whole summary, nested."""
        return Run(self._find(project, run).dir).summary

    def files(self, project: str, run: str) -> list[tuple[str, int]]:
        """Names and sizes in bytes of a run's files."""
        return [(file.name, file.size) for file in run_files(self._find(project, run).dir)]

    def file(self, project: str, run: str, name: str) -> Path:
        """Where one of `files` is. Raises `UsageError`."""
        known = self._find(project, run)
        if all(file.name != name for file in run_files(known.dir)):
            raise UsageError(f"the run {project}/{run} has no file {name!r}")
        return inside(known.dir, name)

    def events(self, project: str, run: str, kind: str, skip: int = 0) -> Iterator[dict[str, Any]]:
        """What else was recorded, without the first `skip`."""
        for event in islice(Run(self._find(project, run).dir).events(kind), skip, None):
            yield {"time": event.time_unix_nano / 1e9, "runtime": event.runtime_s, "values": event.values}

    def edit(self, project: str, run: str, changes: Callable[[RunLine], dict[str, Any]]) -> None:
        """Refused: the directory is only read."""
        raise UsageError("a runs directory is served read only")

    def delete(self, project: str, run: str) -> None:
        """Refused: the directory is only read."""
        raise UsageError("a runs directory is served read only")

    def changes(self, after: int) -> tuple[int, list[Change] | None]:
        """The version now, and what changed since."""
        with self._lock:
            if after < self._version - len(self._changes) or after > self._version:
                return self._version, None
            return self._version, last_of(self._changes, self._version - after)


def _behind(pages: Iterator[list[Row]], skip: int) -> Iterator[list[Row]]:
    """The rows without the first `skip` of them."""
    for page in pages:
        if skip < len(page):
            yield page[skip:]
        skip = max(skip - len(page), 0)


def _final(directory: Path) -> Callable[[Any], Any]:
    """What fills the references to media in: a file that is not encoded yet is known by then."""
    source = Source(directory)
    return lambda value: filled(value, source.lookup)


def _read(directory: Path) -> tuple[RunRecord, dict[str, str]]:
    """A run's record and the kinds of its keys."""
    run = Run(directory)
    told = card(run)
    summary = {key: value for key, value in told.summary.items() if not key.startswith("_")}
    kinds = {key: "scalar" if is_aggregate(value) else kind_of(value) for key, value in leaves(summary)}
    keys = {key: kinds.get(key, "scalar") for key in told.selection.keys()}  # noqa: SIM118 - a method of its own
    finished = told.ended_unix_nano
    record = RunRecord(
        id=run.id,
        project=run.project,
        name=run.name,
        state=told.state,
        group=run.group,
        job_type=run.job_type,
        tags=run.tags,
        notes=run.notes,
        created=run.created_unix_nano / 1e9,
        heartbeat=_heartbeat(directory),
        finished=None if finished is None else finished / 1e9,
        duration=told.duration_s,
        rows=told.rows,
        last_step=told.last_step,
        attempt=told.reader.attempt,
        config=run.config,
        summary=summary,
    )
    return record, keys


def _said(record: RunRecord) -> tuple[Any, ...]:
    return record.name, record.state, record.tags, record.notes, record.config, record.attempt


def _fingerprint(directory: Path, *, ended: bool) -> _Print:
    """What changes when a run does: sizes and times of its files; of one that has ended, only whether it was begun again."""
    found: list[Any] = [_stat(directory / "run.json")]
    writers = writer_dirs(directory)
    found.append(len(writers))
    for writer in [] if ended else writers:
        with contextlib.suppress(OSError):
            found += sorted((path.name, *_stat(path)) for path in writer.iterdir() if path.suffix == ".mpj")
    return tuple(found)


def _heartbeat(directory: Path) -> float | None:
    times = [_stat(path)[1] for writer in writer_dirs(directory) for path in (writer, *writer.glob("*.mpj"))]
    return max(times, default=0) / 1e9 or None


def _stat(path: Path) -> tuple[int, int]:
    try:
        told = path.stat()
    except OSError:
        return 0, 0
    return told.st_size, told.st_mtime_ns


def _gaps(events: Sequence[Any]) -> list[dict[str, Any]]:
    return [{"writer": event.writer, **event.values} for event in events]
