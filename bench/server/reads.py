"""The server answering: charts, zooms, the run table and searches, over data that was put there before. One request at a time."""

import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import msgspec

from bench.benchmark import Task
from bench.measuring import Figures, memory_of
from bench.server import datasets
from bench.server.process import Served, serve
from bench.server.sending import percentile

Ask = Callable[[int], object]

LONG = 100_000
"""Steps of the longest run for a task.size of 1."""


def measure(task: Task) -> Figures:
    """task.size: 100 is the full size, as the names of the cases have it. Milliseconds from the question to its whole answer."""
    return CASES[task.case](task.size)


def _long_in_store(size: int) -> Figures:
    from milepost.server import history
    from milepost.server.store.sqlite import SqliteStore

    store = SqliteStore(datasets.long_run(size * LONG))

    def chart(_: int) -> object:
        until = store.watermark("long", "long-0")
        series = store.series("long", "long-0", "loss", "_step", until=until)
        assert series is not None
        extent = series.extent()
        assert extent is not None
        return history.sampled(series, history.grid(*extent, 1000))

    return {**_asked(chart, time.process_time), "end_mb": memory_of(os.getpid())[0] / 2**20}


def _long_over_http(size: int) -> Figures:
    return _served(
        "--data", datasets.long_run(size * LONG), lambda _, client: partial(_chart, client, ["long/long-0"], None)
    )


def _zooms(size: int) -> Figures:
    steps = size * LONG
    source = random.Random(3)

    def zooms(_: Served, client: httpx.Client) -> Ask:
        def zoom(at: int) -> object:
            width = 10 ** source.uniform(2, len(str(steps)) - 1)
            low = source.uniform(0, steps - width)
            return _chart(client, ["long/long-0"], (low, low + width), at)

        return zoom

    return _served("--data", datasets.long_run(size * LONG), zooms, times=200)


def _twenty(size: int) -> Figures:
    steps = size * LONG // 10
    data = _twenty_runs(steps)
    runs = [f"long/long-{n}" for n in range(20)]
    return _served("--data", data, lambda _, client: partial(_chart, client, runs, None))


def _at_once(size: int) -> Figures:
    """20 at once, each of another run and range: `end_mb` is what stays of them."""
    steps = size * LONG // 10
    with serve("--data", _twenty_runs(steps)) as server, ThreadPoolExecutor(20) as pool:
        kept = threading.local()
        source = random.Random(4)

        def ask(at: int) -> float:
            client: httpx.Client = kept.__dict__.setdefault("client", server.client())
            low = source.uniform(0, steps / 2)
            began = time.perf_counter()
            _chart(client, [f"long/long-{at % 20}"], (low, low + steps * source.uniform(0.1, 0.5)), at)
            return time.perf_counter() - began

        first = ask(0)
        cpu = server.cpu_s()[0]
        waits = list(pool.map(ask, range(size * 10)))
        return {
            "first_ms": first * 1e3,
            "p50_ms": percentile(waits, 0.5) * 1e3,
            "p95_ms": percentile(waits, 0.95) * 1e3,
            "max_ms": max(waits) * 1e3,
            "cpu_ms": (server.cpu_s()[0] - cpu) / len(waits) * 1e3,
            "end_mb": sum(server.rss_mb()),
        }


def _twenty_runs(steps: int) -> Path:
    return datasets.dataset(f"twenty-{steps}", partial(datasets.long_runs, runs=20, steps=steps))


def _decoded(form: str, size: int) -> Figures:
    """As `_twenty`, in a form, until the client has numbers."""
    steps = size * LONG // 10
    data = _twenty_runs(steps)
    body = {"runs": [f"long/long-{n}" for n in range(20)], "keys": ["loss"], "buckets": 1000}
    kind, decode = _FORMS[form]

    def charts(_: Served, client: httpx.Client) -> Ask:
        def chart(_: int) -> object:
            answer = client.post("/api/v1/history", json=body, headers={"Accept": kind})
            return decode(answer.raise_for_status().content)

        return chart

    return _served("--data", data, charts)


def _arrow(content: bytes) -> object:
    pyarrow: Any = import_module("pyarrow")
    return pyarrow.ipc.open_stream(content).read_all()


_FORMS: dict[str, tuple[str, Callable[[bytes], object]]] = {
    "JSON": ("application/json", msgspec.json.decode),
    "msgpack": ("application/msgpack", msgspec.msgpack.decode),
    "Arrow": ("application/vnd.apache.arrow.stream", _arrow),
}


