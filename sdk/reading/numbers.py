"""The numbers at the front of many payloads at once: what each frame's seq and step are, without decoding the frames.

A payload is a msgpack array whose first four elements are whole numbers (seq, time, runtime, step; see `frame`). Source of the
codes: the msgpack specification, "int format family" and "array format family".
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from milepost.sdk import frame

NONE: Final = -1
"""What stands for nil, and for an element that is no whole number."""

_SIZES: Final = np.zeros(256, np.int64)
_SIZES[0xCC:0xD0] = _SIZES[0xD0:0xD4] = (1, 2, 4, 8)
_TYPES: Final = {1: (">u1", ">i1"), 2: (">u2", ">i2"), 4: (">u4", ">i4"), 8: (">u8", ">i8")}


def leading_int(buffer: bytes, at: NDArray[np.int64], element: int) -> NDArray[np.int64]:
    """Element number `element` (0 for seq, 3 for step) of each payload; shape (len(at),).

    at: bytes where the headers begin. Sums are not checked: what is damaged gives wrong numbers, never an error.
    """
    data = np.frombuffer(buffer, np.uint8)
    place = at + frame.HEADER_SIZE
    limit = len(data) - 1
    head = data[np.minimum(place, limit)]
    place = place + np.where(head >> 4 == 9, 1, np.where(head == 0xDC, 3, 5))
    for _ in range(element):
        place += 1 + _SIZES[data[np.minimum(place, limit)]]
    code = data[np.minimum(place, limit)]
    sizes = _SIZES[code]
    value = np.where(code < 0x80, code.astype(np.int64), NONE)
    for size in np.unique(sizes).tolist():
        if size:
            chosen: Any = slice(None) if (sizes == size).all() else sizes == size
            value[chosen] = _wide(data, place[chosen] + 1, size, signed=code[chosen] >= 0xD0)
    return value


def _wide(data: NDArray[np.uint8], place: NDArray[np.int64], size: int, signed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The big-endian numbers of `size` bytes at these places."""
    if len(data) < size:
        return np.full(len(place), NONE, np.int64)
    window = np.lib.stride_tricks.sliding_window_view(data, size)
    raw = window[np.minimum(place, len(window) - 1)]
    unsigned, twos_complement = _TYPES[size]
    value = raw.view(unsigned)[:, 0].astype(np.int64)
    return np.where(signed, raw.view(twos_complement)[:, 0].astype(np.int64), value) if signed.any() else value
