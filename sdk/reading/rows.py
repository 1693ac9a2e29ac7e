"""Rows as people read them: which frames are asked for, and each as a dict with `_step`, `_timestamp`, `_runtime` and its keys.

Choosing works on columns of headers, so that what is not asked for is never decoded; decoding is one tight loop, about 3 us
for a row of ten numbers, in which every checksum is checked.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from milepost.sdk import frame
from milepost.sdk.event import Event
from milepost.sdk.reading.files import Unreadable
from milepost.sdk.reading.numbers import leading_int
from milepost.sdk.reading.writer import DECODE_ERRORS, ROWS, Block, WriterReader

Row = dict[str, Any]
Wrap = Callable[[dict[str, Any]], Any]
"""What a value that is a mapping is turned into."""

ALWAYS: Final = frozenset(("_step", "_timestamp", "_runtime", "_writer", "_rank"))
"""Keys that every row has."""

_STEP: Final = 3
_PAGE: Final = 512
_LAST_STEP: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Wish:
    """Which rows, and what of them.

    keys:       only rows that hold them ("all" of them or "any"), and nothing else of these rows; None for whole rows.
    along:      keys that are given too where a row holds them.
    low, high:  steps, low inclusive, high exclusive.
    superseded: rows that a later start of the run replaced are given too, marked `_superseded`.
    marked:     rows say their `_writer` (16 hex digits) and `_rank`.
    """

    keys: tuple[str, ...] | None = None
    along: tuple[str, ...] = ()
    require: Literal["all", "any"] = "all"
    low: int = 0
    high: int = _LAST_STEP + 1
    superseded: bool = False
    marked: bool = False

    def takes(self, keys: Collection[str]) -> bool:
        """Whether a row that holds these keys is asked for."""
        if self.keys is None:
            return True
        held = [key in keys for key in self.keys if key not in ALWAYS]
        return not held or (all(held) if self.require == "all" else any(held))

    def trim(self, row: Row) -> Row:
        """The row with no more than what is asked for."""
        return row if self.keys is None else {key: row[key] for key in (*self.along, *self.keys) if key in row}

    @property
    def every_step(self) -> bool:
        """Whether no step is left out."""
        return self.low <= 0 and self.high > _LAST_STEP


@dataclass(frozen=True, slots=True)
class Cut:
    """A rewind: rows numbered below `before` whose step is at least `step` were replaced by later ones."""

    before: int
    step: int


@dataclass(slots=True)
class Chosen:
    """Frames of one block that are asked for. at: positions in the block; hidden: which of them were superseded."""

    block: Block
    at: NDArray[np.int64]
    hidden: NDArray[np.bool_] | None = None

    def steps(self) -> NDArray[np.int64]:
        """The step of each, as its payload says; sums are not checked."""
        return leading_int(self.block.data(), self.block.at[self.at], _STEP)

    def spans(self) -> list[tuple[int, int]]:
        """Where the payload of each begins and ends."""
        begin = self.block.at[self.at] + frame.HEADER_SIZE
        return list(zip(begin.tolist(), self.block.end[self.at].tolist(), strict=True))

    def some(self, which: Any) -> "Chosen":
        """Some of them: a slice, a mask, or positions."""
        return Chosen(self.block, self.at[which], None if self.hidden is None else self.hidden[which])


_Plan = tuple[int, tuple[str, ...] | None, bool]


class Rows:
    """The rows of one writer that a wish asks for."""

    def __init__(self, writer: WriterReader, cuts: Sequence[Cut], wish: Wish, wrap: Wrap) -> None:
        self.writer = writer
        self._cuts = cuts
        self._wish = wish
        self._wrap = wrap
        self._marks: Row = {"_writer": writer.id, "_rank": writer.rank} if wish.marked else {}

    @property
    def cut(self) -> bool:
        """Whether some of the writer's rows may have been superseded."""
        return bool(self._cuts)

    def __iter__(self) -> Iterator[Row]:
        for page in self.pages():
            yield from page

    def pages(self) -> Iterator[list[Row]]:
        """The rows in order, some hundred at a time."""
        for chosen in self.chosen():
            try:
                data = chosen.block.data()
            except Unreadable:
                continue  # as above
            for start in range(0, len(chosen.at), _PAGE):
                part = chosen.some(slice(start, start + _PAGE))
                yield self._rows(part, [data[a:b] for a, b in part.spans()])
        row = self.leftover()
        if row is not None:
            yield [row]

    def chosen(self) -> Iterator[Chosen]:
        """Block by block, the frames asked for. Rows that carry their own keys still have to be looked at."""
        for block in self.writer.blocks():
            at = np.flatnonzero(block.where(*ROWS))
            if self._wish.keys is not None and len(at):
                schemas = block.schema[at]
                wanted = [schema for schema in np.unique(schemas).tolist() if self._takes(schema)]
                at = at[np.isin(schemas, wanted)]
            found = Chosen(block, at)
            if len(at) and (self._cuts or not self._wish.every_step):
                try:
                    found = self._by_step(found)
                except Unreadable:
                    continue  # the segment went away while it was read; the writer has noted that
            if len(found.at):
                yield found

    def _takes(self, schema: int) -> bool:
        keys = None if schema == frame.INLINE else self.writer.keys(schema)
        return keys is None or self._wish.takes(keys)

    def _by_step(self, found: Chosen) -> Chosen:
        """Without the rows outside the steps asked for, and those that were superseded (or with a mark on these)."""
        steps = found.steps()
        keep = steps >= self._wish.low
        if self._wish.high <= _LAST_STEP:
            keep &= steps < self._wish.high
        hidden = np.zeros(len(steps), np.bool_)
        for cut in self._cuts:
            hidden |= (steps >= cut.step) & (found.block.seq[found.at] < cut.before)
        if self._wish.superseded:
            return Chosen(found.block, found.at[keep], hidden[keep])
        return Chosen(found.block, found.at[keep & ~hidden])

    def exact(self, chosen: Chosen) -> Chosen:
        """Without the rows that carry their own keys and lack those asked for, which have to be decoded to know."""
        inline = chosen.block.schema[chosen.at] == frame.INLINE
        if self._wish.keys is None or not inline.any():
            return chosen
        keep = ~inline
        for n in np.flatnonzero(inline).tolist():
            decoded = self.writer.payload(chosen.block, int(chosen.at[n]))
            keep[n] = decoded is not None and isinstance(decoded[-1], dict) and self._wish.takes(decoded[-1])
        return chosen.some(keep)

    def pick(self, chosen: Chosen) -> list[Row]:
        """The rows of a few frames whose bytes are not at hand; a damaged one is reported and left out."""
        try:
            return self._rows(chosen, chosen.block.source.pick(chosen.spans()))
        except Unreadable:
            return []

    def _rows(self, chosen: Chosen, payloads: list[bytes]) -> list[Row]:
        """The rows in these payloads, without those that are damaged."""
        block, at = chosen.block, chosen.at
        codes = (block.kind[at].astype(np.int64) << 32 | block.schema[at]).tolist()
        plans = {code: self._plan(code) for code in set(codes)}
        crcs = block.crc[at].tolist()
        if len(plans) == 1 and chosen.hidden is None and not self._marks and self._wish.keys is None:
            seed, keys, traced = plans[codes[0]]
            if keys is not None and not traced:
                rows = self._alike(payloads, crcs, seed, keys)
                if rows is not None:
                    return rows
        return list(self._mixed(chosen, payloads, crcs, codes, plans))

    def _alike(self, payloads: list[bytes], crcs: list[int], seed: int, keys: tuple[str, ...]) -> list[Row] | None:
        """Whole rows of one set of keys, the common case, without a branch too many; None when any of them is damaged."""
        rows: list[Row] = []
        add, wrap, decode = rows.append, self._wrap, frame.decode_payload
        for payload, crc in zip(payloads, crcs, strict=True):
            if crc32(payload, seed) != crc:
                return None
            try:
                head = decode(payload)
                # A literal and update() take two thirds of the time of dict(zip(...)) over all names.
                row = {"_step": head[3], "_timestamp": head[1] / 1e9, "_runtime": head[2] / 1e6}
                values = head[4:]
                if dict in map(type, values):
                    values = [wrap(value) if type(value) is dict else value for value in values]
                row.update(zip(keys, values, strict=True))
            except DECODE_ERRORS:
                return None
            add(row)
        return rows

    def _mixed(
        self, chosen: Chosen, payloads: list[bytes], crcs: list[int], codes: list[int], plans: dict[int, "_Plan"]
    ) -> Iterator[Row]:
        """Any rows, one by one."""
        wish, wrap, hidden = self._wish, self._wrap, chosen.hidden
        for n, (payload, code, crc) in enumerate(zip(payloads, codes, crcs, strict=True)):
            seed, keys, traced = plans[code]
            if crc32(payload, seed) != crc:
                self.writer.lost(chosen.block, int(chosen.at[n]), "a damaged frame")
                continue
            try:
                _, time_ns, runtime_us, step, *values = frame.decode_payload(payload)
                row: Row = {"_step": step, "_timestamp": time_ns / 1e9, "_runtime": runtime_us / 1e6}
                if traced:
                    del values[:2]
                logged = values[0] if keys is None else dict(zip(keys, values, strict=True))
                row.update(logged)
            except DECODE_ERRORS:
                self.writer.lost(
                    chosen.block, int(chosen.at[n]), "a row that cannot be decoded, or whose keys are lost"
                )
                continue
            if not wish.takes(logged):
                continue
            if dict in map(type, row.values()):
                row = {key: wrap(value) if type(value) is dict else value for key, value in row.items()}
            row = wish.trim(row)
            row.update(self._marks)
            if hidden is not None and hidden[n]:
                row["_superseded"] = True
            yield row

    def _plan(self, code: int) -> "_Plan":
        """(CRC start value, keys or None when the row carries them, whether trace ids stand before the values)."""
        kind, schema = code >> 32, code & 0xFFFFFFFF
        seed = frame.frame_seed(self.writer.seed, kind, schema)
        keys = None if schema == frame.INLINE else self.writer.keys(schema) or ()
        return seed, keys, kind == frame.TRACED

    def leftover(self) -> Row | None:
        """The row that a dead writer never committed, if it is asked for."""
        event = self.writer.survey.leftover
        wish = self._wish
        if (
            event is None
            or event.step is None
            or not wish.low <= event.step < wish.high
            or not wish.takes(event.values)
        ):
            return None
        hidden = any(event.step >= cut.step and event.seq < cut.before for cut in self._cuts)
        if hidden and not wish.superseded:
            return None
        row = wish.trim(as_row(event, self._wrap))
        return row | self._marks | ({"_superseded": True} if hidden else {})


def as_row(event: Event, wrap: Wrap) -> Row:
    """A row event as a dict; what the user logged under `_timestamp` stays."""
    row: Row = {"_step": event.step, "_timestamp": event.time_unix_nano / 1e9, "_runtime": event.runtime_s}
    row.update((key, wrap(value) if type(value) is dict else value) for key, value in event.values.items())
    return row
