"""Spawn: start a process that leaves a shipper behind and ends (see `__main__.py`)."""

import os
import sys
from pathlib import Path


def spawn(runs_dir: Path, log_path: Path) -> int:
    """Start a shipper for a runs directory: a session of its own, its own log, no descriptor of this program. Raises OSError.

    The process whose id comes back leaves the shipper behind and ends; it closes what descriptors of the program come along. Not
    with `subprocess`, which would be loaded into the program for this alone, and takes 0.3 MiB.
    """
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONINSPECT", "PYTHONSTARTUP")}
    # And where milepost was found: a relative path means something else in a program that has changed its directory since.
    paths = [*map(os.path.abspath, sys.path), os.path.abspath(Path(__file__).parents[3])]
    environ["PYTHONPATH"] = os.pathsep.join(paths)
    environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # numpy counts: threads would only take memory
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        log = os.open(log_path, flags, 0o644)
    except OSError:
        log = os.open(os.devnull, flags)
    command = [sys.executable, "-P", "-m", "milepost.sdk.shipper", str(runs_dir)]
    actions = (
        (os.POSIX_SPAWN_DUP2, log, 1),
        (os.POSIX_SPAWN_DUP2, log, 2),
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),  # last: in a program without standard input the log is 0
    )
    try:
        return os.posix_spawn(sys.executable, command, environ, file_actions=actions, setsid=True)
    except NotImplementedError:  # not by this C library; it leaves the session a moment later
        return os.posix_spawn(sys.executable, command, environ, file_actions=actions)
    finally:
        os.close(log)
