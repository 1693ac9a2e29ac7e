"""Shipment: one batch on its way, until every part of it is taken or refused for good.

What was taken is never sent again: when the back end has to be waited for in the middle of a batch, the rest stays here
until the same batch comes again. Parts go in order, and nothing overtakes.

A refusal is not believed at once. An empty request tells whether the back end refuses everything (then it is the settings,
and rows stay). If it does not, the request is halved until single points are left, so one bad point costs one point. A
refusal that names age or order is about the whole request: it is set aside as it is, counted, and its remedy is named.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, Final, Protocol, Self

from milepost.exporters.otlp.sender import Answer, Sender
from milepost.sdk.exporter import ExportResult

logger = logging.getLogger("milepost")

PATIENCE: Final = 5
"""How often a back end may say that it failed before the request is suspected."""
SEARCH_S: Final = 30.0
"""How long the point at fault is looked for while a back end that says it failed takes nothing: each try may take seconds."""
AGED_HELP: Final = (
    "Prometheus takes older samples with storage: {tsdb: {out_of_order_time_window: 7d}}, Loki with a larger "
    "reject_old_samples_max_age. The rows stay in the journal"
)


class Load(Protocol):
    """What a shipment carries: points of a batch, or log records."""

    @property
    def count(self) -> int:
        """How many points or records."""
        ...

    def halves(self) -> "tuple[Self, Self] | None":
        """Two parts, to be sent in this order; None when it cannot be divided."""
        ...

    def row_ids(self) -> set[int]:
        """What tells its rows apart."""
        ...


class Counts:
    """What became of points and records, over all batches: `sent`, and `rejected` by reason."""

    def __init__(self) -> None:
        self.sent = 0
        self.rejected: dict[str, int] = {}

    def reject(self, count: int, reason: str) -> None:
        """Count a refusal."""
        if count:
            self.rejected[reason] = self.rejected.get(reason, 0) + count


class Shipment:
    """One batch. `go` sends what is left of it and answers for the batch as a whole.

    encode:    makes the request of a load.      limit: bytes that a request may have.
    doubtful:  whether it may have been taken before: an answer was lost, or a process that did not come back.
    condemned: called with a load of a single point that was refused; a function that drops such points elsewhere, or None.
    """

    def __init__(
        self,
        load: Any,
        encode: Callable[[Any], Any],
        sender: Sender,
        counts: Counts,
        *,
        limit: int,
        doubtful: bool = False,
        condemned: Callable[[Any], Callable[[Any], Any] | None] | None = None,
        name: str = "",
        said: set[Hashable] | None = None,
    ) -> None:
        self._whole = load
        self._waiting: deque[tuple[Any, Any]] = deque([(load, None)] if load.count else [])
        self._encode = encode
        self._sender = sender
        self._counts = counts
        self._limit = limit
        self._condemned = condemned
        self._name = name
        self._said: set[Hashable] = set() if said is None else said
        self._taken = False
        self._failures = 0
        self._suspect = False
        self._suspected_at = 0.0
        self._doubtful = doubtful
        self._suspects: list[tuple[Any, Answer]] = []
        self._lost_rows: set[int] = set()
        self._lost_uncounted = 0
        self._reason = ""

    def go(self) -> ExportResult:
        """Send; SUCCESS or REJECTED once everything is settled, RETRY while something waits."""
        while self._waiting:
            load, request = self._waiting[0]
            if request is None:
                try:
                    request = self._encode(load)
                except Exception as error:  # noqa: BLE001 - one row that nobody foresaw must not hold up the others
                    if not self._split():
                        self._waiting.popleft()
                        self._refuse(load, "cannot be encoded", f"{type(error).__name__}: {error}")
                    continue
                if isinstance(request, bytes) and len(request) > self._limit and self._split():
                    continue
                self._waiting[0] = (load, request)
            answer = self._sender.send(request) if request else Answer(outcome="taken")
            result = self._settle(load, answer)
            if result is not None:
                return result
        if self._suspects and not self._taken and any(answer.outcome == "failed" for _, answer in self._suspects):
            return self._again(self._suspects[0][1])
        for load, answer in self._suspects:
            self._refuse(load, f"refused by the back end ({_code(answer.reason)})", answer.reason)
        count = len(self._lost_rows) + self._lost_uncounted
        return ExportResult.rejected(count, self._reason) if count else ExportResult.SUCCESS

    def _settle(self, load: Any, answer: Answer) -> ExportResult | None:
        """Act on an answer to the first part that waits; a result when the batch has to wait."""
        if answer.outcome == "wait":
            self._doubtful = self._doubtful or answer.doubtful
            return ExportResult.retry(answer.reason, answer.after_s)
        if answer.outcome == "taken":
            self._waiting.popleft()
            self._taken = True
            self._doubtful = False
            self._counts.sent += load.count - min(answer.rejected, load.count)
            if answer.rejected:
                self._partly(load, answer)
        elif answer.outcome == "aged":
            self._waiting.popleft()
            self._aged(load, answer)
        elif answer.outcome == "large":
            if not self._split():
                self._waiting.popleft()
                self._refuse(load, "too large for the back end", answer.reason)
        else:
            return self._suspected(load, answer)
        return None

    def _suspected(self, load: Any, answer: Answer) -> ExportResult | None:
        """Something in this request may be at fault: find out what."""
        if answer.outcome == "failed" and not self._suspect:
            self._failures += 1
            if self._failures < PATIENCE:
                return ExportResult.retry(f"{self._name} answers {answer.reason}")
        if not self._suspect and not self._taken:
            probe = self._sender.send(b"")
            if probe.outcome != "taken":
                reason = (
                    probe.reason
                    if probe.outcome == "wait"
                    else f"{self._name} refuses all it is sent: {answer.reason}; look at endpoint, protocol and compression"
                )
                return ExportResult.retry(reason, probe.after_s)
        if not self._suspect:
            self._suspect, self._suspected_at = True, time.monotonic()
        elif answer.outcome == "failed" and not self._taken and time.monotonic() - self._suspected_at > SEARCH_S:
            return self._again(answer)
        if not self._split():
            self._waiting.popleft()
            self._suspects.append((load, answer))
            self._condemn(load)
        return None

    def _split(self) -> bool:
        """Put the halves of the first part in its place; False when it cannot be divided."""
        load, _ = self._waiting[0]
        halves = load.halves()
        if halves is None:
            return False
        self._waiting.popleft()
        self._waiting.extendleft((half, None) for half in reversed(halves) if half.count)
        return True

    def _condemn(self, load: Any) -> None:
        without = self._condemned(load) if self._condemned is not None else None
        if without is None:
            return
        rest: deque[tuple[Any, Any]] = deque()
        for other, _ in self._waiting:
            kept = without(other)
            if kept.count:
                rest.append((kept, None))
            if kept.count < other.count:
                self._lost_rows |= other.row_ids() if not kept.count else set()
                self._counts.reject(other.count - kept.count, "of a series that the back end refuses")
        self._waiting = rest

    def _again(self, answer: Answer) -> ExportResult:
        """Nothing at all was taken by a back end that says it failed: it is the back end, so the batch waits as a whole."""
        self._waiting = deque([(self._whole, None)])
        self._suspects, self._suspect, self._failures = [], False, 0
        self._lost_rows, self._lost_uncounted = set(), 0
        return ExportResult.retry(f"{self._name} answers {answer.reason}")

    def _partly(self, load: Any, answer: Answer) -> None:
        rows = len(load.row_ids())
        self._lost_uncounted += min(answer.rejected, rows)
        self._reason = "partial success"
        self._counts.reject(answer.rejected, "partial success")
        self._say(
            "partial", "%s took a request but for %d of %d: %s", self._name, answer.rejected, load.count, answer.reason
        )

    def _aged(self, load: Any, answer: Answer) -> None:
        if self._doubtful:
            reason = "out of order after an answer was lost: most likely stored already"
            told = (
                "%s refuses samples for their order: %s. An answer was lost before: most likely it has them already. %s"
            )
        else:
            reason = f"too old or out of order ({_code(answer.reason)})"
            told = "%s refuses samples for their age or order: %s. %s"
        self._doubtful = False
        self._lose(load, reason)
        self._say(reason, told, self._name, answer.reason, AGED_HELP)

    def _refuse(self, load: Any, reason: str, told: str) -> None:
        self._lose(load, reason)
        self._say(reason, "%s refuses %d for good: %s", self._name, load.count, told)

    def _lose(self, load: Any, reason: str) -> None:
        self._lost_rows |= load.row_ids()
        self._counts.reject(load.count, reason)
        self._reason = reason

    def _say(self, about: Hashable, text: str, *arguments: object) -> None:
        if about not in self._said:
            self._said.add(about)
            logger.warning(f"milepost: {text}", *arguments)  # noqa: G004 - the prefix of all our messages


def _code(reason: str) -> str:
    """ "HTTP 400: the text" without the text: reasons are counted, and texts name samples."""
    return reason.split(":", 1)[0]
