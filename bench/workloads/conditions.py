"""Calls under the conditions they meet in practice: cold caches, and a Python thread that never rests."""

import os
import threading
import time
from typing import Final

from bench import samples, subjects
from bench.benchmark import EVERYBODY, Benchmark, Task
from bench.measuring import Figures, latency, timed_calls

ALONE: Final = "alone"


def after_work(task: Task) -> Figures:
    """Latency of one call after each millisecond of numpy work."""
    from bench.workloads.work import millisecond

    rows = samples.rows("floats")
    work = millisecond()
    subject = subjects.start(task.subject, task.directory)
    timed_calls(subject.log, rows, 200, task.budget_s)
    clock = time.perf_counter_ns
    deadline = clock() + int(task.budget_s * 1e9)
    times: list[int] = []
    log = subject.log
    while len(times) < task.size:
        row = rows[len(times) % samples.COUNT]
        work()
        began = clock()
        log(row)
        ended = clock()
        times.append(ended - began)
        if ended > deadline:
            break
    subject.finish()
    return {**latency(times), "calls": len(times)}


def beside_a_spinning_thread(task: Task) -> Figures:
    """Latency of calls while another thread of the program computes in plain Python all the time."""
    rows = samples.rows("floats")
    subject = subjects.start(task.subject, task.directory)
    timed_calls(subject.log, rows, 200, task.budget_s)
    ended = threading.Event()

    def spin() -> None:
        count = 0
        while not ended.is_set():
            for _ in range(1000):
                count += 1

    spinner = threading.Thread(target=spin, daemon=True)
    spinner.start()
    try:
        times = timed_calls(subject.log, rows, task.size, task.budget_s)
    finally:
        ended.set()
        spinner.join()
    subject.finish()
    return {**latency(times), "calls": len(times)}


def without_shared_memory(task: Task) -> Figures:
    """Latency of calls on a machine that has no shared memory to give: milepost then makes one system call per row."""
    os.environ["MILEPOST_SHM"] = str(task.directory / "missing")
    return alone(task) if task.case == ALONE else beside_a_spinning_thread(task)


def alone(task: Task) -> Figures:
    """Latency of calls in a tight loop."""
    rows = samples.rows("floats")
    subject = subjects.start(task.subject, task.directory)
    timed_calls(subject.log, rows, 200, task.budget_s)
    times = timed_calls(subject.log, rows, task.size, task.budget_s)
    subject.finish()
    return {**latency(times), "calls": len(times)}


FIELDS = ("p50_us", "p99_us", "p999_us", "max_us", "calls")

COLD = Benchmark(
    title="10 floats right after 1 ms of numpy work, caches cold",
    measure=after_work,
    fields=FIELDS,
    cases={"floats": EVERYBODY},
    sizes={"tiny": 50, "quick": 2_000, "full": 5_000},
    ratios=("p50_us", "p99_us"),
)

CONTENTION = Benchmark(
    title="10 floats in a tight loop beside a thread that spins in Python",
    measure=beside_a_spinning_thread,
    fields=FIELDS,
    cases={"floats": EVERYBODY},
    sizes={"tiny": 300, "quick": 100_000, "full": 200_000},
    ratios=("p50_us", "p99_us"),
)

NO_SHARED_MEMORY = Benchmark(
    title="10 floats where there is no shared memory: one system call per row",
    measure=without_shared_memory,
    fields=FIELDS,
    cases=dict.fromkeys((ALONE, "beside a spinning thread"), ("floor", "milepost")),
    sizes={"tiny": 300, "quick": 20_000, "full": 50_000},
    ratios=("p50_us", "p99_us"),
)
