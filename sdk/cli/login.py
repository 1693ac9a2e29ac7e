"""`milepost login`: keep the key of a server, after asking the server whether it is one."""

import os
import sys

import click

from milepost.sdk.cli import out
from milepost.sdk.credentials import store_key
from milepost.sdk.errors import Error, UnreachableError, UsageError


@click.command()
@click.argument("url", required=False)
@click.option("--forget", is_flag=True, help="Forget the key of this server.")
def command(url: str | None, forget: bool) -> None:
    """Keep the key of the server at URL (by default that of MILEPOST_URL) for this user.

    The key is asked for, or read from standard input when that is no terminal; it is never an argument, which
    other users of the machine could see. Programs that send to this URL, and milepost.Api(URL), then use it.
    """
    where = url or os.environ.get("MILEPOST_URL")
    if not where or not where.startswith(("http://", "https://")):
        raise UsageError(f"name the server, such as https://milepost.example.org, got {where or 'nothing'}")
    if forget:
        out.note(f"forgotten in {store_key(where, None)}")
        return
    if sys.stdin.isatty():
        key = str(click.prompt(f"Key for {where}", hide_input=True, err=True)).strip()
    else:
        key = sys.stdin.readline().strip()
    if not key:
        raise UsageError("no key was given")
    may = _may(where, key)
    out.note(f"the key of {where} ({may}) is kept in {store_key(where, key)}")


def _may(url: str, key: str) -> str:
    """What the key is for, as the server says. Raises `Error` unless the server knows it."""
    import httpx

    try:
        answer = httpx.post(f"{url.rstrip('/')}/api/v1/login", json={"key": key}, timeout=30)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise UnreachableError(
            f"{url} cannot be reached: {error}. The key is not kept; is the server up, and is this its address? "
            f"It answers at {url.rstrip('/')}/healthz"
        ) from None
    if answer.status_code == 401:
        raise Error(f"{url} does not know this key: it is wrong, expired or revoked")
    if answer.status_code == 409:
        raise Error(f"{url} has no keys: nothing needs a login there")
    if answer.status_code >= 500:
        raise UnreachableError(f"{url} answers {answer.status_code}. The key is not kept; try again later")
    if answer.status_code != 200:
        raise Error(f"{url} answers {answer.status_code}: is it a milepost server?")
    try:
        told = answer.json()
        project = f"; project {told['project']} only" if told["project"] else ""
        return f"{', '.join(told['scopes'])}{project}"
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Error(f"{url} does not answer as a milepost server does; is it one?") from None
