"""Pipeline: the processors in order, as the loop it is.

`Pipeline.run` is the definition of what `log()` does to an event. For the standard processors (flatten, merge, encode_media,
summarize) `fastpath.py` does the same in one pass over the values; a test holds the two equal.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from milepost.sdk.errors import ConfigurationError, Error
from milepost.sdk.event import Event
from milepost.sdk.processor import Processor, check_order
from milepost.sdk.processors.encode_media import EncodeMedia
from milepost.sdk.processors.filter import Filter
from milepost.sdk.processors.flatten import Flatten
from milepost.sdk.processors.merge import Merge
from milepost.sdk.processors.summarize import Summarize

logger = logging.getLogger("milepost")

MAX_FAILURES = 10
"""A processor that fails this often in a row is left out from then on."""


class Pipeline:
    """What happens to an event on the caller's thread, before the journal.

    processors: callables, in order; one of them must be `Merge`. A processor that holds events back may have
    `held() -> Event | None` (what it holds: written as a part, so that it survives a kill) and `flush() -> Event | None`.
    """

    def __init__(self, processors: Sequence[Processor]) -> None:
        self.processors = list(processors)
        merges = [processor for processor in self.processors if isinstance(processor, Merge)]
        if len(merges) != 1:
            raise ConfigurationError(
                f"processors: {len(merges)} of them are merge, and there must be one: it puts the calls of one step together"
            )
        self.merge = merges[0]
        check_order(self.processors)
        media = [processor for processor in self.processors if isinstance(processor, EncodeMedia)]
        self.encode_media = media[0] if media else EncodeMedia()
        if not media:
            at = self.processors.index(self.merge) + 1
            while at < len(self.processors) and isinstance(self.processors[at], Filter):
                at += 1  # what is filtered out gets no file
            self.processors.insert(at, self.encode_media)
        self._failures: dict[int, int] = {}
        """Failures in a row, by position."""
        self._named: set[int] = set()

    @property
    def is_standard(self) -> bool:
        """Whether this is flatten, merge, summarize as they come, which the fast path knows by heart."""
        kinds = [type(processor) for processor in self.processors if type(processor) is not EncodeMedia]
        first = self.processors[0]
        return kinds == [Flatten, Merge, Summarize] and isinstance(first, Flatten) and first.separator == "."

    def run(self, event: Event) -> Event | None:
        """Hand an event through all processors; None when one held or dropped it."""
        return self._from(0, event)

    def parts(self) -> Iterator[Event]:
        """What processors hold right now, as what stands behind them makes of it; the last value of a key counts.

        The last processor comes first: what an earlier one holds passes the later ones, and is the newer truth.
        """
        for at in reversed(range(len(self.processors))):
            held = getattr(self.processors[at], "held", None)
            event = held() if held is not None else None
            if event is not None:
                part = self._from(at + 1, msgspec.structs.replace(event, kind="part"))
                if part is not None:
                    yield part

    def flush(self) -> Iterator[Event]:
        """Give out what processors hold, each through those that stand after it."""
        for at, processor in enumerate(self.processors):
            flush = getattr(processor, "flush", None)
            event = flush() if flush is not None else None
            if event is not None:
                event = self._from(at + 1, event)
                if event is not None:
                    yield event

    def discard(self) -> None:
        """Forget what processors hold: in a forked child it is the parent's."""
        for processor in self.processors:
            flush = getattr(processor, "flush", None)
            if flush is not None:
                flush()

    def _from(self, start: int, event: Event) -> Event | None:
        for at in range(start, len(self.processors)):
            result = self._apply(at, event)
            if result is None:
                return None
            event = result
        return event

    def _apply(self, at: int, event: Event) -> Event | None:
        """One processor, kept from harming the program: what fails is passed over, said once, and left out if it goes on."""
        if self._failures.get(at, 0) >= MAX_FAILURES:
            return event
        processor = self.processors[at]
        try:
            result: Any = processor(event)
        except Error:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code may raise anything, and it is said
            self._failed(at, f"raised {type(error).__name__}: {error}")
            return event
        if result is not None and not isinstance(result, Event):
            self._failed(at, f"returned {type(result).__name__}, not an Event or None")
            return event
        if at in self._failures:
            del self._failures[at]
        return result

    def _failed(self, at: int, what: str) -> None:
        count = self._failures[at] = self._failures.get(at, 0) + 1
        name = getattr(self.processors[at], "__name__", type(self.processors[at]).__name__)
        if at not in self._named:
            self._named.add(at)
            logger.warning("milepost: processor %s %s; the event goes on without it", name, what)
        elif count == MAX_FAILURES:
            logger.warning("milepost: processor %s failed %d times in a row and is left out from now on", name, count)
