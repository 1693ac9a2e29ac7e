"""What a benchmark is: a question, the subjects that answer it, and a function that measures one of them in a fresh process."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from bench.measuring import Figures
from bench.subjects import LOGGERS, OWN

EVERYBODY = (*OWN, *LOGGERS)


class Task(NamedTuple):
    """One measurement.

    subject, case: who, and under what. size: how many calls (or whatever the benchmark counts).
    budget_s:      a slow subject stops here; its figures come from fewer calls.
    directory:     an empty one, on disk, removed afterwards.
    """

    subject: str
    case: str
    size: int
    budget_s: float
    directory: Path


class Benchmark(NamedTuple):
    """A question.

    title:    the question, as the table's heading.
    measure:  does one task in a process of its own; every figure of `fields` is in its answer, where the subject has it.
    cases:    the variants, each measured on its own; (case, subjects) where not everybody takes part.
    sizes:    Task.size at each scale: "tiny" (does it run), "quick" and "full".
    ratios:   the figures told as multiples of the floor's and of milepost's in the same repeat.
    slow_disk: milliseconds per write of a case, under which its process is run.
    repeated: whether "quick" measures it as often as is asked for, as the figures that are looked at first; others once.
    """

    title: str
    measure: Callable[[Task], Figures]
    fields: tuple[str, ...]
    cases: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, int]
    ratios: tuple[str, ...] = ()
    slow_disk: Mapping[str, int] = {}
    repeated: bool = False


BUDGET_S: Mapping[str, float] = {"tiny": 2.0, "quick": 3.0, "full": 10.0}
