"""`milepost server`: runs in a browser, and over HTTP."""

from importlib import import_module
from pathlib import Path
from typing import Any

import click

from milepost.sdk.cli.out import note
from milepost.sdk.cli.runs import runs_dir
from milepost.sdk.errors import MissingDependencyError, UsageError


@click.command()
@click.option("--runs", metavar="DIR", help="The runs directory; by default the one that milepost.init() would use.")
@click.option(
    "--data", metavar="DIR", help="The server's own data, for runs that are sent to it; made when it is not there."
)
@click.option("--backup", metavar="TO", help="Copy the data directory, also while a server uses it, and end.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="H", help="The address to listen on.")
@click.option(
    "--port", default=8550, show_default=True, metavar="P", type=click.IntRange(0, 65535), help="0: a free one."
)
def command(runs: str | None, data: str | None, backup: str | None, host: str, port: int) -> None:
    """Serve runs to a browser, and over HTTP. Ctrl-C ends it.

    With --runs, the runs of a directory, live, read only, without copying them. With --data, a server that runs
    are sent to: it asks for a key. MILEPOST_ADMIN_KEY, when set, is the first admin key; else one is made and shown once.
    """
    if runs is not None and data is not None:
        raise UsageError("name --runs or --data, not both: a directory is served, or runs are sent to the server")
    if backup is not None:
        if data is None:
            raise UsageError("--backup copies the directory that --data names; name it")
        size, copied = server_module("backup").backup(Path(data).expanduser(), Path(backup).expanduser())
        note(f"{size:,} bytes of database and {copied:,} new contents are in {backup}")
        return
    main = server_module("main")
    if data is not None:
        main.serve(main.Options(data=Path(data).expanduser(), host=host, port=port))
    else:
        main.serve(main.Options(runs=runs_dir(runs), host=host, port=port))


def server_module(name: str) -> Any:
    """A module of milepost.server, which the SDK knows by name only. Raises `MissingDependencyError`."""
    try:
        return import_module(f"milepost.server.{name}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("milepost"):
            raise
        raise MissingDependencyError(
            f'milepost server needs {error.name}; install it with: pip install "milepost[server]"'
        ) from None
