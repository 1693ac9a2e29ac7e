"""Parts: rows that hold the same keys, as arrays, on their way from the wire into batches and chunks, and back as rows."""

import math
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from milepost.sdk.wire import Column, Group, WireBatch
from milepost.server.store.codec import Values, numbers_of, press, unpress

IntArray = NDArray[np.int64]

MAX_KEYS: Final = 200_000
MAX_KEY_LENGTH: Final = 4096
MAX_ROWS: Final = 200_000
_PACKED: Final = {"f8": np.dtype("<f8"), "i8": np.dtype("<i8"), "b1": np.dtype(np.bool_)}
_WORDS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class InvalidBatch(ValueError):
    """A batch that is not of the form that `milepost.sdk.wire` describes; the text says where."""


@dataclass(slots=True)
class Part:
    """Rows of the same keys in order of their numbers. seq, time, runtime, step: int64; values: a column for each key."""

    keys: tuple[str, ...]
    seq: IntArray
    time: IntArray
    runtime: IntArray
    step: IntArray
    values: list[Values]

    def __len__(self) -> int:
        return len(self.seq)

    @property
    def nbytes(self) -> int:
        """About as many bytes as it takes: an array of one number is an object of 128 bytes as well."""
        columns = (self.seq, self.time, self.runtime, self.step, *self.values)
        return sum(128 + (100 * len(each) if isinstance(each, list) else each.nbytes) for each in columns)

    def some(self, which: NDArray[Any] | slice) -> "Part":
        """Some of the rows."""
        at = np.arange(len(self))[which]
        values: list[Values] = [[v[i] for i in at.tolist()] if isinstance(v, list) else v[at] for v in self.values]
        return Part(self.keys, self.seq[at], self.time[at], self.runtime[at], self.step[at], values)

    def only(self, keys: Container[str]) -> "Part":
        """The rows with these keys alone, of those that they hold."""
        chosen = [n for n, key in enumerate(self.keys) if key in keys]
        values = [self.values[n] for n in chosen]
        return Part(tuple(self.keys[n] for n in chosen), self.seq, self.time, self.runtime, self.step, values)

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Number and row of each, with `_step`, `_timestamp` and `_runtime`."""
        columns = [value if isinstance(value, list) else value.tolist() for value in self.values]
        clocks = [each.tolist() for each in (self.seq, self.time, self.runtime, self.step)]
        for seq, time, runtime, step, *values in zip(*clocks, *columns, strict=True):
            row: dict[str, Any] = {"_step": step, "_timestamp": time / 1e9, "_runtime": runtime / 1e6}
            row.update(zip(self.keys, values, strict=True))
            yield seq, row

    def group(self) -> Group:
        """As the wire has it."""
        clocks = [{"i8": each.astype("<i8").tobytes()} for each in (self.seq, self.time, self.runtime, self.step)]
        values = [_packed(value) for value in self.values]
        seq, time, runtime, step = clocks
        return Group(keys=list(self.keys), seq=seq, time=time, runtime=runtime, step=step, values=values)

    def numbers(self, n: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Column n as float64, and which of its values are numbers."""
        return numbers_of(self.values[n])


def joined(parts: list[Part]) -> Part:
    """Parts of the same keys, one after the other."""
    if len(parts) == 1:
        return parts[0]
    values: list[Values] = []
    for several in zip(*(part.values for part in parts), strict=True):
        arrays = [each for each in several if not isinstance(each, list)]
        if len(arrays) == len(several) and len({each.dtype for each in arrays}) == 1:
            values.append(np.concatenate(arrays))
        else:
            values.append([v for each in several for v in (each if isinstance(each, list) else each.tolist())])
    seq, time, runtime, step = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("seq", "time", "runtime", "step")
    )
    return Part(parts[0].keys, seq, time, runtime, step, values)


def parts_of(batch: WireBatch, *, from_json: bool = False) -> list[Part]:
    """The rows of a batch, checked. Raises `InvalidBatch`."""
    if sum(len(group.keys) for group in batch.groups) > MAX_KEYS:
        raise InvalidBatch(f"more than {MAX_KEYS:,} keys in one batch")
    found = [_part(group, n, from_json) for n, group in enumerate(batch.groups)]
    if sum(map(len, found)) > MAX_ROWS:
        raise InvalidBatch(f"more than {MAX_ROWS:,} rows in one batch; send fewer at a time")
    seqs = np.concatenate([part.seq for part in found] or [np.empty(0, np.int64)])
    events = np.array([event.seq for event in batch.events], np.int64)
    every = np.sort(np.concatenate((seqs, events)))
    if len(every) and (every[0] < batch.first or every[-1] > batch.last):
        raise InvalidBatch(
            f"seq {every[0]} to {every[-1]} leave the interval {batch.first} to {batch.last} of the batch"
        )
    if (np.diff(every) == 0).any():
        raise InvalidBatch(f"seq {int(every[np.flatnonzero(np.diff(every) == 0)[0]])} comes twice in the batch")
    return found


