"""Meeting: where programs and the shipper of a runs directory find each other, and how they speak.

    /dev/shm/milepost-UID/shipper-KEY.sock    the shipper listens here; the directory is private to the user, and both sides
                                              ask the kernel who the other one is
    /dev/shm/milepost-UID/shipper-KEY.lock    held by the shipper for as long as it lives
    DIR/shipper-HOST.log                      its standard output and error

KEY stands for the directory and for what decides how exporters behave: interpreter, version of milepost, proxies,
certificates, OTEL_*. Programs that differ there have shippers of their own. The same directory of another machine has another
shipper: shared memory is the machine's.

A message is a length of four bytes and a mapping in msgpack. What is here is loaded into programs; `listening.py` has the
rest, which is the shipper's and the command's.
"""

import contextlib
import os
import stat
import struct
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

try:
    import _socket
except ImportError:
    import socket as _socket  # type: ignore[no-redef]  # the same and more, 0.2 MiB that no program needs for this

from milepost.sdk.ring import RingUnavailable, make_directory
from milepost.sdk.shipper.plan import decode, encode

Socket = _socket.socket
PROTOCOL: Final = 1
MAX_MESSAGE: Final = 64 * 2**20
_PRIME: Final = 2**64 - 59
"""What is left of facts, as a number, when it is divided by this, tells them apart: a hash that loads no library."""
LENGTH: Final = struct.Struct("<I")
_PREFIXES: Final = ("OTEL_", "GRPC_", "SSL_CERT_")
_NAMES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_OF_A_RUN: Final = ("OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME")
"""Read by the program, which stores what they come to with the run."""


class Meeting(NamedTuple):
    """The files of one shipper."""

    socket: Path
    lock: Path
    log: Path


def meeting(runs_dir: Path, environ: Mapping[str, str] = os.environ) -> Meeting:
    """Where the shipper of a runs directory is found. Raises OSError where there is no private place to meet."""
    place = private_directory()
    key = _key(runs_dir, environ)
    return Meeting(
        place / f"shipper-{key}.sock", place / f"shipper-{key}.lock", runs_dir / f"shipper-{os.uname().nodename}.log"
    )


def connect(path: Path, timeout_s: float = 5.0) -> Socket:
    """A connection to the shipper that listens there. Raises OSError: nobody does, or it is not this user's."""
    connection = Socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        with address(path) as found:
            connection.connect(found)
        if not is_mine(connection):
            raise PermissionError(f"{path} is served by another user")
    except BaseException:
        connection.close()
        raise
    return connection


def is_mine(connection: Socket) -> bool:
    """Whether the process at the other end is this user's; where the kernel does not tell, the private directory decides."""
    if not hasattr(_socket, "SO_PEERCRED"):
        return True
    found = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, struct.calcsize("3i"))
    return bool(struct.unpack("3i", found)[1] == os.getuid())


def send(connection: Socket, message: Mapping[str, Any]) -> None:
    """Send one message. Raises OSError."""
    data = encode(dict(message))
    connection.sendall(LENGTH.pack(len(data)) + data)


def taken(received: bytearray) -> Iterator[dict[str, Any]]:
    """The whole messages at the front of what was received, which are taken from it. Raises DecodeError."""
    while len(received) >= LENGTH.size:
        (length,) = LENGTH.unpack_from(received)
        end = LENGTH.size + length
        if len(received) < end:
            return
        message = bytes(received[LENGTH.size : end])
        del received[:end]
        yield decode(message)


def private_directory() -> Path:
    """Where programs and shippers of this user meet. Raises OSError where there is no such place."""
    try:
        return make_directory()
    except RingUnavailable:
        pass
    place = Path(tempfile.gettempdir()) / f"milepost-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(f"{place} is not this user's own")
    return place


def _key(runs_dir: Path, environ: Mapping[str, str]) -> str:
    found = os.stat(runs_dir)
    told = {
        name: value
        for name, value in environ.items()
        if (name.startswith(_PREFIXES) or name.upper() in _NAMES) and name not in _OF_A_RUN
    }
    facts = (
        os.path.realpath(runs_dir),
        found.st_dev,
        found.st_ino,
        # Resolved: a program that was started as ../venv/bin/python, or found milepost by a relative path, spells them otherwise
        # than its shipper.
        os.path.realpath(sys.executable),
        os.path.realpath(sys.prefix),
        os.path.realpath(__file__),
        getattr(sys.modules.get("milepost"), "__version__", ""),
        PROTOCOL,
        sorted(told.items()),
    )
    return f"{int.from_bytes(repr(facts).encode(), 'big') % _PRIME:016x}"


@contextlib.contextmanager
def address(path: Path) -> Iterator[str]:
    """The path as an address, of which the kernel takes 107 bytes: a longer one goes through its open directory."""
    if len(os.fsencode(path)) <= 100:
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
