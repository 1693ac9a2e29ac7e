"""Drain: the one thread of a process that moves rings into journals, at least every 100 ms, and makes them durable."""

import logging
import threading
from collections.abc import Callable
from typing import Final

from milepost.sdk.writer import Writer

logger = logging.getLogger("milepost")

INTERVAL_S: Final = 0.1


class Drain:
    """The thread and the writers it serves. Started with the first writer; a daemon, so it never holds up an exit."""

    def __init__(self) -> None:
        self._writers: list[tuple[Writer, Callable[[], None]]] = []
        self._lock = threading.RLock()  # a signal handler may finish one run while another one begins or ends
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, writer: Writer, after: Callable[[], None] = lambda: None) -> None:
        """Serve a writer from now on. after: called each time it was drained, at least every 100 ms."""
        writer.wake = self._wake.set
        with self._lock:
            self._writers.append((writer, after))
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="milepost-drain", daemon=True)
                try:
                    thread.start()
                except (
                    RuntimeError
                ) as error:  # no more threads: the next writer tries again, and flush and finish drain
                    logger.warning("milepost: the drain thread cannot start (%s); rows wait in shared memory", error)
                else:
                    self._thread = thread

    def remove(self, writer: Writer) -> None:
        """Serve a writer no longer; the thread ends with the last one, and is waited for a moment so that exits are clean."""
        with self._lock:
            self._writers = [each for each in self._writers if each[0] is not writer]
            thread = None if self._writers else self._thread
        self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(1.0)

    def _run(self) -> None:
        while True:
            self._wake.wait(INTERVAL_S)
            self._wake.clear()
            with self._lock:
                writers = list(self._writers)
                if not writers:
                    self._thread = None
                    return
            for writer, after in writers:
                try:
                    writer.drain(sync=True)
                    after()
                except Exception:  # whatever happens to one writer, the others are served and this one is tried again
                    logger.exception("milepost: the drain of %s failed; it is tried again", writer.directory)


drain = Drain()
"""The process's own; replaced in a forked child, which has no such thread yet."""


def reset_after_fork() -> None:
    """In a forked child: start over with no thread and no writers."""
    drain.__init__()  # type: ignore[misc]  # the same object, since other modules hold it
