"""The server: what it takes in, how it answers, many runs at once, its peers. Imports come when it is measured."""

from bench.benchmark import Benchmark, Task
from bench.measuring import Figures

READ_CASES = (
    "chart of 10 M steps, in the store",
    "chart of 10 M steps",
    "zooms into 10 M steps",
    "20 runs x 1 M steps on a chart",
    "1,000 charts, 20 at once",
    "20 curves of 1,000 buckets, read as JSON",
    "20 curves of 1,000 buckets, read as msgpack",
    "20 curves of 1,000 buckets, read as Arrow",
    "table of 10,000 runs x 50 columns",
    "groups of 10,000 runs by a column",
    "search among 100,000 keys",
    "--runs: charts of 1 M rows",
)


def _ingest(task: Task) -> Figures:
    from bench.server import ingest

    return ingest.measure(task)


def _reads(task: Task) -> Figures:
    from bench.server import reads

    return reads.measure(task)


def _live(task: Task) -> Figures:
    from bench.server import live

    return live.measure(task)


def _peers(task: Task) -> Figures:
    from bench.server import peers

    return peers.measure(task)


INGEST = Benchmark(
    title="A server under load: 8 writers of 100 curves each, durable acknowledgements, charts and zooms being read",
    measure=_ingest,
    fields=(
        "points_per_s",
        "ack_p50_ms",
        "ack_p99_ms",
        "ack_max_ms",
        "backlog_s",
        "oldest_s",
        "bytes_per_point",
        "idle_mb",
        "peak_mb",
        "chart_p50_ms",
        "zoom_p50_ms",
        "zoom_p95_ms",
        "server_cores",
        "compactor_cores",
        "load_cores",
        "points",
    ),
    cases=dict.fromkeys(("float32", "float64", "float32, 750,000 points/s"), ("milepost",)),
    sizes={"tiny": 1, "quick": 12, "full": 60},
)
READS = Benchmark(
    title="A server that is asked, over HTTP where nothing else is said, one request at a time",
    measure=_reads,
    fields=("first_ms", "p50_ms", "p95_ms", "max_ms", "cpu_ms", "end_mb"),
    cases=dict.fromkeys(READ_CASES, ("milepost",)),
    sizes={"tiny": 1, "quick": 100, "full": 100},
)
LIVE = Benchmark(
    title="Many runs that log two rows of 20 numbers a second each, 50 pages listening",
    measure=_live,
    fields=(
        "batches_per_s",
        "ack_p50_ms",
        "ack_p99_ms",
        "server_cores",
        "compactor_cores",
        "load_cores",
        "idle_mb",
        "live_mb",
        "after_charts_mb",
        "events_per_page",
        "runs",
    ),
    cases={"runs": ("milepost",)},
    sizes={"tiny": 8, "quick": 300, "full": 1000},
)
SERVERS = Benchmark(
    title="Servers side by side: 8 writers of 100 float32 curves each",
    measure=_peers,
    fields=(
        "points_per_s",
        "ack_p50_ms",
        "ack_p99_ms",
        "points_per_request",
        "server_cpu_us_per_point",
        "bytes_per_point",
        "load_cores",
    ),
    cases={"load": ("milepost", "mlflow", "trackio")},
    sizes={"tiny": 1, "quick": 5, "full": 20},
    ratios=("points_per_s", "server_cpu_us_per_point"),
)
