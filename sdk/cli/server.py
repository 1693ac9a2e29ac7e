"""`milepost server`: named here so that who looks for it learns where it stands."""

import click

from milepost.sdk.errors import UsageError


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS]")
def command(options: tuple[str, ...]) -> None:
    """Serve runs to a browser. Not in this version: `milepost show` draws a run in the terminal."""
    raise UsageError(
        "milepost server is not in this version; look at runs with: milepost ls, milepost show RUN, or milepost.Api()"
    )
