"""What processors hold back survives a kill: it stands in the journal as parts, and recovery makes rows of them."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from milepost.sdk import frame
from milepost.sdk.decode import Decoder
from milepost.sdk.recovery import recover

KILL = "\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"


def rows_after_kill(script: str, runs: Path) -> list[tuple[int | None, dict[str, Any]]]:
    """Step and values of every row in the journal, once the killed script has been recovered."""
    killed = subprocess.run(
        [sys.executable, "-c", script + KILL], cwd=runs, capture_output=True, text=True, timeout=60, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    recover(runs, settled_s=0)
    (run,) = runs.glob("milepost-runs/p/*")
    return journal_rows(run)


def journal_rows(run: Path) -> list[tuple[int | None, dict[str, Any]]]:
    """Step and values of every row in a run's journal, writer by writer."""
    rows: list[tuple[int | None, dict[str, Any]]] = []
    for writer in sorted(run.glob("journal/*")):
        decoder = Decoder("p/run", writer.name)
        for segment in sorted(writer.glob("[0-9]*.mpj")):
            data = segment.read_bytes()
            for found in frame.scan(data, frame.writer_seed(writer.name), frame.SEGMENT_HEADER_SIZE):
                event = decoder.event(found, data) if isinstance(found, frame.Frame) else None
                if event is not None and event.kind == "row":
                    rows.append((event.step, event.values))
    return rows


def test_an_open_row_is_committed(tmp_path: Path) -> None:
    script = """
import milepost
run = milepost.init(project="p")
run.log({"loss": 1.0})
run.log({"loss": 7.0, "a": 1}, commit=False)
run.log({"a": 2}, commit=False)
"""
    assert rows_after_kill(script, tmp_path) == [(0, {"loss": 1.0}), (1, {"loss": 7.0, "a": 2})]


def test_an_open_window_becomes_a_row(tmp_path: Path) -> None:
    script = """
import milepost
run = milepost.init(project="p", processors=["flatten", "merge", {"aggregate": {"every": 5}}, "summarize"])
for step in range(7):
    run.log({"loss": float(step)})
"""
    assert rows_after_kill(script, tmp_path) == [(4, {"loss": 2.0}), (6, {"loss": 5.5})]


def test_an_open_row_joins_the_open_window(tmp_path: Path) -> None:
    script = """
import milepost
run = milepost.init(project="p", processors=["flatten", "merge", {"aggregate": {"every": 5}}, "summarize"])
for step in range(7):
    run.log({"loss": float(step)})
run.log({"loss": 100.0}, commit=False)
"""
    assert rows_after_kill(script, tmp_path) == [(4, {"loss": 2.0}), (7, {"loss": 37.0})]


def test_the_row_that_closes_a_window_by_time_is_kept_as_the_next_one(tmp_path: Path) -> None:
    script = """
import milepost, time
run = milepost.init(project="p", processors=["flatten", "merge", {"aggregate": {"interval": 20}}, "summarize"])
run.log({"loss": 1.0})
time.sleep(0.05)
run.log({"loss": 3.0})
"""
    assert rows_after_kill(script, tmp_path) == [(0, {"loss": 1.0}), (1, {"loss": 3.0})]


def test_what_stands_behind_merge_also_sees_open_rows(tmp_path: Path) -> None:
    script = """
import milepost
run = milepost.init(project="p", processors=["flatten", "merge", {"redact": {"keys": ["token"]}}, "summarize"])
run.log({"token": "secret", "loss": 1.0}, commit=False)
"""
    assert rows_after_kill(script, tmp_path) == [(0, {"token": "***", "loss": 1.0})]


def test_a_forked_child_does_not_log_the_window_of_its_parent(tmp_path: Path) -> None:
    script = """
import os, sys
import milepost
run = milepost.init(project="p", processors=["flatten", "merge", {"aggregate": {"every": 100}}, "summarize"], exporters=[])
run.log({"loss": 1.0})
if os.fork() == 0:
    run.log({"loss": 9.0})
    run.finish()
    os._exit(0)
os.wait()
run.finish()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    values = sorted(values["loss"] for run in tmp_path.glob("milepost-runs/p/*") for _, values in journal_rows(run))
    assert values == [1.0, 9.0]
