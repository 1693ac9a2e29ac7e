"""Programs under test: started with their own shared memory and log, waited for, killed; and the words for a failure."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.reliability.oracle import SEED, Acks

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_S = 40.0
"""How long a program may take for what it does at once; longer is a hang."""


started: "list[Program]" = []
"""The programs of the test that runs; none of them outlives it."""


class Program:
    """A Python program that logs, in a process of its own.

    directory: where its runs, acknowledgements and log are kept. Its shared memory is that of the test (MILEPOST_SHM).
    """

    def __init__(self, directory: Path, name: str, lanes: int = 1) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.runs = directory / "runs"
        self.run_dir = self.runs / "reliability" / name
        self.acks_path = directory / f"{name}.acks"
        self.acks = Acks(self.acks_path, lanes)
        self.log_path = directory / f"{name}.log"
        self._directory = directory
        self.process: subprocess.Popen[Any] | None = None
        started.append(self)

    def start(
        self,
        command: Sequence[str],
        *,
        before: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        **popen: Any,
    ) -> "Program":
        """Start python with these arguments. before: what stands before it (strace ...)."""
        variables = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONFAULTHANDLER": "1"} | (environment or {})
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*before, sys.executable, *command],
                cwd=self._directory,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **popen,
            )
        return self

    def log_calls(
        self, kind: str, *, before: Sequence[str] = (), environment: dict[str, str] | None = None, **options: Any
    ) -> "Program":
        """Start a program that logs calls of this kind (tests/reliability/child.py)."""
        given = {
            "dir": str(self.runs),
            "id": self.name,
            "kind": kind,
            "acks": str(self.acks_path),
            "lanes": self.acks.lanes,
        }
        return self.start(
            ["-m", "tests.reliability.child", json.dumps(given | options)], before=before, environment=environment
        )

    def script(self, text: str, **keywords: Any) -> "Program":
        """Start a program of these lines. DIR, ID and ACKS are defined in it, and milepost and the oracle are imported."""
        head = (
            "import os, signal, sys, threading, time\nfrom pathlib import Path\nimport milepost\n"
            "from tests.reliability.child import log_calls\nfrom tests.reliability.oracle import KINDS, Acks\n"
            f"DIR, ID = {str(self.runs)!r}, {self.name!r}\nACKS = Acks(Path({str(self.acks_path)!r}), {self.acks.lanes})\n"
        )
        path = self._directory / f"{self.name}.py"
        path.write_text(head + text)
        return self.start([str(path)], **keywords)

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until something holds. Fails when the program ends or hangs before."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process is not None
            ended = self.process.poll() is not None
            assert not ended or condition(), (
                f"{self.name} ended with {self.process.returncode} before {what}:\n{self.log}"
            )
            assert time.monotonic() < deadline, f"{self.name} hangs before {what}:\n{self.log}"
            time.sleep(0.002)

    def first_call(self) -> None:
        """Wait until a call returned."""
        self.wait_for(lambda: max(self.acks.counts()) > 0, "its first call")

    def kill(self, number: int = 9) -> int:
        """Send a signal to the program alone, and wait for its end; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.end()

    def end(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait for the end; the exit code. A program that does not end is killed, and that is a failure."""
        assert self.process is not None
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.kill(self.process.pid, 6)  # SIGABRT: faulthandler writes where every thread stands
            self.process.wait(10)
            raise AssertionError(f"{self.name} hangs; its log:\n{self.log[-6000:]}") from None

    @property
    def log(self) -> str:
        """What it wrote to its standard output and error."""
        return self.log_path.read_text(errors="replace")

    def warnings(self) -> list[str]:
        """The lines of its log in which milepost warned, without the two that greet and the one at the end."""
        greetings = (
            "milepost: logging run",
            "milepost: settings from",
            "milepost: resuming run",
            "milepost: SIGKILL loses nothing",
        )
        return [
            line
            for line in self.log.splitlines()
            if line.startswith("milepost: ") and not line.startswith(greetings) and "; look: milepost show" not in line
        ]


def end_all() -> None:
    """Kill what a failed test left running."""
    for program in started:
        if program.process is not None and program.process.poll() is None:
            program.kill()
    started.clear()


def replay(request_node: str, extra: str = "") -> str:
    """What a failing test prints so that it can be run again with the same choices."""
    return f"seed {SEED}{extra}; replay: RELIABILITY_SEED={SEED} .venv/bin/python -m pytest -s '{request_node}'"
