"""What a program pays before its first row and after its last, and what a call costs that is switched off.

Every figure is the best of some fresh interpreters: nothing else tells the work from the machine's mood.
"""

import os
import subprocess
import sys
import time
from typing import Final

from bench import samples
from bench.benchmark import Benchmark, Task
from bench.measuring import Figures
from bench.subjects import LOGGERS

MODULES: Final = {
    "milepost": "milepost",
    "wandb": "wandb",
    "trackio": "trackio",
    "tensorboardx": "tensorboardX",
    "opentelemetry": "opentelemetry.sdk._logs.export",
}
_WHOLE: Final = """
from pathlib import Path
from bench import subjects
subjects.start({subject!r}, Path({directory!r})).finish()
"""
_TIMED: Final = """
import time
from pathlib import Path
from bench import subjects
import {module}
began = time.perf_counter()
subjects.start({subject!r}, Path({directory!r})).finish()
print("seconds", time.perf_counter() - began)
"""


def measure(task: Task) -> Figures:
    """Milliseconds of import (beyond a bare interpreter), of init and finish, and of a process that does only this."""
    bare = _best_ms("pass", task)
    whole = _WHOLE.format(subject=task.subject, directory=str(task.directory))
    timed = _TIMED.format(module=MODULES[task.subject], subject=task.subject, directory=str(task.directory))
    figures = {
        "import_ms": _best_ms(f"import {MODULES[task.subject]}", task) - bare,
        "init_finish_ms": min(_printed_s(timed) for _ in range(task.size)) * 1e3,
        "process_ms": _best_ms(whole, task),
        "interpreter_ms": bare,
    }
    if task.subject == "milepost":
        figures["disabled_call_us"] = _disabled_call_us()
    return figures


def _python(code: str) -> "subprocess.CompletedProcess[str]":
    """Run code with the environment and the path of this process."""
    path = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": path}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed: the first process compiles, the best of them tells
    return subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)


def _best_ms(code: str, task: Task) -> float:
    """Best time of some fresh interpreters that run the code, in milliseconds."""
    times: list[float] = []
    for _ in range(task.size):
        began = time.perf_counter()
        _python(code)
        times.append(time.perf_counter() - began)
    return min(times) * 1e3


def _printed_s(code: str) -> float:
    printed = _python(code).stdout.splitlines()
    return float(next(line.split()[1] for line in printed if line.startswith("seconds ")))


def _disabled_call_us() -> float:
    """milepost.log in disabled mode, best of many short loops."""
    import milepost

    milepost.init(mode="disabled")
    row, log = samples.rows("floats")[0], milepost.log
    best = float("inf")
    for _ in range(200):
        began = time.perf_counter()
        for _ in range(100):
            log(row)
        best = min(best, (time.perf_counter() - began) / 100)
    milepost.finish()
    return best * 1e6


STARTUP = Benchmark(
    title="Starting and ending with nothing logged",
    measure=measure,
    fields=("import_ms", "init_finish_ms", "process_ms", "interpreter_ms", "disabled_call_us"),
    cases={"nothing logged": ("milepost", *LOGGERS)},
    sizes={"tiny": 1, "quick": 3, "full": 5},
)
