"""`make demo`: the classifier learns, and all that it logs can be read back."""

import subprocess
import sys
from pathlib import Path

import milepost

BATCHES = 34  # of 32 images, in the 60 % of the 1,797 images that are trained on


def test_the_demo_learns_and_logs_one_row_per_batch(repository: Path) -> None:
    script = [sys.executable, str(repository / "examples" / "digits.py"), "--epochs", "5", "--hidden", "64"]

    subprocess.run(script, check=True, capture_output=True, stdin=subprocess.DEVNULL)

    (run,) = milepost.Api().runs("digits")
    rows = list(run.scan_history())
    validated = [row for row in rows if "val.accuracy" in row]
    assert run.state == "finished"
    assert [row["_step"] for row in rows] == list(range(5 * BATCHES))
    assert {"train.loss", "train.accuracy", "train.grad_norm", "lr", "epoch"} <= rows[0].keys()
    assert [row["_step"] % BATCHES for row in validated] == [BATCHES - 1] * 5
    assert run.summary["val"]["accuracy"]["best"] == max(row["val.accuracy"] for row in validated)
    assert run.summary["test"]["accuracy"] > 0.8
    assert run.config == {"epochs": 5, "batch_size": 32, "hidden": 64, "lr": 0.1, "seed": 0}
