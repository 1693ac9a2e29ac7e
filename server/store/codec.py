"""Codec: arrays as bytes. The first byte says how: a chunk written by an older version stays readable.

Numbers are split into their bytes by significance (all first bytes, then all second ones, ...) before zstd: neighbours
are alike in their upper bytes. Measured: 3.6 bytes for a noisy float32 value at 50 M values a second.

    0  anything: msgpack        2  float64 that float32 holds exactly        4  bool
    1  float64                  3  int64, differences                        5  one number, n times
                                                                             6  int64 that rise by the same each time
"""

import threading
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray

ANY, FLOAT, SINGLE, INT, BOOL, CONSTANT, EVEN = range(7)

_decode_any: Final = msgspec.msgpack.Decoder().decode
MAX_DECODED: Final = 1 << 30

Values = NDArray[Any] | list[Any]


class DamagedColumn(ValueError):
    """Bytes that are no column. A code that is not known counts as such: one that is new comes with a migration."""


class _Contexts(threading.local):
    """What zstd works with, one each for a thread: making one costs more (65 us) than a column does."""

    def __init__(self) -> None:
        self.press = zstandard.ZstdCompressor(level=1).compress
        self.unpress = zstandard.ZstdDecompressor().decompress


_contexts: Final = _Contexts()


def encode(values: Values) -> bytes:
    """The bytes of a column: float64, int64, bool, or a list of anything."""
    if isinstance(values, list):
        return bytes([ANY]) + press(msgspec.msgpack.encode(values))
    if values.dtype == np.bool_:
        return bytes([BOOL]) + press(np.packbits(values).tobytes())
    bits = values.view(np.int64)
    if len(values) > 1 and bits[0] == bits[-1] and (bits == bits[0]).all():
        kind = b"i" if values.dtype == np.int64 else b"f"
        return bytes([CONSTANT]) + kind + values[:1].tobytes()
    if values.dtype == np.int64:
        differences = _differences(values)
        if len(values) > 2 and differences[1] == differences[-1] and (differences[1:] == differences[1]).all():
            return bytes([EVEN]) + differences[:2].tobytes()
        return bytes([INT]) + press(_shuffled(differences, 8))
    with np.errstate(over="ignore", invalid="ignore"):
        single = values.astype(np.float32)
        exact = bool((single.astype(np.float64).view(np.int64) == bits).all())
    if exact:
        return bytes([SINGLE]) + press(_shuffled(single, 4))
    return bytes([FLOAT]) + press(_shuffled(values, 8))


def decode(data: bytes, size: int) -> Values:
    """What `encode` was given. size: how many values. Raises `DamagedColumn`."""
    try:
        values = _decoded(data, size)
    except (zstandard.ZstdError, msgspec.DecodeError, RecursionError, ValueError, IndexError) as error:
        raise DamagedColumn(f"{type(error).__name__}: {error}") from None
    if len(values) != size:
        raise DamagedColumn(f"{len(values)} values, {size} are expected")
    return values


def _decoded(data: bytes, size: int) -> Values:
    kind = data[0]
    if kind == CONSTANT:
        dtype: Any = np.int64 if data[1:2] == b"i" else np.float64
        return np.full(size, np.frombuffer(data[2:], dtype)[0])
    if kind == EVEN:
        first, difference = np.frombuffer(data[1:], np.int64)
        rising: NDArray[np.int64] = first + difference * np.arange(size)
        return rising
    body = unpress(memoryview(data)[1:])
    if kind == ANY:
        values: list[Any] = _decode_any(body)
        return values
    if kind == BOOL:
        return np.unpackbits(np.frombuffer(body, np.uint8), count=size).astype(np.bool_)
    if kind == INT:
        return np.cumsum(_unshuffled(body, 8, np.int64), dtype=np.int64)
    if kind == SINGLE:
        return _unshuffled(body, 4, np.float32).astype(np.float64)
    if kind == FLOAT:
        return _unshuffled(body, 8, np.float64)
    raise ValueError(f"there is no codec {kind}")


def decode_several(pieces: Sequence[bytes], sizes: Sequence[int]) -> NDArray[Any]:
    """Numbers that were encoded in pieces, one after the other. What is the same number throughout takes no memory."""
    if pieces[0][0] == CONSTANT and all(piece == pieces[0] for piece in pieces):
        return np.broadcast_to(decode(pieces[0], 1), (sum(sizes),))
    return np.concatenate([np.asarray(decode(piece, size)) for piece, size in zip(pieces, sizes, strict=True)])


def press(data: bytes) -> bytes:
    """The bytes under zstd."""
    return _contexts.press(data)


def unpress(data: bytes | memoryview) -> bytes:
    """The bytes that `press` was given. Raises `zstandard.ZstdError`, also when they are more than `MAX_DECODED`."""
    return _contexts.unpress(data, max_output_size=MAX_DECODED)


def _differences(values: NDArray[Any]) -> NDArray[Any]:
    found = values.copy()
    found[1:] -= values[:-1]
    return found


def _shuffled(values: NDArray[Any], width: int) -> bytes:
    return np.ascontiguousarray(np.ascontiguousarray(values).view(np.uint8).reshape(-1, width).T).tobytes()


def _unshuffled(data: bytes, width: int, dtype: Any) -> NDArray[Any]:
    planes = np.frombuffer(data, np.uint8).reshape(width, -1)
    found = np.empty((planes.shape[1], width), np.uint8)
    for place, plane in enumerate(planes):  # half the time of a transposed copy
        found[:, place] = plane
    values: NDArray[Any] = found.view(dtype)[:, 0]
    return values


def numbers_of(values: Values) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Values as float64, and which of them are numbers."""
    if not isinstance(values, list):
        return values.astype(np.float64), np.ones(len(values), np.bool_)
    number = np.array([isinstance(value, (int, float)) for value in values], np.bool_)
    return np.array(
        [_float(value) if n else np.nan for value, n in zip(values, number, strict=True)], np.float64
    ), number


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
