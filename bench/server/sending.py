"""Sending: writers that post requests made beforehand, one after the other over one connection each. Standard library only."""

import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

from bench.server.worker import Worker


class Writer(Worker):
    """Sends requests until it is told to stop; seconds of every answer are in `waits`. To have no more of them is an error.

    every_s: from the beginning of one request to that of the next; 0 for at once. Waits count from when a request was due.
    """

    def __init__(self, host: str, port: int, requests: Iterator[bytes], every_s: float = 0.0) -> None:
        super().__init__()
        self.waits: list[float] = []
        self.refused = 0
        self._to = host, port
        self._requests = requests
        self._every_s = every_s

    def _run(self) -> None:
        with connected(*self._to) as connection:
            due = time.perf_counter()
            for request in self._requests:
                due = due + self._every_s if self._every_s else time.perf_counter()
                if self._stop.wait(max(due - time.perf_counter(), 0.0)):
                    return
                self._send(connection, request, due)
        if not self._stop.is_set():
            raise RuntimeError(
                f"a writer had nothing more to send after {len(self.waits)} requests; make more beforehand"
            )

    def _send(self, connection: socket.socket, request: bytes, due: float) -> None:
        while not self._stop.is_set():
            connection.sendall(request)
            status, body = answer(connection)
            if status == 200:
                self.waits.append(time.perf_counter() - due)
                return
            if status not in (429, 503):
                raise RuntimeError(f"a request was answered with {status}: {body[:500]!r}")
            self.refused += 1
            self._stop.wait(1.0)  # as Retry-After asks


def connected(host: str, port: int) -> socket.socket:
    """A connection that sends small pieces at once."""
    made = socket.create_connection((host, port))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def request(host: str, path: str, body: bytes, **headers: str) -> bytes:
    """The bytes of a POST."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of an answer with a Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            raise RuntimeError("the server closed the connection")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < length:
        body += connection.recv(65536)
    return int(head[9:12]), body


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    ordered: Any = sorted(values)
    return float(ordered[min(int(len(ordered) * share), len(ordered) - 1)]) if ordered else float("nan")