def _groups(size: int) -> Figures:
    runs = size * 100
    data = datasets.dataset(f"table-{runs}", partial(datasets.table, runs=runs))
    asked: dict[str, Any] = {"by": "config.lr", "columns": ["summary.val/metric_1", "summary.train/metric_0"]}

    def groups(_: Served, client: httpx.Client) -> Ask:
        return lambda _: client.get("/api/v1/projects/table/groups", params=asked).raise_for_status()

    return _served("--data", data, groups)


def _table(size: int) -> Figures:
    runs = size * 100
    data = datasets.dataset(f"table-{runs}", partial(datasets.table, runs=runs))

    def pages(_: Served, client: httpx.Client) -> Ask:
        def page(at: int) -> object:
            asked: dict[str, Any] = {
                "filter": f"config.lr > 0.0001 and summary.train/metric_{3 * (at % 10)} >= 0.25 and state == 'finished'",
                "sort": f"summary.val/metric_{3 * (at % 10) + 1}",
                "order": "desc" if at % 2 else "asc",
                "columns": "*",
            }
            return client.get("/api/v1/projects/table/runs", params=asked).raise_for_status()

        return page

    return _served("--data", data, pages)


def _search(size: int) -> Figures:
    keys = size * 1000
    data = datasets.dataset(f"keys-{keys}", partial(datasets.many_keys, keys=keys))

    def searches(_: Served, client: httpx.Client) -> Ask:
        def search(at: int) -> object:
            asked: dict[str, Any] = {"search": f"weight_{at * 7 % 100}", "limit": 50}
            return client.get("/api/v1/runs/keys/many/keys", params=asked).raise_for_status()

        return search

    return _served("--data", data, searches)


def _directory(size: int) -> Figures:
    rows = size * LONG // 10
    runs = datasets.dataset(f"directory-{rows}", partial(datasets.long_directory, count=rows))

    def charts(_: Served, client: httpx.Client) -> Ask:
        while not client.get("/api/v1/projects").json()["projects"]:
            time.sleep(0.01)

        def chart(at: int) -> object:
            keys = [f"metric_{at % 10}"]
            body = {"runs": ["long/long-0"], "keys": keys, "buckets": 1000}
            return client.post("/api/v1/history", json=body).raise_for_status()

        return chart

    return _served("--runs", runs, charts)


def _chart(client: httpx.Client, runs: list[str], between: tuple[float, float] | None, _: int) -> object:
    body = {"runs": runs, "keys": ["loss"], "buckets": 1000, "range": between}
    answer = client.post("/api/v1/history", content=msgspec.json.encode(body), headers=_JSON)
    return answer.raise_for_status()


_JSON = {"Content-Type": "application/json"}


def _served(option: str, data: Path, ready: Callable[[Served, httpx.Client], Ask], times: int = 40) -> Figures:
    began = time.perf_counter()
    with serve(option, data) as server, server.client() as client:
        ask = ready(server, client)
        client.get("/healthz").raise_for_status()
        start_s = time.perf_counter() - began
        idle = sum(server.rss_mb())
        figures = _asked(ask, lambda: server.cpu_s()[0], times)
        return {**figures, "start_s": start_s, "idle_mb": idle, "end_mb": sum(server.rss_mb())}


def _asked(ask: Ask, cpu_s: Callable[[], float], times: int = 40) -> Figures:
    """The first answer apart: what is kept for the next ones is made then. cpu_ms: of the others, each."""
    waits: list[float] = []
    used = 0.0
    for at in range(times):
        began = time.perf_counter()
        ask(at)
        waits.append(time.perf_counter() - began)
        used = used or cpu_s()
    return {
        "cpu_ms": (cpu_s() - used) / (times - 1) * 1e3,
        "first_ms": waits[0] * 1e3,
        "p50_ms": percentile(waits[1:], 0.5) * 1e3,
        "p95_ms": percentile(waits[1:], 0.95) * 1e3,
        "max_ms": max(waits[1:]) * 1e3,
    }


CASES: dict[str, Callable[[int], Figures]] = {
    "chart of 10 M steps, in the store": _long_in_store,
    "chart of 10 M steps": _long_over_http,
    "zooms into 10 M steps": _zooms,
    "20 runs x 1 M steps on a chart": _twenty,
    "1,000 charts, 20 at once": _at_once,
    "20 curves of 1,000 buckets, read as JSON": partial(_decoded, "JSON"),
    "20 curves of 1,000 buckets, read as msgpack": partial(_decoded, "msgpack"),
    "20 curves of 1,000 buckets, read as Arrow": partial(_decoded, "Arrow"),
    "table of 10,000 runs x 50 columns": _table,
    "groups of 10,000 runs by a column": _groups,
    "search among 100,000 keys": _search,
    "--runs: charts of 1 M rows": _directory,
}
