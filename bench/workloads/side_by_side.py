"""The two floors and milepost in one process, turn by turn: the fairest ratio on a machine that changes its speed.

Blocks of calls alternate every fraction of a millisecond, so all meet the same processor. The floors' tails are not told here:
milepost's own threads would be in them.
"""

import statistics
import time
from collections.abc import Sequence
from typing import Final

from bench import samples, subjects
from bench.benchmark import Benchmark, Task
from bench.measuring import Figures, latency, timed_calls
from bench.subjects import OWN

BLOCK: Final = 200
COLD: Final = "floats, cold"

Turns = list[tuple[list[int], ...]]
"""Nanoseconds of the calls of one turn, for each of the three."""


def measure(task: Task) -> Figures:
    """The three medians, and the medians over the turns of the ratios to each floor."""
    rows = samples.rows(task.case.split(",")[0])
    three = [subjects.start(name, task.directory) for name in OWN]
    turns = _cold(three, rows, task) if task.case == COLD else _blocks(three, rows, task)
    three[-1].finish()
    floor, readable, mine = ([time for turn in turns for time in turn[at]] for at in range(3))
    return {
        "floor_p50_us": latency(floor)["p50_us"],
        "readable_floor_p50_us": latency(readable)["p50_us"],
        "p50_us": latency(mine)["p50_us"],
        "times_floor": _ratio(turns, 0),
        "times_readable_floor": _ratio(turns, 1),
        "calls": len(mine),
    }


def _ratio(turns: Turns, other: int) -> float:
    return statistics.median(statistics.median(turn[2]) / statistics.median(turn[other]) for turn in turns)


def _blocks(three: Sequence[subjects.Subject], rows: list[samples.Row], task: Task) -> Turns:
    deadline = time.perf_counter() + task.budget_s
    turns: Turns = []
    step = 0 if task.case == "step" else None
    size = min(BLOCK, task.size)
    while len(turns) * size < task.size and time.perf_counter() < deadline:
        turns.append(tuple([timed_calls(subject.log, rows, size, task.budget_s, first_step=step) for subject in three]))
        if step is not None:
            step += size
    return turns[1:] or turns  # the first turn finds nothing prepared


def _cold(three: Sequence[subjects.Subject], rows: list[samples.Row], task: Task) -> Turns:
    """One call of each, in turns, after a millisecond of numpy work."""
    from bench.workloads.work import millisecond

    work = millisecond()
    timed_calls(three[-1].log, rows, BLOCK, task.budget_s)
    deadline = time.perf_counter() + task.budget_s
    times: tuple[list[int], ...] = ([], [], [])
    while len(times[0]) < task.size and time.perf_counter() < deadline:
        row = rows[len(times[0]) % samples.COUNT]
        for subject, own in zip(three, times, strict=True):
            log = subject.log
            work()
            began = time.perf_counter_ns()
            log(row)
            own.append(time.perf_counter_ns() - began)
    return [tuple([own[at : at + 50] for own in times]) for at in range(0, len(times[0]), 50)]


SIDE_BY_SIDE = Benchmark(
    title="The floors and milepost in turns, in one process",
    measure=measure,
    fields=("floor_p50_us", "readable_floor_p50_us", "p50_us", "times_floor", "times_readable_floor", "calls"),
    cases=dict.fromkeys(("floats", COLD, "mixed", "nested", "numpy", "step", "thousand"), ("milepost",)),
    repeated=True,
    sizes={"tiny": 50, "quick": 10_000, "full": 40_000},
)
