"""The server taking rows in: eight writers over HTTP, durable acknowledgements, the compactor at work and charts being read."""

import random
import shutil
import time
from typing import Any

from bench.benchmark import Task
from bench.measuring import Figures, directory_bytes
from bench.server import batches, curves, datasets
from bench.server.batches import WRITERS
from bench.server.process import Served, serve
from bench.server.sending import Writer, percentile
from bench.server.worker import Worker

PACE = 750_000
"""Points a second that are sent when not as many as can be."""
READ_EVERY_S = 0.25
STEPS = 10_000_000
"""Of a run that was there before, which is looked at meanwhile."""


def measure(task: Task) -> Figures:
    """task.size: seconds of curves. Acknowledged points a second, waits, and what is left to compact when the load ends."""
    kind, _, pace = task.case.partition(", ")
    every_s = WRITERS * curves.POINTS / PACE if pace else 0.0
    bodies = [batches.bodies(kind, n, batches.BATCHES if task.size > 1 else 4) for n in range(WRITERS)]
    directory, steps = task.directory / "data", STEPS if task.size > 1 else STEPS // 50
    shutil.copytree(datasets.long_run(steps), directory)
    before = directory_bytes(directory)
    with serve("--data", directory) as server:
        client = server.client()
        client.get("/api/v1/projects").raise_for_status()
        time.sleep(1.0)
        idle = server.rss_mb()
        server.reset_peak()
        requests = [batches.requests(server.host, n, each) for n, each in enumerate(bodies)]
        writers = [Writer(server.host, server.port, each, every_s) for each in requests]
        charts = _Charts(server, steps)
        cpu, own = server.cpu_s(), time.process_time()
        began = time.perf_counter()
        for writer in writers:
            writer.start()
        charts.start()
        time.sleep(task.size)
        for writer in writers:
            writer.stop()
        seconds = time.perf_counter() - began
        oldest = _gauge(client, "milepost_server_uncompacted_seconds")
        used = [now - before for now, before in zip(server.cpu_s(), cpu, strict=True)]
        own = time.process_time() - own
        charts.stop()
        peak = server.peak_mb()
        settled = _settle(client)
        waits = [wait for writer in writers for wait in writer.waits]
        points = len(waits) * curves.POINTS
    return {
        "points_per_s": points / seconds,
        "ack_p50_ms": percentile(waits, 0.5) * 1e3,
        "ack_p99_ms": percentile(waits, 0.99) * 1e3,
        "ack_max_ms": max(waits) * 1e3,
        "oldest_s": oldest,
        "backlog_s": settled,
        "bytes_per_point": (directory_bytes(directory) - before) / points,
        "idle_mb": sum(idle),
        "peak_mb": sum(peak),
        "server_peak_mb": peak[0],
        "chart_p50_ms": percentile(charts.waits, 0.5) * 1e3,
        "zoom_p50_ms": percentile(charts.zooms, 0.5) * 1e3,
        "zoom_p95_ms": percentile(charts.zooms, 0.95) * 1e3,
        "server_cores": used[0] / seconds,
        "compactor_cores": used[1] / seconds,
        "load_cores": own / seconds,
        "points": points,
        "refused": sum(writer.refused for writer in writers),
    }


class _Charts(Worker):
    """Reads charts in turn: four curves of a run that is being written, a zoom into 100,000 steps of a long one."""

    def __init__(self, server: Served, steps: int) -> None:
        super().__init__()
        self.waits: list[float] = []
        self.zooms: list[float] = []
        self._steps = steps
        self._client = server.client()

    def _run(self) -> None:
        source = random.Random(1)
        at = 0
        while not self._stop.wait(READ_EVERY_S):
            at += 1
            keys = [curves.NAMES[(at * 7 + n) % curves.KEYS] for n in range(4)]
            self._ask(self.waits, f"{curves.PROJECT}/w{at % WRITERS}-0", keys, None)
            low = source.uniform(0, self._steps - 100_000)
            self._ask(self.zooms, "long/long-0", ["loss"], (low, low + 100_000))

    def _ask(self, waits: list[float], run: str, keys: list[str], between: tuple[float, float] | None) -> None:
        asked: dict[str, Any] = {"runs": [run], "keys": keys, "buckets": 1000, "range": between}
        began = time.perf_counter()
        self._client.post("/api/v1/history", json=asked).raise_for_status()
        waits.append(time.perf_counter() - began)


def _gauge(client: Any, name: str) -> float:
    text: str = client.get("/metrics").text
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + " "))


def _settle(client: Any) -> float:
    """Seconds until what is left to compact are a few rows of each writer, which wait for others on purpose."""
    began = time.perf_counter()
    while _gauge(client, "milepost_server_uncompacted_rows") > WRITERS * 512 and time.perf_counter() - began < 60:
        time.sleep(0.1)
    return time.perf_counter() - began
