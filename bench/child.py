"""The measured process: does one task and prints its figures as the last line."""

import json
import sys
from pathlib import Path
from typing import Any, Final

from bench.benchmark import Task
from bench.workloads import BENCHMARKS

PREFIX: Final = "milepost-bench-figures "


def main(spec: str) -> None:
    """Do the task that a JSON object describes: its fields, and the benchmark's name."""
    fields: dict[str, Any] = json.loads(spec)
    benchmark = BENCHMARKS[fields.pop("benchmark")]
    directory = Path(fields.pop("directory"))
    figures = benchmark.measure(Task(directory=directory, **fields))
    sys.stdout.flush()
    print("\n" + PREFIX + json.dumps(figures), flush=True)
