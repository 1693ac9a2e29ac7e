"""Many small programs at once: each sends a few rows a second, pages listen to what changes, charts are read afterwards."""

import selectors
import socket
import time
from collections.abc import Sequence

import msgspec
import numpy as np
import zstandard

from bench.benchmark import Task
from bench.measuring import Figures
from bench.server.batches import packed, to_run
from bench.server.curves import BEGIN
from bench.server.process import KEY, Served, serve
from bench.server.sending import answer, connected, percentile
from bench.server.worker import Worker
from milepost.sdk.wire import Group, WireBatch

SECONDS = 12
"""How long; a tiny load is over in 3."""
KEYS = tuple(f"metric_{at}" for at in range(20))
ROWS = 2
"""Rows of a batch; a run sends one each second."""
THREADS = 8
PAGES = 50


def measure(task: Task) -> Figures:
    """task.size: runs. Waits for acknowledgements, processors and memory while they log, and after 200 charts."""
    lasting_s = SECONDS if task.size > 10 else 3
    bodies = _bodies(lasting_s + 2)
    with serve("--data", task.directory) as server, server.client() as client:
        client.get("/api/v1/projects").raise_for_status()
        idle = sum(server.rss_mb())
        pages = _Pages(server)
        pages.start()
        parts = [range(n, task.size, THREADS) for n in range(THREADS)]
        senders = [_Sender(server, part, bodies) for part in parts]
        for sender in senders:
            sender.start()
        time.sleep(2)  # all runs are known
        cpu, own, began, sent = server.cpu_s(), time.process_time(), time.perf_counter(), _sent(senders)
        time.sleep(lasting_s - 2)
        used = [now - before for now, before in zip(server.cpu_s(), cpu, strict=True)]
        own = time.process_time() - own
        seconds = time.perf_counter() - began
        sent = _sent(senders) - sent
        for sender in senders:
            sender.stop()
        pages.stop()
        live = sum(server.rss_mb())
        for at in range(200 if task.size > 10 else 5):
            body = {"runs": [f"live/run-{(at * 4 + n) % task.size}" for n in range(4)], "keys": list(KEYS[:5])}
            client.post("/api/v1/history", json=body).raise_for_status()
        after = sum(server.rss_mb())
    waits = [wait for sender in senders for wait in sender.waits]
    return {
        "batches_per_s": sent / seconds,
        "ack_p50_ms": percentile(waits, 0.5) * 1e3,
        "ack_p99_ms": percentile(waits, 0.99) * 1e3,
        "server_cores": used[0] / seconds,
        "compactor_cores": used[1] / seconds,
        "load_cores": own / seconds,
        "idle_mb": idle,
        "live_mb": live,
        "after_charts_mb": after,
        "pages": PAGES,
        "events_per_page": pages.events / PAGES,
        "runs": task.size,
    }


def _sent(senders: Sequence["_Sender"]) -> int:
    return sum(len(sender.waits) for sender in senders)


def _bodies(batches: int) -> list[bytes]:
    source = np.random.default_rng(2)
    press = zstandard.ZstdCompressor(level=3).compress
    found: list[bytes] = []
    for first in range(0, batches * ROWS, ROWS):
        seq = np.arange(first, first + ROWS)
        clocks = {"time": packed(BEGIN + seq * 500_000_000), "runtime": packed(seq * 500_000)}
        values: list[list[float] | dict[str, bytes] | int] = [{"f8": source.random(ROWS).tobytes()} for _ in KEYS]
        group = Group(keys=list(KEYS), seq=first, step=packed(seq), values=values, **clocks)
        batch = WireBatch(writer="ab" * 8, first=first, last=first + ROWS - 1, project="live", groups=[group])
        found.append(press(msgspec.msgpack.encode(batch)))
    return found


class _Sender(Worker):
    """Sends a batch of each of its runs each second, over one connection. Waits count from when a batch was due."""

    def __init__(self, server: Served, runs: range, bodies: Sequence[bytes]) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._server, self._runs, self._bodies = server, runs, bodies

    def _run(self) -> None:
        server = self._server
        began = time.perf_counter()
        with connected(server.host, server.port) as connection:
            for second, body in enumerate(self._bodies):
                for place, run in enumerate(self._runs):
                    due = began + second + place / len(self._runs)
                    if self._stop.wait(max(due - time.perf_counter(), 0.0)):
                        return
                    connection.sendall(to_run(server.host, f"run-{run}", body))
                    status, said = answer(connection)
                    if status != 200:
                        raise RuntimeError(f"a batch was answered with {status}: {said!r}")
                    self.waits.append(time.perf_counter() - due)


class _Pages(Worker):
    """Event streams, read by one thread. events: how many came on all of them."""

    def __init__(self, server: Served) -> None:
        super().__init__()
        self.events = 0
        self._selector = selectors.DefaultSelector()
        head = f"GET /api/v1/events HTTP/1.1\r\nHost: {server.host}\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()
        for _ in range(PAGES):
            connection = socket.create_connection((server.host, server.port))
            connection.sendall(head)
            self._selector.register(connection, selectors.EVENT_READ, connection)

    def _run(self) -> None:
        while not self._stop.is_set():
            for key, _ in self._selector.select(0.1):
                data = key.data.recv(1 << 20)
                if not data:
                    raise RuntimeError("the server closed a stream of events")
                self.events += data.count(b"event: ")
            self._stop.wait(0.05)
        for key in list(self._selector.get_map().values()):
            key.data.close()
