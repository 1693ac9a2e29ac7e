"""Where the frames of a buffer stand, found by hopping from header to header.

A million rows are indexed in a few hundredths of a second because rows of one kind have one size: while headers repeat at a
fixed distance they are compared as one strided array. Checksums are not looked at here (whoever decodes a frame checks its
own); where the chain of headers breaks, the rest is searched with `frame.scan`, which checks every sum.
"""

from dataclasses import dataclass
from typing import Any, Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from milepost.sdk import frame

_HEADER: Final = np.dtype(
    [("magic", "<u2"), ("kind", "u1"), ("version", "u1"), ("size", "<u4"), ("crc", "<u4"), ("schema", "<u4")]
)
_REPEATS: Final = 8
"""Equal headers in a row before they are compared in bulk."""


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of one buffer in the order they stand. All arrays have shape (frames,).

    at:     byte where the header begins.         end:    byte after the payload.
    kind:   as in `frame`.                        schema: of SCHEMA, ROW and TRACED frames; else 0.
    crc:    what the header says.                 bad:    ranges (start, end) of the buffer that hold no whole frame.
    """

    at: NDArray[np.int64]
    end: NDArray[np.int64]
    kind: NDArray[np.uint8]
    schema: NDArray[np.uint32]
    crc: NDArray[np.uint32]
    bad: tuple[tuple[int, int], ...] = ()

    def __len__(self) -> int:
        return len(self.at)

    def where(self, *kinds: int) -> NDArray[np.int64]:
        """The positions of the frames of these kinds."""
        mask = self.kind == kinds[0]
        for kind in kinds[1:]:
            mask |= self.kind == kind
        return np.flatnonzero(mask).astype(np.int64, copy=False)


def index(buffer: bytes, seed: int, start: int = 0, *, verify: bool = False, search: bool = True) -> Frames:
    """Every frame of buffer[start:].

    seed: of the writer. verify: check every sum, not only after the chain of headers broke.
    search: whether to look for frames behind such a break.
    Raises `frame.NewerFormat`.
    """
    stop = len(buffer)
    if verify:
        return _searched(buffer, seed, np.empty(0, np.int64), min(start, stop))
    offsets, reached = _hop(buffer, start, stop)
    if reached >= stop or not search:
        return _gather(buffer, offsets, ())
    # What led here must itself be sound: a flipped bit in a length sends the hop astray.
    if len(offsets) and not intact(buffer, int(offsets[-1]), seed):
        return _searched(buffer, seed, np.empty(0, np.int64), start)
    return _searched(buffer, seed, offsets, reached)


def intact(buffer: bytes, at: int, seed: int) -> bool:
    """Whether the frame whose header stands at `at` has the sum that its header says."""
    _, kind, _, size, crc, schema = frame.HEADER.unpack_from(buffer, at)
    begin = at + frame.HEADER_SIZE
    return bool(crc32(memoryview(buffer)[begin : begin + size], frame.frame_seed(seed, kind, schema)) == crc)


def _hop(buffer: bytes, start: int, stop: int) -> tuple[NDArray[np.int64], int]:
    """The offsets of the headers that follow one another from start, and where that ends."""
    pieces: list[NDArray[np.int64]] = []
    single: list[int] = []
    at, previous, repeats, window = start, -1, 0, 256
    from_bytes = int.from_bytes
    while at + frame.HEADER_SIZE <= stop:
        head = from_bytes(buffer[at : at + 8], "little")
        if head & 0xFFFF != frame.MAGIC or head >> 24 & 0xFF != frame.VERSION or head >> 16 & 0xFF not in frame.KINDS:
            break
        stride = frame.HEADER_SIZE + (head >> 32)
        if at + stride > stop:
            break
        if head != previous:
            previous, repeats = head, 0
        else:
            repeats += 1
            if repeats >= _REPEATS:
                count = min((stop - at) // stride, window)
                heads: NDArray[Any] = np.ndarray((count,), "<u8", buffer, at, (stride,))
                differ = heads != head
                first = int(differ.argmax())
                equal = first if differ[first] else count
                window = min(window * 4, 1 << 20) if equal == window else 256
                pieces += (np.array(single, np.int64), np.arange(at, at + equal * stride, stride, dtype=np.int64))
                single.clear()
                at += equal * stride
                continue
        single.append(at)
        at += stride
    pieces.append(np.array(single, np.int64))
    return np.concatenate(pieces), at


def _searched(buffer: bytes, seed: int, known: NDArray[np.int64], start: int) -> Frames:
    """The known frames and those that a search from start finds, every sum checked."""
    found: list[int] = []
    bad: list[tuple[int, int]] = []
    for piece in frame.scan(buffer, seed, start):
        if isinstance(piece, frame.Frame):
            found.append(piece.start - frame.HEADER_SIZE)
        else:
            bad.append((piece.start, piece.end))
    return _gather(buffer, np.concatenate((known, np.array(found, np.int64))), tuple(bad))


def _gather(buffer: bytes, at: NDArray[np.int64], bad: tuple[tuple[int, int], ...]) -> Frames:
    """The headers at these offsets as columns."""
    if not len(at):
        return Frames(at, at, np.empty(0, np.uint8), np.empty(0, np.uint32), np.empty(0, np.uint32), bad)
    window = np.lib.stride_tricks.sliding_window_view(np.frombuffer(buffer, np.uint8), frame.HEADER_SIZE)
    heads = window[at].view(_HEADER)[:, 0]
    end = at + frame.HEADER_SIZE + heads["size"]
    return Frames(at, end, heads["kind"].copy(), heads["schema"].copy(), heads["crc"].copy(), bad)
