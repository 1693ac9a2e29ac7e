"""What a killed program left in shared memory, when the directory of its run was deleted, moved, or cannot be seen."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import milepost
from milepost.sdk.cli.machine import examine
from milepost.sdk.gone import Whereabouts, is_gone, whereabouts
from milepost.sdk.recovery import recover, remove_abandoned
from milepost.sdk.ring import Ring
from milepost.sdk.writer import Writer

PROGRAM = """
import os, sys
import milepost

run = milepost.init(project="p", id="r", dir=sys.argv[1], exporters=[], settings={"capture": False})
for n in range(50):
    run.log({"n": n})
print(run.writer, flush=True)
sys.stdin.read()
os.kill(os.getpid(), 9)
"""


@pytest.fixture(autouse=True)
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for the rings of this test alone."""
    monkeypatch.setenv("MILEPOST_SHM", str(tmp_path / "shm"))
    (tmp_path / "shm").mkdir()
    return tmp_path / "shm" / f"milepost-{os.getuid()}"


def program(runs: Path) -> "subprocess.Popen[str]":
    """A program that has logged 50 rows, and ends by SIGKILL when its input is closed."""
    started = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(runs)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    assert started.stdout.readline().strip()
    return started


def killed(runs: Path) -> None:
    with program(runs) as started:
        started.communicate(timeout=60)


def begin(runs: Path) -> None:
    """A run, which puts things away in the background, and waits until that is done."""
    with milepost.init(project="other", dir=runs, exporters=[], settings={"capture": False}):
        for thread in threading.enumerate():
            if thread.name == "milepost-recover":
                thread.join(60)


def age(shared: Path, days: float) -> list[Path]:
    """Make the last sign of life of all rings so old; the rings."""
    rings = sorted(shared.glob("*.ring"))
    then = time.time() - days * 86_400
    for path in rings:
        os.utime(path, (then, then))
    return rings


@pytest.mark.parametrize("deleted", ["runs", "runs/p", "runs/p/r"])
def test_rings_of_a_run_that_was_deleted_go_after_a_day(
    tmp_path: Path, shared: Path, deleted: str, caplog: pytest.LogCaptureFixture
) -> None:
    killed(tmp_path / "runs")
    rings = age(shared, days=0.9)
    shutil.rmtree(tmp_path / deleted)

    begin(tmp_path / "elsewhere")
    assert recover(tmp_path / "runs", settled_s=0.0) == []
    assert rings
    assert all(path.exists() for path in rings)
    assert f"{len(rings)} of them of runs that are gone" in examine(tmp_path).facts["shared_memory"]

    age(shared, days=1.1)
    begin(tmp_path / "elsewhere")
    assert not any(path.exists() for path in rings)
    assert f"its run is gone ({tmp_path / 'runs/p/r'})" in caplog.text


def test_rings_of_a_living_program_and_of_a_run_that_is_there_stay(tmp_path: Path, shared: Path) -> None:
    killed(tmp_path / "there")
    with program(tmp_path / "gone") as living:
        os.kill(living.pid, 19)  # it would give signs of life, and make its directory again
        rings = age(shared, days=30)
        shutil.rmtree(tmp_path / "gone")

        begin(tmp_path / "elsewhere")

        assert all(path.exists() for path in rings)
        assert len({path.name.partition("-")[0] for path in rings}) == 2
        living.kill()


def test_a_long_run_gives_signs_of_life(tmp_path: Path, shared: Path) -> None:
    with program(tmp_path / "runs") as living:
        age(shared, days=30)

        deadline = time.monotonic() + 60
        while (
            time.monotonic() < deadline
            and max(path.stat().st_mtime for path in shared.glob("*.ring")) < time.time() - 60
        ):
            time.sleep(0.05)
        shutil.rmtree(tmp_path / "runs")
        living.kill()
        living.wait(60)
        remove_abandoned()

        assert list(shared.glob("*.ring"))


def test_the_last_rows_are_found_whatever_the_length_of_the_path(tmp_path: Path, shared: Path) -> None:
    runs = tmp_path.joinpath(*["d" * 200] * 14)
    killed(runs)
    assert list(shared.glob("*.ring"))

    assert recover(runs, settled_s=0.0) == [runs / "p/r"]

    assert list(shared.glob("*.ring")) == []
    assert len(list(milepost.Api(runs).run("p/r").scan_history())) == 50


def test_a_path_too_long_for_shared_memory_is_written_to_at_once(tmp_path: Path, shared: Path) -> None:
    folders, rest = divmod(3980 - len(str(tmp_path)), 201)
    runs = tmp_path.joinpath(*["d" * 200] * folders, "e" * max(rest, 1))
    with milepost.init(project="p", id="r", dir=runs, exporters=[], settings={"capture": False}) as run:
        run.log({"n": 1})
        assert "one write per row" in run.promise

    assert list(shared.glob("*.ring")) == []
    assert len(list(milepost.Api(runs).run("p/r").scan_history())) == 1


