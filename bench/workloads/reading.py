"""Reading a long run back: every row, and a sample for a plot."""

import time

from bench import samples, subjects
from bench.benchmark import Benchmark, Task
from bench.measuring import Figures


def measure(task: Task) -> Figures:
    """Rows per second of scan_history and seconds of history(samples=500), each from a fresh `Api`."""
    import milepost

    subject = subjects.start(task.subject, task.directory)
    rows = samples.rows("floats")
    path = milepost.current_run().path
    for at in range(task.size):
        subject.log(rows[at % samples.COUNT])
    subject.finish()
    began = time.perf_counter()
    count = sum(1 for _ in milepost.Api(task.directory).run(path).scan_history())
    scanned = time.perf_counter()
    sampled = milepost.Api(task.directory).run(path).history(samples=500, pandas=False)
    ended = time.perf_counter()
    if count != task.size:
        raise RuntimeError(f"{task.size} rows were logged and {count} read back")
    return {
        "scan_rows_per_s": count / (scanned - began),
        "history_s": ended - scanned,
        "samples": len(sampled),
        "rows": count,
    }


READING = Benchmark(
    title="Reading rows of 10 floats back",
    measure=measure,
    fields=("scan_rows_per_s", "history_s", "samples", "rows"),
    cases={"floats": ("milepost",)},
    sizes={"tiny": 1_000, "quick": 200_000, "full": 1_000_000},
)
