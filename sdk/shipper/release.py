"""Release: ask whoever ships a run whose programs are gone to leave it, because somebody delivers it by hand."""

from pathlib import Path
from typing import Final

import msgspec

from milepost.sdk.shipper.meeting import connect, meetings, receive, send

NOTE: Final = "unsent.txt"
"""In a run's directory: what a shipper left, and how it is delivered."""
_PATIENCE_S: Final = 20.0


def release(run_dir: Path) -> bool:
    """Whether no shipper of this machine holds the run any more. Raises nothing."""
    free = True
    for path in meetings():
        try:
            connection = connect(path, _PATIENCE_S)
        except OSError:
            continue  # nobody is there
        with connection:
            try:
                send(connection, {"op": "release", "run_dir": str(run_dir.absolute())})
                answer = receive(connection)
            except (OSError, msgspec.MsgspecError):
                continue
            free = free and bool((answer or {}).get("ok"))
    return free


def status(path: Path) -> dict[str, object] | None:
    """What the shipper that listens at a socket says of itself; None when nobody answers."""
    try:
        with connect(path, 2.0) as connection:
            send(connection, {"op": "status"})
            return receive(connection)
    except (OSError, msgspec.MsgspecError):
        return None
