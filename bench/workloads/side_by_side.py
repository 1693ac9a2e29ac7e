"""The floor and milepost in one process, turn by turn: the fairest ratio on a machine that changes its speed.

Blocks of calls alternate every fraction of a millisecond, so both meet the same processor. The floor's tail is not told
here: milepost's own threads would be in it.
"""

import statistics
import time
from typing import Final

from bench import samples, subjects
from bench.benchmark import Benchmark, Task
from bench.measuring import Figures, latency, timed_calls

BLOCK: Final = 200
COLD: Final = "floats, cold"


def measure(task: Task) -> Figures:
    """Both medians, and the median over the pairs of blocks of their ratio."""
    rows = samples.rows(task.case.split(",")[0])
    floor, own = subjects.start("floor", task.directory), subjects.start(task.subject, task.directory)
    pairs = _cold(floor, own, rows, task) if task.case == COLD else _blocks(floor, own, rows, task)
    own.finish()
    base = [time for block, _ in pairs for time in block]
    mine = [time for _, block in pairs for time in block]
    ratio = statistics.median(statistics.median(block) / statistics.median(under) for under, block in pairs)
    return {
        "floor_p50_us": latency(base)["p50_us"],
        "p50_us": latency(mine)["p50_us"],
        "ratio": ratio,
        "calls": len(mine),
    }


Pairs = list[tuple[list[int], list[int]]]


def _blocks(floor: subjects.Subject, own: subjects.Subject, rows: list[samples.Row], task: Task) -> Pairs:
    deadline = time.perf_counter() + task.budget_s
    pairs: Pairs = []
    step = 0 if task.case == "step" else None
    size = min(BLOCK, task.size)
    while len(pairs) * size < task.size and time.perf_counter() < deadline:
        under = timed_calls(floor.log, rows, size, task.budget_s, first_step=step)
        pairs.append((under, timed_calls(own.log, rows, size, task.budget_s, first_step=step)))
        if step is not None:
            step += size
    return pairs[1:] or pairs  # the first block finds nothing prepared


def _cold(floor: subjects.Subject, own: subjects.Subject, rows: list[samples.Row], task: Task) -> Pairs:
    """One call of each, in turns, after a millisecond of numpy work."""
    from bench.workloads.work import millisecond

    work = millisecond()
    timed_calls(own.log, rows, BLOCK, task.budget_s)
    deadline = time.perf_counter() + task.budget_s
    under: list[int] = []
    mine: list[int] = []
    while len(mine) < task.size and time.perf_counter() < deadline:
        row = rows[len(mine) % samples.COUNT]
        for log, times in ((floor.log, under), (own.log, mine)):
            work()
            began = time.perf_counter_ns()
            log(row)
            times.append(time.perf_counter_ns() - began)
    return [(under[at : at + 50], mine[at : at + 50]) for at in range(0, len(mine), 50)]


SIDE_BY_SIDE = Benchmark(
    title="The floor and milepost in turns, in one process",
    measure=measure,
    fields=("floor_p50_us", "p50_us", "ratio", "calls"),
    cases=dict.fromkeys(("floats", COLD, "mixed", "nested", "numpy", "step", "thousand"), ("milepost",)),
    sizes={"tiny": 50, "quick": 10_000, "full": 40_000},
)
