"""A training loop of 1 ms steps: how much longer a step takes that logs 10 floats than one that does not.

Steps come in threes, two without log() and one with it, in every order by turns: so a machine that changes its speed changes
all, and none always comes behind the one that logged. The two that do not log are compared as well: what they differ by is what
this machine says of nothing.
"""

import itertools
import statistics
import time

from bench import samples, subjects
from bench.benchmark import EVERYBODY, Benchmark, Task
from bench.measuring import Figures, timed_calls

PLAIN, CONTROL, LOGGED = range(3)
ORDERS = list(itertools.permutations((PLAIN, CONTROL, LOGGED)))


def measure(task: Task) -> Figures:
    """Slow-down in percent, each the median of the differences between two steps of a three.

    control_percent: the same of two steps of which none logs.
    """
    from bench.workloads.work import millisecond

    rows = samples.rows("floats")
    work = millisecond()
    subject = subjects.start(task.subject, task.directory)
    timed_calls(subject.log, rows, 200, task.budget_s)
    clock = time.perf_counter_ns
    deadline = clock() + int(task.budget_s * 1e9)
    threes: list[tuple[int, int, int]] = []
    log = subject.log
    orders = itertools.cycle(ORDERS)
    while len(threes) < task.size and clock() < deadline:
        row = rows[len(threes) % samples.COUNT]
        times = [0, 0, 0]
        for kind in next(orders):
            began = clock()
            work()
            if kind == LOGGED:
                log(row)
            times[kind] = clock() - began
        threes.append((times[PLAIN], times[CONTROL], times[LOGGED]))
    subject.finish()
    step = statistics.median([time for plain, control, _ in threes for time in (plain, control)])
    slower = [logged - other for plain, control, logged in threes for other in (plain, control)]
    nothing = [control - plain for plain, control, _ in threes]
    return {
        "step_us": step / 1e3,
        "slower_percent": 100 * statistics.median(slower) / step,
        "control_percent": 100 * statistics.median(nothing) / step,
        "steps": 3 * len(threes),
    }


TRAINING = Benchmark(
    title="A training loop of 1 ms steps, 10 floats logged in every third step",
    measure=measure,
    fields=("step_us", "slower_percent", "control_percent", "steps"),
    repeated=True,
    cases={"floats": EVERYBODY},
    sizes={"tiny": 20, "quick": 1_200, "full": 4_000},
)
