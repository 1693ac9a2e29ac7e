"""The program that the README shows: it kills for real, and counts honestly."""

import subprocess
import sys
from pathlib import Path


def test_nothing_is_lost_when_the_program_is_killed(repository: Path) -> None:
    script = [sys.executable, str(repository / "examples" / "kill_minus_nine.py"), "--kills", "2"]

    outcome = subprocess.run(script, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)

    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    *_, first, second, total = outcome.stdout.splitlines()
    assert first.split()[-1] == second.split()[-1] == "crashed"
    assert total.startswith("2 kills: ")
    assert total.endswith("0 of them lost")
