"""The rule of tests/skips.py, shown on a project of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.skips import allowed_skips, unexpected

FILES = {
    "test_listed.py": """
import pytest

def test_that_needs_root():
    pytest.skip("needs root: mounts a file system")
""",
    "test_unlisted.py": """
import pytest

def test_that_needs_luck():
    pytest.skip("no luck")
""",
    "test_whole_module.py": """
import pytest

pytest.importorskip("no_such_library")
""",
    "test_passing.py": "def test_passes():\n    pass\n",
}
LISTED = "tests/test_listed.py::* | needs root: *\n"


def run_pytest(repository: Path, names: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest with tests/skips.py in the working directory, over the files named, with one skip allowed."""
    tests = Path.cwd() / "tests"
    tests.mkdir()
    (tests / "skips.py").write_text((repository / "tests" / "skips.py").read_text())
    (tests / "conftest.py").write_text('pytest_plugins = ["tests.skips"]\n')
    (tests / "allowed_skips.txt").write_text(LISTED)
    for name in names:
        (tests / name).write_text(FILES[name])
    command = [sys.executable, "-m", "pytest", "--import-mode=importlib", "-p", "no:cacheprovider", *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment |= {"PYTHONPATH": str(Path.cwd()), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("options", [(), ("-p", "xdist", "-n", "2")], ids=["alone", "with workers"])
def test_a_skip_that_is_not_listed_fails_the_run_and_is_named(repository: Path, options: tuple[str, ...]) -> None:
    outcome = run_pytest(repository, list(FILES), *options)

    assert outcome.returncode == 1, outcome.stdout
    assert "NOT ALLOWED  tests/test_unlisted.py::test_that_needs_luck | no luck" in outcome.stdout
    assert "NOT ALLOWED  tests/test_whole_module.py | could not import" in outcome.stdout
    assert "allowed  tests/test_listed.py::test_that_needs_root | needs root: mounts a file system" in outcome.stdout


def test_listed_skips_pass_and_are_printed(repository: Path) -> None:
    outcome = run_pytest(repository, ["test_listed.py", "test_passing.py"])

    assert outcome.returncode == 0, outcome.stdout
    assert "allowed  tests/test_listed.py::test_that_needs_root | needs root: mounts a file system" in outcome.stdout


def test_a_listed_test_that_skips_for_another_reason_is_not_allowed() -> None:
    assert unexpected({("tests/a.py::test", "no strace")}, "tests/a.py::* | needs root*") == [
        ("tests/a.py::test", "no strace")
    ]


def test_brackets_of_a_parametrised_test_stand_for_themselves() -> None:
    assert unexpected({("tests/a.py::test[x-1]", "no strace")}, "tests/a.py::test[x-*] | no strace") == []


def test_a_line_without_a_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="say why"):
        allowed_skips("tests/a.py::test")
