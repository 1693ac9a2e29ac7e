"""Files in shared memory: large ones are used again, and what dead programs left goes when nobody can want it any more."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import milepost
from milepost.sdk.ring import shared_memory
from tests.sdk.encoding.waiting import until

ROOT = Path(__file__).parents[3]
PROGRAM = """
import os, sys
import numpy as np
import pytest
import milepost

run = milepost.init(project="p", dir=sys.argv[1], exporters=["file"], settings={"capture": False})
run.log({"im": milepost.Image(np.full((40, 50, 3), 7, np.uint8)), "large": milepost.Image(np.full((600, 700, 3), 9, np.uint8))})
print(run.writer, flush=True)
"""
KILL = "os.kill(os.getpid(), 9)"
PROCESS = {"capture": False}


@pytest.fixture(autouse=True)
def _own_shared_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Others' programs put away what killed ones left, too."""
    with tempfile.TemporaryDirectory(prefix="milepost-test-", dir="/dev/shm") as directory:
        monkeypatch.setenv("MILEPOST_SHM", directory)
        yield


def started(directory: Path, end: str) -> "tuple[subprocess.Popen[bytes], str]":
    """A program that logs two pictures and then does what `end` says; and the id of its writer."""
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM + end, str(directory)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert program.stdout is not None
    return program, program.stdout.readline().decode().strip()


def left_by(directory: Path, end: str) -> str:
    """The id of the writer of such a program that is gone."""
    program, writer = started(directory, end)
    with program:
        program.wait(120)
    return writer


def stash_of(writer: str) -> list[Path]:
    return list(shared_memory().glob(f"{writer}-*.stash"))


def age(paths: list[Path], days: float) -> None:
    for path in paths:
        then = time.time() - days * 86_400
        os.utime(path, (then, then))


def begin(directory: Path) -> None:
    """A run of another directory, which puts things away in the background, and waits until that is done."""
    with milepost.init(project="p", dir=directory, exporters=["file"], settings=PROCESS):
        import threading

        for thread in threading.enumerate():
            if thread.name == "milepost-recover":
                thread.join(60)


def test_media_of_a_run_that_was_deleted_with_its_runs_directory_go_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = left_by(tmp_path / "gone", KILL)
    other = left_by(tmp_path / "there", KILL)
    shutil.rmtree(tmp_path / "gone")

    begin(tmp_path / "next")
    assert stash_of(writer)

    age([*stash_of(writer), *stash_of(other)], days=2)
    begin(tmp_path / "next")
    assert stash_of(writer)  # the file is old, what it holds is not: a long run uses its files again

    monkeypatch.setattr("milepost.sdk.encoding.abandoned.ABANDONED_S", 0.0)
    begin(tmp_path / "next")
    assert not stash_of(writer)
    assert stash_of(other)


