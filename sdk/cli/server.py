"""`milepost server`: runs in a browser, and over HTTP."""

from importlib import import_module
from pathlib import Path
from typing import Any

import click

from milepost.sdk.cli.runs import runs_dir
from milepost.sdk.errors import MissingDependencyError


@click.command()
@click.option("--runs", metavar="DIR", help="The runs directory; by default the one that milepost.init() would use.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="H", help="The address to listen on.")
@click.option(
    "--port", default=8550, show_default=True, metavar="P", type=click.IntRange(0, 65535), help="0: a free one."
)
def command(runs: str | None, host: str, port: int) -> None:
    """Serve the runs of a directory to a browser, live, without copying them. Ctrl-C ends it."""
    main = server_module("main")
    main.serve(main.Options(runs=Path(runs_dir(runs)), host=host, port=port))


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
