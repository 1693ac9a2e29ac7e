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
    rows: list[tuple[int | None, dict[str, Any]]] = []
    (writer,) = runs.glob("milepost-runs/p/*/journal/*")
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
