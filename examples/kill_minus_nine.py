"""Kill a program that logs with SIGKILL, ten times, and count what can be read back.

    python examples/kill_minus_nine.py

The program makes two calls per row: the loss with `commit=False`, then the rest. After each call that returned it counts up
in a memory-mapped file, so that this script knows what it has to find. SIGKILL leaves a program no time for anything: no
handler, no buffer that is written out, no `finish()`.
"""

import argparse
import mmap
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import milepost


class Kill(NamedTuple):
    """What came of one kill. calls: those that had returned. rows: those that were read back, the open one included."""

    after_s: float
    calls: int
    rows: int
    lost: int
    state: str


def main() -> None:
    """Kill and count. The exit code is 1 when a call that had returned left no trace."""
    parser = argparse.ArgumentParser(description="Kill a program that logs, and count what can be read back.")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--program", nargs=2, metavar=("COUNTER", "RUN_ID"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.program:
        log_for_ever(*options.program)
    print("  killed after   log() calls returned   rows read back   calls lost   state")
    with tempfile.TemporaryDirectory(prefix="milepost-kill-") as directory:
        kills = [kill_once(Path(directory), f"kill-{number}") for number in range(1, options.kills + 1)]
        # The next init() would do this; here there is none, and what the killed programs left takes memory.
        sync = [sys.executable, "-m", "milepost", "sync", f"{directory}/milepost-runs"]
        subprocess.run(sync, capture_output=True, check=True)
    calls, lost = sum(kill.calls for kill in kills), sum(kill.lost for kill in kills)
    print(f"{len(kills)} kills: {calls:,} calls had returned, {lost} of them lost")
    sys.exit(1 if lost else 0)


def log_for_ever(counter: str, run_id: str) -> None:
    """The program that is killed: what it logs follows from the number of the row, so that every value can be checked."""
    with open(counter, "r+b") as file, mmap.mmap(file.fileno(), 8) as returned:
        milepost.init(project="killed", id=run_id, exporters=["file"])
        calls = 0
        while True:
            row = calls // 2
            milepost.log({"train": {"loss": 1 / (1 + row)}}, commit=False)
            calls += 1
            returned[:] = calls.to_bytes(8, "little")
            milepost.log({"row": row, "lr": 0.1 * 0.999**row})
            calls += 1
            returned[:] = calls.to_bytes(8, "little")


def kill_once(directory: Path, run_id: str) -> Kill:
    """Start the program, let it log for a moment, kill it, and compare what can be read back with what was promised."""
    counter = directory / f"{run_id}.counter"
    counter.write_bytes(bytes(8))
    command = [sys.executable, str(Path(__file__).absolute()), "--program", str(counter), run_id]
    program = subprocess.Popen(command, cwd=directory, env=os.environ | {"MILEPOST_SILENT": "true"})
    while not int.from_bytes(counter.read_bytes(), "little"):
        if program.poll() is not None:
            sys.exit(f"the program ended by itself, with exit code {program.returncode}")
        time.sleep(0.01)
    after_s = random.uniform(0.1, 1.0)
    time.sleep(after_s)
    program.kill()
    program.wait()

    calls = int.from_bytes(counter.read_bytes(), "little")
    run = milepost.Api(directory / "milepost-runs").run(f"killed/{run_id}")
    rows = list(run.scan_history())
    whole = sum(row.get("row") == n and row["lr"] == 0.1 * 0.999**n for n, row in enumerate(rows))
    begun = sum(row["train.loss"] == 1 / (1 + n) for n, row in enumerate(rows))
    lost = max(calls // 2 - whole, 0) + max((calls + 1) // 2 - begun, 0)
    print(f"        {after_s:.2f} s   {calls:20,}   {len(rows):14,}   {lost:10}   {run.state}", flush=True)
    return Kill(after_s, calls, len(rows), lost, run.state)


if __name__ == "__main__":
    main()
