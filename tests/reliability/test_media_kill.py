"""Media and SIGKILL: once log() returned, every file comes back bit for bit: read as the death left it, and after recovery."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import milepost
from milepost.sdk.encoding.payload_file import files
from milepost.sdk.reading.files import writer_dirs
from milepost.sdk.syncing import sync
from tests.reliability.conftest import Figure
from tests.reliability.oracle import Acks

PROGRAM = """
import os, sys
import milepost
from tests.reliability.oracle import Acks
from tests.reliability.test_media_kill import media

acks = Acks(__import__("pathlib").Path(sys.argv[2]))
run = milepost.init(project="kill", id=sys.argv[3], dir=sys.argv[1], exporters=["file"], settings={settings})
for n in range(int(sys.argv[4])):
    run.log(media(n), commit=n % 3 != 2)
    acks[0] = n + 1
os.kill(os.getpid(), 9) if "{end}" == "kill" else sys.stdin.read()
"""


def picture(n: int) -> Any:
    return np.random.default_rng(n).integers(0, 256, (40 + n % 7, 50, 3), dtype=np.uint8)


def media(n: int) -> dict[str, Any]:
    """What call n logs: a picture, a tiny one that fits into the ring, a list, a table with a picture in a cell."""
    return {
        f"n{n % 3}": n,
        f"large{n % 3}": milepost.Image(picture(n), caption=f"call {n}"),
        f"huge{n % 3}": milepost.Image(np.full((600, 650, 3), n % 250 + 2, np.uint8)),
        f"tiny{n % 3}": milepost.Image(picture(n)[:3, :3]),
        f"list{n % 3}": [milepost.Image(picture(n)[:9]), milepost.Image(picture(n)[:8])],
        f"table{n % 3}": milepost.Table(columns=["n", "picture"], data=[[n, milepost.Image(picture(n)[:7])]]),
    }


def contents(run: Any) -> dict[int, tuple[str, ...]]:
    """Call to the checksums of its files; every picture is compared pixel by pixel on the way."""
    found: dict[int, tuple[str, ...]] = {}
    for row in run.scan_history():
        for part in ("0", "1", "2"):
            if "n" + part not in row:
                continue
            n, large, tiny = row["n" + part], row["large" + part], row["tiny" + part]
            assert (large.to_numpy() == picture(n)).all()
            assert large["caption"] == f"call {n}"
            assert (row["huge" + part].to_numpy() == n % 250 + 2).all()
            assert (tiny.to_numpy() == picture(n)[:3, :3]).all()
            assert [array.shape[0] for array in row["list" + part].to_numpy()] == [9, 8]
            table = row["table" + part]
            with table.open() as file:
                assert json.load(file)["data"][0][0] == n
            found[n] = (large["sha256"], tiny["sha256"], table["sha256"], *row["list" + part]["filenames"])
    return found


def start(directory: Path, name: str, calls: int, settings: dict[str, Any], end: str) -> "subprocess.Popen[bytes]":
    command = PROGRAM.replace("{settings}", repr(settings)).replace("{end}", end)
    arguments = [str(directory), str(directory / f"{name}.acks"), name, str(calls)]
    return subprocess.Popen(
        [sys.executable, "-c", command, *arguments],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def judge(directory: Path, name: str) -> int:
    """How many calls were acknowledged; none of them may be missing or changed, however often it is recovered."""
    acknowledged = Acks(directory / f"{name}.acks")[0]
    until = time.monotonic() + 60
    while milepost.Api(directory).run(f"kill/{name}").state == "running":
        # An encoder that it was just starting has its lock until it is another program: the open row is not over yet.
        assert time.monotonic() < until
        time.sleep(0.01)
    run: Any = milepost.Api(directory).run(f"kill/{name}")

    as_left = contents(run)
    assert set(range(acknowledged)) <= set(as_left)
    for _ in range(2):
        assert all(outcome.state == "delivered" for outcome in sync(run.dir))
        assert contents(run) == as_left
        assert not [path for writer in writer_dirs(run.dir) for path in files(writer.name, writer)]
    on_disk = {file.name for file in run.files() if file.name.startswith("media/")}
    for row in run.scan_history():
        for key, value in row.items():
            if key.startswith(("large", "tiny", "table")):
                assert value["path"] in on_disk
    assert "_pending" not in (Path(run.dir) / "history.jsonl").read_text()
    return acknowledged


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="shared-memory"),
        pytest.param({"media": {"max_waiting_bytes": 200_000}}, id="spilled"),
        pytest.param({"media": {"encode_in": "thread"}}, id="thread"),
    ],
)
def test_media_of_a_program_that_kills_itself_come_back(tmp_path: Path, settings: dict[str, Any]) -> None:
    with start(tmp_path, "run", 10, settings, "kill") as program:
        assert program.wait(60) == -signal.SIGKILL

    assert judge(tmp_path, "run") == 10


def test_media_come_back_without_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_SHM", str(tmp_path / "nowhere"))

    with start(tmp_path, "run", 10, {}, "kill") as program:
        assert program.wait(60) == -signal.SIGKILL

    assert judge(tmp_path, "run") == 10


@pytest.mark.parametrize("trials", [3, pytest.param(60, marks=pytest.mark.gate)])
def test_media_of_programs_killed_at_any_time_come_back(tmp_path: Path, figure: Figure, trials: int) -> None:
    total = 0
    for trial in range(trials):
        name = f"run{trial}"
        with start(tmp_path, name, 1000, {}, "wait") as program:
            acks = Acks(tmp_path / f"{name}.acks")
            wanted = 1 + trial * 7 % 40
            until = time.monotonic() + 60
            while acks[0] < wanted and time.monotonic() < until:
                time.sleep(0.002)
            program.kill()
            assert program.wait(60) == -signal.SIGKILL
        total += judge(tmp_path, name)

    figure("A1", f"media: {trials} SIGKILLs, {total} calls of five files acknowledged, none lost, none altered")


def test_the_next_init_in_the_runs_directory_makes_the_files(tmp_path: Path) -> None:
    with start(tmp_path, "run", 5, {}, "kill") as program:
        assert program.wait(60) == -signal.SIGKILL
    time.sleep(2.1)  # what is younger may belong to a program that is just starting

    with milepost.init(project="kill", id="next", dir=tmp_path, settings={"capture": False}):
        run: Any = milepost.Api(tmp_path).run("kill/run")
        until = time.monotonic() + 60
        while len(list((Path(run.dir) / "media" / "images").glob("large*.png"))) < 5 and time.monotonic() < until:
            time.sleep(0.05)

    assert len(list((Path(run.dir) / "media" / "images").glob("large*.png"))) == 5
