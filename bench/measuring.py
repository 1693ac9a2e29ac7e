"""Clocks and counters of a measured process, read from the system so that a peer's environment needs nothing installed."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.samples import COUNT, Row

Figures = dict[str, float]
_TICKS = os.sysconf("SC_CLK_TCK")


def timed_calls(
    log: Callable[..., Any], rows: Sequence[Row], calls: int, budget_s: float, *, first_step: int | None = None
) -> list[int]:
    """Call log() back to back; nanoseconds of each call. Ends early when the budget is used up.

    A pair of clock readings is in each figure, the floor's too (0.05 to 0.2 us here).
    first_step: pass step=first_step, first_step + 1, ... as second argument.
    """
    clock = time.perf_counter_ns
    deadline = clock() + int(budget_s * 1e9)
    times = [0] * calls
    mask = COUNT - 1
    for at in range(calls):
        row = rows[at & mask]
        if first_step is None:
            began = clock()
            log(row)
            ended = clock()
        else:
            step = first_step + at
            began = clock()
            log(row, step)
            ended = clock()
        times[at] = ended - began
        if ended > deadline:
            return times[: at + 1]
    return times


def latency(times: Sequence[int]) -> Figures:
    """Percentiles of a list of nanoseconds, in microseconds."""
    ordered = sorted(times)

    def at(share: float) -> float:
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] / 1e3

    return {"p50_us": at(0.5), "p99_us": at(0.99), "p999_us": at(0.999), "max_us": ordered[-1] / 1e3}


class Usage:
    """Processor time and memory of this process and all it started, from the moment it is made."""

    def __init__(self) -> None:
        with suppress(OSError):  # a kernel without it: the peak then counts from the process's start
            Path("/proc/self/clear_refs").write_text("5")
        self._rss = {pid: memory_of(pid)[0] for pid in _tree()}
        self._cpu = self._cpu_now()
        self._began = time.perf_counter()

    def memory_growth_mb(self) -> float:
        """Sum over the processes of the largest resident size less that at the start. Helpers count only while they live."""
        return sum(max(memory_of(pid)[1] - self._rss.get(pid, 0), 0) for pid in _tree()) / 2**20

    def cpu_s(self) -> float:
        """Processor seconds of all of them."""
        return self._cpu_now() - self._cpu

    def seconds(self) -> float:
        """Time since the start."""
        return time.perf_counter() - self._began

    @staticmethod
    def _cpu_now() -> float:
        ended = os.times()
        others = sum(cpu_of(pid) for pid in _tree() if pid != os.getpid())
        return time.process_time() + ended.children_user + ended.children_system + others


def directory_bytes(directory: Path, pattern: str = "**/*") -> int:
    """Bytes of the files below a directory."""
    return sum(path.stat().st_size for path in directory.glob(pattern) if path.is_file())


def _tree() -> Iterator[int]:
    """This process and its descendants, those included that made themselves a session."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(OSError, IndexError, ValueError):  # it ended meanwhile
                parents.setdefault(int(_stat(int(entry))[1]), []).append(int(entry))
    waiting = [os.getpid()]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += parents.get(pid, [])


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name: state, parent, ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_of(pid: int) -> float:
    """Processor seconds of a process and of its children that it waited for; 0 when it is gone."""
    try:
        return sum(map(int, _stat(pid)[11:15])) / _TICKS
    except (OSError, ValueError):
        return 0.0


def memory_of(pid: int) -> tuple[int, int]:
    """Resident bytes now, and the most so far."""
    found = {"VmRSS": 0, "VmHWM": 0}
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in found:
                found[name] = int(rest.split()[0]) * 1024
    return found["VmRSS"], found["VmHWM"]
