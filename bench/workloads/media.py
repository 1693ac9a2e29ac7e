"""Pictures and histograms: what the caller waits for, and how long all of it takes until finish() has returned.

The object is made within the measured time, since that is where a library takes its copy. The floor copies the pixels into shared
memory and nothing else.
"""

import mmap
import os
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from bench import subjects
from bench.benchmark import Benchmark, Task
from bench.measuring import Figures, Usage, latency

MANY: Final = "256 x 256 x 3, ten times as many"
"""So many calls that a p99 is one: of 50 calls it would be the longest."""
SHAPES: Final = {"256 x 256 x 3": (256, 256, 3), MANY: (256, 256, 3), "2048 x 2048 x 3": (2048, 2048, 3)}
HISTOGRAM: Final = "histogram of 1 M"
KINDS: Final = 8
"""Different pictures, so that no two neighbours are equal."""
ENOUGH: Final = 300
"""Calls from which on a p99 is told."""
_BYTES: Final = 2**24

Log = Callable[[Any], Any]


def measure(task: Task) -> Figures:
    """Latency of the calls; seconds until finish(); processor time of all processes, per call."""
    values = _values(task.case)
    subject, log = _logger(task)
    log(values[0])
    usage = Usage()
    times: list[int] = []
    calls = task.size * 10 if task.case == MANY else task.size
    began = time.perf_counter()
    while len(times) < calls and time.perf_counter() - began < task.budget_s:
        value = values[len(times) % len(values)]
        start = time.perf_counter_ns()
        log(value)
        times.append(time.perf_counter_ns() - start)
    subject.finish()
    seconds = time.perf_counter() - began
    percentiles = latency(times)
    if len(times) < ENOUGH:
        del percentiles["p99_us"], percentiles["p999_us"]
    return {
        **percentiles,
        "total_s": seconds,
        "cpu_ms_per_call": usage.cpu_s() / len(times) * 1e3,
        "calls": len(times),
    }


def _values(case: str) -> list[Any]:
    """Smooth pictures with some noise, as photographs are; or a million normal numbers."""
    import numpy as np

    random = np.random.default_rng(0)
    if case == HISTOGRAM:
        return [random.normal(size=1_000_000) for _ in range(KINDS)]
    height, width, channels = SHAPES[case]
    ramp = np.add.outer(np.arange(height), np.arange(width))[..., None] * np.arange(1, channels + 1)
    return [(ramp + random.integers(0, 12, (height, width, channels)) + at * 9).astype(np.uint8) for at in range(KINDS)]


def _logger(task: Task) -> tuple[subjects.Subject, Log]:
    """A subject that is ready, and the call that logs one value."""
    histogram = task.case == HISTOGRAM
    if task.subject == "floor":
        return _floor()
    if task.subject == "tensorboardx":
        return _tensorboardx(task.directory, histogram)
    subject = subjects.start(task.subject, task.directory)
    module: Any = import_module(task.subject)
    kind = module.Histogram if histogram else module.Image
    return subject, lambda value: subject.log({"value": kind(value)})


def _floor() -> tuple[subjects.Subject, Log]:
    descriptor = os.memfd_create("floor")
    os.posix_fallocate(descriptor, 0, _BYTES)
    shared = mmap.mmap(descriptor, _BYTES)
    shared[:] = bytes(_BYTES)

    def log(value: Any) -> None:
        shared[: value.nbytes] = memoryview(value.reshape(-1).view("uint8").data)

    return subjects.Subject(log, lambda: None), log


def _tensorboardx(directory: Path, histogram: bool) -> tuple[subjects.Subject, Log]:
    writer: Any = import_module("tensorboardX").SummaryWriter(str(directory))
    steps = iter(range(10**9))

    def log(value: Any) -> None:
        if histogram:
            writer.add_histogram("value", value, next(steps))
        else:
            writer.add_image("value", value, next(steps), dataformats="HWC")

    return subjects.Subject(log, writer.close), log


MEDIA = Benchmark(
    title="Pictures and histograms, in a tight loop",
    measure=measure,
    fields=("p50_us", "p99_us", "max_us", "total_s", "cpu_ms_per_call", "calls"),
    cases={
        **dict.fromkeys((*SHAPES, HISTOGRAM), ("floor", "milepost", "wandb", "trackio", "tensorboardx")),
        MANY: ("floor", "milepost"),
    },
    sizes={"tiny": 5, "quick": 50, "full": 50},
    ratios=("p50_us", "total_s"),
)
