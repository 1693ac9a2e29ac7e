"""One writer's frames in order: the union of its segments, the second copy of its keys, and what still stands in its ring.

Frames are numbered without holes, so order and loss show by themselves. While the numbers follow one another, blocks of
frames stream straight from the segments. At the first hole everything that can be found of the writer is searched, sorted by
number, and each number taken once; what is then missing is reported as missing.

The ring is copied before the segments are listed: a row drained in between is then seen twice, never not at all.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from milepost.sdk import frame
from milepost.sdk.decode import Decoder
from milepost.sdk.event import Event
from milepost.sdk.reading.alive import alive
from milepost.sdk.reading.files import (
    KEYS_FILE,
    RING_PAGE,
    Problem,
    Source,
    Unreadable,
    read_file,
    read_json,
    ring_files,
    segments,
)
from milepost.sdk.reading.index import Frames, index
from milepost.sdk.reading.numbers import leading_int
from milepost.sdk.reading.parts import merge_parts

ROWS: Final = (frame.ROW, frame.TRACED)
STREAMS: Final = frozenset(("console", "system"))
"""Kinds of events that come by the thousand."""
_KEYS: Final = msgspec.msgpack.Decoder(tuple[str, ...])
NUMBERED: Final = (frame.ROW, frame.TRACED, frame.EVENT, frame.GAP)
DECODE_ERRORS: Final = (msgspec.DecodeError, ValueError, TypeError, RecursionError, LookupError, AttributeError)
"""What a payload with a right sum and a wrong shape can raise: nobody but a forger writes one."""


@dataclass(slots=True)
class Block:
    """Frames of one source whose numbers rise.

    at, end, kind, schema, crc, seq: arrays of shape (frames,); at and end are bytes of the source.
    """

    source: Source
    at: NDArray[np.int64]
    end: NDArray[np.int64]
    kind: NDArray[np.uint8]
    schema: NDArray[np.uint32]
    crc: NDArray[np.uint32]
    seq: NDArray[np.int64]
    buffer: bytes | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.at)

    def only(self, chosen: NDArray[Any] | slice) -> "Block":
        """The block with the chosen frames alone."""
        return Block(
            self.source,
            self.at[chosen],
            self.end[chosen],
            self.kind[chosen],
            self.schema[chosen],
            self.crc[chosen],
            self.seq[chosen],
            self.buffer,
        )

    def data(self) -> bytes:
        """The bytes of the source, kept once read. Raises `Unreadable`."""
        if self.buffer is None:
            self.buffer = self.source.read()
        return self.buffer

    def where(self, *kinds: int) -> NDArray[np.bool_]:
        """A mask of the frames of these kinds."""
        return np.isin(self.kind, kinds)


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


class WriterReader:
    """A snapshot of one writer of a run, taken when this is made.

    id:                16 hex digits; run: "project/run_id", may be empty.
    rank:              place in a distributed job, or None.      attempt: from 1.
    parent:            the writer this one was forked or spawned from, or "".
    started_unix_nano: wall clock of its start, UTC; 0 when unknown.
    info:              its writer.json, {} when unreadable.
    problems:          what was met so far; `check()` looks at every byte.
    """

    def __init__(self, directory: Path, run: str = "") -> None:
        self.dir = directory
        self.id = directory.name
        self.run = run
        self.seed = frame.writer_seed(self.id)
        self.problems: list[Problem] = []
        self.info = self._read_info()
        self.alive = alive(self.id, self.info, directory)
        """Whether its process existed when this snapshot was begun."""
        self._rings = list(self._copy_rings())
        found, odd = segments(directory, frame.SEGMENT_HEADER_SIZE)
        self.problems += odd
        self.segments: list[Source] = [source for _, source in found]
        self.trimmed: bool = bool(found) and found[0][0] > 0
        """Whether the oldest segments are gone (`keep: undelivered`)."""
        self._decoder = Decoder(run, self.id)
        self._keys = self._decoder.schemas
        self._searched_all = False
        self._read_keys()

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

    # Sources

    def _read_info(self) -> dict[str, Any]:
        try:
            return read_json(self.dir / "writer.json")
        except Unreadable as error:
            self.problems.append(
                Problem(self.dir / "writer.json", 0, 0, f"{error}: rank and start are taken from the rows")
            )
            return {}

    def _copy_rings(self) -> Iterator[Source]:
        for path in ring_files(self.id, self.info, self.dir):
            try:
                data = read_file(path)
            except Unreadable:
                continue  # drained and removed, or of another machine: its rows are in the segments
            if len(data) > RING_PAGE:
                yield Source(path, RING_PAGE, len(data), data, ring=True)

    def _read_keys(self) -> None:
        path = self.dir / KEYS_FILE
        for source in [*self._rings, Source(path, 0, 1 << 40)]:
            try:
                buffer = source.read()
                head = frame.SEGMENT_HEADER_SIZE if buffer.startswith(frame.SEGMENT_MAGIC) else 0
                frames = index(buffer, self.seed, max(source.start, head), verify=True)
            except Unreadable as error:
                if str(error) != "is gone":
                    self._set_aside(source, error)
            except frame.NewerFormat as error:
                self._set_aside(source, error)
            else:
                self._learn(buffer, frames)

    def _set_aside(self, source: Source, error: Exception) -> None:
        problem = Problem(source.path, 0, 0, f"{error}: set aside")
        if problem not in self.problems:
            self.problems.append(problem)

    def _learn(self, buffer: bytes, frames: Frames) -> None:
        """Take in the keys that the SCHEMA frames of a buffer name."""
        for i in frames.where(frame.SCHEMA).tolist():
            schema = int(frames.schema[i])
            if schema in self._keys:
                continue
            payload = buffer[int(frames.at[i]) + frame.HEADER_SIZE : int(frames.end[i])]
            if crc32(payload, frame.frame_seed(self.seed, frame.SCHEMA, schema)) == int(frames.crc[i]):
                try:
                    self._keys[schema] = _KEYS.decode(payload)
                except DECODE_ERRORS:
                    continue

    def keys(self, schema: int) -> tuple[str, ...] | None:
        """The keys of a schema, or None when every copy of them is lost."""
        found = self._keys.get(schema)
        if found is None and not self._searched_all:
            self._searched_all = True
            for source in self.segments:
                loaded = self._load(source)
                if loaded is not None:
                    self._learn(*loaded)
            found = self._keys.get(schema)
        return found

    def schemas(self) -> dict[int, tuple[str, ...]]:
        """All schemas known so far: those of keys.mpj, the ring, and the segments that were read."""
        return self._keys

    def _load(self, source: Source, *, verify: bool = False) -> tuple[bytes, Frames] | None:
        """A source's bytes and frames, or None when it is set aside."""
        try:
            buffer = source.read()
            frames = index(buffer, self.seed, source.start, verify=verify)
        except (Unreadable, frame.NewerFormat) as error:
            if not (isinstance(error, Unreadable) and str(error) == "is gone"):
                self._set_aside(source, error)
            return None
        try:
            frame.check_segment_header(b"" if source.ring else buffer)
        except frame.NewerFormat as error:
            self._set_aside(source, error)
            return None
        self._learn(buffer, frames)
        return buffer, frames

    # Order

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
            first, after = (-1, -1) if block is None else _bounds(block)
            if (
                block is None
                or (first >= 0 and expected >= 0 and first != expected)
                or (expected < 0 < first and not self.trimmed)
            ):
                yield from self._sorted(max(expected, 0))
                return
            if len(block):
                yield block
            expected = max(expected, after)
        yield from self._tail(max(expected, 0))

    def _tail(self, expected: int) -> Iterator[Block]:
        """What stands in the ring and not yet in the segments."""
        blocks = list(self._merged(self._rings, expected))
        for n, block in enumerate(blocks):
            numbers = block.seq[block.seq >= 0]
            if not len(numbers):
                continue
            hole = int(numbers[0]) != expected or len(numbers) != int(numbers[-1]) - expected + 1
            if hole and not (block.kind == frame.GAP).any():
                if not self.alive:
                    yield from self._sorted(expected)
                    return
                # Rows moved on while the ring was copied: what follows the hole is shown by the next reader.
                whole = int(np.argmax(np.append(numbers, -1) != np.arange(expected, expected + len(numbers) + 1)))
                yield from (*blocks[:n], block.only(slice(0, whole)))
                return
            expected = int(numbers[-1]) + 1
        yield from blocks

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

    # Contents

    def sound(self, block: Block, i: int) -> bytes | None:
        """The payload of a block's frame i when its sum is right, else None (and a problem is noted)."""
        try:
            payload = block.data()[int(block.at[i]) + frame.HEADER_SIZE : int(block.end[i])]
        except Unreadable as error:
            self._set_aside(block.source, error)
            return None
        if crc32(payload, frame.frame_seed(self.seed, int(block.kind[i]), int(block.schema[i]))) == int(block.crc[i]):
            return payload
        self.lost(block, i, "a damaged frame")
        return None

    def payload(self, block: Block, i: int) -> list[Any] | None:
        """The decoded payload of a block's frame i, of the shape `frame` describes, or None (and a problem is noted)."""
        payload = self.sound(block, i)
        if payload is None:
            return None
        try:
            decoded = frame.decode_payload(payload)
        except DECODE_ERRORS:
            decoded = None
        if not _well_formed(int(block.kind[i]), decoded):
            self.lost(block, i, "a frame that cannot be decoded")
            return None
        told: list[Any] = decoded
        return told

    def lost(self, block: Block, i: int, text: str) -> None:
        """Report that frame i of a block cannot be read."""
        seq, at = int(block.seq[i]), int(block.at[i])
        problem = Problem(block.source.path, at, int(block.end[i]) - at, text, ((seq, seq),) if seq >= 0 else ())
        if problem not in self.problems:
            self.problems.append(problem)

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

    def _report(self, problem: Problem) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def _widths(self, block: Block) -> Iterator[tuple[int, int]]:
        gaps = block.kind == frame.GAP
        if not gaps.any():
            for seq in block.seq[block.seq >= 0].tolist():
                yield seq, 1
            return
        for i in np.flatnonzero(block.seq >= 0).tolist():
            gap = self.payload(block, i) if gaps[i] else None
            yield int(block.seq[i]), gap[1] - gap[0] + 1 if gap else 1


def _well_formed(kind: int, payload: Any) -> bool:
    """Whether a decoded payload is what a frame of this kind holds."""
    if not isinstance(payload, list) or len(payload) < 4:
        return False
    if kind == frame.GAP:
        return _are_ints(payload[:3]) and payload[0] <= payload[1]
    if kind == frame.PART:
        return len(payload) == 6 and _are_ints(payload[:5]) and isinstance(payload[5], dict)
    if kind == frame.EVENT:
        return (
            len(payload) == 6
            and _are_ints(payload[:3])
            and isinstance(payload[4], str)
            and isinstance(payload[5], dict)
        )
    return _are_ints(payload[:4])


def _are_ints(values: list[Any]) -> bool:
    return all(type(value) is int for value in values)


def _bounds(block: Block) -> tuple[int, int]:
    """The first number of a block and the one after its last; (-1, 0) without numbers. A GAP counts as one number."""
    numbers = block.seq[block.seq >= 0]
    return (int(numbers[0]), int(numbers[-1]) + 1) if len(numbers) else (-1, 0)
