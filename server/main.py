"""Start the server: what `milepost server` calls."""

import gc
import ipaddress
import logging
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from milepost.sdk.errors import UsageError
from milepost.server.app import create_app
from milepost.server.auth import SCOPES, Keys
from milepost.server.keys_api import add_key
from milepost.server.logs import AsJson, Logs
from milepost.server.malformed import Protocol
from milepost.server.proxy_users import Peer, proxy_users
from milepost.server.store import Store
from milepost.server.store.directory import DirectoryStore
from milepost.server.store.schema import connect
from milepost.server.store.sqlite import SqliteStore

_LOCAL = frozenset(("localhost", "127.0.0.1", "::1"))


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says: a runs directory to serve, or a data directory of its own. port: 0 for a free one.

    trust_proxy_user: the header in which a proxy names users; trusted_proxies, proxy_admins: addresses and names, with commas.
    """

    runs: Path | None = None
    data: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8550
    trust_proxy_user: str | None = None
    trusted_proxies: str | None = None
    proxy_admins: str | None = None
    proxy_scopes: tuple[str, ...] = ("read",)
    log_level: str = "warning"
    log_format: str = "text"


def serve(options: Options) -> None:
    """Serve until SIGINT or SIGTERM; answers that are under way are finished."""
    logs = Logs(options.log_level, options.log_format)
    # uvicorn ends in order and then sends itself the signal again: what waits for the log would be lost.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        _serve(options)
    finally:
        logs.stop()


def _serve(options: Options) -> None:
    store: Store
    keys: Keys | None = None
    users = proxy_users(options.trust_proxy_user, options.trusted_proxies, options.proxy_admins, options.proxy_scopes)
    first = os.environ.get("MILEPOST_ADMIN_KEY") or None
    if first is not None and len(first) < 16:
        raise UsageError(
            f"MILEPOST_ADMIN_KEY has {len(first)} characters; a key that cannot be guessed has 16 at least"
        )
    if options.data is not None:
        try:
            store = SqliteStore(options.data)
            keys = _keys(options, options.data, first)
        except sqlite3.DatabaseError as error:
            text = f"{options.data / 'milepost.db'} cannot be used: {error}"
            raise UsageError(f"{text}; look at the disk and whose the folder is, or start on a backup") from None
    else:
        assert options.runs is not None
        store = DirectoryStore(options.runs)
        if first is not None or users is not None:
            keys = Keys(_secret_file(), None, first)
        elif not _is_loopback(options.host):
            text = f"{options.host} can be reached by others, and they would read all runs without a key"
            raise UsageError(f"{text}; set MILEPOST_ADMIN_KEY to the key they need, or listen on 127.0.0.1")
    gc.collect()
    gc.freeze()  # what is known of 10,000 runs stays: looking through it for garbage held up answers for 0.2 s
    listener = _listen(options)
    host = f"[{options.host}]" if listener.family == socket.AF_INET6 else options.host
    what = options.data if options.data is not None else options.runs
    _say(options, f"serving {what} at http://{host}:{listener.getsockname()[1]}")
    app = create_app(store, keys, _LOCAL | {options.host.lower()} if keys is None else None, users)
    config = uvicorn.Config(
        Peer(app, users),
        http=Protocol,
        proxy_headers=False,  # Peer does it
        log_config=None,  # Logs does it
        access_log=False,  # RequestLog does it
        server_header=False,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=30,
    )
    _Server(config, app.state.stopping.set).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Tells those who never end by themselves, the streams of events, that it is time: else they are waited for, and cut off.

    stopping: called once, when the server is asked to end.
    """

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._stopping = stopping

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what is under way, and end."""
        self._stopping()
        await super().shutdown(sockets)


def _say(options: Options, text: str) -> None:
    """What whoever starts a server waits for, on standard output; in a log of JSON, as the rest of it."""
    if options.log_format == "json":
        record = logging.LogRecord("milepost.server", logging.INFO, "", 0, text, (), None)
        print(AsJson().format(record) + "\n", end="", flush=True)
    else:
        print(f"milepost: {text}\n", end="", flush=True)  # one piece, whatever else is written there


def _keys(options: Options, data: Path, first: str | None) -> Keys:
    """The keys of a data directory; the first admin key is made and shown when there is none.

    A log of JSON is kept and sent to others: there it is not shown, but put into a file that only its owner reads.
    """
    database = data / "milepost.db"
    keys = Keys(data / "secret", lambda: connect(database), first)
    if not keys.some:
        key, line = keys.make(SCOPES, note="made at the first start")
        connection = connect(database)
        add_key(connection, line)
        connection.close()
        keys.reload()
        if options.log_format == "json":
            path = data / "first-admin-key"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.write(descriptor, f"{key}\n".encode())
            os.close(descriptor)
            _say(options, f"the first admin key is in {path}; keep it elsewhere, and remove the file")
        else:
            _say(options, f"the first admin key, shown this once: {key}")
    return keys


def _secret_file() -> Path:
    """Where the secret of a server without a data directory is: with the user's other state."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "milepost" / "server-secret"


def _listen(options: Options) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((options.host, options.port))
        listener.listen(2048)  # from here on a client waits, and is not refused, until the store is open
    except (OSError, OverflowError) as error:
        listener.close()
        text = f"cannot listen on {options.host} port {options.port}: {getattr(error, 'strerror', None) or error}"
        raise UsageError(f"{text}; name another with --port, or 0 for a free one") from None
    return listener


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
