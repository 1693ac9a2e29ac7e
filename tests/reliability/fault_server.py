"""Fault server: a back end that behaves as a script says, and remembers what it acknowledged. The oracle of the network tests.

Speaks HTTP (rows of the double; OTLP protobuf and JSON, plain or gzip) and, in `grpc_server.py`, OTLP over gRPC. Behaviours:

    ok                  takes everything                    refuse            nobody listens
    hang                accepts and never answers           reset             reads half of the request, then RST
    429, 503, ...       answers with that status            429:2             the same with Retry-After: 2
    partial:3           takes the batch, says that 3 rows were refused
    poison              400 for a batch that holds a poisoned row (`is_poison`), else takes it
"""

import contextlib
import itertools
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

Item = dict[str, Any]
"""What was acknowledged: at least "run", "writer", "seq" and "values" where the protocol says so."""


@dataclass
class Request:
    """One request: when (time.monotonic), how it was answered, where it went and what it carried.

    heard: another request followed on its connection, so that the answer arrived; the last one of a connection does not tell.
    waited_s: how long it waited: until its connection ended.   left_s: over gRPC, how long it would still wait when answered.
    body: a checksum and the length of what came.
    """

    at: float
    behaviour: str
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    items: list[Item] = field(default_factory=list)
    heard: bool = False
    waited_s: float = 0.0
    left_s: float | None = None
    body: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        rows = f"rows {self.items[0]['seq']} to {self.items[-1]['seq']}" if self.items else "no rows taken"
        return (
            f"{self.at:.3f} {self.path} {self.body[0]:08x} of {self.body[1]} bytes: {self.behaviour}, {rows}, "
            f"heard {self.heard}, waited {self.waited_s:.3f} s, left {self.left_s}"
        )


def rows_of_the_double(path: str, headers: dict[str, str], body: bytes) -> list[Item]:
    """The items of a request of `double.HttpLines`."""
    found: list[Item] = json.loads(body)
    return found