def test_many_rings_of_runs_that_are_gone_look_through_the_runs_once(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "runs" / "p"
    for n in range(10):
        (project / f"there{n}" / "journal" / f"{n:016x}").mkdir(parents=True)
    for n in range(5):
        Writer(project / f"gone{n}").forget()  # as the death of its process would
        shutil.rmtree(project / f"gone{n}")
    listed: list[str] = []
    listdir = os.listdir

    def counting(path: str) -> list[str]:
        listed.extend([str(path)] if str(path).endswith("journal") else [])
        return listdir(path)

    monkeypatch.setattr(os, "listdir", counting)

    assert recover(tmp_path / "runs", settled_s=0.0) == []

    assert len(list(shared.glob("*.ring"))) == 10
    assert len(listed) == len(set(listed)) == 11  # of the runs, and of what might be one


@pytest.mark.parametrize("to", ["old", "runs/q/s"])
def test_the_last_rows_of_a_run_that_was_moved_after_a_kill_follow_it(tmp_path: Path, shared: Path, to: str) -> None:
    killed(tmp_path / "runs")
    moved = tmp_path / to
    moved.parent.mkdir(exist_ok=True, parents=True)
    (tmp_path / ("runs" if to == "old" else "runs/p/r")).rename(moved)
    runs = moved if to == "old" else tmp_path / "runs"
    age(shared, days=0.5)
    begin(tmp_path / "elsewhere")

    assert recover(runs, settled_s=0.0) == [moved / "p/r" if to == "old" else moved]

    assert list(shared.glob("*.ring")) == []
    rows = milepost.Api(runs).run("p/r" if to == "old" else "q/s").scan_history(keys=["n"])
    assert [row["n"] for row in rows] == list(range(50))


def test_a_directory_that_cannot_be_seen_is_not_gone(tmp_path: Path) -> None:
    run_dir = tmp_path / "runs" / "p" / "r"
    run_dir.mkdir(parents=True)
    lay = whereabouts(run_dir)
    assert not is_gone(lay, run_dir, "w")
    shutil.rmtree(tmp_path / "runs")
    assert is_gone(lay, run_dir, "w")

    (tmp_path / "loop").symlink_to("loop")
    for unlike in (
        lay._replace(path="/proc/no such folder/p/r"),  # what is left of the path lies on another file system
        lay._replace(path=str(tmp_path / "loop" / "p" / "r")),
        lay._replace(device=lay.device + 1),
        lay._replace(mount=lay.mount + 1),
        lay._replace(mounts="mnt:[of another container]"),
        lay._replace(mounts=""),
        lay._replace(above=tuple(inode + 1 for inode in lay.above)),  # another volume in its place
        lay._replace(above=()),
        Whereabouts(),
    ):
        assert not is_gone(unlike, run_dir, "w")


def test_a_link_on_the_way_to_the_run_may_change(tmp_path: Path) -> None:
    (tmp_path / "disk" / "p" / "r").mkdir(parents=True)
    (tmp_path / "runs").symlink_to("disk")
    run_dir = tmp_path / "runs" / "p" / "r"
    lay = whereabouts(run_dir)

    (tmp_path / "runs").unlink()
    (tmp_path / "runs").mkdir()
    assert not is_gone(lay, run_dir, "w")

    (tmp_path / "disk").rename(tmp_path / "moved")
    (tmp_path / "runs").rmdir()
    (tmp_path / "runs").symlink_to("moved")
    assert not is_gone(lay, run_dir, "w")  # it is where it was said to be


def test_rings_of_a_run_that_was_renamed_beside_its_place_stay(tmp_path: Path, shared: Path) -> None:
    killed(tmp_path / "runs")
    (tmp_path / "runs/p/r").rename(tmp_path / "runs/p/renamed")
    rings = age(shared, days=30)

    begin(tmp_path / "elsewhere")
    assert all(path.exists() for path in rings)

    begin(tmp_path / "runs")
    rows = milepost.Api(tmp_path / "runs").run("p/renamed").scan_history(keys=["n"])
    assert [row["n"] for row in rows] == list(range(50))


@pytest.mark.parametrize("copy", ["a", "z"])
def test_a_copy_made_earlier_does_not_get_the_last_rows_of_its_run(tmp_path: Path, copy: str) -> None:
    project = tmp_path / "runs" / "p"
    with program(tmp_path / "runs") as started:
        (segment,) = (project / "r").glob("journal/*/000000.mpj")
        deadline = time.monotonic() + 60
        while segment.stat().st_size < 1000 and time.monotonic() < deadline:  # until the drain wrote rows
            time.sleep(0.05)
        started.communicate(timeout=60)
    shutil.copytree(project / "r", project / copy)
    (older,) = (project / copy).glob("journal/*/000000.mpj")
    os.truncate(older, 64)
    (project / "r").rename(project / "renamed")

    assert recover(tmp_path / "runs", settled_s=0.0) == [project / "renamed"]

    rows = milepost.Api(tmp_path / "runs").run("p/renamed").scan_history(keys=["n"])
    assert [row["n"] for row in rows] == list(range(50))


def test_rings_whose_rows_could_not_be_stored_stay_for_another_day(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(tmp_path / "runs")
    (tmp_path / "runs").rename(tmp_path / "old")
    rings = age(shared, days=30)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("milepost.sdk.recovery.write_segment", full)
        assert recover(tmp_path / "old", settled_s=0.0) == []
        remove_abandoned()
    assert all(path.exists() for path in rings)


def test_a_ring_of_an_older_program_that_says_less_is_left_alone(tmp_path: Path, shared: Path) -> None:
    ring = Ring("ab" * 8, {"run_dir": str(tmp_path / "gone" / "p" / "r")})
    ring.forget()  # as the death of its process would
    rings = age(shared, days=30)

    remove_abandoned()

    assert all(path.exists() for path in rings)
