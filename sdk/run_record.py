"""RunRecord: who a run is and where it lives: id, project, attempt, rank, directory; and run.json, its visiting card."""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from milepost.sdk.exporter import RunInfo, resource_of
from milepost.sdk.own_files import write_whole
from milepost.sdk.snapshot import snapshot
from milepost.sdk.text import clean_text
from milepost.sdk.writer import Writer


class RunRecord(msgspec.Struct, kw_only=True):
    """Identity of a run in this process. All but name, tags, notes and state stays as it is made.

    dir:               DIR/PROJECT/RUN_ID.
    start_step:        the first step of this process; earlier_runtime_s: how long earlier processes of the run took.
    keep:              "all" of the journal, or only what is "undelivered".
    writer_options:    how writers of this run are made (ring sizes, disk limits).
    settings:          what was in force, secrets masked; stored with the run.
    """

    id: str
    project: str
    name: str
    dir: Path
    group: str | None = None
    job_type: str | None = None
    tags: tuple[str, ...] = ()
    notes: str | None = None
    mode: str = "online"
    attempt: int = 1
    rank: int | None = None
    primary: bool = True
    resumed: bool = False
    start_step: int = 0
    earlier_runtime_s: float = 0.0
    state: str = "running"
    writer_options: dict[str, Any] = {}
    keep: str = "all"
    settings: dict[str, Any] = {}

    def new_writer(self, parent: str | None = None) -> Writer:
        """A writer of this run for this process."""
        return Writer(self.dir, attempt=self.attempt, rank=self.rank, parent=parent, **self.writer_options)

    def start_values(self, config: dict[str, Any], writer: Writer) -> dict[str, Any]:
        """What the run.start event says."""
        return {
            "id": self.id,
            "project": self.project,
            "name": self.name,
            "group": self.group,
            "job_type": self.job_type,
            "tags": list(self.tags),
            "notes": self.notes,
            "mode": self.mode,
            "config": config,
            "rank": self.rank,
            "primary": self.primary,
            "attempt": self.attempt,
            "parent": writer.parent,
            "resumed": self.resumed,
            "start_step": self.start_step,
            "host": os.uname().nodename,
            "pid": os.getpid(),
            "promise": writer.promise,
            "settings": snapshot(self.settings, "placeholder", own_names=()),
        }

    def info(self, writer: Writer, config: dict[str, Any]) -> RunInfo:
        """What exporters are told."""
        return RunInfo(
            id=self.id,
            project=self.project,
            name=self.name,
            dir=self.dir,
            writer=writer.id,
            attempt=self.attempt,
            rank=self.rank,
            primary=self.primary,
            resumed=self.resumed,
            config=config,
            group=self.group,
            job_type=self.job_type,
            tags=self.tags,
            host=os.uname().nodename,
            parent=writer.parent or "",
            resource=resource_of(self.settings),
        )

    def __post_init__(self) -> None:
        """Text that is no valid Unicode, as Python makes of file names, gets a form that can be written."""
        for field in ("name", "group", "job_type", "notes"):
            text = getattr(self, field)
            setattr(self, field, text if text is None else clean_text(text))
        self.tags = tuple(
            dict.fromkeys(clean_text(tag) for tag in self.tags)
        )  # one that is given twice says nothing more

    def change(self, values: Mapping[str, Any]) -> None:
        """Set name, tags or notes, here and in run.json."""
        for key, value in values.items():
            setattr(self, key, value)
        if self.primary:
            self.write()

    def write(self, **more: Any) -> None:
        """Write run.json so that a crash leaves the old or the new one. A convenience for people and listings."""
        path = self.dir / "run.json"
        with contextlib.suppress(OSError):  # the journal says the same
            known: dict[str, Any] = {}
            with contextlib.suppress(OSError, msgspec.DecodeError):
                known = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
            if known.get("attempt") != self.attempt:
                known = {}
            card = {
                "format": 1,
                "created_unix_nano": time.time_ns(),
                **known,
                "id": self.id,
                "project": self.project,
                "name": self.name,
                "group": self.group,
                "job_type": self.job_type,
                "tags": list(self.tags),
                "notes": self.notes,
                "state": self.state,
                "attempt": self.attempt,
                "host": os.uname().nodename,
                "pid": os.getpid(),
                **more,
            }
            text = msgspec.json.format(msgspec.json.encode(card)) + b"\n"
            write_whole(path, text, path.with_name(f"run.json.{os.getpid()}.new"))

    def finished(self, exit_code: int | None, writer: Writer) -> None:
        """Say in run.json how it ended."""
        if self.primary:
            self.write(finished_unix_nano=time.time_ns(), exit_code=exit_code, rows=writer.rows)

    def earlier_rows(self, below: int | None) -> Iterator[dict[str, Any]]:
        """The rows of this run so far, in order; with `below` only those of a smaller step."""
        from milepost.sdk.reader import open_run
        from milepost.sdk.reading.rows import Wish

        wish = Wish() if below is None else Wish(high=below)
        return open_run(self.dir, attempt=self.attempt).select(self.rank or None).scan(wish, lambda value: value)

    def pickled(self) -> dict[str, Any]:
        """What another process needs to attach to the run."""
        return {
            field: getattr(self, field)
            for field in self.__struct_fields__
            if field not in ("primary", "resumed", "earlier_runtime_s", "state")
        }
