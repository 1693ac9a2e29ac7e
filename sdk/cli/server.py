"""`milepost server`: runs in a browser, and over HTTP."""

import os
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click

from milepost.sdk.cli.out import note
from milepost.sdk.cli.runs import runs_dir
from milepost.sdk.errors import MissingDependencyError, UsageError

OWN_DATA: Final = "milepost-data"


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
@click.option(
    "--trust-proxy-user", metavar="HEADER", help="The header in which a proxy before the server names who asks."
)
@click.option(
    "--trusted-proxies", metavar="CIDR,...", help="The addresses that header is taken from; from others it is ignored."
)
@click.option("--proxy-admins", metavar="NAME,...", help="Users of the proxy who may do everything.")
@click.option(
    "--proxy-scope",
    multiple=True,
    type=click.Choice(("read", "ingest")),
    default=("read",),
    show_default=True,
    help="What its other users may do; repeat it for both.",
)
@click.option(
    "--log-level",
    type=click.Choice(("debug", "info", "warning", "error")),
    default="warning",
    show_default=True,
    help="What the log has, on standard error; from info on, every request.",
)
@click.option(
    "--log-format",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="Lines for people, or an object of JSON in each.",
)
def command(
    runs: str | None, data: str | None, backup: str | None, host: str, port: int,
    trust_proxy_user: str | None, trusted_proxies: str | None, proxy_admins: str | None, proxy_scope: tuple[str, ...],
    log_level: str, log_format: str,
) -> None:  # fmt: skip
    """Serve runs to a browser, and over HTTP. Ctrl-C ends it.

    With --runs, the runs of a directory, live, read only, without copying them. With --data, a server that runs
    are sent to: it asks for a key. MILEPOST_ADMIN_KEY, when set, is the first admin key; else one is made and shown once.
    With neither, the runs directory; where there is none, a server of its own, with ./milepost-data as its data.
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
    if runs is None and data is None and _begins_anew():
        data = OWN_DATA
        if log_format == "text":  # else each line is an object, and "serving" says it
            note(f"milepost: no runs are here: this server is for runs that are sent to it, and keeps them in ./{data}")
    place = {"data": Path(data).expanduser()} if data is not None else {"runs": runs_dir(runs)}
    options = main.Options(
        **place, host=host, port=port, trust_proxy_user=trust_proxy_user, trusted_proxies=trusted_proxies,
        proxy_admins=proxy_admins, proxy_scopes=proxy_scope,
        log_level=log_level, log_format=log_format,
    )  # fmt: skip
    main.serve(options)


def _begins_anew() -> bool:
    """Whether nobody said what to serve, and no run was logged here; also for a server that began like this before."""
    if (Path(OWN_DATA) / "milepost.db").is_file():
        return True
    where = runs_dir(None)
    unsaid = not os.environ.get("MILEPOST_DIR") and where.resolve() == Path("milepost-runs").resolve()
    return unsaid and not where.exists()


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
