"""Outage: when an exporter that cannot deliver is tried again, and what is said of it meanwhile."""

import time
from typing import Final

from milepost.sdk.exporter import ExportResult

MAX_BACKOFF_S: Final = 10.0
"""So that, after an outage of any length, all is delivered within 30 s: the next try is 10 s away at most, or 20 where one
began just before the end and hangs for the ten seconds of its timeout; ten minutes of 500 rows a second then take 4 s of the
shipper's CPU, as metrics and log records, and 2 s of a receiver's in Python."""
QUIET_S: Final = 60.0
"""How long a destination that fails again, after it had recovered, is not talked about."""


class Outage:
    """The tries of one exporter.

    not_before: when the next one may be (time.monotonic). on: whether the last thing that the exporter said was that it cannot
    deliver now.
    """

    def __init__(self) -> None:
        self.not_before = 0.0
        self.on = False
        self._failures = 0
        self._reasoned = False
        """Whether a reason was given in this outage."""
        self._silent_until = 0.0
        self._told_when = False

    @property
    def next_try_s(self) -> float:
        """Seconds until the next try; 0.0 when it may be now."""
        return max(self.not_before - time.monotonic(), 0.0)

    def failed(self, result: ExportResult) -> bool:
        """Nothing was taken: wait. Whether the reason is to be said, which is once per outage."""
        import random  # only here: it costs milliseconds

        self._failures += 1
        self._told_when = result.retry_after_s is not None
        if result.retry_after_s is not None:  # never sooner than the back end asked for
            delay = result.retry_after_s + random.uniform(0.0, min(0.1 * result.retry_after_s, 1.0))  # noqa: S311 - jitter
        else:
            delay = min(0.2 * 2 ** min(self._failures, 10), MAX_BACKOFF_S) * random.uniform(0.7, 1.0)  # noqa: S311 - jitter
        now = time.monotonic()
        self.not_before = now + delay
        self.on = True
        first_reason = bool(result.reason) and not self._reasoned
        self._reasoned = self._reasoned or first_reason
        if not first_reason or now < self._silent_until:
            return False
        self._silent_until = now + QUIET_S
        return True

    def over(self) -> bool:
        """Something was taken; whether that ends an outage."""
        self._failures = 0
        was_on, self.on, self._reasoned = self.on, False, False
        return was_on

    def hurry(self) -> None:
        """Somebody waits: the next try is now, unless the back end said when it may be."""
        if not self._told_when:
            self.not_before = 0.0
