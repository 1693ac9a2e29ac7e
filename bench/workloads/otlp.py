"""OTLP: what a point costs beside messages filled by hand and beside OpenTelemetry's SDK, and how fast rows reach a collector."""

import importlib.util
import json
import random
import resource as usage
import socket
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import samples, subjects
from bench.benchmark import Benchmark, Task
from bench.measuring import Figures, timed_calls

KEYS = tuple(f"layer.{at}.norm" for at in range(20))
ROWS = 100
BEGIN = 1_700_000_000_000_000_000


def encoding(task: Task) -> Figures:
    """Microseconds of processor time per point, the smallest of many turns, all of them in this process and in turn.

    Rows of 20 floats become one metrics request: by milepost, whole (which numbers, which series, coalescing, encoding); by
    filling OpenTelemetry's message classes with nothing decided at all; by the SDK's data classes and its encoder.
    """
    ways = {"milepost_us": _milepost(), "by_hand_us": _by_hand, "sdk_us": _sdk, "logs_us": _logs()}
    least = dict.fromkeys(ways, float("inf"))
    for turn in range(task.size):
        rows = _rows(turn)
        for name, way in ways.items():
            began = time.process_time()
            way(rows)
            least[name] = min(least[name], time.process_time() - began)
    found = {name: spent / len(KEYS) / ROWS * 1e6 for name, spent in least.items()}
    return {
        **found,
        "of_by_hand": found["milepost_us"] / found["by_hand_us"],
        "sdk_is_slower": found["sdk_us"] / found["milepost_us"],
    }


def _rows(turn: int) -> Any:
    from milepost.sdk.batch import Batch, Rows

    times = [BEGIN + (turn * ROWS + at) * 2_000_000 for at in range(ROWS)]
    columns = [[random.random() for _ in range(ROWS)] for _ in KEYS]
    head = [list(range(ROWS)), times, [at * 1000 for at in range(ROWS)], list(range(ROWS))]
    return Batch([Rows(KEYS, [*head, *columns], "bench/run", "a" * 16)])


def _milepost() -> Callable[[Any], object]:
    from milepost.exporters.otlp import resource
    from milepost.exporters.otlp.metrics import MetricsEncoder
    from milepost.exporters.otlp.selection import Selection

    selection = Selection()
    encoder = MetricsEncoder(resource.encoded({"service.name": "bench"}), resource.scope())

    def encode(rows: Any) -> object:
        request = encoder.encode(selection.select(rows))
        selection.settled()
        return request

    return encode


def _logs() -> Callable[[Any], object]:
    from milepost.exporters.otlp import resource
    from milepost.exporters.otlp.records import RecordsEncoder

    encoder = RecordsEncoder(resource.encoded({"service.name": "bench"}), resource.scope())
    return lambda rows: encoder.encode(encoder.select(rows))


def _by_hand(rows: Any) -> object:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    (part,) = rows.parts
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    times = part.columns[1]
    for key, column in zip(part.keys, part.columns[4:], strict=True):
        metric = metrics.add()
        metric.name = key
        points = metric.gauge.data_points
        for at, value in zip(times, column, strict=True):
            points.add(time_unix_nano=at, as_double=value)
    return request.SerializeToString()


def _sdk(rows: Any) -> object:
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
    from opentelemetry.sdk.metrics.export import (
        Gauge,
        Metric,
        MetricsData,
        NumberDataPoint,
        ResourceMetrics,
        ScopeMetrics,
    )
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    (part,) = rows.parts
    times: Any = part.columns[1]
    begun: Any = None  # a gauge has no start
    metrics: list[Metric] = []
    for key, column in zip(part.keys, part.columns[4:], strict=True):
        points = [NumberDataPoint({}, begun, at, value) for at, value in zip(times, column, strict=True)]
        metrics.append(Metric(key, "", "", Gauge(points)))
    scope = ScopeMetrics(InstrumentationScope("bench"), metrics, "")
    data = MetricsData([ResourceMetrics(Resource({}), [scope], "")])
    return encode_metrics(data).SerializeToString()


def shipping(task: Task) -> Figures:
    """Points and records per second of this process's processor time, from the journal to a collector on the loopback.

    A run of rows of 10 floats is logged first, a row in a millisecond, so that none coalesces; then both signals are
    delivered, each alone. A row is 11 points (its step is one) and one record.
    """
    import milepost
    from milepost.sdk.configuration import load
    from milepost.sdk.syncing import sync

    subject = subjects.start("milepost", task.directory)
    rows = samples.rows("floats")
    run = milepost.current_run()
    for at in range(task.size):
        subject.log(rows[at % samples.COUNT])
        time.sleep(0.001)
    subject.finish()
    found: Figures = {}
    with _Collector(task.directory, task.case) as endpoint:
        for signal in ("metrics", "logs"):
            exporter = {"endpoint": endpoint, "protocol": task.case, "signals": [signal], "compression": "none"}
            settings = load(settings={"exporters": [{"otlp": exporter}]}, environ={})
            began, wall = time.process_time(), time.perf_counter()
            outcomes = sync(Path(run.dir), to="otlp", in_force=settings)
            spent = time.process_time() - began
            if any(outcome.pending for outcome in outcomes):
                raise RuntimeError(f"not everything was delivered: {outcomes}")
            (cursor,) = Path(run.dir).glob(f"journal/*/cursor-otlp-{signal}.json")
            sent = json.loads(cursor.read_bytes())["position"]["counts"]["sent"]
            found[f"{signal}_sent"] = sent
            found[f"{signal}_per_core_s"] = sent / spent
            found[f"{signal}_per_s"] = sent / (time.perf_counter() - wall)
    found["rss_mb"] = usage.getrusage(usage.RUSAGE_SELF).ru_maxrss / 1024
    return found


