"""A run's history: which writers speak for it, in which order, which of their rows still stand, and a fair sample of them.

writers     of the run's last attempt, the lowest rank's, in the order they started; or those that were asked for
order       one writer after the other, since a resumed run goes on where the one before it stopped;
            several ranks: by step; a run logged with steps "unordered": by step
superseded  a resumed run that steps back says `rewind`: older rows from that step on are kept, and hidden
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from milepost.sdk.event import Event
from milepost.sdk.reading.rows import Chosen, Cut, Row, Rows, Wish, Wrap
from milepost.sdk.reading.writer import WriterReader

_PAGE: Final = 4096
"""Rows of an unordered run that are decoded at a time."""


class Selection:
    """The rows of some writers of a run. writers: in order of start; merged: whether rows are ordered by step over all."""

    def __init__(self, writers: Sequence[WriterReader], everyone: Sequence[WriterReader], *, merged: bool) -> None:
        self.writers = list(writers)
        self._merged = merged
        self._cuts = {writer.id: _cuts(writer, everyone) for writer in self.writers}
        self.unordered = any(_is_unordered(writer) for writer in self.writers)

    def cuts(self, writer: WriterReader) -> list[Cut]:
        """What later starts of the run took back of a writer's rows."""
        return self._cuts[writer.id]

    def stands(self, writer: WriterReader, event: Event) -> bool:
        """Whether an event is no row, or one that was not superseded."""
        return event.kind != "row" or not any(
            event.seq < cut.before and (event.step or 0) >= cut.step for cut in self._cuts[writer.id]
        )

    @property
    def has_inline_keys(self) -> bool:
        """Whether some rows carry their own keys, which `keys` does not know."""
        return any(0 in writer.survey.schemas for writer in self.writers)

    def keys(self) -> list[str]:
        """Every key that a row of these writers may hold, in order of first sight."""
        found: dict[str, None] = {}
        for writer in self.writers:
            survey = writer.survey
            for schema in sorted(survey.schemas):
                found.update(dict.fromkeys(writer.keys(schema) or ()))
            if survey.leftover is not None:
                found.update(dict.fromkeys(survey.leftover.values))
        return list(found)

    def last_step(self) -> int | None:
        """The highest step of the rows that stand, or None when there are none."""
        highest: int | None = None
        for stream in self._streams(Wish(), _as_stored):
            for chosen in stream.chosen():
                some = chosen if self.unordered or stream.cut else chosen.some(slice(-1, None))
                highest = max(highest or 0, int(some.steps().max()))
            row = stream.leftover()
            if row is not None:
                highest = max(highest or 0, row["_step"])
        return highest

    def scan(self, wish: Wish, wrap: Wrap) -> Iterator[Row]:
        """Every row, in order, one at a time."""
        for page in self.pages(wish, wrap):
            yield from page

    def pages(self, wish: Wish, wrap: Wrap) -> Iterator[list[Row]]:
        """Every row, in order, some at a time. Memory: a segment of each writer that is read at the time."""
        if self.unordered:
            yield from _by_step(self._streams(wish, wrap))
        elif not self._merged or len(self.writers) < 2:
            for stream in self._streams(wish, wrap):
                yield from stream.pages()
        else:
            asked = wish.keys is None or "_step" in (*wish.keys, *wish.along)
            with_step = wish if asked else replace(wish, along=(*wish.along, "_step"))
            for row in heapq.merge(*self._streams(with_step, wrap), key=lambda row: row["_step"]):
                if not asked:
                    del row["_step"]
                yield [row]

    def _streams(self, wish: Wish, wrap: Wrap) -> list[Rows]:
        return [Rows(writer, self._cuts[writer.id], wish, wrap, rising=not self.unordered) for writer in self.writers]

    def sample(self, wish: Wish, wrap: Wrap, samples: int | None) -> tuple[list[Row], int]:
        """At most `samples` rows (None for all), evenly spaced, the first and the last among them; and how many there are."""
        places = _Places(
            self._streams(wish, wrap), with_steps=self.unordered or (self._merged and len(self.writers) > 1)
        )
        total = len(places)
        if samples is None or total <= samples:
            return list(places.rows(np.arange(total))), total
        last = total - 1
        positions = [last] if samples == 1 else [n * last // (samples - 1) for n in range(samples)]
        return list(places.rows(np.array(positions, np.int64))), total


class _Places:
    """Where every row stands, so that a few of them can be fetched: about 16 bytes a row."""

    def __init__(self, streams: Sequence[Rows], *, with_steps: bool) -> None:
        self._pieces: list[tuple[Rows, Chosen]] = []
        self._leftovers: list[Row] = []
        piece_of: list[NDArray[np.int64]] = []
        within: list[NDArray[np.int64]] = []
        steps: list[NDArray[np.int64]] = []
        for stream in streams:
            for chosen in stream.chosen():
                exact = stream.exact(chosen)
                if with_steps:
                    steps.append(exact.steps())
                exact.block.buffer = None
                piece_of.append(np.full(len(exact.at), len(self._pieces), np.int64))
                within.append(np.arange(len(exact.at), dtype=np.int64))
                self._pieces.append((stream, exact))
            event, row = stream.writer.survey.leftover, stream.leftover()
            if row is not None and event is not None:
                piece_of.append(np.array([-1], np.int64))
                within.append(np.array([len(self._leftovers)], np.int64))
                steps.append(np.array([event.step], np.int64))
                self._leftovers.append(row)
        empty = [np.empty(0, np.int64)]
        self._piece_of, self._within = np.concatenate(piece_of or empty), np.concatenate(within or empty)
        if with_steps and steps:
            order = np.argsort(np.concatenate(steps), kind="stable")
            self._piece_of, self._within = self._piece_of[order], self._within[order]

    def __len__(self) -> int:
        return len(self._piece_of)

    def rows(self, positions: NDArray[np.int64]) -> Iterator[Row]:
        """The rows at these positions; a damaged one is left out."""
        pieces, within = self._piece_of[positions], self._within[positions]
        # Neighbours of one piece are fetched together.
        bounds = [0, *(np.flatnonzero(np.diff(pieces)) + 1).tolist(), len(pieces)] if len(pieces) else []
        for start, stop in pairwise(bounds):
            number = int(pieces[start])
            if number < 0:
                yield from (self._leftovers[n] for n in within[start:stop].tolist())
                continue
            stream, chosen = self._pieces[number]
            yield from stream.pick(chosen.some(within[start:stop]))


def _as_stored(value: dict[str, Any]) -> Any:
    return value


def _by_step(streams: Sequence[Rows]) -> Iterator[list[Row]]:
    places = _Places(streams, with_steps=True)
    for start in range(0, len(places), _PAGE):
        yield list(places.rows(np.arange(start, min(start + _PAGE, len(places)))))


def _cuts(writer: WriterReader, everyone: Sequence[WriterReader]) -> list[Cut]:
    """What later starts of the same rank and attempt, and the writer itself, took back."""
    cuts: list[Cut] = []
    for other in everyone:
        same = other.id == writer.id
        later = (other.started_unix_nano, other.id) > (writer.started_unix_nano, writer.id)
        if not same and (not later or other.parent or (other.rank, other.attempt) != (writer.rank, writer.attempt)):
            continue
        cuts += (
            Cut(event.seq if same else 2**63 - 1, event.values["step"])
            for event in other.survey.events
            if event.kind == "rewind" and isinstance(event.values.get("step"), int)
        )
    return cuts


def _is_unordered(writer: WriterReader) -> bool:
    start: Any = writer.start
    settings = start.values.get("settings") if start is not None else None
    return isinstance(settings, dict) and settings.get("steps") == "unordered"
