"""Stores: where the server's runs are. `directory` reads run directories live; the API knows this interface only."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import msgspec

from milepost.sdk.reading.result import wish
from milepost.sdk.reading.wish import Wish
from milepost.server.history import Series
from milepost.server.records import KeyRecord, RunLine, RunRecord
from milepost.server.store.media_page import MediaPage

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RowQuery:
    """Which rows: that hold keys (all when None), low <= step < high, of whom ("all", a rank, a writer's id or None).

    along: keys that are given too where a row holds them.
    """

    keys: Sequence[str] | None = None
    require: str = "all"
    low: int | None = None
    high: int | None = None
    writer: str | int | None = None
    superseded: bool = False
    along: tuple[str, ...] = ()

    def wish(self) -> Wish:
        """The same, checked. Raises `UsageError`."""
        asked = wish(
            self.keys, None, self.require, self.low, self.high, superseded=self.superseded, marked=self.writer == "all"
        )
        return replace(asked, along=self.along) if self.along else asked


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened to a run: "run" (it is new, or what it says of itself changed), "rows", or "deleted".

    told: all of it as JSON, made once for all who listen.
    """

    version: int
    kind: str
    project: str
    run: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    told: bytes = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        told = msgspec.json.encode({"project": self.project, "run": self.run, **self.facts})
        object.__setattr__(self, "told", told)


def last_of(changes: deque[Change], count: int) -> list[Change]:
    """The last so many changes, in order."""
    return list(islice(reversed(changes), count))[::-1]


def media_query(keys: Sequence[str], step: int | None) -> RowQuery:
    """The rows that a page of media is made from."""
    low, high = (step, step + 1) if step is not None else (None, None)
    return RowQuery(["_step", "_timestamp", *keys], "any", low, high)


class Store(Protocol):
    """The runs of one place. Every method may be called from any thread.

    Methods about one run raise `milepost.sdk.errors.RunNotFoundError` when there is none of that name.
    """

    def start(self) -> None:
        """Begin."""
        ...

    def stop(self) -> None:
        """End."""
        ...

    @property
    def writable(self) -> bool:
        """Whether names, tags and notes can be changed, runs sent and deleted."""
        ...

    def projects(self) -> list[str]:
        """The projects that hold runs, by name."""
        ...

    def runs(self, project: str) -> Sequence[RunLine]:
        """The runs of a project, newest first; empty when there is no such project."""
        ...

    def run(self, project: str, run: str) -> RunRecord:
        """One run."""
        ...

    def details(self, project: str, run: str) -> dict[str, Any]:
        """What else a run says of itself: metadata, metrics, writers, accounting."""
        ...

    def project_keys(self, project: str, runs: Sequence[str] | None) -> dict[str, tuple[str, int]]:
        """The keys of a project's runs: kind, and in how many runs."""
        ...

    def keys(self, project: str, run: str) -> list[KeyRecord]:
        """The keys of a run in order of first sight."""
        ...

    def series(
        self,
        project: str,
        run: str,
        key: str,
        axis: str,
        *,
        until: str,
        everyone: bool = False,
        after: str | None = None,
        rewound: bool = False,
    ) -> Series | None:
        """The points of a key along an axis up to a watermark; after: only those behind that one; rewound: the rows
        that a resumed run took back, in place of those that count."""
        ...

    def watermark(self, project: str, run: str) -> str:
        """How far the run is known; taken before its points are read, so that nothing falls between two answers."""
        ...

    def delta(self, project: str, run: str, after: str) -> bool:
        """Whether `after` still tells what is new: False when rows were taken back since."""
        ...

    def rows(self, project: str, run: str, query: RowQuery, skip: int = 0) -> Iterator[list[Row]]:
        """Rows as they were logged, exact, some hundred at a time, without the first `skip` of them."""
        ...

    def media(
        self, project: str, run: str, keys: Sequence[str], step: int | None, offset: int, limit: int
    ) -> MediaPage:
        """A page of the media values under some keys, of one step or of all."""
        ...

    def files(self, project: str, run: str) -> list[tuple[str, int]]:
        """Names and sizes in bytes of a run's files."""
        ...

    def file(self, project: str, run: str, name: str) -> Path:
        """Where one of `files` is."""
        ...

    def sample(self, project: str, run: str, query: RowQuery, samples: int) -> tuple[list[Row], int]:
        """At most so many of the rows, evenly spaced, the first and the last among them; and how many there are."""
        ...

    def summary(self, project: str, run: str) -> dict[str, Any]:
        """The whole summary, nested, with `_step`, `_timestamp` and `_runtime` of the last row."""
        ...

    def events(self, project: str, run: str, kind: str, skip: int = 0) -> Iterator[dict[str, Any]]:
        """What else was recorded, "console" or "system", in order, without the first `skip`: time, runtime (seconds) and
        values of each."""
        ...

    def edit(self, project: str, run: str, changes: Callable[[RunLine], dict[str, Any]]) -> None:
        """Change name, notes, tags or archived of a run; changes: what of it, as it is by then. Only of a writable store."""
        ...

    def delete(self, project: str, run: str) -> None:
        """Delete a run for good. Only of a writable store."""
        ...

    def changes(self, after: int) -> tuple[int, list[Change] | None]:
        """The version now, and what changed since version `after`; None when that is too long ago to tell."""
        ...
