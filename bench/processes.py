"""Runs one task in a fresh process, under the interpreter that has the subject, and tells how busy the machine was beside it."""

import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from bench.benchmark import Task
from bench.child import PREFIX
from bench.measuring import Figures
from bench.peers import interpreter

ROOT: Final = Path(__file__).resolve().parent.parent
TIMEOUT_S: Final = 900
# Behind the environment's own packages: folders of this repository must not stand in for modules of a peer.
_START: Final = "import sys; sys.path.append(sys.argv[1]); from bench.child import main; main(sys.argv[2])"
_SLOWED: Final = "write,pwrite64,writev,fsync,fdatasync"


class TaskFailed(Exception):
    """A task ended without figures; the text holds the end of what it said."""


def run(benchmark: str, subject: str, case: str, size: int, budget_s: float, slow_disk_ms: int = 0) -> Figures:
    """The figures of one task, and `others`: the processors in use by everybody else meanwhile. Raises `TaskFailed`."""
    directory = Path(tempfile.mkdtemp(prefix="milepost-bench-"))
    task = Task(subject, case, size, budget_s, directory / "files")
    task.directory.mkdir()
    spec = {"benchmark": benchmark, **task._asdict(), "directory": str(task.directory)}
    command = [str(interpreter(subject)), "-P", "-c", _START, str(ROOT), json.dumps(spec)]
    if slow_disk_ms:
        command = [*slow(slow_disk_ms), *command]
    before = _busy_s(), _children_s(), time.monotonic()
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env=_environment(directory),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TaskFailed(f"{benchmark}, {subject}, {case}: no answer within {TIMEOUT_S} s") from None
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    seconds = time.monotonic() - before[2]
    answer = next((line for line in done.stdout.splitlines() if line.startswith(PREFIX)), None)
    if answer is None:
        said = (done.stderr or done.stdout).strip()[-800:]
        raise TaskFailed(f"{benchmark}, {subject}, {case} ended with code {done.returncode}: {said}")
    figures: Figures = json.loads(answer.removeprefix(PREFIX))
    figures["others"] = max(_busy_s() - before[0] - (_children_s() - before[1]), 0.0) / seconds
    return figures


def slow(milliseconds: int) -> list[str]:
    """The command before a command whose writes and syncs shall take so long each. Raises `TaskFailed` without strace."""
    strace = shutil.which("strace")
    if strace is None:
        raise TaskFailed("a slow disk is made with strace, which is not installed")
    delay = f"inject={_SLOWED}:delay_enter={milliseconds * 1000}"
    return [strace, "-f", "--seccomp-bpf", "-qq", "-o", os.devnull, "-e", f"trace={_SLOWED}", "-e", delay]


def _environment(directory: Path) -> dict[str, str]:
    """One processor for numpy, nothing of the caller's settings, and no directory of the caller's."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MILEPOST_", "WANDB_", "TRACKIO_", "OTEL_"))
    }
    quiet = {"WANDB_SILENT": "true", "MILEPOST_SILENT": "true", "PYTHONDONTWRITEBYTECODE": ""}
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**kept, **quiet, **single, "TMPDIR": str(directory)}


def _busy_s() -> float:
    """Seconds that the machine's processors have worked so far, or were lent to another machine of the same host."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _wait, irq, softirq, stolen = map(int, fields[:8])
    return (user + nice + system + irq + softirq + stolen) / os.sysconf("SC_CLK_TCK")


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
