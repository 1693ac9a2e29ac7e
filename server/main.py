"""Start the server: what `milepost server` calls."""

import socket
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from milepost.sdk.errors import UsageError
from milepost.server.app import create_app
from milepost.server.store.directory import DirectoryStore


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says. port: 0 for a free one, which is printed."""

    runs: Path
    host: str = "127.0.0.1"
    port: int = 8550


def serve(options: Options) -> None:
    """Serve until SIGINT or SIGTERM; answers that are under way are finished."""
    store = DirectoryStore(options.runs)
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((options.host, options.port))
        listener.listen(2048)  # from here on a client waits, and is not refused, until the store is open
    except (OSError, OverflowError) as error:
        text = f"cannot listen on {options.host} port {options.port}: {getattr(error, 'strerror', None) or error}"
        raise UsageError(f"{text}; name another with --port, or 0 for a free one") from None
    port = listener.getsockname()[1]
    host = f"[{options.host}]" if family == socket.AF_INET6 else options.host
    print(f"milepost: serving {options.runs} at http://{host}:{port}", flush=True)
    config = uvicorn.Config(
        create_app(store),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=30,
    )
    uvicorn.Server(config).run(sockets=[listener])
