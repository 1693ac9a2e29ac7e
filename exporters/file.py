"""file: the run's rows, summary and config as plain files in its directory, for people and for other programs.

    history.jsonl     one JSON object per row, in order; other ranks write history-rank-N.jsonl
    summary.json      the summary, nested; kept fresh every few seconds, exact from the end of the run on
    config.yaml       the config, rewritten when it changes

Each row stands there exactly once, also after a crash (see history.py); rows that a rewind superseded are taken out. A
new attempt of the same run moves the files of the one before to attempts/N/. The journal stays the run's record.
"""

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from milepost.exporters.history import HistoryFile, attempt_of, ledger_path
from milepost.exporters.snapshots import ConfigFile, SummaryFile
from milepost.sdk.batch import Rows, parts
from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event
from milepost.sdk.exporter import ExportResult, Position, RunInfo

logger = logging.getLogger("milepost")


class FileExporter:
    """Writes history.jsonl, summary.json and config.yaml.

    format: "jsonl", the only one so far.
    dir:    a folder to write PROJECT/RUN_ID/ in; by default the run's own directory.
    """

    name = "file"
    wants = frozenset(("row", "rewind", "config", "summary", "metric", "run.finish"))
    takes_rows = True

    def __init__(self, format: Literal["jsonl"] = "jsonl", dir: str | os.PathLike[str] | None = None) -> None:
        if format != "jsonl":
            raise ConfigurationError(f'file exporter: format is {format!r}; it can be "jsonl"')
        self._root = None if dir is None else Path(dir).expanduser()
        self._run: RunInfo | None = None
        self._files: _RunFiles | None = None
        self._position: Position | None = None

    def start(self, run: RunInfo, position: Position | None) -> None:
        """Open the run's files. When they cannot be opened yet, the first export tries again."""
        self._run, self._position, self._files = run, position, None
        with contextlib.suppress(OSError):  # export() answers RETRY with the reason
            self._open(run)

    def export(self, batch: Sequence[Event]) -> ExportResult:
        """Write the rows, in one call to the system. RETRY, and files as before, when that fails."""
        if self._run is None:
            return ExportResult.retry("the file exporter is not started or was shut down")
        files, rows_before = self._files, 0
        try:
            files = files or self._open(self._run)
            rows_before = files.history.rows
            files.write(batch)
        except OSError as error:
            if files is not None:
                with contextlib.suppress(OSError):  # mended by the next call; the first error is the one to tell
                    files.history.cut_last(files.history.rows - rows_before)
            return ExportResult.retry(
                f"cannot write {error.filename or self._directory(self._run)}: {error.strerror or error}"
            )
        return ExportResult.SUCCESS

    def position(self) -> dict[str, Any]:
        """How many rows this writer has put into the file: what a restart cuts back to; and whether the summary is behind."""
        return self._files.position() if self._files else dict(self._position or {})

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Write the summary when it is behind; rows are never held back."""
        return self._files is None or self._files.refresh_summary()

    def shutdown(self, timeout_millis: int = 30_000) -> None:
        """Write the summary when it is behind."""
        self.force_flush(timeout_millis)
        self._position = self.position()
        self._run = self._files = None

    def _open(self, run: RunInfo) -> "_RunFiles":
        files = _RunFiles(self._directory(run), run, self._position)
        self._files = files
        return files

    def _directory(self, run: RunInfo) -> Path:
        return run.dir if self._root is None else self._root / run.project / run.id


class _RunFiles:
    """The files of one writer of one run. Every method may raise OSError and may be called again."""

    def __init__(self, directory: Path, run: RunInfo, position: Position | None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        name = _history_name(run)
        directory = _make_room(directory, name, run)
        self.history = HistoryFile(directory / name, run.writer, run.attempt)
        rows = int((position or {}).get("rows", 0))
        if missing := self.history.recover(rows):
            logger.warning(
                "milepost: %s lacks %d rows that were written to it; the journal has them", directory / name, missing
            )
        speaks = run.primary and not _has_successor(run)
        self._summary = SummaryFile(directory / "summary.json") if speaks else None
        self._config = ConfigFile(directory / "config.yaml", run.config) if speaks else None
        if self._summary and rows:
            self._summary.catch_up(_told_before(run, rows, whole=bool((position or {}).get("behind"))))

    def write(self, batch: Sequence[Event]) -> None:
        """Write what the events say, in their order."""
        for part in parts(batch):
            if isinstance(part, Rows):
                self._write_rows(part)
                continue
            rows: list[Event] = []
            for event in part:
                if event.kind == "row":
                    rows.append(event)
                else:
                    self._write_rows(rows)
                    rows = []
                    self._take(event)
            self._write_rows(rows)
        if self._summary:
            self._summary.write_when_due()

    def _write_rows(self, rows: Sequence[Event]) -> None:
        if rows:
            self.history.append(rows)
            if self._summary:
                self._summary.add_rows(rows)

    def _take(self, event: Event) -> None:
        if event.kind == "rewind":
            self.history.rewind(int(event.values.get("step", 0)))
        elif event.kind == "config" and self._config:
            self._config.change(event)
        elif self._summary:
            self._summary.take(event)

    def position(self) -> dict[str, Any]:
        """What a restart needs to know."""
        behind = {"behind": True} if self._summary and self._summary.behind else {}
        return {"rows": self.history.rows, **behind}

    def refresh_summary(self) -> bool:
        """Write the summary when it is behind; False when that is not possible now."""
        return self._summary is None or self._summary.write()


def _told_before(run: RunInfo, rows: int, *, whole: bool) -> Iterator[Event]:
    """What a killed process had delivered of its first `rows` rows, from the journal: all of it, or nothing where the
    summary file holds it all the same (it was fresh, and no aggregate goes on from it)."""
    from milepost.sdk.reader import WriterReader  # numpy with it, so only after a crash

    journal = WriterReader(run.dir / "journal" / run.writer, f"{run.project}/{run.id}")
    if not whole and next(journal.events("metric"), None) is None:
        return
    for event in journal.events("row", "summary", "metric"):
        rows -= event.kind == "row"
        yield event
        if rows <= 0:
            return


def _has_successor(run: RunInfo) -> bool:
    """Whether another process has gone on with this attempt since: then its summary and config hold, not those of late rows."""
    journal = run.dir / "journal"
    ours = _card(journal / run.writer)
    return any(
        (card.get("rank"), card.get("attempt"), card.get("parent")) == (ours.get("rank"), ours.get("attempt"), None)
        and card.get("started_unix_nano", 0) > ours.get("started_unix_nano", 0)
        for card in map(_card, journal.glob("*"))
    )


def _card(writer: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode((writer / "writer.json").read_bytes(), type=dict[str, Any])
    except (OSError, ValueError):
        return {}  # no such writer, or nothing that can be read of it


def _history_name(run: RunInfo) -> str:
    if run.primary:
        return "history.jsonl"
    return f"history-{run.writer}.jsonl" if run.rank is None else f"history-rank-{run.rank}.jsonl"


def _make_room(directory: Path, name: str, run: RunInfo) -> Path:
    """Where this attempt's files go: `directory`, from which those of an earlier attempt are moved away."""
    history = directory / name
    found = attempt_of(history)
    if found is None:
        unknown = history.exists() and run.attempt > 1 and not run.resumed
        found = run.attempt - 1 if unknown else run.attempt
    if found > run.attempt:  # rows of an old attempt that are delivered late
        target = directory / "attempts" / str(run.attempt)
        target.mkdir(parents=True, exist_ok=True)
        return target
    if found < run.attempt:
        target = directory / "attempts" / str(found)
        target.mkdir(parents=True, exist_ok=True)
        names = ["summary.json", "config.yaml", name] if run.primary else [name]
        for path in [
            *(directory / each for each in names),
            ledger_path(history),
        ]:  # the ledger last: it says what is to do
            with contextlib.suppress(FileNotFoundError):
                os.replace(path, target / path.name)
    return directory
