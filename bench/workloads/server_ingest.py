"""The server taking rows in: eight writers over HTTP, durable acknowledgements, the compactor at work and charts being read."""

import threading
import time
from typing import Any

from bench.benchmark import Benchmark, Task
from bench.measuring import Figures, directory_bytes
from bench.server import load
from bench.server.process import Served, serve

WRITERS = 8
BATCHES = 60
"""Of a run: 6,000 rows of 100 numbers."""
READ_EVERY_S = 0.5


def measure(task: Task) -> Figures:
    """task.size: seconds of load. Acknowledged points a second, waits, and what is left to compact when the load ends."""
    bodies = [load.bodies(task.case, f"{n:016x}", BATCHES, n) for n in range(WRITERS)]
    with serve("--data", task.directory) as server:
        client = server.client()
        client.get("/api/v1/projects").raise_for_status()
        time.sleep(1.0)
        idle = server.rss_mb()
        server.reset_peak()
        writers = [load.Writer(server, n, each) for n, each in enumerate(bodies)]
        charts = _Charts(server)
        cpu, own = server.cpu_s(), time.process_time()
        began = time.perf_counter()
        for writer in writers:
            writer.start()
        charts.start()
        time.sleep(task.size)
        for writer in writers:
            writer.stop()
        seconds = time.perf_counter() - began
        backlog = _backlog_s(client)
        used = [now - before for now, before in zip(server.cpu_s(), cpu, strict=True)]
        own = time.process_time() - own
        charts.stop()
        peak = server.peak_mb()
        settled = _settle(client)
        waits = [wait for writer in writers for wait in writer.waits]
        points = len(waits) * load.POINTS
    return {
        "points_per_s": points / seconds,
        "ack_p50_ms": load.percentile(waits, 0.5) * 1e3,
        "ack_p99_ms": load.percentile(waits, 0.99) * 1e3,
        "ack_max_ms": max(waits) * 1e3,
        "backlog_s": backlog,
        "settled_s": settled,
        "bytes_per_point": directory_bytes(task.directory) / points,
        "idle_mb": sum(idle),
        "peak_mb": sum(peak),
        "server_peak_mb": peak[0],
        "chart_p50_ms": load.percentile(charts.waits, 0.5) * 1e3,
        "chart_max_ms": max(charts.waits, default=0.0) * 1e3,
        "server_cores": used[0] / seconds,
        "compactor_cores": used[1] / seconds,
        "load_cores": own / seconds,
        "points": points,
        "refused": sum(writer.refused for writer in writers),
    }


class _Charts:
    """Reads a chart of four curves of a run that is being written, again and again."""

    def __init__(self, server: Served) -> None:
        self.waits: list[float] = []
        self._client = server.client()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        at = 0
        while not self._stop.wait(READ_EVERY_S):
            at += 1
            asked: dict[str, Any] = {
                "runs": [f"{load.PROJECT}/w{at % WRITERS}-0"],
                "keys": [load.NAMES[(at * 7 + n) % load.KEYS] for n in range(4)],
                "buckets": 1000,
            }
            began = time.perf_counter()
            self._client.post("/api/v1/history", json=asked).raise_for_status()
            self.waits.append(time.perf_counter() - began)


def _gauge(client: Any, name: str) -> float:
    text: str = client.get("/metrics").text
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + " "))


def _backlog_s(client: Any) -> float:
    return _gauge(client, "milepost_server_uncompacted_seconds")


def _settle(client: Any) -> float:
    """Seconds until everything is compacted."""
    began = time.perf_counter()
    while _gauge(client, "milepost_server_uncompacted_rows") > 0:
        if time.perf_counter() - began > 300:
            return float("inf")
        time.sleep(0.2)
    return time.perf_counter() - began


INGEST = Benchmark(
    title="A server under load: 8 writers, 100 curves each, durable acknowledgements, charts being read",
    measure=measure,
    fields=(
        "points_per_s",
        "ack_p50_ms",
        "ack_p99_ms",
        "ack_max_ms",
        "backlog_s",
        "settled_s",
        "bytes_per_point",
        "idle_mb",
        "peak_mb",
        "server_peak_mb",
        "chart_p50_ms",
        "chart_max_ms",
        "server_cores",
        "compactor_cores",
        "load_cores",
        "points",
        "refused",
    ),
    cases={"float32": ("milepost",), "float64": ("milepost",)},
    sizes={"tiny": 2, "quick": 15, "full": 60},
)
