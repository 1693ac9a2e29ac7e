"""Hearing: what an exporter logs as a warning is told to the programs whose rows it delivers, as what its delivery says is.

In a program the logger `milepost` reaches the user. In the shipper it ends in a file that nobody reads: that two keys have one
name in Prometheus, that a run has more series than max_series, which setting of a back end would take what it refused.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator


class Hearing(logging.Handler):
    """Hears the warnings of one thread, inside `listening()`.

    tell: called with each, without "milepost: " in front. What is logged inside `deaf()`, or by `tell`, is not heard.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell
        self._thread: int | None = None
        self._deaf = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Hear what this thread logs."""
        logger = logging.getLogger("milepost")
        self._thread = threading.get_ident()
        logger.addHandler(self)
        try:
            yield
        finally:
            logger.removeHandler(self)

    @contextlib.contextmanager
    def deaf(self) -> Iterator[None]:
        """Hear nothing: what is logged here was told already."""
        before, self._deaf = self._deaf, True
        try:
            yield
        finally:
            self._deaf = before

    def handle(self, record: logging.LogRecord) -> bool:
        """Tell it, if it is to be heard; without a lock.

        All threads come by here, also while they tell: under a handler's lock two that listen would wait for each other. What
        is not of the one thread is left before anything that changes is looked at.
        """
        if record.thread != self._thread or record.levelno != logging.WARNING or self._deaf or not self.filter(record):
            return False
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Tell it; errors are said by whoever catches them."""
        try:
            with self.deaf():
                self._tell(record.getMessage().removeprefix("milepost: "))
        except Exception:  # noqa: BLE001 - a log never breaks what is logged
            self.handleError(record)
