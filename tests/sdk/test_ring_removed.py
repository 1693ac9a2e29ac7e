"""The ring's files are removed while a run goes on, as systemd does with RemoveIPC when a user logs out."""

import os
import shutil
from pathlib import Path

import pytest

import milepost
from milepost.sdk.recovery import recover
from milepost.sdk.ring import HEADER_SIZE, Ring

SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture(autouse=True)
def rings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for rings that a test may remove."""
    monkeypatch.setenv("MILEPOST_SHM", str(tmp_path / "shm"))
    (tmp_path / "shm").mkdir()
    return tmp_path / "shm" / f"milepost-{os.getuid()}"


def test_log_goes_on_when_the_directory_of_the_rings_is_removed(rings: Path) -> None:
    with milepost.init(project="demo", exporters=["file"]) as run:
        run.log({"n": 0, "text": ""})
        shutil.rmtree(rings)
        for n in range(1, 4_000):
            run.log({"n": n, "text": "x" * 2_000})

    rows = milepost.Api().run(run.path).scan_history(keys=["n"])
    assert [row["n"] for row in rows] == list(range(4_000))


def test_a_ring_made_after_the_removal_belongs_to_a_living_writer(rings: Path, tmp_path: Path) -> None:
    ring = Ring("ab" * 8, {"run_dir": str(tmp_path / "run")}, block_bytes=2**16, max_bytes=2**22)
    shutil.rmtree(rings)

    for _ in range(3):
        assert ring.turn(2**16 - HEADER_SIZE)

    assert rings.stat().st_mode & 0o777 == 0o700
    assert len(list(rings.glob("*.ring"))) == 2
    assert recover(tmp_path, settled_s=0.0) == []
    assert len(list(rings.glob("*.ring"))) == 2
    ring.close()
    assert list(rings.glob("*.ring")) == []
