"""A logged run, read back: its history, its summary, its config, its state and its files, also while it is written."""

import datetime
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, overload

from milepost.sdk.errors import UsageError
from milepost.sdk.event import Event
from milepost.sdk.reader import Problem, RunReader, open_run
from milepost.sdk.reading import replay
from milepost.sdk.reading.alive import alive
from milepost.sdk.reading.files import Unreadable, read_json, writer_dirs
from milepost.sdk.reading.history import Selection
from milepost.sdk.reading.media import Source, tied
from milepost.sdk.reading.result import History, HistoryScan, check_count, check_name, frame_of, why_empty, wish
from milepost.sdk.reading.run_files import File, accounting, run_files

ENDS = ("finished", "failed", "preempted")


class Run:
    """A run in a runs directory. Nothing of it is held open: every call reads what is there at that moment.

    dir: its directory, DIR/PROJECT/RUN_ID. Made by `Api.run` and `Api.runs`.
    """

    def __init__(self, run_dir: Path, attempt: int | None = None) -> None:
        self.dir = run_dir
        self._attempt = attempt

    # Rows

    @overload
    def history(
        self,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        samples: int | None = 500,
        *,
        pandas: Literal[False],
        require: str = "all",
        writer: str | int | None = None,
    ) -> History: ...

    @overload
    def history(
        self,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        samples: int | None = 500,
        pandas: bool = True,
        require: str = "all",
        writer: str | int | None = None,
    ) -> Any: ...

    def history(
        self,
        keys: Sequence[str] | None = None,
        x_axis: str = "_step",
        samples: int | None = 500,
        pandas: bool = True,
        require: str = "all",
        writer: str | int | None = None,
    ) -> Any:
        """At most `samples` rows, evenly spaced over the run, the first and the last always among them.

        keys:     only rows that hold these names; a row then has x_axis and these. None: whole rows, every name flat and
                  joined with dots, with `_step`, `_timestamp` (seconds since 1970, UTC) and `_runtime` (seconds).
        x_axis:   the name that comes with the keys; without keys, it only has to be one that the rows have.
        samples:  None for all rows (`scan_history` needs less memory for that).
        pandas:   a DataFrame when pandas is installed: a row that lacks a name has NaN there. Else a `History`, a list of
                  dicts: a row that lacks a name lacks it.
        require:  "all": rows that hold all keys. "any": rows that hold at least one.
        writer:   None: the lowest rank's rows; those of child processes only where the program itself logged none.
                  A rank or a writer's id: that one's. "all": everybody's, with `_writer` and `_rank`.

        A sample says that it is one: `History.sampled`, `.total_rows`, `.note`; `DataFrame.attrs["sampled"]` and
        `["note"]`. Raises `QueryError` (a ValueError) for wrong arguments.
        """
        if samples is not None:
            check_count("samples", samples)
        asked = wish(keys, x_axis, require, marked=writer == "all")
        selection = self.select(writer)
        if asked.keys is None:
            check_name(selection, x_axis, "x_axis", self.path)
        rows, total = selection.sample(asked, self._media(), samples)
        note = (
            f"{len(rows)} of {total} rows, evenly spaced; samples=None or scan_history() gives all"
            if total > len(rows)
            else ""
        )
        if not rows and asked.keys:
            note = why_empty(selection, asked, self.path)
        found = History(rows, total, note)
        columns = (
            None if asked.keys is None else [*asked.along, *asked.keys, *(("_writer", "_rank") if asked.marked else ())]
        )
        return frame_of(found, columns) if pandas else found

    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
        writer: str | int | None = None,
        *,
        require: str = "all",
        superseded: bool = False,
    ) -> HistoryScan:
        """Every row, exact, ordered by step, read lazily; can be iterated again and then sees what was logged since.

        keys:        only rows that hold all these names (require="any": at least one), and only these names of them.
        page_size:   accepted as in wandb; a few MiB are read at a time whatever it is.
        min_step, max_step: min_step <= step < max_step.
        writer:      as in `history`.
        superseded:  True gives rows that a resumed run replaced, too, marked `_superseded`.

        Raises `QueryError` (a ValueError) for wrong arguments.
        """
        check_count("page_size", page_size)
        asked = wish(keys, None, require, min_step, max_step, superseded=superseded, marked=writer == "all")
        self.check_writer(writer)
        return HistoryScan(lambda: self.select(writer), asked, self._media(), self.path)

    @property
    def system(self) -> History:
        """Rows of system metrics: OpenTelemetry names to numbers, with `_timestamp` and `_runtime` in seconds."""
        rows: list[dict[str, Any]] = [
            {"_timestamp": event.time_unix_nano / 1e9, "_runtime": event.runtime_s, **event.values}
            for event in self.events("system")
        ]
        return History(rows)

    def events(self, *kinds: str) -> Iterator[Event]:
        """The events of the writers that speak for the run, in order: "row", "config", "console", "alert", ...; or some kinds."""
        for writer in self.reader().primary:
            yield from writer.events(*kinds)

    def reader(self) -> RunReader:
        """The journal as it is now: every writer, every event, and what is damaged."""
        return open_run(self.dir, attempt=self._attempt)

    def _media(self) -> Callable[[Any], Any]:
        """What makes media values of the mappings in rows."""
        source = self._source()
        return lambda value: tied(value, source)

    def _source(self) -> Source:
        return Source(self.dir)

    def select(self, writer: str | int | None = None) -> Selection:
        """The rows of some writers, as `history` has them. Raises `UsageError` for a writer that there is not."""
        return self.reader().select(writer)

    def check_writer(self, writer: str | int | None) -> None:
        """Raise `UsageError` for a writer that the run does not have."""
        self.select(writer)

    # What it says of itself

    @property
    def summary(self) -> dict[str, Any]:
        """The last value of each name, nested; aggregates such as {"min": 1} where `define_metric` asked for them.

        As the program saw it in `run.summary`, also for a run that is going on or was killed.
        """
        source = Source(self.dir)
        return {name: tied(value, source) for name, value in replay.summary(self._speaking().writers).items()}

    @property
    def config(self) -> dict[str, Any]:
        """The config as nested plain values."""
        return {key: value for key, value in replay.config(self._told).items() if not key.startswith("_")}

    @property
    def metadata(self) -> dict[str, Any]:
        """What ran: program, command, host, Python, packages, git commit, as far as capture was on."""
        found: dict[str, Any] = {}
        for event in self._events_now("run.start", "environment"):
            values = event.values.get("environment") if event.kind == "run.start" else event.values
            found.update(values if isinstance(values, dict) else {})
        return found

    @property
    def state(self) -> str:
        """ "running" (its process exists), "finished", "failed", "preempted", or "crashed" (gone without a word)."""
        if self._attempt is None and self._info.get("state") in ENDS and not self._fresh_info():
            return str(self._info["state"])
        dirs = writer_dirs(self.dir) if self._attempt is None else [w.dir for w in self.reader().members]
        for directory in dirs:
            try:
                told = read_json(directory / "writer.json")
            except Unreadable:
                told = {}
            if alive(directory.name, told, directory):
                return "running"
        for event in reversed(self._events_now("run.start", "run.finish")):
            return str(event.values.get("state", "crashed")) if event.kind == "run.finish" else "crashed"
        return "crashed"

    @property
    def id(self) -> str:
        """Unique in its project."""
        return self._text("id") or self.dir.name

    @property
    def project(self) -> str:
        """The project's name."""
        return self._text("project") or self.dir.parent.name

    @property
    def path(self) -> str:
        """ "project/run_id", which `Api.run` takes."""
        return f"{self.project}/{self.id}"

    @property
    def name(self) -> str:
        """The name shown to people."""
        return self._text("name") or self.id

    @property
    def group(self) -> str | None:
        """The group of runs it belongs to."""
        return self._text("group")

    @property
    def job_type(self) -> str | None:
        """What it does in its group, such as "train" or "eval"."""
        return self._text("job_type")

    @property
    def notes(self) -> str | None:
        """Free text."""
        return self._text("notes")

    @property
    def tags(self) -> list[str]:
        """Its tags."""
        tags = self._facts.get("tags")
        return [str(tag) for tag in tags] if isinstance(tags, list) else []

    @property
    def created_at(self) -> datetime.datetime:
        """When it was first started, UTC."""
        return datetime.datetime.fromtimestamp(self.created_unix_nano / 1e9, datetime.UTC)

    @property
    def created_unix_nano(self) -> int:
        """When it was first started, nanoseconds since 1970."""
        created = self._info.get("created_unix_nano")
        if isinstance(created, int) and not isinstance(created, bool) and 0 <= created < 2**63:
            return created
        try:
            return self.dir.stat().st_mtime_ns
        except OSError:
            return 0

    @property
    def attempt(self) -> int:
        """Which attempt at this id is read: the last one unless another was asked for."""
        return self.reader().attempt

    @property
    def attempts(self) -> list[int]:
        """The attempts that there are: starting an id anew without resume makes another."""
        return self.reader().attempts

    @property
    def url(self) -> None:
        """None: a run in a directory has no page."""
        return

    @property
    def last_step(self) -> int | None:
        """The highest step of its rows, or None without rows."""
        return self._speaking().last_step()

    @property
    def lastHistoryStep(self) -> int:  # noqa: N802 - wandb's name
        """The highest step of its rows, -1 without rows."""
        step = self.last_step
        return -1 if step is None else step

    # Files and figures

    def files(self) -> list[File]:
        """Every file of the run but its journal, by name."""
        return run_files(self.dir)

    def file(self, name: str) -> File:
        """One file by its name. Raises `UsageError` when there is none, with the names there are."""
        files = self.files()
        for file in files:
            if file.name == name:
                return file
        raise UsageError(
            f"the run {self.path} has no file {name!r}; it has: {', '.join(f.name for f in files[:20]) or 'none'}"
        )

    def accounting(self) -> dict[str, Any]:
        """Where every row is: {"logged": n, "dropped": {reason: n}, "dropped_calls": {reason: n}, "exporters": {name: {...}}}.

        dropped_calls: calls that made no row, of runs that are finished; "stale_step" for a step behind the run's.
        Per exporter, in rows: logged = delivered + pending + filtered + rejected + dropped; the last two by reason.
        """
        return accounting(self.dir, self._attempt)

    @property
    def damage(self) -> list[Problem]:
        """What of the journal cannot be read: file, offset, size, and the numbers of the events that are missing."""
        return self.reader().problems()

    # Inside

    def listed(self, word: str) -> str | None:
        """Its "id" or "name", by which it is found among others."""
        found: str | None = getattr(self, word)
        return found

    def _speaking(self) -> Selection:
        return self.reader().select()

    @cached_property
    def _info(self) -> dict[str, Any]:
        try:
            return read_json(self.dir / "run.json")
        except Unreadable:
            return {}

    def _fresh_info(self) -> bool:
        """Whether run.json changed since it was read: a resumed run is running again."""
        before = self._info
        self.__dict__.pop("_info", None)
        return self._info != before and self._info.get("state") not in ENDS

    def _events_now(self, *kinds: str) -> list[Event]:
        return self.reader().events(*kinds)

    @property
    def _told(self) -> list[Event]:
        return self._events_now("run.start", "config")

    @cached_property
    def _facts(self) -> dict[str, Any]:
        """run.json where it is there and final; what the journal says where the run goes on, crashed, or has no run.json."""
        if self._info.get("state") in ENDS and self._attempt is None:
            return self._info
        return self._info | replay.facts(self._events_now("run.start", "meta"))

    def _text(self, name: str) -> str | None:
        value = self._info.get(name) if name in ("id", "project") else None
        value = self._facts.get(name) if value is None else value
        return value if isinstance(value, str) and value else None

    def __repr__(self) -> str:
        return f"<Run {self.path} ({self.state})>"
