"""Gathering: the thread of a run that records what ran, and samples what it uses, beside the training loop."""

import logging
import os
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from milepost.sdk.run import Run

logger = logging.getLogger("milepost")


class Gathering:
    """Feeds "environment", "system" and "console" events into a run, as the `capture` group of the config file says.

    primary: whether this writer speaks for the run; the environment is gathered by that one only.
    """

    def __init__(self, run: "Run", capture: Any, *, primary: bool) -> None:
        self._run = run
        self._capture = capture
        self._primary = primary
        self._stop = threading.Event()
        self._console: Any = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start what is switched on; returns at once."""
        if self._capture.console.enabled:
            from milepost.sdk.capture.console_output import ConsoleCapture

            self._console = ConsoleCapture(self._take_line, max_bytes=self._capture.console.max_bytes)
            self._console.install()
        wants_environment = self._primary and (self._capture.environment or self._capture.git)
        if wants_environment or self._capture.system_metrics.enabled:
            self._thread = threading.Thread(
                target=self._work, args=(wants_environment,), name="milepost-capture", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """Stop, and take the console's last line."""
        self._stop.set()
        if self._console is not None:
            self._console.uninstall()

    def _take_line(self, stream: str, text: str) -> None:
        self._run.record("console", {"stream": stream, "text": text})

    def _work(self, wants_environment: bool) -> None:
        try:
            # A script that ends at once is not made to wait for imports and git.
            if self._stop.wait(0.2):
                return
            if wants_environment:
                from milepost.sdk.capture.environment import gather

                found = gather(environment=self._capture.environment, git=self._capture.git)
                self._run.record("environment", found)
            if self._capture.system_metrics.enabled:
                self._sample(self._capture.system_metrics.interval / 1000)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on without
            logger.warning(
                "milepost: what ran cannot be gathered (%s: %s); logging is not affected", type(error).__name__, error
            )

    def _sample(self, interval_s: float) -> None:
        from milepost.sdk.capture.sampler import Sampler

        first_here = os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")) == "0"
        sampler = Sampler(system=first_here, gpu=first_here)  # the host is the same for all its ranks
        try:
            while not self._stop.wait(interval_s):
                self._run.record("system", sampler.sample())
        finally:
            sampler.close()
