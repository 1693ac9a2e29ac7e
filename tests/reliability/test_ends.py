"""E7: a program may end in any way without finish(); the run says how, nothing is lost, and nobody sees a difference."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import milepost
from tests.reliability.conftest import Figure
from tests.reliability.oracle import judge_run
from tests.reliability.programs import Program

# The same program with and without milepost. {end} is how it ends.
PROGRAM = """
run = milepost.init(project="reliability", id=ID, dir=DIR)
log_calls(run, "plain", ACKS, count=200)
{end}
"""

ENDS = {
    "returns": ("", 0, "finished"),
    "raises": ("def train():\n    raise RuntimeError('the loss is not a number')\ntrain()", 1, "failed"),
    "sys.exit(3)": ("sys.exit(3)", 3, "failed"),
    "sys.exit()": ("sys.exit()", 0, "finished"),
    "sys.exit('text')": ("sys.exit('out of data')", 1, "failed"),
    "raise SystemExit(4)": ("raise SystemExit(4)", 4, "failed"),
    "raise SystemExit(main())": ("def main():\n    return None\nraise SystemExit(main())", 0, "finished"),
    "an exit that is caught": (
        "try:\n    sys.exit(3)\nexcept SystemExit as caught:\n    assert caught.code == 3",
        0,
        "finished",
    ),
    "raise SystemExit(4) in a with block": ("with run:\n    raise SystemExit(4)", 4, "failed"),
    "os._exit(5)": ("os._exit(5)", 5, "crashed"),
    "abort": ("signal.signal(signal.SIGABRT, signal.SIG_DFL); os.abort()", -6, "crashed"),
    "SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(20)", -15, "preempted"),
    "SIGTERM with a handler of its own": (
        "signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(7))\nos.kill(os.getpid(), signal.SIGTERM); time.sleep(20)",
        7,
        "failed",
    ),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", -2, "failed"),
    "an error in a with block": ("with run:\n    raise ValueError('inside')", 1, "failed"),
    "an error in a thread": (
        "thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()",
        0,
        "finished",
    ),
}


def bare(text: str, tmp_path: Path) -> tuple[int, str]:
    """Exit code and standard error of the program with milepost taken out."""
    script = tmp_path / "bare" / "same.py"
    script.parent.mkdir()
    head = "import os, signal, sys, threading, time\nimport contextlib\nrun = contextlib.nullcontext()\n"
    script.write_text(head + text)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stderr


def traceback_of(log: str) -> list[str]:
    """The traceback without the lines that name files, places in them, and their marks."""
    lines = [line for line in log.splitlines() if not line.lstrip().startswith(("File ", "^", "~")) and line.strip()]
    first = next(
        (at for at, line in enumerate(lines) if line.startswith(("Traceback", "Exception in thread"))), len(lines)
    )
    return [re.sub(r"Thread-\d+", "Thread", line) for line in lines[first:] if not line.startswith(("milepost:", "  "))]


@pytest.mark.parametrize("name", ENDS)
def test_every_way_to_end_keeps_rows_exit_code_and_traceback(tmp_path: Path, figure: Figure, name: str) -> None:
    end, code, state = ENDS[name]
    program = Program(tmp_path, "ends").script(PROGRAM.format(end=end))

    began = time.monotonic()
    returned = program.end()
    took = time.monotonic() - began
    expected_code, expected_error = bare(end, tmp_path)

    assert returned == expected_code == code, program.log
    assert traceback_of(program.log) == traceback_of(expected_error)
    run = milepost.Api(program.runs).run("reliability/ends")
    assert run.state == state, program.log
    verdict = judge_run(program.run_dir, "plain", program.acks.counts(), tried=0)
    assert verdict.good, verdict
    assert verdict.acknowledged == 200
    figure("E7", f"{name}: exit code {returned}, state {state}, 200 of 200 rows, ended after {took:.1f} s")


def test_a_row_left_open_at_the_end_is_committed(tmp_path: Path) -> None:
    program = Program(tmp_path, "ends").script(
        "run = milepost.init(project='reliability', id=ID, dir=DIR)\nlog_calls(run, 'incremental', ACKS, count=8)\n"
    )

    assert program.end() == 0, program.log

    verdict = judge_run(program.run_dir, "incremental", program.acks.counts(), tried=0)
    assert verdict.good, verdict
    assert verdict.rows == 3


DAEMON = """
run = milepost.init(project="reliability", id=ID, dir=DIR)
threading.Thread(target=log_calls, args=(run, "plain", ACKS), kwargs={"rate": 3000}, daemon=True).start()
time.sleep(0.3)
"""


def test_a_daemon_thread_may_log_until_the_interpreter_is_gone(tmp_path: Path, figure: Figure) -> None:
    trials = 10
    acknowledged = 0

    for number in range(trials):
        program = Program(tmp_path / str(number), f"daemon{number}").script(DAEMON)
        assert program.end() == 0, program.log
        assert "Traceback" not in program.log
        verdict = judge_run(program.run_dir, "plain", program.acks.counts())
        assert verdict.good, verdict
        acknowledged += verdict.acknowledged

    figure(
        "E7",
        f"a daemon thread logging while the program ends, {trials} times: {acknowledged} rows acknowledged, 0 lost, no traceback",
    )


SIGTERM = """
run = milepost.init(project="reliability", id=ID, dir=DIR)
log_calls(run, "{kind}", ACKS, rate={rate})
"""


@pytest.mark.parametrize(("kind", "rate"), [("plain", 3000), ("plain", 100), ("incremental", 500), ("stepwise", 500)])
def test_sigterm_at_random_ends_the_run_as_preempted_with_every_row(
    tmp_path: Path, figure: Figure, kind: str, rate: int
) -> None:
    trials = 5
    acknowledged = 0
    longest = 0.0

    for number in range(trials):
        program = Program(tmp_path / str(number), f"term{number}").script(SIGTERM.format(kind=kind, rate=rate))
        program.first_call()
        time.sleep(0.05 + 0.1 * number)
        began = time.monotonic()
        assert program.kill(signal.SIGTERM) == -signal.SIGTERM, program.log
        longest = max(longest, time.monotonic() - began)
        assert milepost.Api(program.runs).run(f"reliability/term{number}").state == "preempted"
        verdict = judge_run(program.run_dir, kind, program.acks.counts())
        assert verdict.good, verdict
        acknowledged += verdict.acknowledged

    figure(
        "E7",
        f"SIGTERM in {kind} at {rate}/s, {trials} times: {acknowledged} calls acknowledged, 0 lost, state "
        f"preempted, exit code -15, gone after at most {longest:.1f} s",
    )
