"""Api: the runs of a directory, read back while they are written, after a kill, and from a read-only medium.

    api = milepost.Api()                       # where this process logs, or ./milepost-runs
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
from typing import TYPE_CHECKING, Any, overload

from milepost.sdk.credentials import key_for
from milepost.sdk.current import current
from milepost.sdk.errors import Error, RunNotFoundError
from milepost.sdk.reading.result import History, HistoryScan, QueryError
from milepost.sdk.reading.run import Run
from milepost.sdk.reading.run_files import File

if TYPE_CHECKING:
    from milepost.sdk.reading.remote import Server

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
    """The runs below a runs directory, or of a milepost server.

    source:  the directory, or the address of a milepost server; None for the directory of the run that this
             process began last, else MILEPOST_DIR, else ./milepost-runs.
    api_key: for a server, a key with the scope read; None for MILEPOST_API_KEY, unless MILEPOST_URL says that it is for
             another server; else what `milepost login` keeps.
    Raises `RunNotFoundError` when the directory is not there.
    """

    def __init__(self, source: str | os.PathLike[str] | None = None, api_key: str | None = None) -> None:
        self._server: Server | None = None
        if source is None:
            source = _default_dir()
        if isinstance(source, str) and "://" in source:
            from milepost.sdk.reading import remote

            if not source.startswith(("http://", "https://")):
                raise Error(f"Api({source!r}): a server's address begins with http:// or https://")
            self._server = remote.Server(source, api_key or key_for(source))
            self.dir = Path()
            return
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
        if self._server is not None:
            from milepost.sdk.reading.remote import projects_of

            return projects_of(self._server)
        return sorted({run.project for run in self._all()})

    def runs(self, project: str | None = None) -> Runs:
        """The runs, newest first; of one project when it is named. Raises `RunNotFoundError` for a project without runs.

        Of "entity/project", as wandb's scripts have it, the last part counts.
        """
        if isinstance(project, str):
            project = project.strip("/").rpartition("/")[2]
        found = list(self._all(project))
        if project is None:
            return Runs(found)
        chosen = [run for run in found if project in (run.dir.parent.name, run.project)]
        if not chosen:
            raise RunNotFoundError(f"no project {project!r} in {self}{_near(project, [run.project for run in found])}")
        return Runs(chosen)

    def run(self, path: str, attempt: int | None = None) -> Run:
        """One run, by "project/run_id", or by an id or name that only one run has.

        attempt: which start of that id; None for the last.
        Raises `RunNotFoundError` with the nearest ones there are, or with the candidates when several fit.
        """
        found = self._find(path)
        if self._server is not None:
            if attempt is not None and attempt != found.attempt:
                raise RunNotFoundError(f"{path}: a server gives the last attempt of a run, {found.attempt}")
            return found
        run = Run(found.dir, attempt)
        if attempt is not None and attempt not in run.attempts:
            raise RunNotFoundError(
                f"{run.path} has no attempt {attempt!r}; it has: {', '.join(map(str, run.attempts))}"
            )
        return run

    def _find(self, path: Any) -> Run:
        if not isinstance(path, str) or not path.strip("/"):
            raise RunNotFoundError(f'Api.run() takes "project/run_id", an id or a name, got {path!r}')
        parts = path.strip("/").split("/")
        plain = not {"", ".", ".."} & set(parts) and "\x00" not in path
        if self._server is None and len(parts) == 2 and plain and is_run_dir(self.dir / parts[0] / parts[1]):
            return Run(self.dir / parts[0] / parts[1])
        if self._server is not None and len(parts) == 2 and plain:
            from milepost.sdk.reading.remote import run_at

            if (remote := run_at(self._server, *parts)) is not None:
                return remote
        runs = sorted(self._all(), key=lambda run: (run.project, run.id)) if plain else []
        project, wanted = (parts[-2], parts[-1]) if len(parts) > 1 else (None, parts[0])
        there = [run for run in runs if project is None or project in (run.project, run.dir.parent.name)]
        for word in ("id", "name"):
            found = [run for run in there if run.listed(word) == wanted]
            if len(found) == 1:
                return found[0]
            if found:
                raise RunNotFoundError(
                    f"{path!r} is not one run but {len(found)}: {', '.join(run.path for run in found[:8])}"
                )
        known = [name for run in runs for name in (run.path, run.id, run.listed("name") or run.id)]
        raise RunNotFoundError(f"no run {path!r} in {self}{_near(path, known)}")

    def _all(self, project: str | None = None) -> Iterator[Run]:
        """Every run, in no order. project: of a server, only the runs of this one when it is there."""
        if self._server is not None:
            from milepost.sdk.reading.remote import projects_of, runs_of

            projects = projects_of(self._server)
            chosen = [project] if project in projects else projects
            return (run for name in chosen for run in runs_of(self._server, name))
        return map(Run, run_dirs(self.dir))

    def __repr__(self) -> str:
        return f"<Api of {self}>"

    def __str__(self) -> str:
        return str(self.dir) if self._server is None else self._server.url


def _default_dir() -> str | Path:
    named = os.environ.get("MILEPOST_DIR") or _DEFAULT_DIR
    own = current.runs_dir
    return own if own is not None and own != Path(named).expanduser().absolute() and own.is_dir() else named


def run_dirs(directory: Path) -> Iterator[Path]:
    """The directory of every run below a runs directory. Links are not followed, so no loop can be entered."""
    for project in folders(directory):
        for path in folders(project):
            if is_run_dir(path):
                yield path


def _put_rings_away(directory: Path) -> None:
    """Free the shared memory of programs that died, where that is possible; reading does not depend on it."""
    try:
        from milepost.sdk.recovery import recover
    except ImportError:  # no shared memory on this system, so no rings
        return
    recover(directory)


def folders(path: Path) -> list[Path]:
    """The real folders in a folder, by name; none when it cannot be listed."""
    try:
        with os.scandir(path) as entries:
            return sorted(
                Path(e.path) for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith(".")
            )
    except OSError:
        return []


def is_run_dir(path: Path) -> bool:
    """Whether a directory is that of a run."""
    return (path / "journal").is_dir() or (path / "run.json").is_file()


def _near(wanted: str, known: list[str]) -> str:
    unique = list(dict.fromkeys(known))
    if not unique:
        return ", which holds no runs"
    near = difflib.get_close_matches(wanted, unique, 4, 0.4) or unique[:4]
    return f"; near it: {', '.join(near)}"
