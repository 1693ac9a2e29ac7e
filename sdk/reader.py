"""Reader: a run directory opened for reading, while it is written, after a kill, or from a read-only medium.

Nothing is changed and nothing waits. A reader is a snapshot: open it again to see what was logged since.

    run = open_run(Path("milepost-runs/digits/4f2a9c1b"))
    for writer in run.writers:
        for event in writer.events():     # every event in order: "run.start", "row", "config", ...
            ...
    run.problems()                        # what is damaged or missing, with file, offset and the numbers of the rows
"""

from functools import cached_property
from pathlib import Path
from typing import Any

from milepost.sdk.errors import UsageError
from milepost.sdk.event import Event
from milepost.sdk.reading.files import Problem, Unreadable, read_json, writer_dirs
from milepost.sdk.reading.history import Selection
from milepost.sdk.reading.wish import check_writer_form
from milepost.sdk.reading.writer import Survey, WriterReader

__all__ = ["Problem", "RunReader", "Selection", "Survey", "WriterReader", "open_run"]


def open_run(run_dir: Path, *, attempt: int | None = None) -> "RunReader":
    """A reader of the run in this directory; attempt: None for the last one. Raises nothing for damage of any kind."""
    return RunReader(Path(run_dir), attempt=attempt)


class RunReader:
    """A snapshot of one run.

    dir:      DIR/PROJECT/RUN_ID.
    writers:  of all attempts, by attempt and start.
    """

    def __init__(self, run_dir: Path, *, attempt: int | None = None) -> None:
        self.dir = run_dir
        self.run = f"{run_dir.parent.name}/{run_dir.name}"
        opened = [WriterReader(path, self.run) for path in writer_dirs(run_dir)]
        self.writers = sorted(opened, key=lambda w: (w.attempt, w.started_unix_nano, w.id))
        self.attempts = sorted({writer.attempt for writer in self.writers}) or [1]
        self.attempt = self.attempts[-1] if attempt is None else attempt
        """The attempt that is read unless a writer is asked for by its id."""

    @cached_property
    def info(self) -> dict[str, Any]:
        """run.json, {} when it is not there. A convenience: the journal is the truth."""
        try:
            return read_json(self.dir / "run.json")
        except Unreadable:
            return {}

    @cached_property
    def members(self) -> list[WriterReader]:
        """All writers of the attempt: every rank, restarts, and child processes."""
        return [writer for writer in self.writers if writer.attempt == self.attempt]

    @cached_property
    def primary(self) -> list[WriterReader]:
        """The writers that speak for the run: the lowest rank's, in order of start, without child processes."""
        parents = [writer for writer in self.members if not writer.parent]
        lowest = min((_place(writer) for writer in parents), default=0)
        return [writer for writer in parents if _place(writer) == lowest]

    def select(self, writer: str | int | None = None) -> Selection:
        """The rows of some writers.

        writer: None for those that speak for the run (when none of them logged a row, those of their child processes),
                "all", a rank, or a writer's id.
        Raises `UsageError` for a writer that this run does not have.
        """
        if writer is None:
            chosen = self.primary
            if not any(w.survey.rows or w.survey.leftover for w in chosen):
                children = [w for w in self.members if w.parent and (w.survey.rows or w.survey.leftover)]
                if children:
                    return Selection(children, self.members, merged=True)
            return Selection(chosen, self.members, merged=False)
        if writer == "all":
            return Selection(self.members, self.members, merged=True)
        check_writer_form(writer)
        if isinstance(writer, int):
            chosen = [w for w in self.members if w.rank == writer and not w.parent]
            ranks = sorted({w.rank for w in self.members if w.rank is not None})
            known = f"its ranks: {', '.join(map(str, ranks)) or 'none'}"
            if not chosen and writer == 0 and not ranks:
                chosen = self.primary
        else:
            chosen = [w for w in self.writers if w.id == writer]
            known = f"its writers: {', '.join(w.id for w in self.writers) or 'none'}"
        if not chosen:
            raise UsageError(f"the run {self.run} has no writer {writer!r}; {known}")
        return Selection(chosen, [w for w in self.writers if w.attempt == chosen[0].attempt], merged=False)

    def events(self, *kinds: str) -> list[Event]:
        """What the primary writers said besides rows, system metrics and console text, in order; or only some kinds."""
        return [e for writer in self.primary for e in writer.survey.events if not kinds or e.kind in kinds]

    def problems(self) -> list[Problem]:
        """Everything in the journal that could not be read. Checks every sum: about 3 us a row."""
        return [problem for writer in self.writers for problem in writer.check()]


def _place(writer: WriterReader) -> int:
    """A run without ranks counts as rank 0."""
    return writer.rank or 0
