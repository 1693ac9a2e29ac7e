"""The rule of tests/skips.py, shown on a project of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.skips import allowed_skips, unexpected

SKIPPING = """
import pytest

def test_that_needs_root():
    pytest.skip("needs root: mounts a file system")
"""
SKIPPING_WHOLE = """
import pytest

pytest.importorskip("no_such_library")
"""


def run_pytest(
    repository: Path, files: dict[str, str], allowed: str, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run pytest with tests/skips.py in the working directory, over the files given."""
    tests = Path.cwd() / "tests"
    tests.mkdir()
    (tests / "skips.py").write_text((repository / "tests" / "skips.py").read_text())
    (tests / "conftest.py").write_text('pytest_plugins = ["tests.skips"]\n')
    (tests / "allowed_skips.txt").write_text(allowed)
    for name, text in files.items():
        (tests / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "--import-mode=importlib", "-p", "no:cacheprovider", *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        command, env=environment | {"PYTHONPATH": str(Path.cwd())}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "with workers"])
@pytest.mark.parametrize(
    ("name", "text"), [("test_a.py", SKIPPING), ("test_b.py", SKIPPING_WHOLE)], ids=["test", "module"]
)
def test_a_skip_that_is_not_listed_fails_the_run(
    repository: Path, name: str, text: str, options: tuple[str, ...]
) -> None:
    passing = "def test_passes():\n    pass\n"

    outcome = run_pytest(repository, {name: text, "test_passing.py": passing}, "", *options)

    assert outcome.returncode == 1, outcome.stdout
    assert f"NOT ALLOWED  tests/{name}" in outcome.stdout


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "with workers"])
def test_a_listed_skip_passes_and_is_printed_with_its_reason(repository: Path, options: tuple[str, ...]) -> None:
    allowed = "tests/test_a.py::* | needs root: *\n"

    outcome = run_pytest(repository, {"test_a.py": SKIPPING}, allowed, *options)

    assert outcome.returncode == 0, outcome.stdout
    assert "allowed  tests/test_a.py::test_that_needs_root | needs root: mounts a file system" in outcome.stdout


def test_a_listed_test_that_skips_for_another_reason_is_not_allowed() -> None:
    assert unexpected({("tests/a.py::test", "no strace")}, "tests/a.py::* | needs root*") == [
        ("tests/a.py::test", "no strace")
    ]


def test_brackets_of_a_parametrised_test_stand_for_themselves() -> None:
    assert unexpected({("tests/a.py::test[x-1]", "no strace")}, "tests/a.py::test[x-*] | no strace") == []


def test_a_line_without_a_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="say why"):
        allowed_skips("tests/a.py::test")
