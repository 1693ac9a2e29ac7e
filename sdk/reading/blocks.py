"""Blocks: frames of one source in the order of their numbers, and what a payload of each kind must look like."""

from dataclasses import dataclass, field
from typing import Any, Final, TypeGuard

import msgspec
import numpy as np
from numpy.typing import NDArray

from milepost.sdk import frame
from milepost.sdk.reading.files import Source

ROWS: Final = (frame.ROW, frame.TRACED)
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


def well_formed(payload: Any, kind: int) -> TypeGuard[list[Any]]:
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
