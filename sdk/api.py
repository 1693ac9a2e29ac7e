"""Api: the runs of a directory, read back while they are written, after a kill, and from a read-only medium.

    api = milepost.Api()                       # ./milepost-runs, or MILEPOST_DIR
    for run in api.runs("digits"):             # newest first
        print(run.id, run.state, run.summary.get("accuracy"))
    table = api.run("digits/4f2a9c1b").history(keys=["train.loss"])

Reading changes nothing. What a killed program left in shared memory is read from there; rings whose run directory can be
written are put in order on the way, as `milepost.init` does.
"""

import difflib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

from milepost.sdk.errors import Error, RunNotFoundError
from milepost.sdk.reading.result import History, HistoryScan, QueryError
from milepost.sdk.reading.run import Run
from milepost.sdk.reading.run_files import File

__all__ = ["Api", "File", "History", "HistoryScan", "QueryError", "Run", "Runs"]

_DEFAULT_DIR = "milepost-runs"


class Runs(Sequence[Run]):
    """Runs, newest first. Each reads its journal only when something is asked of it."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = sorted(runs, key=lambda run: (-run.created_unix_nano, run.dir.name))

    @overload
    def __getitem__(self, index: int) -> Run: ...

    @overload
    def __getitem__(self, index: slice) -> list[Run]: ...

    def __getitem__(self, index: int | slice) -> Run | list[Run]:
        return self._runs[index]

    def __len__(self) -> int:
        return len(self._runs)

    def __repr__(self) -> str:
        return f"<{len(self)} runs>"


class Api:
    """The runs below a runs directory.

    source: the directory; None for MILEPOST_DIR, else ./milepost-runs.
    Raises `RunNotFoundError` when it is not there, and `Error` for a URL: reading from a server is not in this version.
    """

    def __init__(self, source: str | os.PathLike[str] | None = None) -> None:
        if source is None:
            source = os.environ.get("MILEPOST_DIR") or _DEFAULT_DIR
        if isinstance(source, str) and "://" in source:
            raise Error(f"Api({source!r}): reading from a server is not in this version; give a runs directory")
        self.dir = Path(source).expanduser()
        if not self.dir.is_dir():
            raise RunNotFoundError(
                f"no runs directory at {self.dir.absolute()}: give the one that milepost.init(dir=...) used, as in "
                'milepost.Api("path/to/milepost-runs"), or set MILEPOST_DIR'
            )
        if os.access(self.dir, os.W_OK):
            _put_rings_away(self.dir)

    def projects(self) -> list[str]:
        """The projects that hold runs, by name."""
        return sorted({run.project for run in self._all()})

    def runs(self, project: str | None = None) -> Runs:
        """The runs, newest first; of one project when it is named. Raises `RunNotFoundError` for a project without runs."""
        found = list(self._all())
        if project is None:
            return Runs(found)
        chosen = [run for run in found if project in (run.dir.parent.name, run.project)]
        if not chosen:
            raise RunNotFoundError(
                f"no project {project!r} in {self.dir}{_near(project, [run.project for run in found])}"
            )
        return Runs(chosen)

    def run(self, path: str, attempt: int | None = None) -> Run:
        """One run, by "project/run_id", or by an id or name that only one run has.

        attempt: which start of that id; None for the last.
        Raises `RunNotFoundError` with the nearest ones there are, or with the candidates when several fit.
        """
        run = Run(self._find(path), attempt)
        if attempt is not None and attempt not in run.attempts:
            raise RunNotFoundError(
                f"{run.path} has no attempt {attempt!r}; it has: {', '.join(map(str, run.attempts))}"
            )
        return run

    def _find(self, path: str) -> Path:
        if not path.strip("/"):
            raise RunNotFoundError(f'Api.run() takes "project/run_id", an id or a name, got {path!r}')
        parts = path.strip("/").split("/")
        plain = not {"", ".", ".."} & set(parts) and "\x00" not in path
        if len(parts) == 2 and plain and _is_run(self.dir / parts[0] / parts[1]):
            return self.dir / parts[0] / parts[1]
        runs = list(self._all()) if plain else []
        project, wanted = (parts[-2], parts[-1]) if len(parts) > 1 else (None, parts[0])
        there = [run for run in runs if project is None or project in (run.project, run.dir.parent.name)]
        for word in ("id", "name"):
            found = [run for run in there if getattr(run, word) == wanted]
            if len(found) == 1:
                return found[0].dir
            if found:
                raise RunNotFoundError(
                    f"{path!r} is not one run but {len(found)}: {', '.join(run.path for run in found[:8])}"
                )
        known = [name for run in runs for name in (run.path, run.id, run.name)]
        raise RunNotFoundError(f"no run {path!r} in {self.dir}{_near(path, known)}")

    def _all(self) -> Iterator[Run]:
        """Every run, in no order."""
        return map(Run, run_dirs(self.dir))

    def __repr__(self) -> str:
        return f"<Api of {self.dir}>"


def run_dirs(directory: Path) -> Iterator[Path]:
    """The directory of every run below a runs directory. Links are not followed, so no loop can be entered."""
    for project in _folders(directory):
        for path in _folders(project):
            if _is_run(path):
                yield path


def _put_rings_away(directory: Path) -> None:
    """Free the shared memory of programs that died, where that is possible; reading does not depend on it."""
    try:
        from milepost.sdk.recovery import recover
    except ImportError:  # no shared memory on this system, so no rings
        return
    recover(directory)


def _folders(path: Path) -> list[Path]:
    """The real folders in a folder, by name; none when it cannot be listed."""
    try:
        with os.scandir(path) as entries:
            return sorted(
                Path(e.path) for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith(".")
            )
    except OSError:
        return []


def _is_run(path: Path) -> bool:
    return (path / "journal").is_dir() or (path / "run.json").is_file()


def _near(wanted: str, known: list[str]) -> str:
    unique = list(dict.fromkeys(known))
    if not unique:
        return ", which holds no runs"
    near = difflib.get_close_matches(wanted, unique, 4, 0.4) or unique[:4]
    return f"; near it: {', '.join(near)}"
