"""How late this machine is: a process that only wants to run every few milliseconds, and now and then to write a few bytes.

What it waits for, beyond what it asked for, any process may have waited for meanwhile. A process, not a thread: milepost that
kept the interpreter to itself would delay a thread, too, and be excused by it.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_TICKS = """
import os, sys, threading, time
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600)
late = ticks = 0.0
print("on", flush=True)
while not over.is_set():
    began = time.monotonic()
    time.sleep(0.01)
    ticks += 1
    if ticks % 10 == 0:
        os.write(file, b"x")
        os.fdatasync(file)
    late += time.monotonic() - began - 0.01
print(late)
"""


class Lateness:
    """s: how late the process was in all, in seconds, once the block is over."""

    s = 0.0


@contextlib.contextmanager
def lateness(folder: Path) -> Iterator[Lateness]:
    """Measure it for the time of a block. folder: on the disk that is meant."""
    found = Lateness()
    path = folder / f"ticks-{os.getpid()}"
    with subprocess.Popen(
        [sys.executable, "-ISc", _TICKS, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield found
        finally:
            told, _ = process.communicate()
            found.s = float(told)
            path.unlink(missing_ok=True)
