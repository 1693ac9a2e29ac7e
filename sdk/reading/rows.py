"""Rows as people read them: which frames are asked for, and each as a dict with `_step`, `_timestamp`, `_runtime` and its keys.

Choosing works on columns of headers, so that what is not asked for is never decoded; decoding is one tight loop, about 3 us
for a row of ten numbers, in which every checksum is checked.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from typing import Any, Final, cast
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from milepost.sdk import frame
from milepost.sdk.decode import columns
from milepost.sdk.event import Event
from milepost.sdk.reading.files import Unreadable
from milepost.sdk.reading.numbers import leading_int
from milepost.sdk.reading.wish import ALWAYS, LAST_STEP, Cut, Row, Wish, Wrap
from milepost.sdk.reading.writer import DECODE_ERRORS, ROWS, Block, WriterReader

__all__ = ["ALWAYS", "Chosen", "Cut", "Row", "Rows", "Wish", "Wrap", "as_row"]

_STEP: Final = 3
_PAGE: Final = 512
_WRAPPED: Final = frozenset((dict, list))


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


_decode_plain = cast(
    Callable[[bytes], list[Any]], msgspec.msgpack.Decoder(list[int | float | str | bool | None]).decode
)
"""Refuses what is no plain value: mappings are then wrapped on the longer way, and no value has to be looked at twice."""

_Plan = tuple[int, tuple[str, ...] | None, bool]


class Rows:
    """The rows of one writer that a wish asks for. rising: the writer's steps never fall, unless it rewinds."""

    def __init__(
        self, writer: WriterReader, cuts: Sequence[Cut], wish: Wish, wrap: Wrap, *, rising: bool = True
    ) -> None:
        self.writer = writer
        self._cuts = cuts
        self._rising = rising and all(cut.before > writer.survey.last for cut in cuts)
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
        if self._rising:
            first, last = (self.writer.payload(found.block, int(found.at[n])) for n in (0, -1))
            if first is not None and last is not None:
                if last[3] < self._wish.low or first[3] >= self._wish.high:
                    return found.some(slice(0, 0))
                inside = self._wish.low <= first[3] and last[3] < self._wish.high
                if inside and all(last[3] < cut.step for cut in self._cuts):
                    return found
        steps = found.steps()
        keep = steps >= self._wish.low
        if self._wish.high <= LAST_STEP:
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
        if len(plans) == 1 and chosen.hidden is None and not self._marks:
            seed, keys, traced = plans[codes[0]]
            if keys is not None and not traced:
                alike = self._whole if self._wish.keys is None else self._some
                rows = alike(payloads, crcs, seed, keys)
                if rows is not None:
                    return rows
        return list(self._mixed(chosen, payloads, crcs, codes, plans))

    def _whole(self, payloads: list[bytes], crcs: list[int], seed: int, keys: tuple[str, ...]) -> list[Row] | None:
        """Whole rows of one set of keys that hold plain values, the common case; None when there is anything else."""
        if list(map(crc32, payloads, repeat(seed))) != crcs:
            return None
        try:
            _, times, runtimes, steps, *values = columns(payloads, 4 + len(keys), _decode_plain)
            return _builder(keys)(
                zip(steps, [time / 1e9 for time in times], [time / 1e6 for time in runtimes], *values, strict=True)
            )
        except DECODE_ERRORS:
            return None

    def _some(self, payloads: list[bytes], crcs: list[int], seed: int, keys: tuple[str, ...]) -> list[Row] | None:
        """As `_whole`, for the keys asked for alone."""
        place = {"_timestamp": 1, "_runtime": 2, "_step": 3} | {key: n for n, key in enumerate(keys, start=4)}
        names = tuple(name for name in (*self._wish.along, *(self._wish.keys or ())) if name in place)
        if list(map(crc32, payloads, repeat(seed))) != crcs:
            return None
        try:
            found: list[Any] = columns(payloads, 4 + len(keys), _decode_plain)
            found[1], found[2] = [time / 1e9 for time in found[1]], [time / 1e6 for time in found[2]]
        except DECODE_ERRORS:
            return None
        if not names:
            return [{} for _ in payloads]
        return [dict(zip(names, row, strict=True)) for row in zip(*(found[place[name]] for name in names), strict=True)]

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
            if not _WRAPPED.isdisjoint(map(type, row.values())):
                row = {key: wrap(value) if _is_wrapped(value) else value for key, value in row.items()}
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


@lru_cache(maxsize=256)
def _builder(keys: tuple[str, ...]) -> Callable[[Iterable[tuple[Any, ...]]], list[Row]]:
    """A function from (step, timestamp, runtime, value, ...) of many rows to their dicts.

    It is written out as one loop over one dict display, `[{"_step": step, ...} for step, ... in rows]`: measured, a row of ten
    keys then takes a third of what dict(zip(...)) takes.
    """
    values = [f"v{n}" for n in range(len(keys))]
    named = "".join(f", {key!r}: {value}" for key, value in zip(keys, values, strict=True))
    source = (
        f"lambda rows: [{{'_step': step, '_timestamp': timestamp, '_runtime': runtime{named}}} "
        f"for {', '.join(['step', 'timestamp', 'runtime', *values])} in rows]"
    )
    built: Callable[..., list[Row]] = eval(source, {"__builtins__": {}})  # noqa: S307 - of the keys nothing but their repr is in it
    return built


def as_row(event: Event, wrap: Wrap) -> Row:
    """A row event as a dict; what the user logged under `_timestamp` stays."""
    row: Row = {"_step": event.step, "_timestamp": event.time_unix_nano / 1e9, "_runtime": event.runtime_s}
    row.update((key, wrap(value) if _is_wrapped(value) else value) for key, value in event.values.items())
    return row


def _is_wrapped(value: Any) -> bool:
    """Whether a value is a mapping, or a list that may hold some at any depth."""
    return type(value) is dict or (type(value) is list and not _WRAPPED.isdisjoint(map(type, value)))