def test_media_of_a_living_program_stay_though_its_run_was_deleted(tmp_path: Path) -> None:
    program, writer = started(tmp_path / "gone", "os.kill(os.getpid(), 19)")
    with program:
        assert until(lambda: Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        paths = stash_of(writer)
        shutil.rmtree(tmp_path / "gone")
        age(paths, days=2)

        begin(tmp_path / "next")

        assert paths
        assert all(path.exists() for path in paths)
        program.kill()


def test_a_burst_of_pictures_takes_few_descriptors_and_leaves_no_files(tmp_path: Path) -> None:
    pictures = [np.full((40 + n % 60, 70, 3), n + 2, np.uint8) for n in range(150)]
    with milepost.init(project="p", dir=tmp_path, exporters=["file"], settings=PROCESS) as run:
        before = len(os.listdir("/proc/self/fd"))
        for picture in pictures:
            run.log({"im": milepost.Image(picture)})
        assert until(lambda: len(list((Path(run.dir) / "media" / "images").glob("im_*"))) == 150)
        assert len(os.listdir("/proc/self/fd")) - before < 30
        assert stash_of(run.writer)

    assert not stash_of(run.writer)
    rows = milepost.Api(tmp_path).run(run.path).scan_history()
    assert all((row["im"].to_numpy() == picture).all() for row, picture in zip(rows, pictures, strict=True))


def test_a_large_file_is_used_again_and_every_picture_is_its_own(tmp_path: Path) -> None:
    before = set(shared_memory().glob("*.spare"))
    kept = milepost.Image(np.full((600, 700, 3), 250, np.uint8))
    for _ in range(2):
        with milepost.init(project="p", dir=tmp_path, exporters=["file"], settings=PROCESS) as run:
            run.log({"im": kept})
            for n in range(4):
                run.log({"im": milepost.Image(np.full((600, 700, 3), n + 2, np.uint8))})
                assert until(lambda: not stash_of(run.writer))
            spare = set(shared_memory().glob("*.spare")) - before

        rows = list(milepost.Api(tmp_path).run(run.path).scan_history())
        assert [int(row["im"].to_numpy().max()) for row in rows] == [250, 2, 3, 4, 5]
        assert all(row["im"].to_numpy().min() == row["im"].to_numpy().max() for row in rows)
        assert 1 <= len(spare) <= 3

    del kept
    assert set(shared_memory().glob("*.spare")) <= before


def test_what_a_killed_program_kept_for_its_next_picture_goes_with_the_next_init(tmp_path: Path) -> None:
    before = set(shared_memory().glob("*.spare"))
    left_by(tmp_path, "run._media.flush(1e9)\n" + KILL)
    assert set(shared_memory().glob("*.spare")) - before

    begin(tmp_path / "next")

    assert not set(shared_memory().glob("*.spare")) - before


def test_a_forked_child_leaves_the_files_of_its_parent_alone(tmp_path: Path) -> None:
    image = milepost.Image(np.full((600, 700, 3), 5, np.uint8))
    with milepost.init(project="p", dir=tmp_path, exporters=["file"], settings=PROCESS) as run:
        child = os.fork()
        if child == 0:
            run.log({"child": image})
            del image
            for n in range(3):
                run.log({"child": milepost.Image(np.full((600, 700, 3), n + 6, np.uint8))})
            run.finish()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        run.log({"parent": image})

    rows = list(milepost.Api(tmp_path).run(run.path).scan_history(writer="all"))
    shown = {(key, int(row[key].to_numpy().max())) for row in rows for key in ("child", "parent") if key in row}
    assert shown == {("parent", 5), ("child", 5), ("child", 6), ("child", 7), ("child", 8)}


def test_a_picture_from_before_a_fork_stays_what_it_is_for_the_child(tmp_path: Path) -> None:
    with milepost.init(project="p", dir=tmp_path, exporters=["file"], settings=PROCESS) as run:
        image = milepost.Image(np.full((600, 700, 3), 5, np.uint8))
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            os.read(told, 1)
            os._exit(max(bytes(image.payload.data)))
        run.log({"im": image})
        assert until(lambda: not stash_of(run.writer))
        del image
        following = milepost.Image(np.full((600, 700, 3), 9, np.uint8))
        os.write(tell, b"x")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
        del following
        os.close(told)
        os.close(tell)


FEW = """
import os, resource, sys, time
import numpy as np
import PIL.PngImagePlugin
import milepost

settings = {"capture": False, "media": {"encode_in": "thread"}}
run = milepost.init(project="p", id="r", dir=sys.argv[1], exporters=["file"], settings=settings)
pictures = [np.random.default_rng(n).integers(0, 256, (80 + n, 70, 3), dtype=np.uint8) for n in range(4)]
run.log({"im": milepost.Image(pictures[0])})
run._media.flush(time.monotonic() + 60)
limit = len(os.listdir("/proc/self/fd")) + 40
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
run.log({"im": milepost.Image(pictures[1])})
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
for picture in pictures[2:]:
    run.log({"im": milepost.Image(picture)})
time.sleep(1.5)
for descriptor in taken:
    os.close(descriptor)
run.finish()
"""


def test_pictures_that_no_descriptor_is_left_for_are_kept_and_made_later(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FEW, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    rows = list(milepost.Api(tmp_path).run("p/r").scan_history())
    for n, row in enumerate(rows):
        assert (
            row["im"].to_numpy() == np.random.default_rng(n).integers(0, 256, (80 + n, 70, 3), dtype=np.uint8)
        ).all()
    assert len(rows) == 4


def test_pictures_that_wait_side_by_side_come_back_after_a_kill_also_where_others_lay_before(tmp_path: Path) -> None:
    more = """
import pathlib, time
images = pathlib.Path(run.dir) / "media" / "images"
for n in range(150):
    run.log({"im": milepost.Image(np.full((42, 50, 3), n + 10, np.uint8))})
    while n == 49 and len(list(images.glob("im_*"))) < 51:
        time.sleep(0.02)
"""
    writer = left_by(tmp_path, more + KILL)

    assert len(stash_of(writer)) < 40
    (run,) = milepost.Api(tmp_path).runs("p")
    shown = [row["im"].to_numpy() for row in run.scan_history()]
    assert [int(array.max()) for array in shown] == [7, *range(10, 160)]
    assert all(array.min() == array.max() for array in shown)
