"""What every test can rely on: a clean environment, an empty working directory, no run left over, no silent skip."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = ["tests.skips"]

# Variables that change what a run is: a test sets the ones that it is about.
_OF_A_RUN = re.compile(
    r"(MILEPOST|OTEL|WANDB|SLURM|TORCHELASTIC|OMPI|PMI|PMIX|JSM)_.*"
    r"|RANK|WORLD_SIZE|LOCAL_RANK|LOCAL_WORLD_SIZE|GROUP_RANK|ROLE_RANK|NODE_RANK|MASTER_ADDR|MASTER_PORT"
    r"|XDG_(CONFIG|STATE|CACHE|DATA)_HOME|NO_COLOR|FORCE_COLOR|COLUMNS|LINES"
)


@pytest.fixture(autouse=True)
def isolated_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, its own home, none of the caller's variables; unfinished runs end with the test."""
    for name in list(os.environ):
        if _OF_A_RUN.fullmatch(name):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    # Matplotlib keeps its font cache in the home directory: one for all tests, not a minute per test.
    monkeypatch.setenv("MPLCONFIGDIR", os.environ.get("MPLCONFIGDIR", str(Path.home() / ".config" / "matplotlib")))
    monkeypatch.setenv("HOME", str(home))
    working_directory = tmp_path / "work"
    working_directory.mkdir()
    monkeypatch.chdir(working_directory)
    yield working_directory
    _finish_leftover_runs()


def _finish_leftover_runs() -> None:
    """End what a failed test left behind, so that it cannot fail the next one too."""
    lifecycle = sys.modules.get("milepost.sdk.lifecycle")  # a test that has not started a run does not load it
    if lifecycle is not None:
        for run in reversed(lifecycle.running()):
            run.finish()
        lifecycle.current.set(None)
        lifecycle.current.runs_dir = None


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of this checkout or source distribution."""
    return Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test whose name holds an address has another one in each worker, and pytest-xdist then runs nothing at all."""
    named = [item.nodeid for item in items if re.search(r" at 0x[0-9a-f]+", item.nodeid)]
    if named:
        raise pytest.UsageError(f"give the parameters of these tests names (ids=...): {', '.join(named)}")
