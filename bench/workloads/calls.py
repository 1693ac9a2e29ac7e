"""A tight loop of calls: what the caller waits for, and what all of it costs until finish() has returned."""

import time
from typing import Final

from bench import samples, subjects
from bench.benchmark import EVERYBODY, Benchmark, Task
from bench.measuring import Figures, Usage, directory_bytes, latency, timed_calls
from bench.subjects import OWN

WARM_UP: Final = 200


def measure(task: Task) -> Figures:
    """Latency of the calls; rows per second until finish(); processor time, memory and disk of all processes."""
    rows = samples.rows(task.case)
    subject = subjects.start(task.subject, task.directory)
    steps = task.case == "step"
    timed_calls(subject.log, rows, WARM_UP, task.budget_s)
    usage = Usage()
    times = timed_calls(subject.log, rows, task.size, task.budget_s, first_step=WARM_UP if steps else None)
    logged_s, memory = usage.seconds(), usage.memory_growth_mb()
    began = time.perf_counter()
    subject.finish()
    seconds = logged_s + time.perf_counter() - began
    done = len(times)
    return {
        **latency(times),
        "calls": done,
        "rows_per_s": done / seconds,
        "cpu_us_per_row": usage.cpu_s() / done * 1e6,
        "memory_growth_mb": max(memory, usage.memory_growth_mb()),
        "disk_bytes_per_row": directory_bytes(task.directory) / (done + WARM_UP),
    }


CALLS = Benchmark(
    title="A tight loop of 10 floats",
    measure=measure,
    fields=(
        "p50_us",
        "p99_us",
        "p999_us",
        "max_us",
        "rows_per_s",
        "cpu_us_per_row",
        "memory_growth_mb",
        "disk_bytes_per_row",
        "calls",
    ),
    repeated=True,
    cases={"floats": EVERYBODY},
    sizes={"tiny": 300, "quick": 20_000, "full": 20_000},
    ratios=("p50_us", "p99_us", "rows_per_s"),
)

KINDS = Benchmark(
    title="Other kinds of rows, in a tight loop",
    measure=measure,
    fields=("p50_us", "p99_us", "p999_us", "max_us", "rows_per_s", "calls"),
    cases={
        "mixed": OWN,
        "nested": OWN,
        "numpy": OWN,
        "step": OWN,
        "thousand": EVERYBODY,
    },
    sizes={"tiny": 50, "quick": 2_000, "full": 5_000},
    ratios=("p50_us", "p99_us"),
)
