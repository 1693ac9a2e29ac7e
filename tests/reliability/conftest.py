"""Figures that the tests print and keep, shared memory of their own, and the seed of every failure."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.reliability.oracle import SEED
from tests.reliability.programs import end_all, replay
from tests.reliability.shipping import Site, end_shippers

Figure = Callable[[str, str], None]


@pytest.fixture(autouse=True)
def own_shared_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Rings of this test alone: what a test kills is not recovered by another one."""
    root = Path(tempfile.mkdtemp(prefix="milepost-test-", dir="/dev/shm"))
    root.chmod(0o777)
    monkeypatch.setenv("MILEPOST_SHM", str(root))
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(autouse=True)
def tell_the_seed(request: pytest.FixtureRequest, own_shared_memory: Path) -> Iterator[None]:
    """Print, where pytest shows it for a failing test, how to run it again with the same choices; leave no program behind."""
    print(replay(request.node.nodeid))
    yield
    end_all()
    end_shippers()


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """figure(line of the scoreboard, what was measured): printed, put into the report, kept for docs/reliability.md."""

    def keep(line: str, text: str) -> None:
        record_property(line, text)
        print(f"{line}: {text} (seed {SEED})")
        path = os.environ.get("RELIABILITY_FIGURES")
        if path:
            with open(path, "a") as file:
                file.write(json.dumps({"line": line, "text": text}) + "\n")

    return keep


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Where programs find an exporter that uses the network."""
    return Site(tmp_path, monkeypatch)
