"""Columns: a writer's rows as arrays, decoded many rows at a time, and only what was added since the last look.

Rows of one set of keys have their values in one order, so each value is found for all rows at once by hopping over the
values before it. A million rows of ten numbers take about half a second. A row that holds a list or a mapping has to be
decoded alone. Source of the codes: the msgpack specification.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from milepost.sdk import frame
from milepost.sdk.reading.blocks import ROWS, Block
from milepost.sdk.reading.writer import WriterReader
from milepost.server.series import FloatArray, IntArray

NONE, BOOL, INT, FLOAT, OTHER = range(5)
"""What a value is; those of OTHER (text, lists, mappings) have no number."""

_UNKNOWN: Final = 0
_SIZE: Final = np.zeros(256, np.int64)
"""Bytes of a value with this code, the code included; 0 where the code alone does not tell."""
_SIZE[0x00:0x80] = _SIZE[0xE0:0x100] = 1
_SIZE[0xA0:0xC0] = np.arange(1, 33)
_SIZE[[0xC0, 0xC2, 0xC3]] = 1
_SIZE[[0xCA, 0xCB]] = 5, 9
_SIZE[[0xCC, 0xCD, 0xCE, 0xCF]] = _SIZE[[0xD0, 0xD1, 0xD2, 0xD3]] = 2, 3, 5, 9
_KIND: Final = np.full(256, OTHER, np.uint8)
_KIND[0xC0] = NONE
_KIND[[0xC2, 0xC3]] = BOOL
_KIND[[0xCA, 0xCB]] = FLOAT
_KIND[0x00:0x80] = _KIND[0xE0:0x100] = _KIND[0xCC:0xD4] = INT
_NUMBERS: Final = {
    0xCA: (4, ">f4"), 0xCB: (8, ">f8"), 0xCC: (1, ">u1"), 0xCD: (2, ">u2"), 0xCE: (4, ">u4"), 0xCF: (8, ">u8"),
    0xD0: (1, ">i1"), 0xD1: (2, ">i2"), 0xD2: (4, ">i4"), 0xD3: (8, ">i8"),
}  # fmt: skip
_LENGTHS: Final = {0xD9: 1, 0xDA: 2, 0xDB: 4, 0xC4: 1, 0xC5: 2, 0xC6: 4}
"""Bytes of the length of text and of bytes."""


class Grown:
    """An array that grows at its end; `view()` is what is in it."""

    def __init__(self, dtype: Any) -> None:
        self._array: NDArray[Any] = np.empty(1024, dtype)
        self._size = 0

    def extend(self, values: NDArray[Any]) -> None:
        """Add values."""
        size = self._size + len(values)
        if size > len(self._array):
            larger = np.empty(max(size, self._size * 3 // 2), self._array.dtype)
            larger[: self._size] = self._array[: self._size]
            self._array = larger
        self._array[self._size : size] = values
        self._size = size

    def view(self) -> NDArray[Any]:
        """Everything so far; what is added later does not change it."""
        return self._array[: self._size]

    def __len__(self) -> int:
        return self._size

    @property
    def nbytes(self) -> int:
        """Bytes taken."""
        return int(self._array.nbytes)


class Group:
    """The rows of one writer that hold one set of keys: seq, step, time (ns), runtime (us), and per key number and kind."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self.keys = keys
        self.seq, self.step, self.time, self.runtime = (Grown(np.int64) for _ in range(4))
        self.values = [Grown(np.float64) for _ in keys]
        self.kinds = [Grown(np.uint8) for _ in keys]
        self._seconds: tuple[FloatArray, FloatArray] = np.empty(0), np.empty(0)
        self.last_other: dict[str, tuple[int, Any]] = {}
        """Of each key whose values are not numbers: seq and value of its last one."""

    def __len__(self) -> int:
        return len(self.seq)

    def clocks(self) -> tuple[FloatArray, FloatArray]:
        """Time and runtime of the rows, in seconds; the same arrays for all keys."""
        time, runtime = self._seconds
        if len(time) != len(self):
            self._seconds = time, runtime = self.time.view() / 1e9, self.runtime.view() / 1e6
        return time, runtime

    @property
    def nbytes(self) -> int:
        """Bytes taken."""
        grown = (self.seq, self.step, self.time, self.runtime, *self.values, *self.kinds)
        return sum(each.nbytes for each in self._seconds) + sum(each.nbytes for each in grown)


