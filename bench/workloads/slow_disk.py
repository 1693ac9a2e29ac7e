"""A disk that takes 10 or 50 ms for every write and sync: the worst call, and whether another thread of the program was held up.

The delay is put into the system calls of the measured process (write, pwrite64, writev, fsync, fdatasync) with strace. What the
kernel says of a thread tells waits from one another. While it is ready and other programs have the processors, the machine is at
fault. A thread that slept once went on at once; one that slept once more had to wait for the interpreter.
"""

import os
import resource
import threading
import time
from typing import Final

from bench import samples, subjects
from bench.benchmark import Benchmark, Task
from bench.measuring import Figures, latency, timed_calls

SUBJECTS: Final = ("floor", "milepost")


class Queued:
    """How long the calling thread has waited for a processor so far, in nanoseconds; one object per thread."""

    def __init__(self) -> None:
        self._file = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY | os.O_CLOEXEC)

    def __call__(self) -> int:
        return int(os.pread(self._file, 100, 0).split()[1])

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def _sleeps() -> int:
    """How often the calling thread has given up its processor to wait for something."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def measure(task: Task) -> Figures:
    """One call a millisecond; beside it a heartbeat thread that wants to wake every millisecond.

    own_worst_call:  without the time in which other programs had the processor; worst_call has it in.
    worst_held:      the longest that a heartbeat was late which had to wait for the interpreter, without that time;
    worst_heartbeat: the longest between two heartbeats, for whatever reason.
    """
    rows = samples.rows("floats")
    subject = subjects.start(task.subject, task.directory)
    timed_calls(subject.log, rows, 200, task.budget_s)
    ended = threading.Event()
    beats: list[tuple[int, int, int]] = []

    def beat() -> None:
        queued = Queued()
        before = time.perf_counter_ns(), queued(), _sleeps()
        while not ended.is_set():
            time.sleep(0.001)
            after = time.perf_counter_ns(), queued(), _sleeps()
            beats.append((after[0] - before[0], after[1] - before[1], after[2] - before[2]))
            before = after
        queued.close()

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    queued = Queued()
    times: list[int] = []
    own: list[int] = []
    log = subject.log
    for at in range(task.size):
        row = rows[at % samples.COUNT]
        time.sleep(0.001)
        before = queued()
        began = time.perf_counter_ns()
        log(row)
        took = time.perf_counter_ns() - began
        times.append(took)
        own.append(took - (queued() - before))
    ended.set()
    heart.join()
    queued.close()
    subject.finish()
    found = latency(times)
    return {
        "p50_us": found["p50_us"],
        "p99_us": found["p99_us"],
        "own_worst_call_ms": max(own) / 1e6,
        "worst_call_ms": found["max_us"] / 1e3,
        "worst_held_ms": max(gap - waited - 1_000_000 if slept > 1 else 0 for gap, waited, slept in beats) / 1e6,
        "worst_heartbeat_ms": max(gap for gap, _, _ in beats) / 1e6,
        "calls": len(times),
    }


SLOW_DISK = Benchmark(
    title="On a disk that takes its time for every write",
    measure=measure,
    fields=(
        "p50_us",
        "p99_us",
        "own_worst_call_ms",
        "worst_call_ms",
        "worst_held_ms",
        "worst_heartbeat_ms",
        "calls",
    ),
    cases=dict.fromkeys(("0 ms", "10 ms", "50 ms"), SUBJECTS),
    sizes={"tiny": 30, "quick": 2_000, "full": 5_000},
    slow_disk={"10 ms": 10, "50 ms": 50},
)
