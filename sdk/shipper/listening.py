"""Listening: the shipper's side of the meeting, and that of commands which ask a shipper something."""

import contextlib
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from milepost.sdk.shipper.meeting import LENGTH, MAX_MESSAGE, Socket, address, connect, private_directory, send
from milepost.sdk.shipper.plan import decode


def meetings() -> list[Path]:
    """The sockets of every shipper of this user and machine, of any directory."""
    try:
        return sorted(private_directory().glob("shipper-*.sock"))
    except OSError:
        return []


def listen(path: Path) -> socket.socket:
    """The shipper's socket, in place of one that a dead shipper left. Call it with the lock held."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path.unlink(missing_ok=True)
    with address(path) as found:
        listener.bind(found)
    path.chmod(0o600)
    listener.listen(64)
    return listener


def ask(path: Path, message: Mapping[str, Any], timeout_s: float) -> dict[str, Any] | None:
    """What the shipper that listens at a socket answers; None when nobody does, or nothing that is understood."""
    try:
        with contextlib.closing(connect(path, timeout_s)) as connection:
            send(connection, message)
            return receive(connection)
    except (OSError, msgspec.MsgspecError):
        return None


def receive(connection: Socket) -> dict[str, Any] | None:
    """The next message; None when the other side is gone. Raises OSError (TimeoutError among them) and DecodeError."""
    head = _exactly(connection, LENGTH.size)
    if head is None:
        return None
    (length,) = LENGTH.unpack(head)
    if length > MAX_MESSAGE:
        return None
    data = _exactly(connection, length)
    return None if data is None else decode(data)


def _exactly(connection: Socket, size: int) -> bytes | None:
    found = bytearray()
    while len(found) < size:
        piece = connection.recv(size - len(found))
        if not piece:
            return None
        found += piece
    return bytes(found)
