"""Outgoing: what is about to be exported, and how it is halved where a destination refuses some of it."""

from collections.abc import Sequence

import msgspec

from milepost.sdk.batch import Batch
from milepost.sdk.event import Event


class Outgoing(msgspec.Struct, kw_only=True):
    """What is about to be exported, and where the cursor stands once it is.

    segment, offset: None for the front half of a batch that was split: read again from where it began, the tail passes over
                     what is numbered up to `seq`.
    filtered: the numbers of the rows left out.      dropped: (number, rows, reason) of each gap.
    """

    segment: int | None
    offset: int | None
    seq: int
    events: Sequence[Event] = ()
    filtered: list[int] = []
    dropped: list[tuple[int, int, str]] = []

    @property
    def rows(self) -> int:
        """How many of the events are rows."""
        return self.events.rows if isinstance(self.events, Batch) else sum(event.kind == "row" for event in self.events)

    def halves(self) -> tuple["Outgoing", "Outgoing"]:
        """Two batches that together are this one."""
        middle = len(self.events) // 2
        first = self.events[middle].seq
        front = Outgoing(
            segment=None,
            offset=None,
            seq=first - 1,
            events=self.events[:middle],
            filtered=[seq for seq in self.filtered if seq < first],
            dropped=[gap for gap in self.dropped if gap[0] < first],
        )
        back = msgspec.structs.replace(
            self,
            events=self.events[middle:],
            filtered=[seq for seq in self.filtered if seq >= first],
            dropped=[gap for gap in self.dropped if gap[0] >= first],
        )
        return front, back
