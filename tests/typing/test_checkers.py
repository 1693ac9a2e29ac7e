"""What a user's type checker says of a user's code, outside this checkout: the good file passes, each mistake is found."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MISTAKES = """\
import milepost

milepost.init(project=3)
milepost.log("loss")
milepost.log({"loss": 0.5}, step="one")
milepost.no_such_name
milepost.finish(timeout="soon")
"""
FIRST_MISTAKE = 3

CHECKERS = {
    "mypy": ["-m", "mypy", "--strict", "--no-error-summary", "--no-incremental", "--cache-dir", os.devnull, "user.py"],
    "pyright": ["-m", "pyright", "--pythonpath", sys.executable, "user.py"],
}


def check(checker: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run the checker over the code as user.py in the working directory, against the installed milepost."""
    Path("user.py").write_text(code, encoding="utf-8")
    Path("pyrightconfig.json").write_text('{"typeCheckingMode": "strict", "reportUnknownMemberType": false}')
    # With nothing of this checkout on the path but what the installation put there.
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "MYPYPATH"}}
    return subprocess.run(
        [sys.executable, *CHECKERS[checker]], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("checker", CHECKERS)
def test_the_public_names_are_typed(checker: str) -> None:
    outcome = check(checker, Path(__file__).with_name("api.py").read_text(encoding="utf-8"))

    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize("checker", CHECKERS)
def test_every_mistake_is_found_on_its_line(checker: str) -> None:
    outcome = check(checker, MISTAKES)

    lines = range(FIRST_MISTAKE, MISTAKES.count("\n") + 1)
    assert [line for line in lines if f"user.py:{line}:" not in outcome.stdout] == [], outcome.stdout + outcome.stderr
