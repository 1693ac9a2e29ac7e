"""A1, A2, A3: SIGKILL at a random instant loses no call that returned, whatever it was part of."""

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.reliability import faults
from tests.reliability.conftest import Figure
from tests.reliability.oracle import SEED, Verdict, judge_run
from tests.reliability.programs import Program

AT_ONCE = 5


def kill_at_random(directory: Path, kind: str, trials: int, choose: random.Random, **options: Any) -> Verdict:
    """Kill programs 0.3 to 1.0 s after their first call, a few at a time, and judge each run three times."""
    total = Verdict()
    for first in range(0, trials, AT_ONCE):
        programs = [
            Program(directory / str(number), f"kill{number}").log_calls(kind, **options)
            for number in range(first, min(first + AT_ONCE, trials))
        ]
        deadlines: list[tuple[float, Program]] = []
        for program in programs:
            program.first_call()
            deadlines.append((time.monotonic() + choose.uniform(0.3, 1.0), program))
        for deadline, program in sorted(deadlines, key=lambda pair: pair[0]):
            time.sleep(max(deadline - time.monotonic(), 0))
            assert program.kill() == -signal.SIGKILL, program.log
        for program in programs:
            verdict = judge_run(program.run_dir, kind, program.acks.counts())
            assert verdict.acknowledged > 0
            total += verdict
    return total


@pytest.mark.parametrize(
    ("kind", "rate", "trials"),
    [
        ("plain", 1000, 25),
        ("plain", 10, 25),
        ("incremental", 1000, 25),
        ("stepwise", 1000, 25),
        pytest.param("numbers", 1000, 250, marks=pytest.mark.gate),
        pytest.param("plain", 10, 250, marks=pytest.mark.gate),
        pytest.param("incremental", 1000, 250, marks=pytest.mark.gate),
        pytest.param("stepwise", 1000, 250, marks=pytest.mark.gate),
    ],
)
def test_sigkill_loses_no_call_that_returned(tmp_path: Path, figure: Figure, kind: str, rate: int, trials: int) -> None:
    choose = random.Random(f"{SEED}{kind}{rate}")

    verdict = kill_at_random(tmp_path, kind, trials, choose, rate=rate)

    assert verdict.good, verdict
    figure(
        "A1",
        f"{kind} at {rate}/s: {trials} SIGKILLs, {verdict.acknowledged} calls acknowledged, {verdict.lost} lost, "
        f"{verdict.altered} altered, {verdict.doubled} doubled, also after recovering twice",
    )


TIGHT_LOOP_CALLS = {"numbers": 15_000, "sized": 3_000}
"""Calls a program makes at the most; those with rows of up to 200 KB are 300 MB."""


def kill_in_a_tight_loop(directory: Path, kind: str, trials: int, choose: random.Random) -> Verdict:
    """Kill programs that log as fast as they can once a random number of their calls returned, and judge each run."""
    total = Verdict()
    for number in range(trials):
        program = Program(directory / str(number), f"kill{number}")
        # It lingers: a fast machine may be done before it is killed.
        program.log_calls(kind, count=TIGHT_LOOP_CALLS[kind], linger=True)
        calls = choose.randrange(1, TIGHT_LOOP_CALLS[kind])
        program.wait_for(lambda p=program, n=calls: p.acks[0] >= n, f"{calls} of its calls")  # type: ignore[misc]
        assert program.kill() == -signal.SIGKILL, program.log
        total += judge_run(program.run_dir, kind, program.acks.counts())
    return total


@pytest.mark.parametrize(
    ("kind", "trials"),
    [("sized", 10), ("numbers", 10), pytest.param("sized", 100, marks=pytest.mark.gate)],
)
def test_sigkill_in_a_tight_loop_loses_no_call_that_returned(
    tmp_path: Path, figure: Figure, kind: str, trials: int
) -> None:
    choose = random.Random(f"{SEED}{kind}")

    verdict = kill_in_a_tight_loop(tmp_path, kind, trials, choose)

    assert verdict.good, verdict
    figure(
        "A3",
        f"tight loop, {'rows of 1 B to 200 KB' if kind == 'sized' else 'ten numbers'}: {trials} SIGKILLs, "
        f"{verdict.acknowledged} rows acknowledged, {verdict.lost} lost, {verdict.altered} altered, {verdict.doubled} doubled",
    )


@pytest.mark.parametrize("kind", ["plain", "incremental"])
def test_sigkill_without_shared_memory_loses_no_call_that_returned(
    tmp_path: Path, figure: Figure, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("MILEPOST_SHM", str(tmp_path / "nowhere"))
    choose = random.Random(f"{SEED}{kind}")

    verdict = kill_at_random(tmp_path, kind, 5, choose, rate=1000)

    assert verdict.good, verdict
    figure(
        "A1",
        f"{kind} at 1000/s without shared memory: 5 SIGKILLs, {verdict.acknowledged} calls acknowledged, {verdict.lost} lost",
    )


TREE = """
run = milepost.init(project="reliability", id=ID, dir=DIR)
lane = 0
for child in range(1, ACKS.lanes):
    if os.fork() == 0:
        lane = child
        break
log_calls(run, "plain", ACKS, lane, rate=500)
"""


def test_a_killed_process_tree_loses_no_call_that_returned(tmp_path: Path, figure: Figure) -> None:
    choose = random.Random(f"{SEED}tree")
    total = Verdict()
    trials = 10

    for number in range(trials):
        program = Program(tmp_path / str(number), f"tree{number}", lanes=3).script(TREE)
        program.wait_for(lambda p=program: min(p.acks.counts()) > 0, "a call of each process")  # type: ignore[misc]
        time.sleep(choose.uniform(0.1, 0.5))
        assert program.process is not None
        os.killpg(program.process.pid, signal.SIGKILL)
        program.end()
        total += judge_run(program.run_dir, "plain", program.acks.counts(), writer="all")

    assert total.good, total
    figure(
        "A2",
        f"whole tree (a program and 2 forked children) killed {trials} times: {total.acknowledged} "
        f"acknowledged, {total.lost} lost",
    )


OUT_OF_MEMORY = """
Path({cgroup!r}, "cgroup.procs").write_text(str(os.getpid()))
run = milepost.init(project="reliability", id=ID, dir=DIR)
log_calls(run, "plain", ACKS, rate=1000, count=300)
hoard = []
n = 300
while True:
    hoard.append(bytearray(os.urandom(1 << 20)))
    log_calls(run, "plain", ACKS, first=n, count=3)
    n += 3
"""


def test_the_kernel_killing_for_memory_loses_no_call_that_returned(tmp_path: Path, figure: Figure) -> None:
    total = Verdict()
    trials = 3

    for number in range(trials):
        program = Program(tmp_path / str(number), f"oom{number}")
        with faults.memory_limit(300 << 20) as cgroup:
            program.script(OUT_OF_MEMORY.format(cgroup=str(cgroup)))
            assert program.end() == -signal.SIGKILL, program.log
            total += judge_run(program.run_dir, "plain", program.acks.counts())

    assert total.good, total
    figure(
        "A2", f"killed by the kernel for memory {trials} times: {total.acknowledged} acknowledged, {total.lost} lost"
    )
