"""Load: batches of noisy curves, encoded beforehand, and writers that send them one after the other over one connection each.

A batch is 100 keys x 100 rows, as an exporter sends it. A writer sends its batches to a run, and then the same ones to another
run: to the server each is new, and nothing is encoded while it is measured.
"""

import socket
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray

from bench.server.process import KEY, Served
from milepost.sdk.wire import MEDIA_TYPE, Group, WireBatch

KEYS: Final = 100
ROWS: Final = 100
POINTS: Final = KEYS * ROWS
BEGIN: Final = 1_700_000_000_000_000_000
STEP_NS: Final = 20_000_000
NAMES: Final = [f"layer_{at // 10}/metric_{at % 10}" for at in range(KEYS)]
PROJECT: Final = "load"


def curves(kind: str, rows: int, keys: int, seed: int) -> NDArray[np.float64]:
    """Noisy curves, shape (keys, rows): each falls, with 10 % of noise. kind: "float32" or "float64", what values hold."""
    source = np.random.default_rng(seed)
    along = np.arange(rows) / rows
    scale = np.exp(source.uniform(-6, 6, (keys, 1)))
    found = scale * (0.2 + np.exp(-4 * along)) * (1 + 0.1 * source.standard_normal((keys, rows)))
    return found.astype(np.float32).astype(np.float64) if kind == "float32" else found


def bodies(kind: str, writer: str, batches: int, seed: int) -> list[bytes]:
    """The bodies of the batches of a writer, as an exporter sends them."""
    values = curves(kind, batches * ROWS, KEYS, seed)
    press = zstandard.ZstdCompressor(level=3).compress
    found: list[bytes] = []
    for first in range(0, batches * ROWS, ROWS):
        seq = np.arange(first, first + ROWS)
        group = Group(
            keys=NAMES,
            seq=first,
            time=packed(BEGIN + seq * STEP_NS),
            runtime=packed(seq * (STEP_NS // 1000)),
            step=packed(seq),
            values=[{"f8": values[key, first : first + ROWS].tobytes()} for key in range(KEYS)],
        )
        batch = WireBatch(
            writer=writer, first=first, last=first + ROWS - 1, project=PROJECT, groups=[group], started=BEGIN
        )
        found.append(press(msgspec.msgpack.encode(batch)))
    return found


def packed(values: NDArray[np.int64]) -> list[Any] | dict[str, bytes] | int:
    """A column of whole numbers as the wire has it."""
    return {"i8": values.astype("<i8").tobytes()}


class Writer:
    """Sends batches until it is told to stop; seconds of every acknowledgement are in `waits`.

    every_s: from the beginning of one batch to that of the next; 0 for at once. Waits count from when a batch was due.
    """

    def __init__(self, server: Served, number: int, batches: Sequence[bytes], every_s: float = 0.0) -> None:
        self.waits: list[float] = []
        self.runs: list[str] = []
        self.refused = 0
        self.error: BaseException | None = None
        self._server = server
        self._number = number
        self._batches = batches
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._guarded, daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """End after the batch under way. Raises what went wrong."""
        self._stop.set()
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self.error = error

    def _run(self) -> None:
        server = self._server
        connection = socket.create_connection((server.host, server.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        due = time.perf_counter() + self._every_s * self._number / 8
        with connection:
            while not self._stop.is_set():
                run = f"w{self._number}-{len(self.runs)}"
                self.runs.append(run)
                for body in self._batches:
                    head = (
                        f"POST /api/v1/runs/{run}/batches HTTP/1.1\r\nHost: {server.host}\r\nAuthorization: Bearer {KEY}\r\n"
                        f"Content-Type: {MEDIA_TYPE}\r\nContent-Encoding: zstd\r\nContent-Length: {len(body)}\r\n\r\n"
                    ).encode()
                    due = due + self._every_s if self._every_s else time.perf_counter()
                    time.sleep(max(due - time.perf_counter(), 0.0))
                    self._send(connection, head + body, due)
                    if self._stop.is_set():
                        return

    def _send(self, connection: socket.socket, request: bytes, due: float) -> None:
        while True:
            connection.sendall(request)
            status = answer(connection)
            if status == 200:
                self.waits.append(time.perf_counter() - due)
                return
            if status not in (429, 503):
                raise RuntimeError(f"a batch was answered with {status}")
            self.refused += 1
            time.sleep(1.0)  # as Retry-After asks


def answer(connection: socket.socket) -> int:
    """The status of an answer with a Content-Length; it is read to its end."""
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
    return int(head[9:12])


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    ordered: Any = sorted(values)
    return float(ordered[min(int(len(ordered) * share), len(ordered) - 1)]) if ordered else float("nan")
