"""A training loop of 1 ms steps: how much longer a step takes that logs 10 floats than one that does not.

Steps with and without log() alternate, so a machine that changes its speed changes both.
"""

import statistics
import time

from bench import samples, subjects
from bench.benchmark import EVERYBODY, Benchmark, Task
from bench.measuring import Figures, timed_calls


def measure(task: Task) -> Figures:
    """Median and mean slow-down in percent; the mean is over the middle 90 %, since a shared machine stops now and then."""
    from bench.workloads.work import millisecond

    rows = samples.rows("floats")
    work = millisecond()
    subject = subjects.start(task.subject, task.directory)
    timed_calls(subject.log, rows, 200, task.budget_s)
    clock = time.perf_counter_ns
    deadline = clock() + int(task.budget_s * 1e9)
    plain: list[int] = []
    logged: list[int] = []
    log = subject.log
    while len(logged) < task.size and clock() < deadline:
        row = rows[len(logged) % samples.COUNT]
        began = clock()
        work()
        middle = clock()
        work()
        log(row)
        ended = clock()
        plain.append(middle - began)
        logged.append(ended - middle)
    subject.finish()
    return {
        "step_us": statistics.median(plain) / 1e3,
        "slower_median_percent": 100 * (statistics.median(logged) / statistics.median(plain) - 1),
        "slower_mean_percent": 100 * (_middle_mean(logged) / _middle_mean(plain) - 1),
        "steps": len(logged),
    }


def _middle_mean(times: list[int]) -> float:
    cut = len(times) // 20
    return statistics.fmean(sorted(times)[cut : len(times) - cut])


TRAINING = Benchmark(
    title="A training loop of 1 ms steps, 10 floats logged in every other step",
    measure=measure,
    fields=("step_us", "slower_median_percent", "slower_mean_percent", "steps"),
    cases={"floats": EVERYBODY},
    sizes={"tiny": 50, "quick": 1_500, "full": 4_000},
)
