"""A disk that takes 10 or 50 ms for every write and sync: the worst call, and whether another thread of the program was held up.

The delay is put into the system calls of the measured process (write, pwrite64, writev, fsync, fdatasync) with strace.
"""

import threading
import time

from bench import samples, subjects
from bench.benchmark import Benchmark, Task
from bench.measuring import Figures, latency, timed_calls
from bench.subjects import OWN


def measure(task: Task) -> Figures:
    """One call a millisecond; beside it a heartbeat thread that wants to wake every millisecond."""
    rows = samples.rows("floats")
    subject = subjects.start(task.subject, task.directory)
    timed_calls(subject.log, rows, 200, task.budget_s)
    ended = threading.Event()
    worst_beat = 0.0

    def beat() -> None:
        nonlocal worst_beat
        last = time.perf_counter()
        while not ended.is_set():
            time.sleep(0.001)
            now = time.perf_counter()
            worst_beat = max(worst_beat, now - last)
            last = now

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    times: list[int] = []
    for at in range(task.size):
        row = rows[at % samples.COUNT]
        time.sleep(0.001)
        began = time.perf_counter_ns()
        subject.log(row)
        times.append(time.perf_counter_ns() - began)
    ended.set()
    heart.join()
    subject.finish()
    found = latency(times)
    return {
        "p50_us": found["p50_us"],
        "p99_us": found["p99_us"],
        "worst_call_ms": found["max_us"] / 1e3,
        "worst_heartbeat_ms": worst_beat * 1e3,
        "calls": len(times),
    }


SLOW_DISK = Benchmark(
    title="On a disk that takes its time for every write",
    measure=measure,
    fields=("p50_us", "p99_us", "worst_call_ms", "worst_heartbeat_ms", "calls"),
    cases={"0 ms": OWN, "10 ms": OWN, "50 ms": OWN},
    sizes={"tiny": 30, "quick": 2_000, "full": 5_000},
    slow_disk={"10 ms": 10, "50 ms": 50},
)
