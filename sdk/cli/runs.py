"""Which runs a command is about: its arguments turned into directories and runs."""

from pathlib import Path

import click

from milepost.sdk.api import Api, Run, folders, is_run_dir
from milepost.sdk.cli.out import note
from milepost.sdk.errors import ConfigurationError, RunNotFoundError


def runs_dir(given: str | None) -> Path:
    """The runs directory: the one given, else that of MILEPOST_DIR, of the config file in force, or ./milepost-runs."""
    if given is not None:
        return Path(given).expanduser()
    from milepost.sdk.configuration import load

    try:
        return load().dir
    except ConfigurationError as error:
        note(f"milepost: the settings in force are wrong, see milepost config check: {error.errors[0]}")
        return Api().dir


def find_run(run: str | None, directory: str | None, attempt: int | None = None) -> Run:
    """The run that is meant: a path, "project/id", an id or a name; the newest one of a directory, or for None.

    Raises RunNotFoundError.
    """
    if run is not None and directory is None and is_run_dir(Path(run)):
        path = Path(run).absolute()
        return Api(path.parent.parent).run(f"{path.parent.name}/{path.name}", attempt)
    where = runs_dir(directory)
    if run is not None:
        try:  # an id or name that is also a folder here is the run
            return Api(where).run(run, attempt)
        except RunNotFoundError:
            if directory is not None or not Path(run).is_dir():
                raise
        where, runs = find_runs(run)
    else:
        runs = list(Api(where).runs())
    if not runs:
        raise RunNotFoundError(f"there are no runs in {where}")
    newest = runs[0]
    return newest if attempt is None else Api(newest.dir.parent.parent).run(newest.path, attempt)


def find_runs(target: str | None, directory: str | None = None) -> tuple[Path, list[Run]]:
    """The directory and the runs that are meant: a runs directory, a project's folder, or one run; newest first.

    directory: what `--dir` said; a target is then a run in it. Raises RunNotFoundError.
    """
    if target is not None and directory is not None:
        run = find_run(target, directory)
        return run.dir, [run]
    if target is not None and not Path(target).is_dir():
        try:
            run = find_run(target, None)
        except RunNotFoundError as error:
            raise RunNotFoundError(f"{target} is no directory, and as a run: {error}") from None
        return run.dir, [run]
    named = target or directory
    where = runs_dir(named)
    if is_run_dir(where):
        return where, [find_run(str(where), None)]
    if named is not None and where.is_dir() and any(is_run_dir(path) for path in folders(where)):
        where = where.absolute()
        return where, list(Api(where.parent).runs(where.name))
    return where, list(Api(where).runs())


dir_option = click.option(
    "--dir", "directory", metavar="DIR", help="The runs directory; by default the one that milepost.init() would use."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a machine.")
attempt_option = click.option(
    "--attempt", type=int, metavar="N", help="Which start of that run id; by default the last."
)