class FaultServer:
    """An HTTP server on a port of its own. `behave` changes what it does from now on.

    decode: the items of a request.      is_poison: which of them spoil their batch.      key: the only bearer token taken.
    answer: (content type, body) of a success, given the request's path and how many items were refused.
    """

    def __init__(
        self,
        decode: Callable[[str, dict[str, str], bytes], list[Item]] = rows_of_the_double,
        *,
        is_poison: Callable[[Item], bool] = lambda item: False,
        answer: Callable[[str, int], tuple[str, bytes]] | None = None,
        key: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._decode = decode
        self._is_poison = is_poison
        self._answer = answer or (
            lambda path, refused: ("application/json", json.dumps({"rejected": refused}).encode())
        )
        self.key = key
        self.tls = tls
        self.connections = 0
        self._lock = threading.Lock()
        self._behaviour = "ok"
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._closed = False
        self._answering: set[socket.socket] = set()
        self._dropped: set[socket.socket] = set()
        self._last: dict[socket.socket, Request] = {}
        """The request of each connection that was answered last."""
        self.requests: list[Request] = []
        self.accepted: list[Item] = []
        self.refused = 0
        """Items of accepted batches that were said to be refused."""
        self.port = 0
        self._listen()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def behave(self, behaviour: str) -> None:
        """Behave so from now on, also on connections that are open."""
        with self._lock:
            before, self._behaviour = self._behaviour, behaviour
        if behaviour == "refuse":
            self._stop_listening()
        elif self._listener is None:
            self._listen()
        if (
            behaviour == "refuse" or before == "hang"
        ):  # whoever hangs is let go: the other side sees a closed connection
            self._drop_connections()

    def script(self, *steps: tuple[float, str]) -> threading.Thread:
        """Behave so many seconds after now, each in turn; the thread that does it."""
        began = time.monotonic()

        def play() -> None:
            for after_s, behaviour in steps:
                time.sleep(max(began + after_s - time.monotonic(), 0))
                self.behave(behaviour)

        thread = threading.Thread(target=play, daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        self._closed = True
        self._stop_listening()
        self._drop_connections()

    # -- what was acknowledged ------------------------------------------------------------------------------------------------

    def seqs(self) -> list[tuple[str, int]]:
        """(writer, seq) of each acknowledged item, in order of arrival."""
        with self._lock:
            return [(item["writer"], item["seq"]) for item in self.accepted]

    def values(self, key: str) -> list[Any]:
        """A value of each acknowledged item once, in order of first arrival."""
        with self._lock:
            found = {(item["writer"], item["seq"]): item["values"].get(key) for item in self.accepted}
        return list(found.values())

    # -- serving --------------------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _drop_connections(self) -> None:
        """End what is open, after the answers that are under way; nothing that comes later on it is taken.

        What is acknowledged is heard to the end, or the count of what was sent twice would tell of the server.
        """
        with self._lock:
            opened = list(self._open)
            self._dropped.update(opened)
        for connection in opened:
            deadline = time.monotonic() + 5.0
            while connection in self._answering and time.monotonic() < deadline:
                time.sleep(0.001)
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR if self.tls is None else socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self.connections += 1
        try:
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            with self._lock:
                self._open.add(connection)
            while self._one(connection):
                pass
        except (OSError, ValueError, EOFError):
            pass
        finally:
            with self._lock:
                self._open.discard(connection)
                self._dropped.discard(connection)
                last = self._last.pop(connection, None)
                if last is not None:
                    last.waited_s = time.monotonic() - last.at
            connection.close()

    def _one(self, connection: socket.socket) -> bool:
        """Answer one request; whether the connection goes on."""
        head = b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(65536)
            if not piece:
                return False
            head += piece
            if head[:1] == b"\x16":  # TLS where plain text is spoken: answered as HTTP servers do
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return False
        if connection in self._last:
            self._last[connection].heard = True
        head, _, body = head.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        path = lines[0].split(" ")[1]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(headers.get("content-length", "0"))
        with self._lock:
            behaviour = self._behaviour
        if behaviour == "reset":
            return self._reset(connection, path, headers)
        while len(body) < length:
            piece = connection.recv(65536)
            if not piece:
                return False
            body += piece
        with self._lock:  # from here on the answer is under way, or the connection is not to be answered any more
            behaviour = self._behaviour
            if behaviour == "refuse" or connection in self._dropped:
                return False
            if behaviour not in ("hang", "reset"):
                self._answering.add(connection)
        if behaviour == "hang":
            with self._lock:
                self.requests.append(Request(time.monotonic(), behaviour, path, headers))
            connection.recv(1)  # until it is dropped, or the other side gives up
            return False
        if behaviour == "reset":
            return self._reset(connection, path, headers)
        try:
            told = (crc32(body), len(body))
            self._answer_one(connection, Request(time.monotonic(), behaviour, path, headers, body=told), body)
        finally:
            self._answering.discard(connection)
        return True

    def _reset(self, connection: socket.socket, path: str, headers: dict[str, str]) -> bool:
        with self._lock:
            self.requests.append(Request(time.monotonic(), "reset", path, headers))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    def _answer_one(self, connection: socket.socket, request: Request, body: bytes) -> None:
        self._last[connection] = request
        status, content, reply, more = self._decide(request, body)
        extra = "".join(f"{name}: {value}\r\n" for name, value in more.items())
        connection.sendall(
            f"HTTP/1.1 {status} X\r\nContent-Type: {content}\r\nContent-Length: {len(reply)}\r\n{extra}\r\n".encode()
            + reply
        )

    def _decide(self, request: Request, body: bytes) -> tuple[int, str, bytes, dict[str, str]]:
        path, headers = request.path, request.headers
        name, _, argument = request.behaviour.partition(":")
        with self._lock:
            self.requests.append(request)
            if self.key is not None and headers.get("authorization") != f"Bearer {self.key}":
                request.behaviour = "401"
                return 401, "text/plain", b"who are you?", {}
            if name.isdigit():
                return int(name), "text/plain", b"as the script says", {"Retry-After": argument} if argument else {}
            request.items = self._decode(path, headers, body)
            if name == "poison" and any(map(self._is_poison, request.items)):
                request.behaviour = "400"
                return 400, "text/plain", b"bad value", {}
            refused = min(int(argument), len(request.items)) if name == "partial" else 0
            self.accepted += request.items
            self.refused += refused
        content, reply = self._answer(path, refused)
        return 200, content, reply, {}


@contextlib.contextmanager
def serving(**options: Any) -> Iterator[FaultServer]:
    """A fault server for the time of a block."""
    server = FaultServer(**options)
    try:
        yield server
    finally:
        server.close()


def gaps_between(requests: Sequence[Request], behaviour: str) -> list[float]:
    """Seconds between requests that were answered so, and the one after each."""
    return [later.at - earlier.at for earlier, later in itertools.pairwise(requests) if earlier.behaviour == behaviour]
