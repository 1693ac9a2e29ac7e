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


def check(repository: Path, checker: str) -> subprocess.CompletedProcess[str]:
    """Run the checker over user.py and mistakes.py in the working directory, against the installed milepost."""
    Path("user.py").write_text(Path(__file__).with_name("api.py").read_text(encoding="utf-8"), encoding="utf-8")
    Path("mistakes.py").write_text(MISTAKES, encoding="utf-8")
    Path("pyrightconfig.json").write_text('{"typeCheckingMode": "strict", "reportUnknownMemberType": false}')
    commands = {
        "mypy": ["mypy", "--strict", "--cache-dir", str(repository / ".mypy_cache" / "user")],
        "pyright": ["pyright", "--pythonpath", sys.executable],
    }
    # With nothing of this checkout on the path but what the installation put there.
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "MYPYPATH"}}
    command = [sys.executable, "-m", *commands[checker], "user.py", "mistakes.py"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.timeout(300)  # a cold cache: numpy and pandas are read too
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_the_public_names_are_typed_and_every_mistake_is_found_on_its_line(repository: Path, checker: str) -> None:
    outcome = check(repository, checker)

    places = {tuple(line.split(":")[:2]) for line in outcome.stdout.splitlines()}
    found = {(Path(file).name, int(line)) for file, line in (p for p in places if len(p) == 2) if line.isdigit()}
    last = MISTAKES.count("\n")
    assert found == {("mistakes.py", line) for line in range(FIRST_MISTAKE, last + 1)}, outcome.stdout + outcome.stderr
