"""Eight threads that log at the same time into one run."""

import threading

from bench import samples, subjects
from bench.benchmark import EVERYBODY, Benchmark, Task
from bench.measuring import Figures, Usage, timed_calls

THREAD_COUNT = 8


def measure(task: Task) -> Figures:
    """Rows per second until the last call has returned, and until finish() has."""
    rows = samples.rows("floats")
    subject = subjects.start(task.subject, task.directory)
    timed_calls(subject.log, rows, 200, task.budget_s)
    start = threading.Barrier(THREAD_COUNT + 1)
    done = [0] * THREAD_COUNT

    def work(number: int) -> None:
        start.wait()
        done[number] = len(timed_calls(subject.log, rows, task.size // THREAD_COUNT, task.budget_s))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREAD_COUNT)]
    for thread in threads:
        thread.start()
    usage = Usage()
    start.wait()
    for thread in threads:
        thread.join()
    logged_s = usage.seconds()
    subject.finish()
    if 0 in done:
        raise RuntimeError(f"{task.subject} failed in a thread")
    return {"logged_per_s": sum(done) / logged_s, "rows_per_s": sum(done) / usage.seconds(), "calls": sum(done)}


THREADS = Benchmark(
    title="10 floats from 8 threads at once",
    measure=measure,
    fields=("logged_per_s", "rows_per_s", "calls"),
    cases={"floats": EVERYBODY},
    sizes={"tiny": 800, "quick": 80_000, "full": 200_000},
)
