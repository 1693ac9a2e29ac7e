"""The files of a run, and the figures of where its rows are."""

import os
import shutil
from pathlib import Path
from typing import Any, Final

from milepost.sdk.errors import UsageError
from milepost.sdk.reader import RunReader
from milepost.sdk.reading.files import Unreadable, open_regular, read_json
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
        root = Path(dir)
        target = inside(root, self.name)
        if target.exists() and not replace:
            raise UsageError(f"{target} is there already; use replace=True to overwrite it")
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


def accounting(reader: RunReader) -> dict[str, Any]:
    """The accounting of one attempt, as `Run.accounting` describes it."""
    logged = 0
    dropped: dict[str, int] = {}
    calls: dict[str, int] = {}
    exporters: dict[str, dict[str, Any]] = {}
    for writer in reader.members:
        logged += writer.survey.rows + (writer.survey.leftover is not None)
        for event in writer.survey.events:
            if event.kind == "gap":
                lost = int(event.values["last"]) - int(event.values["first"]) + 1
                logged += lost
                _add(dropped, {str(event.values["reason"]): lost})
            elif event.kind == "run.finish":
                _add(calls, event.values.get("dropped_calls"))
        for name, cursor in _cursors(writer.dir).items():
            figures = exporters.setdefault(
                name, {"delivered": 0, "pending": 0, "filtered": 0, "rejected": {}, "dropped": {}, "last_error": ""}
            )
            for key in ("delivered", "filtered"):
                figures[key] += _count(cursor.get(key))
            for key in ("rejected", "dropped"):
                _add(figures[key], cursor.get(key))
            figures["last_error"] = str(cursor.get("last_error") or figures["last_error"])
    for figures in exporters.values():
        settled = (
            figures["delivered"]
            + figures["filtered"]
            + sum(figures["rejected"].values())
            + sum(figures["dropped"].values())
        )
        figures["pending"] = max(logged - settled, 0)
    return {"logged": logged, "dropped": dropped, "dropped_calls": calls, "exporters": exporters}


def _cursors(directory: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(directory.glob("cursor-*.json")):
        try:
            found[path.name[len("cursor-") : -len(".json")]] = read_json(path)
        except Unreadable:
            continue  # written anew at the next delivery; until then its rows count as pending
    return found


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _add(total: dict[str, int], more: Any) -> None:
    for reason, count in more.items() if isinstance(more, dict) else ():
        total[reason] = total.get(reason, 0) + _count(count)
