"""Known: a run in the table: always its line; the rest of what is known of it (`LiveRun`) while it runs, or somebody looks at it.

A run of 50 keys takes 20 kB as a whole, and 1 kB as its line. So one that ended, and is stored as it is, is put to rest when
nobody asked for it for a minute; it is read again in half a millisecond.
"""

import logging
import time
from collections.abc import Callable
from typing import Final
from weakref import WeakValueDictionary

from milepost.server.records import RunLine
from milepost.server.store.live import LiveRun

logger = logging.getLogger("milepost.server")

REST_S: Final = 60.0
MOST_AWAKE: Final = 250
"""Runs at the most that are kept whole only because somebody looked at them lately."""


class Kinds:
    """The keys of a run and their kinds; one object for all runs that have the same ones."""

    __slots__ = ("__weakref__", "kinds", "names")

    def __init__(self, names: tuple[str, ...], kinds: tuple[str, ...]) -> None:
        self.names = names
        self.kinds = kinds

    @staticmethod
    def of(live: LiveRun) -> "Kinds":
        """Those of a run."""
        keys = live.kept.keys
        told = tuple(keys), tuple(record.kind for record in keys.values())
        found = _kinds.get(told)
        return found if found is not None else _kinds.setdefault(told, Kinds(*told))


_kinds: Final[WeakValueDictionary[tuple[tuple[str, ...], tuple[str, ...]], Kinds]] = WeakValueDictionary()


class Known:
    """A run, its number in the database, and its line as last made. wake: reads the rest of it, and gives it to `take`."""

    __slots__ = ("__weakref__", "_kinds", "_live", "_wake", "id", "line", "made", "name", "project", "storing", "used")

    def __init__(self, number: int, project: str, name: str, wake: Callable[["Known"], LiveRun]) -> None:
        self.id = number
        self.project = project
        self.name = name
        self.line: RunLine | None = None
        self.made = self.used = 0.0
        self.storing = False
        """Whether it is on its way to the disk."""
        self._wake = wake
        self._live: LiveRun | None = None
        self._kinds: Kinds | None = None

    @property
    def live(self) -> LiveRun:
        """All that is known. Raises `RunNotFoundError` when it was deleted, or cannot be read any more."""
        self.used = time.monotonic()
        return self._live if self._live is not None else self._wake(self)

    def take(self, live: LiveRun) -> None:
        """Keep it whole from now on."""
        self._live, self._kinds, self.line = live, None, None

    def bring_over(self, live: LiveRun) -> None:
        """Tell what was made anew what its rows do not: what was edited, heard and gone meanwhile."""
        if self._live is None:
            return
        live.edits = self._live.edits
        live.kept.heard = max(live.kept.heard, self._live.kept.heard)
        for name, writer in live.kept.writers.items():
            if (before := self._live.kept.writers.get(name)) is not None:
                writer.gone, writer.lag = before.gone, before.lag

    def rest(self, line: RunLine) -> None:
        """Keep the line only."""
        assert self._live is not None
        self._kinds = Kinds.of(self._live)
        self.line = line
        self._live = None

    def drop(self) -> None:
        """Forget what was read of it, as it is not all: it is read again when it is asked for."""
        self._live = self._kinds = None

    @property
    def can_rest(self) -> bool:
        """Whether all of it is stored, and nothing more is expected."""
        live = self._live
        return live is not None and not live.dirty and not self.storing and live.state() != "running"

    @property
    def dirty(self) -> bool:
        """Whether something of it is to be stored."""
        return self._live is not None and self._live.dirty

    def kinds(self) -> Kinds:
        """Its keys and their kinds."""
        return self._kinds if self._kinds is not None else Kinds.of(self.live)


class Awake:
    """The runs that are kept whole. rest: puts one to rest."""

    def __init__(self, rest: Callable[[Known], None]) -> None:
        self._known: dict[Known, None] = {}
        self._rest = rest
        self._most = MOST_AWAKE

    def __contains__(self, known: Known) -> bool:
        return known in self._known

    def add(self, known: Known) -> None:
        """One more. Where they are too many, those that can rest do so at once."""
        if len(self._known) >= self._most:
            self.rest(0.0)
            self._most = max(MOST_AWAKE, len(self._known) * 2)  # what runs stays: it is not looked through each time
        self._known[known] = None

    def discard(self, known: Known) -> None:
        """One that is no more."""
        self._known.pop(known, None)

    def dirty(self) -> list[Known]:
        """Those that are to be stored."""
        return [known for known in self._known if known.dirty]

    def rest(self, unused_s: float = REST_S) -> None:
        """Put those to rest that can, and that nobody asked for lately."""
        before = time.monotonic() - unused_s
        for known in [known for known in self._known if known.used <= before]:
            try:
                self.let_go(known)
            except Exception:  # it stays awake, and the others are put to rest
                logger.exception("milepost: the run %s/%s cannot be put to rest", known.project, known.name)

    def let_go(self, known: Known) -> None:
        """Put one to rest if it can."""
        if known.can_rest:
            self._rest(known)
            del self._known[known]
