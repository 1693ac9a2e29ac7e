"""The files of a run, and the figures of where its rows are."""

import os
import shutil
from pathlib import Path
from typing import Any, Final

from milepost.sdk.accounting import account, logged_rows, stored_cursors
from milepost.sdk.errors import UsageError
from milepost.sdk.reader import RunReader, open_run
from milepost.sdk.reading.files import Unreadable, open_regular, writer_dirs
from milepost.sdk.reading.media import inside

_INTERNAL: Final = frozenset(("journal", "quarantine"))


class File:
    """One file of a run. name: relative to the run's directory, with `/`. size: bytes. path: where it is."""

    def __init__(self, run_dir: Path, name: str, size: int) -> None:
        self.name = name
        self.size = size
        self.path = run_dir / name

    def download(self, dir: str | os.PathLike[str] = ".", replace: bool = False) -> Path:
        """Copy it to dir/name; the path of the copy.

        Raises `UsageError` when something stands there already and replace is False, or when it cannot be read.
        """
        target = target_of(dir, self.name, replace)
        try:
            descriptor, _ = open_regular(self.path)
        except Unreadable as error:
            raise UsageError(f"{self.path} {error}") from None
        with open(descriptor, "rb") as source:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as copy:
                shutil.copyfileobj(source, copy)
        return target

    def __repr__(self) -> str:
        return f"<File {self.name} ({self.size} bytes)>"


def target_of(dir: str | os.PathLike[str], name: str, replace: bool) -> Path:
    """Where a download of a file goes. Raises `UsageError` when something stands there already and replace is False."""
    target = inside(Path(dir), name)
    if target.exists() and not replace:
        raise UsageError(f"{target} is there already; use replace=True to overwrite it")
    return target


def run_files(run_dir: Path) -> list[File]:
    """Every regular file below a run's directory but the journal's and hidden ones, by name; links are not followed."""
    found: list[File] = []
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(run_dir / folder))
        except OSError:
            continue
        for entry in entries:
            name = f"{folder}{entry.name}"
            if not folder and entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                if name not in _INTERNAL:
                    folders.append(f"{name}/")
            elif entry.is_file(follow_symlinks=False):
                try:
                    found.append(File(run_dir, name, entry.stat(follow_symlinks=False).st_size))
                except OSError:
                    continue  # gone since it was listed
    return sorted(found, key=lambda file: file.name)


def accounting(run_dir: Path, attempt: int | None = None) -> dict[str, Any]:
    """The accounting of one attempt over all its writers, as `Run.accounting` describes it."""
    cursors = {directory.name: stored_cursors(directory) for directory in writer_dirs(run_dir)}
    reader = open_run(
        run_dir, attempt=attempt
    )  # after the cursors, so that no row is settled that is not seen as logged
    logged = 0
    dropped: dict[str, int] = {}
    exporters: dict[str, dict[str, Any]] = {}
    for writer in reader.members:
        logged += logged_rows(writer)
        for event in writer.survey.events:
            if event.kind == "gap":
                _add(dropped, {str(event.values["reason"]): int(event.values["last"]) - int(event.values["first"]) + 1})
        for exporter, cursor in cursors.get(writer.id, {}).items():
            told = account(writer, cursor)
            figures = exporters.setdefault(
                exporter,
                {
                    "logged": 0,
                    "delivered": 0,
                    "pending": 0,
                    "filtered": 0,
                    "rejected": {},
                    "dropped": {},
                    "last_error": "",
                },
            )
            for name in ("logged", "delivered", "pending", "filtered"):
                figures[name] += getattr(told, name)
            _add(figures["rejected"], told.rejected)
            _add(figures["dropped"], told.dropped)
            figures["last_error"] = told.last_error or figures["last_error"]
    return {"logged": logged, "dropped": dropped, "dropped_calls": dropped_calls(reader), "exporters": exporters}


def dropped_calls(reader: RunReader) -> dict[str, int]:
    """Calls of log() that made no row, by reason, of the writers that have finished."""
    found: dict[str, int] = {}
    for writer in reader.members:
        for event in writer.survey.events:
            if event.kind == "run.finish":
                _add(found, event.values.get("dropped_calls") or {})
    return found


def _add(total: dict[str, int], more: dict[str, int]) -> None:
    for reason, count in more.items():
        total[reason] = total.get(reason, 0) + count