def _part(group: Group, n: int, from_json: bool) -> Part:
    if len(set(group.keys)) != len(group.keys):
        raise InvalidBatch(f"groups[{n}].keys: a key comes twice")
    for key in group.keys:
        if not key or len(key) > MAX_KEY_LENGTH:
            raise InvalidBatch(f"groups[{n}].keys: a key has 1 to {MAX_KEY_LENGTH} characters, got {len(key)}")
    if len(group.values) != len(group.keys):
        raise InvalidBatch(f"groups[{n}]: {len(group.keys)} keys and {len(group.values)} columns of values")
    time = _whole(group.time, f"groups[{n}].time")
    rows = len(time)
    if isinstance(group.seq, int):
        seq = (
            np.arange(group.seq, group.seq + rows, dtype=np.int64) if abs(group.seq) < 2**62 else np.empty(0, np.int64)
        )
    else:
        seq = _whole(group.seq, f"groups[{n}].seq")
    runtime, step = _whole(group.runtime, f"groups[{n}].runtime"), _whole(group.step, f"groups[{n}].step")
    values = [_values(column, f"groups[{n}].values[{k}]", from_json) for k, column in enumerate(group.values)]
    for name, column in (("seq", seq), ("runtime", runtime), ("step", step), *zip(group.keys, values, strict=True)):
        if len(column) != rows:
            raise InvalidBatch(f"groups[{n}]: {rows} times, but {len(column)} values of {name!r}")
    if rows and (int(seq[0]) < 0 or int(step.min()) < 0):
        raise InvalidBatch(f"groups[{n}]: seq and step are whole numbers from 0")
    part = Part(tuple(group.keys), seq, time, runtime, step, values)
    if (np.diff(seq) < 0).any():
        part = part.some(np.argsort(seq, kind="stable"))
    return part


def _whole(column: Column, where: str) -> IntArray:
    found = _values(column, where, from_json=False)
    if isinstance(found, list):
        if not all(type(value) is int and -(2**63) <= value < 2**63 for value in found):
            raise InvalidBatch(f"{where}: whole numbers of 64 bits are expected")
        return np.array(found, np.int64)
    if found.dtype != np.int64:
        raise InvalidBatch(f"{where}: whole numbers are expected")
    return found


def _values(column: Column, where: str, from_json: bool) -> Values:
    if isinstance(column, list):
        values: list[Any] = [_WORDS.get(v, v) if isinstance(v, str) else v for v in column] if from_json else column
        kinds = set(map(type, values))
        if kinds == {float}:
            return np.array(values, np.float64)
        if kinds == {bool}:
            return np.array(values, np.bool_)
        if kinds == {int} and all(-(2**63) <= value < 2**63 for value in values):
            return np.array(values, np.int64)
        return values
    if isinstance(column, dict) and len(column) == 1:
        (name, data), *_ = column.items()
        dtype = _PACKED.get(name)
        if dtype is None:
            raise InvalidBatch(f"{where}: columns are packed as f8, i8 or b1, got {name!r}")
        if len(data) % dtype.itemsize:
            raise InvalidBatch(f"{where}: {len(data)} bytes are no whole number of {name}")
        if name == "b1":
            return np.frombuffer(data, np.uint8).astype(np.bool_)
        numbers: NDArray[Any] = np.frombuffer(data, dtype).astype(dtype.newbyteorder("="), copy=False)
        return numbers
    raise InvalidBatch(f"{where}: expected a list or packed numbers")


def _packed(values: Values) -> Column:
    if isinstance(values, list):
        return values
    name = {"f": "f8", "i": "i8", "b": "b1"}[values.dtype.kind]
    return {name: values.astype(_PACKED[name]).tobytes()}


_decoder: Final = msgspec.msgpack.Decoder(WireBatch)


def decode_body(data: bytes) -> WireBatch:
    """A batch from the msgpack bytes of a stored or received one. Raises `msgspec.DecodeError`."""
    return _decoder.decode(data)


def pressed(batch: WireBatch) -> bytes:
    """A batch as it is stored."""
    return press(msgspec.msgpack.encode(batch))


def unpressed(data: bytes) -> WireBatch:
    """A batch as it was stored."""
    return decode_body(unpress(data))