class WriterColumns:
    """All rows of one writer, brought up to date by `follow`.

    end: the number of the last frame that was taken in. rewinds: (number, step) where a start took rows back.
    """

    def __init__(self) -> None:
        self.groups: dict[tuple[str, ...], Group] = {}
        self.end = -1
        self.rows = 0
        self.rewinds: list[tuple[int, int]] = []
        self.closed = False
        """Whether the writer is gone and everything was read."""
        self._segment = ""
        self._offset = 0

    @property
    def nbytes(self) -> int:
        """Bytes taken."""
        return sum(group.nbytes for group in self.groups.values())

    def follow(self, directory: Path, run: str) -> None:
        """Take in what the writer's journal holds beyond `end`; segments are read from where the last look stopped."""
        if self.closed:
            return
        reader = WriterReader(directory, run)
        reader.skip_to(self._segment, self._offset)
        for block in reader.blocks():
            numbered = np.flatnonzero(block.seq > self.end)
            if len(numbered):
                self._take(reader, block.only(numbered))
                self.end = int(block.seq[numbered[-1]])
            if not block.source.ring and len(block):
                self._segment, self._offset = block.source.path.name, int(block.end.max())
        if not reader.alive:
            self._close(WriterReader(directory, run))

    def _close(self, reader: WriterReader) -> None:
        """The writer is gone: with the row that it never committed, these are all."""
        self.closed = True
        row = reader.survey.leftover
        if row is not None and row.seq > self.end:
            self._add_plain(row.values, row.seq, row.step or 0, row.time_unix_nano, int(row.runtime_s * 1e6))
            self.end = row.seq

    def _take(self, reader: WriterReader, block: Block) -> None:
        for i in np.flatnonzero(block.kind == frame.EVENT).tolist():
            event = reader.event(block, i)
            if event is not None and event.kind == "rewind" and isinstance(event.values.get("step"), int):
                self.rewinds.append((event.seq, event.values["step"]))
        rows = np.flatnonzero(block.where(*ROWS))
        codes = block.kind[rows].astype(np.int64) << 32 | block.schema[rows]
        for code in np.unique(codes).tolist():
            some = block.only(rows[codes == code])
            keys = reader.keys(code & 0xFFFFFFFF) if code & 0xFFFFFFFF != frame.INLINE else None
            if keys is None:
                self._take_singly(reader, some, range(len(some)))
            else:
                self._take_alike(reader, some, keys, traced=code >> 32 == frame.TRACED)

    def _take_singly(self, reader: WriterReader, block: Block, which: Any) -> None:
        """Rows that have to be decoded one by one."""
        for i in which:
            event = reader.event(block, i)
            if event is not None:
                self._add_plain(
                    event.values, event.seq, event.step or 0, event.time_unix_nano, int(event.runtime_s * 1e6)
                )

    def _add_plain(self, values: dict[str, Any], seq: int, step: int, time_ns: int, runtime_us: int) -> None:
        group = self._group(tuple(values))
        for grown, number in zip(
            (group.seq, group.step, group.time, group.runtime), (seq, step, time_ns, runtime_us), strict=True
        ):
            grown.extend(np.array([number]))
        for n, (key, value) in enumerate(values.items()):
            plain, kind = _plain(value)
            group.values[n].extend(np.array([plain]))
            group.kinds[n].extend(np.array([kind], np.uint8))
            if kind == OTHER:
                group.last_other[key] = (seq, value)
        self.rows += 1

    def _take_alike(self, reader: WriterReader, block: Block, keys: tuple[str, ...], *, traced: bool) -> None:
        columns = _strided(block, (6 if traced else 4) + len(keys))
        if columns is not None:
            self._keep(reader, block, keys, columns, np.ones(len(block), np.bool_))
            return
        data = np.frombuffer(block.data(), np.uint8)
        place = block.at + frame.HEADER_SIZE
        head = data[place]
        place = place + np.where(head >> 4 == 9, 1, np.where(head == 0xDC, 3, 5))
        sound = np.ones(len(place), np.bool_)
        columns = []
        for element in range((6 if traced else 4) + len(keys)):
            code = data[np.minimum(place, len(data) - 1)]
            columns.append((_numbers(data, place, code, whole=element < 4), _KIND[code]))
            size = _sizes(data, place, code)
            sound &= (size != _UNKNOWN) & (place + size <= block.end)
            place = np.where(sound, place + size, block.at)
        sound &= place == block.end
        self._keep(reader, block, keys, columns, sound)
        if not sound.all():
            self._take_singly(reader, block, np.flatnonzero(~sound).tolist())

    def _keep(
        self,
        reader: WriterReader,
        block: Block,
        keys: tuple[str, ...],
        columns: list[tuple[FloatArray | IntArray, NDArray[np.uint8]]],
        sound: NDArray[np.bool_],
    ) -> None:
        if not sound.any():
            return
        chosen: Any = slice(None) if sound.all() else sound
        group = self._group(keys)
        for grown, column in zip((group.seq, group.time, group.runtime, group.step), columns, strict=False):
            grown.extend(column[0][chosen])
        for n, (key, (numbers, kinds)) in enumerate(zip(keys, columns[-len(keys) :] if keys else (), strict=True)):
            group.values[n].extend(numbers[chosen])
            group.kinds[n].extend(kinds[chosen])
            others = np.flatnonzero((kinds == OTHER) & sound)
            if len(others):
                event = reader.event(block, int(others[-1]))
                if event is not None:
                    group.last_other[key] = (event.seq, event.values.get(key))
        self.rows += int(sound.sum())

    def _group(self, keys: tuple[str, ...]) -> Group:
        group = self.groups.get(keys)
        if group is None:
            group = self.groups[keys] = Group(keys)
        return group


