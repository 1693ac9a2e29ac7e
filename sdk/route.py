"""Route: one exporter of a run, and what it gets of the events that were read for it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from milepost.sdk.batch import Batch, Part, Rows
from milepost.sdk.event import Event
from milepost.sdk.exporter import Exporter
from milepost.sdk.outgoing import Outgoing


class Route:
    """One exporter of a run: its name, what stands before it, and how it is fed.

    processors: per-exporter processors (filter, rename, ...), on the thread that exports.
    """

    def __init__(
        self, name: str, exporter: Exporter, processors: Sequence[Callable[[Event], Event | None]] = ()
    ) -> None:
        self.name = name
        self.exporter = exporter
        self.processors = list(processors)


def wanted_without_rows(exporter: Exporter) -> tuple[str, ...]:
    """The kinds of events that an exporter takes which takes no rows; empty for one that does."""
    wants = getattr(exporter, "wants", None)
    return () if wants is None or "row" in wants else tuple(sorted(wants))


class Intake:
    """What one route lets through: the kinds that its exporter takes, as its own processors leave them.

    trouble: called with what somebody should know, and what it is about.
    """

    def __init__(self, route: Route, trouble: Callable[[str, str], None]) -> None:
        self._route = route
        self._trouble = trouble
        self._wants: frozenset[str] | None = getattr(route.exporter, "wants", None)
        self.wants_rows = self._wants is None or "row" in self._wants
        """Whether the exporter takes rows."""

    def fill(self, batch: Outgoing, read: Iterable[Part]) -> None:
        """Put into a batch what the exporter gets of it; the batch notes what became of the others."""
        parts: list[Part] = []
        for part in read:
            if isinstance(part, Rows) and not self._route.processors:
                if self.wants_rows:
                    parts.append(part)
                else:
                    batch.filtered.extend(part.columns[0])
            elif kept := self._select(part, batch):
                parts.append(kept)
        batch.events = Batch(parts)

    def _select(self, events: Sequence[Event], batch: Outgoing) -> list[Event]:
        found: list[Event] = []
        for event in events:
            if event.kind == "gap":
                lost = event.values["last"] - event.values["first"] + 1
                batch.dropped.append((event.seq, lost, event.values["reason"]))
            kept = self._process(event) if self._wants is None or event.kind in self._wants else None
            if kept is not None:
                found.append(kept)
            elif event.kind == "row":
                batch.filtered.append(event.seq)
        return found

    def _process(self, event: Event) -> Event | None:
        result: Any = event
        for processor in self._route.processors:
            try:
                result = processor(event)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code may raise anything, and it is said
                self._say(processor, f"raised {type(error).__name__}: {error}")
                result = event
            if result is None:
                return None
            if isinstance(result, Event):
                event = result
                continue
            self._say(processor, f"returned {type(result).__name__}, not an Event or None")
        return event

    def _say(self, processor: object, what: str) -> None:
        text = f"a processor of {self._route.name} {what}; the event goes on without it"
        self._trouble(text, f"processor {id(processor)}")
