"""One writer's frames in order: the union of its segments, the second copy of its keys, and what still stands in its ring.

Frames are numbered without holes, so order and loss show by themselves. While the numbers follow one another, blocks of
frames stream straight from the segments. At the first hole everything that can be found of the writer is searched, sorted by
number, and each number taken once; what is then missing is reported as missing.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from milepost.sdk import frame
from milepost.sdk.event import Event
from milepost.sdk.reading.blocks import DECODE_ERRORS, NUMBERED, ROWS, Block
from milepost.sdk.reading.files import Problem, Source, Unreadable
from milepost.sdk.reading.index import Frames
from milepost.sdk.reading.numbers import leading_int
from milepost.sdk.reading.parts import merge_parts
from milepost.sdk.reading.sources import WriterSources

__all__ = ["DECODE_ERRORS", "ROWS", "Block", "Survey", "WriterReader"]

STREAMS: Final = frozenset(("console", "system"))
"""Kinds of events that come by the thousand."""


@dataclass(slots=True)
class Survey:
    """What one pass over a writer's frames shows.

    rows:      how many committed rows stand there.          schemas: the schema ids they use.
    last:      the highest number in use, -1 for none.       last_row: that of the last row.
    events:    all events but rows, console text and system metrics, in order.
    leftover:  the row that a dead writer never committed (with the number that recovery gives it), or None.
    """

    rows: int = 0
    schemas: set[int] = field(default_factory=set)
    last: int = -1
    last_row: int = -1
    events: list[Event] = field(default_factory=list)
    leftover: Event | None = None


class WriterReader(WriterSources):
    """A snapshot of one writer of a run, taken when this is made.

    id:                16 hex digits; run: "project/run_id", may be empty.
    rank:              place in a distributed job, or None.      attempt: from 1.
    parent:            the writer this one was forked or spawned from, or "".
    started_unix_nano: wall clock of its start, UTC; 0 when unknown.
    info:              its writer.json, {} when unreadable.
    problems:          what was met so far; `check()` looks at every byte.
    """

    @property
    def rank(self) -> int | None:
        """Place in a distributed job."""
        rank: int | None = self._fact("rank", int)
        return rank

    @property
    def attempt(self) -> int:
        """Which attempt at the run this writer belongs to, from 1."""
        return self._fact("attempt", int) or 1

    @property
    def parent(self) -> str:
        """The writer this one was forked or spawned from."""
        return self._fact("parent", str) or ""

    @property
    def started_unix_nano(self) -> int:
        """Wall clock of its start, UTC."""
        return self._fact("started_unix_nano", int) or (self.start.time_unix_nano if self.start else 0)

    @cached_property
    def start(self) -> Event | None:
        """Its first run.start event, if it can be read."""
        return next(iter(self.events("run.start")), None)

    def _fact(self, name: str, kind: type) -> Any:
        value = self.info.get(name)
        if not self.info and self.start is not None:
            value = self.start.values.get(name)
        return value if isinstance(value, kind) and not isinstance(value, bool) else None

    def skip_to(self, segment: str, offset: int) -> None:
        """Leave out what stands before a byte of a segment file, because it was read before; "" for nothing.

        The caller knows the last number it has seen, and passes over frames that come again.
        """
        at = next((n for n, source in enumerate(self.segments) if source.path.name == segment), None)
        if at is not None:
            self.trimmed = True
            seen = self.segments[at]
            self.segments = [Source(seen.path, offset, seen.size_bytes), *self.segments[at + 1 :]]

    def blocks(self) -> Iterator[Block]:
        """The frames in the order of their numbers, each number once; PART frames of a block carry seq -1.

        Sums are not all checked yet: `payload` and whoever decodes does so.
        """
        expected = -1
        for source in self.segments:
            loaded = self._load(source)
            if loaded is None:
                continue
            block = self._numbered(source, *loaded)
            if block is None:
                yield from self._sorted(max(expected, 0))
                return
            first, after = self._reach(block)
            if first >= 0:
                if first != expected and not (expected < 0 and (first == 0 or self.trimmed)):
                    yield from self._sorted(max(expected, 0))
                    return
                expected = after
            if len(block):
                yield block
        yield from self._tail(expected)

    def _tail(self, expected: int) -> Iterator[Block]:
        """What stands in the ring and not yet in the segments; expected: the number after theirs, -1 when they have none."""
        expected = max(expected, 0)
        blocks = self._ring_blocks(expected)
        if blocks is None:
            yield from self._sorted(expected)
            return
        for block in blocks:
            first, after = self._reach(block)
            if first < 0 or first == expected:
                yield block
                expected = max(expected, after)
            elif not self.alive:
                yield from self._sorted(expected)
                return
            else:  # rows moved on while the ring was copied: the next reader sees what follows
                return

    def _ring_blocks(self, expected: int) -> list[Block] | None:
        """The new frames of each ring block, in the order of their numbers; None when a block of a dead writer has a hole."""
        found: list[Block] = []
        for source, frames in self._ring_frames:
            seq = leading_int(source.data or b"", frames.at, 0) if len(frames) else np.empty(0, np.int64)
            seq[~np.isin(frames.kind, NUMBERED)] = -1
            numbered = np.flatnonzero(seq >= 0)
            step = np.diff(seq[numbered])
            # Where numbers fall, frames of an earlier use of the block begin. Where they jump (and no gap says so), the block
            # was written anew while it was copied, or is damaged.
            breaks = np.flatnonzero((step != 1) & ((step <= 0) | (frames.kind[numbered[:-1]] != frame.GAP)))
            if len(breaks) and step[breaks[0]] > 1 and not self.alive:
                return None
            new = np.arange(len(frames)) < (numbered[breaks[0] + 1] if len(breaks) else len(frames))
            whole = Block(source, frames.at, frames.end, frames.kind, frames.schema, frames.crc, seq)
            block = whole.only(new & ((seq >= expected) | (frames.kind == frame.PART)))
            last = np.flatnonzero(block.seq >= 0)[-1:]
            if len(last) and self.sound(block, int(last[0]), quiet=True) is None:  # in the middle of being written
                block = block.only(np.arange(len(block)) < last[0])
            found.append(block)
        return sorted(found, key=lambda block: int(block.seq.max(initial=-1)) if (block.seq >= 0).any() else 2**63)

    def _reach(self, block: Block) -> tuple[int, int]:
        """The first number of a block and the one after its last; (-1, -1) without numbers."""
        numbered = np.flatnonzero(block.seq >= 0)
        if not len(numbered):
            return -1, -1
        last = int(numbered[-1])
        gap = self.payload(block, last) if block.kind[last] == frame.GAP else None
        return int(block.seq[numbered[0]]), (int(gap[1]) if gap else int(block.seq[last])) + 1

    def _sorted(self, expected: int) -> Iterator[Block]:
        yield from self._merged([*self.segments, *self._rings], expected)

    def _merged(self, sources: list[Source], expected: int) -> Iterator[Block]:
        """All frames of the sources from number `expected` on, every sum checked, sorted and without doubles."""
        columns: list[tuple[NDArray[Any], ...]] = []
        parts: list[Block] = []
        for number, source in enumerate(sources):
            loaded = self._load(source, verify=True)
            if loaded is None:
                continue
            buffer, frames = loaded
            seq = leading_int(buffer, frames.at, 0)
            seq[~np.isin(frames.kind, NUMBERED)] = -1
            of = np.full(len(seq), number, np.int64)
            columns.append((of, frames.at, frames.end, frames.kind, frames.schema, frames.crc, seq))
            pending = frames.kind == frame.PART
            if pending.any():
                whole = Block(source, frames.at, frames.end, frames.kind, frames.schema, frames.crc, seq)
                parts.append(whole.only(pending))
        if not columns:
            return
        of, at, end, kind, schema, crc, seq = (np.concatenate(column) for column in zip(*columns, strict=True))
        order = np.argsort(seq, kind="stable")
        order = order[seq[order] >= expected]
        if len(order):
            rising = seq[order]
            order = order[np.concatenate(([True], rising[1:] != rising[:-1]))]
            for piece in np.split(order, np.flatnonzero(np.diff(of[order])) + 1):
                source = sources[int(of[piece[0]])]
                yield Block(source, at[piece], end[piece], kind[piece], schema[piece], crc[piece], seq[piece])
        yield from parts

    def _numbered(self, source: Source, buffer: bytes, frames: Frames) -> Block | None:
        """The frames of a segment with their numbers, when these are seen to have no hole; else None."""
        block = Block(
            source,
            frames.at,
            frames.end,
            frames.kind,
            frames.schema,
            frames.crc,
            np.full(len(frames), -1, np.int64),
            buffer,
        )
        numbered = np.flatnonzero(block.where(*NUMBERED))
        keep = block.where(*NUMBERED, frame.PART)
        if not len(numbered):
            return block.only(keep)
        widths = np.ones(len(numbered), np.int64)
        for i in np.flatnonzero(frames.kind[numbered] == frame.GAP).tolist():
            gap = self.payload(block, int(numbered[i]))
            if gap is None:
                return None
            widths[i] = max(int(gap[1]) - int(gap[0]) + 1, 1)
        first, last = int(numbered[0]), int(numbered[-1])
        opening, closing = self.payload(block, first), self.payload(block, last)
        if opening is None or closing is None:
            return None
        numbers = opening[0] + np.cumsum(widths) - widths
        torn = [end for _, end in frames.bad]
        if int(numbers[-1]) != closing[0] or torn not in ([], [len(buffer)]):
            return None
        block.seq[numbered] = numbers
        return block.only(keep)

    def events(self, *kinds: str) -> Iterator[Event]:
        """The events in order: rows, leftover parts as the row that recovery would commit, and the rest; or only some kinds.

        kinds: as in `Event.kind`; none for all. Events other than rows are found without decoding rows.
        """
        wanted = set(kinds)
        codes = [frame.EVENT] if not wanted or wanted - {"row", "gap"} else []
        codes += [*ROWS] if not wanted or "row" in wanted else []
        codes += [frame.GAP] if not wanted or "gap" in wanted else []
        for block in self.blocks():
            for i in np.flatnonzero(block.where(*codes)).tolist():
                event = self.event(block, i)
                if event is not None and (not wanted or event.kind in wanted):
                    yield event
        if (not wanted or "row" in wanted) and self.survey.leftover is not None:
            yield self.survey.leftover

    def event(self, block: Block, i: int) -> Event | None:
        """The event of a block's frame i; None when it is damaged or its keys are lost (which is reported)."""
        payload = self.payload(block, i)
        if payload is None:
            return None
        kind, schema = int(block.kind[i]), int(block.schema[i])
        if kind in ROWS and schema != frame.INLINE:
            self.keys(schema)
        try:
            event = self._decoder.told(kind, schema, payload)
        except DECODE_ERRORS:
            event = None
        if event is None:
            self.lost(block, i, "a row whose keys are lost")
        return event

    @cached_property
    def survey(self) -> "Survey":
        """What stands in this writer's files, found without decoding rows: about 0.1 us a row."""
        found = Survey()
        parts: list[list[Any]] = []
        for block in self.blocks():
            rows = np.flatnonzero(block.where(*ROWS))
            if len(rows):
                found.rows += len(rows)
                found.schemas.update(np.unique(block.schema[rows]).tolist())
                found.last_row = int(block.seq[rows[-1]])
            found.last = max(found.last, int(block.seq.max(initial=-1)))
            for i in np.flatnonzero(~block.where(*ROWS)).tolist():
                kind = int(block.kind[i])
                if kind == frame.PART:
                    part = self.payload(block, i)
                    if part is not None:
                        parts.append(part)
                    continue
                event = self.event(block, i)
                if event is None:
                    continue
                if event.kind not in STREAMS:
                    found.events.append(event)
                if event.kind == "gap":
                    found.last = max(found.last, event.values["last"])
        parts = [part for part in parts if part[0] > found.last_row]
        if parts and not self.alive:
            values, time_ns, runtime_us, step = merge_parts(parts)
            found.leftover = Event(
                kind="row",
                values=values,
                step=step,
                time_unix_nano=time_ns,
                runtime_s=runtime_us / 1e6,
                run=self.run,
                writer=self.id,
                seq=found.last + 1,
            )
        return found

    def check(self) -> list[Problem]:
        """Every problem of this writer, found by checking every sum and every number. Slow: about 3 us a row."""
        for source in self.segments:
            loaded = self._load(source, verify=True)
            if loaded is None:
                continue
            for start, end in loaded[1].bad:
                if end == source.size_bytes and self._goes_on(source, start):
                    continue
                self._report(Problem(source.path, start, end - start, "damaged: holds no whole frame"))
        missing: list[tuple[int, int]] = []
        expected = 0
        for block in self._merged([*self.segments, *self._rings], 0):
            for seq, width in self._widths(block):
                if seq > expected and not (expected == 0 and self.trimmed):
                    missing.append((expected, seq - 1))
                expected = max(expected, seq + width)
        if missing:
            count = sum(last - first + 1 for first, last in missing)
            self._report(Problem(self.dir, 0, 0, f"{count} events are missing", tuple(missing)))
        return self.problems

    def _goes_on(self, cut: Source, start: int) -> bool:
        """Whether the frame that a segment ends in stands whole elsewhere: the disk was full in the middle of it."""
        try:
            piece = cut.read()[start:]
            return any(piece in source.read() for source in [*self.segments, *self._rings] if source is not cut)
        except Unreadable:
            return False

    def _widths(self, block: Block) -> Iterator[tuple[int, int]]:
        gaps = block.kind == frame.GAP
        if not gaps.any():
            for seq in block.seq[block.seq >= 0].tolist():
                yield seq, 1
            return
        for i in np.flatnonzero(block.seq >= 0).tolist():
            gap = self.payload(block, i) if gaps[i] else None
            yield int(block.seq[i]), gap[1] - gap[0] + 1 if gap else 1