def _strided(block: Block, elements: int) -> list[tuple[FloatArray | IntArray, NDArray[np.uint8]]] | None:
    """Numbers and kinds where every row is built alike, byte for byte, and rows stand at equal distances; else None.

    This is most of a long run, and three times as fast as gathering.
    """
    rows = len(block)
    stride = int(block.at[1] - block.at[0]) if rows > 1 else 1
    if not (np.diff(block.at) == stride).all() or not (block.end - block.at == block.end[0] - block.at[0]).all():
        return None
    data = block.data()
    place = int(block.at[0]) + frame.HEADER_SIZE

    def every(dtype: str, at: int) -> NDArray[Any]:
        return np.ndarray((rows,), dtype, data, at, (stride,))

    head = data[place]
    place += 1 if head >> 4 == 9 else 3 if head == 0xDC else 5
    found: list[tuple[FloatArray | IntArray, NDArray[np.uint8]]] = []
    for element in range(elements):
        code = data[place]
        size = int(_SIZE[code])
        if not size or place + size > int(block.end[0]) or not (every("u1", place) == code).all():
            return None
        numbers: Any
        if code in _NUMBERS:
            numbers = every(_NUMBERS[code][1], place + 1).astype(np.int64 if element < 4 else np.float64)
        else:
            alone = float(code if code < 0x80 else code - 256 if code >= 0xE0 else code == 0xC3)
            plain = _KIND[code] in (BOOL, INT)
            numbers = np.full(rows, alone if plain else np.nan) if element >= 4 else np.full(rows, int(alone))
        found.append((numbers, np.full(rows, _KIND[code], np.uint8)))
        place += size
    return found if place == int(block.end[0]) else None


def _sizes(data: NDArray[np.uint8], place: IntArray, code: NDArray[np.uint8]) -> IntArray:
    first = int(code[0]) if len(code) else 0
    if _SIZE[first] and (code == first).all():
        return np.full(len(code), _SIZE[first])
    size = _SIZE[code]
    for head, width in _LENGTHS.items():
        at = np.flatnonzero(code == head)
        if len(at):
            size[at] = 1 + width + _gathered(data, place[at] + 1, width, f">u{width}").astype(np.int64)
    return size


def _numbers(data: NDArray[np.uint8], place: IntArray, code: NDArray[np.uint8], *, whole: bool) -> Any:
    """The numbers at these places: int64 when whole, else float64 with NaN for what is none."""
    first = int(code[0]) if len(code) else 0
    dtype: Any = np.int64 if whole else np.float64
    if first in _NUMBERS and (code == first).all():
        width, form = _NUMBERS[first]
        return _gathered(data, place + 1, width, form).astype(dtype)
    value = np.full(len(code), 0 if whole else np.nan, dtype)
    small = code < 0x80
    value[small] = code[small]
    negative = code >= 0xE0
    value[negative] = code[negative].astype(np.int64) - 256
    value[code == 0xC2], value[code == 0xC3] = 0, 1
    for head, (width, form) in _NUMBERS.items():
        at = np.flatnonzero(code == head)
        if len(at):
            value[at] = _gathered(data, place[at] + 1, width, form).astype(dtype)
    return value


def _gathered(data: NDArray[np.uint8], place: IntArray, width: int, form: str) -> NDArray[Any]:
    """The numbers of `width` bytes at these places; what would lie behind the end is taken from before it."""
    window = np.lib.stride_tricks.sliding_window_view(data, width)
    raw: NDArray[Any] = window[np.minimum(place, len(window) - 1)].view(form)[:, 0]
    return raw


def _plain(value: Any) -> tuple[float, int]:
    if value is None:
        return np.nan, NONE
    if isinstance(value, bool):
        return float(value), BOOL
    if isinstance(value, (int, float)):
        try:
            return float(value), INT if isinstance(value, int) else FLOAT
        except OverflowError:
            return (np.inf if value > 0 else -np.inf), INT
    return np.nan, OTHER