def latency(task: Task) -> Figures:
    """What log() takes with OTLP on, beside what it takes without.

    With a collector that takes rows, with nobody there, and with one that accepts a connection and never answers. The runs
    alternate in one process, so that each ratio is of neighbours.
    """
    rows = samples.rows("floats")
    found: dict[str, list[float]] = {}
    with _Collector(task.directory, "http/protobuf") as up, socket.socket() as hangs:
        hangs.bind(("127.0.0.1", 0))
        hangs.listen(64)
        hanging = f"http://127.0.0.1:{hangs.getsockname()[1]}"
        cases = {"off": None, "up": up, "down": f"http://127.0.0.1:{_free_port()}", "hanging": hanging}
        for _ in range(5):
            for name, endpoint in cases.items():
                before = process_memory_kb()
                calls = _calls(task, rows, endpoint)
                found.setdefault(f"{name}_p50_us", []).append(statistics.median(calls) / 1e3)
                found.setdefault(f"{name}_memory_kb", []).append(process_memory_kb() - before)
    figures = {name: statistics.median(values) for name, values in found.items()}
    ratios = {
        f"{name}_of_off": statistics.median(
            [on / off for on, off in zip(found[f"{name}_p50_us"], found["off_p50_us"], strict=True)]
        )
        for name in ("up", "down", "hanging")
    }
    return {**figures, **ratios}


def _calls(task: Task, rows: list[Any], endpoint: str | None) -> list[int]:
    """Nanoseconds of each log() of one run."""
    import milepost

    exporters = [{"otlp": {"endpoint": endpoint}}] if endpoint is not None else []
    settings = {"exporters": exporters, "finish": {"timeout": 100}, "shipper": {"linger": 0}, "capture": False}
    with milepost.init(project="bench", dir=task.directory / "runs", settings=settings) as run:
        for row in rows:
            run.log(row)
        time.sleep(0.5)  # the shipper starts meanwhile
        return timed_calls(run.log, rows, task.size, task.budget_s)


def process_memory_kb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * usage.getpagesize() / 1024


class _Collector:
    """A collector that takes OTLP and keeps nothing."""

    def __init__(self, folder: Path, protocol: str) -> None:
        spec = importlib.util.find_spec("rotel")
        if spec is None or spec.origin is None:
            raise RuntimeError("rotel is not installed; make setup")
        grpc, http = _free_port(), _free_port()
        program = str(Path(spec.origin).with_name("rotel-agent"))
        self._port = grpc if protocol == "grpc" else http
        self._process = subprocess.Popen(
            [
                program, "start", "--exporter", "blackhole", "--pid-file", str(folder / "rotel.pid"),
                "--otlp-grpc-endpoint", f"127.0.0.1:{grpc}", "--otlp-http-endpoint", f"127.0.0.1:{http}",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def __enter__(self) -> str:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return f"http://127.0.0.1:{self._port}"
        raise RuntimeError("the collector did not start")

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


ENCODING = Benchmark(
    title="Encoding OTLP: processor time per point, rows of 20 floats",
    measure=encoding,
    fields=("milepost_us", "by_hand_us", "sdk_us", "of_by_hand", "sdk_is_slower", "logs_us"),
    cases={"floats": ("milepost",)},
    sizes={"tiny": 5, "quick": 100, "full": 400},
)
SHIPPING = Benchmark(
    title="From the journal to a collector on the loopback, rows of 10 floats",
    measure=shipping,
    fields=(
        "metrics_sent",
        "metrics_per_core_s",
        "metrics_per_s",
        "logs_sent",
        "logs_per_core_s",
        "logs_per_s",
        "rss_mb",
    ),
    cases={"http/protobuf": ("milepost",), "grpc": ("milepost",)},
    sizes={"tiny": 200, "quick": 10_000, "full": 50_000},
)
LATENCY = Benchmark(
    title="log() of 10 floats with OTLP on, beside log() without",
    measure=latency,
    fields=("off_p50_us", "up_of_off", "down_of_off", "hanging_of_off", "off_memory_kb", "up_memory_kb"),
    cases={"floats": ("milepost",)},
    sizes={"tiny": 300, "quick": 5_000, "full": 20_000},
)
