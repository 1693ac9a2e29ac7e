"""Batch: what an exporter is given, a sequence of events in which long runs of like rows stand by the column.

Most of a journal is rows of one set of names. Making an event of each costs more than all that an exporter does with it, so
they stay as the journal holds them (`Rows`) and become events when somebody looks at them as such.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final, overload

from milepost.sdk.decode import columns
from milepost.sdk.event import Event

RUN: Final = 8
"""Rows of the same names in a row that are worth a `Rows`; fewer are events."""


class Rows(Sequence[Event]):
    """Rows of the same names, in order, by the column. A sequence of events, which are made when somebody looks at them.

    keys:        the flat names of their values.
    columns:     seq, time_unix_nano, runtime_us and step of all rows, then the values of each key. Not to be changed.
    run, writer: as in an event.
    """

    __slots__ = ("_events", "columns", "keys", "run", "writer")

    def __init__(self, keys: tuple[str, ...], columns: Sequence[Sequence[Any]], run: str, writer: str) -> None:
        self.keys = keys
        self.columns = columns
        self.run = run
        self.writer = writer
        self._events: list[Event] | None = None

    @property
    def events(self) -> list[Event]:
        """The rows as events, made once."""
        if self._events is None:
            self._events = list(map(self._event, *self.columns))
        return self._events

    def _event(self, seq: int, time_unix_nano: int, runtime_us: int, step: int, *values: Any) -> Event:
        return Event(
            kind="row",
            values=dict(zip(self.keys, values, strict=True)),
            step=step,
            time_unix_nano=time_unix_nano,
            runtime_s=runtime_us / 1e6,
            run=self.run,
            writer=self.writer,
            seq=seq,
        )

    def __len__(self) -> int:
        return len(self.columns[0])

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | Sequence[Event]:
        if isinstance(index, int) and self._events is None:
            return self._event(*(column[index] for column in self.columns))
        return self.events[index]


Part = Rows | list[Event]


class Batch(Sequence[Event]):
    """Events in order, of every kind.

    parts: what it is made of: `Rows`, and lists of events.
    """

    __slots__ = ("_size", "parts")

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = list(parts)
        self._size = sum(map(len, self.parts))

    @property
    def first_seq(self) -> int:
        """The number of the first event."""
        return self.parts[0][0].seq

    @property
    def last_seq(self) -> int:
        """The last number that is accounted for here."""
        last = self.parts[-1][-1]
        return int(last.values["last"]) if last.kind == "gap" else last.seq

    @property
    def rows(self) -> int:
        """How many of the events are rows."""
        return sum(
            len(part) if isinstance(part, Rows) else sum(event.kind == "row" for event in part) for part in self.parts
        )

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Event]:
        return chain.from_iterable(self.parts)

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | Sequence[Event]:
        return list(self)[index]


class Builder:
    """Puts a batch together from frames as they come."""

    def __init__(self, run: str, writer: str) -> None:
        self._run = run
        self._writer = writer
        self._parts: list[Part] = []
        self._keys: tuple[str, ...] = ()
        self._payloads: list[bytes] = []

    def rows(self, keys: tuple[str, ...]) -> list[bytes]:
        """The list that the payloads of the next rows with these names are added to."""
        if keys is not self._keys:
            self._close()
            self._keys = keys
        return self._payloads

    def add(self, event: Event) -> None:
        """Add an event of any other kind."""
        self._close()
        self._events().append(event)

    def batch(self) -> Batch:
        """All of it."""
        self._close()
        return Batch(self._parts)

    def _close(self) -> None:
        """The run of like rows is over: a part of its own, or events where it is short."""
        payloads = self._payloads
        if not payloads:
            return
        rows = Rows(self._keys, columns(payloads, 4 + len(self._keys)), self._run, self._writer)
        if len(rows) >= RUN:
            self._parts.append(rows)
        else:
            self._events().extend(rows.events)
        self._payloads = []

    def _events(self) -> list[Event]:
        """The list of events that the batch ends with."""
        last = self._parts[-1] if self._parts else None
        if not isinstance(last, list):
            last = []
            self._parts.append(last)
        return last


def parts(batch: Sequence[Event]) -> Sequence[Part]:
    """What a batch is made of; any other sequence of events is one part."""
    if isinstance(batch, Batch):
        return batch.parts
    return [batch] if isinstance(batch, Rows | list) else [list(batch)]
