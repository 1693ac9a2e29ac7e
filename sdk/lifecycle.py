"""The current run, and what happens to runs when the process forks, fails, is told to stop, or ends.

Hooks are installed with the first run: `atexit`, `sys.excepthook` (an uncaught exception makes the run failed; traceback and
exit code stay as they are), the interpreter's reading of `SystemExit.code` (see `exit_code.py`), SIGTERM when nobody handles it
(the run ends as preempted, then the signal takes its usual course), and `os.register_at_fork`.
"""

import _thread
import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from milepost.sdk import drain, exit_code
from milepost.sdk.current import current
from milepost.sdk.disabled import DisabledRun
from milepost.sdk.run import Run
from milepost.sdk.run_record import RunRecord

logger = logging.getLogger("milepost")

AnyRun = Run | DisabledRun


class _State:
    """What this process knows of its runs."""

    runs: list[Run] = []
    hooked = False
    exit_code: int | None = None
    failed = False


_state = _State()


def running() -> list[Run]:
    """All runs of this process that are not finished."""
    return list(_state.runs)


def began(run: AnyRun) -> None:
    """A run starts: it is the current one from now on."""
    current.set(run)
    if isinstance(run, Run):
        _state.runs.append(run)
        current.runs_dir = Path(run.dir).absolute().parents[1]
        _install_hooks()


def finished(run: AnyRun) -> None:
    """A run is over; the one started before it, if it still runs, is current again."""
    with contextlib.suppress(ValueError):
        _state.runs.remove(run)  # type: ignore[arg-type]  # a disabled run is in no list
    if current.run is run:
        current.set(_state.runs[-1] if _state.runs else None)


def attach(identity: dict[str, Any], step: int, parent: str) -> Run:
    """A run that was pickled in another process: the same run here, as a writer of its own."""
    for run in _state.runs:
        if (run.project, run.id) == (identity["project"], identity["id"]):
            return run
    from milepost.sdk.starting import default_pipeline, default_routes

    record = RunRecord(**identity)
    record.start_step = step
    record.primary = False
    run = Run(
        record,
        writer=record.new_writer(parent=parent),
        pipeline=default_pipeline,
        routes=default_routes(),
        config={},
        on_finish=finished,
    )
    began(run)
    _end_with_multiprocessing()
    return run


def _install_hooks() -> None:
    if _state.hooked:
        return
    _state.hooked = True
    atexit.register(_at_exit)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork)
    _wrap_excepthook()
    exit_code.watch(_ends_with)
    if threading.current_thread() is threading.main_thread():
        with contextlib.suppress(ValueError, OSError):
            if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
                signal.signal(signal.SIGTERM, _on_sigterm)


def _wrap_excepthook() -> None:
    before = sys.excepthook

    def excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        _state.failed = True
        _state.exit_code = 130 if issubclass(kind, KeyboardInterrupt) else 1
        before(kind, error, trace)

    sys.excepthook = excepthook


def _ends_with(status: Any) -> None:
    """The program ends by SystemExit: 0 for None, 1 for a text, which is then printed."""
    _state.exit_code = int(status or 0) if status is None or isinstance(status, int) else 1


def _at_exit() -> None:
    code = _state.exit_code or 0
    for run in running():
        run._ended_at_exit = True
        try:
            run.finish(exit_code=code)
        except Exception:
            logger.exception("milepost: finishing %s at exit failed; its rows are in %s", run.path, run.dir)


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    """Nothing is waited for and no lock is taken here, for the handler may stand in the middle of a `log()`."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _thread.start_new_thread(_end_preempted, (os.getpid(),))


def _end_preempted(pid: int) -> None:
    for run in running():
        with contextlib.suppress(Exception):  # the process ends either way, and its rows are safe
            run._preempt()
    os.kill(pid, signal.SIGTERM)


def _after_fork() -> None:
    drain.reset_after_fork()
    _state.failed = False
    _state.exit_code = None
    for run in _state.runs:
        run._after_fork()
    _end_with_multiprocessing()


def _end_with_multiprocessing() -> None:
    """A child that multiprocessing forked ends without atexit: what multiprocessing runs instead is to finish its runs.

    Registered twice, since a child forgets what is registered before it starts its work, except what is to run after a fork.
    """
    util = sys.modules.get("multiprocessing.util")
    if util is not None and _state.runs:
        util.register_after_fork(_state, _finalize_children)
        _finalize_children(_state)


def _finalize_children(state: _State) -> None:
    sys.modules["multiprocessing.util"].Finalize(None, _end_child, exitpriority=100)


def _end_child() -> None:
    for run in running():
        with contextlib.suppress(Exception):  # what is not drained here is drained by whoever comes next
            run.finish()
