"""history.jsonl holds what the journal holds, whenever the program is killed, resumed and synced."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import milepost
from milepost.sdk.syncing import sync

PROGRAM = """
import sys, time, milepost
first = int(sys.argv[1])
milepost.init(project="kills", id="run1", resume="allow", config={"first": first})
print("ready", flush=True)
for step in range(first, first + 1_000_000):
    milepost.log({"value": step * 0.5, "text": "x" * (step % 50)}, step=step, commit=True)
    time.sleep(0.0005)
"""


def killed_run(first: int, after_rows: int, run_dir: Path) -> None:
    """Run the program from a step on and kill it once the file has grown by about so many rows."""
    history = run_dir / "history.jsonl"
    size = history.stat().st_size if history.exists() else 0
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(first)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        while process.poll() is None and (history.stat().st_size if history.exists() else 0) < size + after_rows * 90:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()


def in_history(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "history.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]


def in_journal() -> list[dict[str, Any]]:
    return list(milepost.Api().run("kills/run1").scan_history())


@pytest.mark.parametrize("seed", [1, 2])
def test_after_every_kill_and_sync_each_row_stands_in_the_file_once(seed: int, isolated_environment: Path) -> None:
    chance = random.Random(seed)
    run_dir = isolated_environment / "milepost-runs" / "kills" / "run1"
    first = 0
    for _ in range(3):
        killed_run(first, chance.randrange(0, 300), run_dir)
        if chance.random() < 0.7:  # else the next life begins before anybody has synced the rows of this one
            sync(run_dir)
        steps = [row["_step"] for row in in_journal()]
        first = max(0, steps[-1] + 1 - chance.randrange(0, 100)) if steps else 0  # on from an earlier checkpoint
    sync(run_dir)

    expected = {row["_step"]: row["value"] for row in in_journal()}
    written = in_history(run_dir)
    assert sorted(row["_step"] for row in written) == sorted(expected)
    assert {row["_step"]: row["value"] for row in written} == expected
    sync(run_dir)
    assert in_history(run_dir) == written
