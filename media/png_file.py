"""PNG: whether a file is whole, down to its last row, without the memory that its pixels would take.

Source: the PNG specification (chunks, 5.3; filter types, 9.2; Adam7, 8.2). Each check raises ValueError with what is wrong.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final

_START: Final = 8
_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES: Final = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Adam7: first column, first row, and the steps between columns and rows."""
_PIECE: Final = 2**20
_FEED: Final = 2**16
"""Bytes that are unpacked at a time: what zlib leaves of them is copied for every piece."""


def check_png(content: bytes) -> None:
    """Chunks with their checksums up to the last one, and as many rows of pixels as the header says."""
    chunks = list(_chunks(content))
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise ValueError("it does not begin with its header")
    width, height, bits, color, _, _, interlace = struct.unpack(">IIBBBBB", chunks[0][1])
    if color not in _CHANNELS or not width or not height:
        raise ValueError("its header says what no picture is")
    depth = bits * _CHANNELS[color]
    parts = [(width, height)] if not interlace else [_part(width, height, *each) for each in _PASSES]
    rows = [((columns * depth + 7) // 8 + 1, count) for columns, count in parts if columns and count]
    _check_rows(memoryview(b"".join(data for kind, data in chunks if kind == b"IDAT")), rows)


def _part(width: int, height: int, left: int, top: int, columns: int, rows: int) -> tuple[int, int]:
    """The size of one pass of an interlaced picture."""
    return max(-(-(width - left) // columns), 0), max(-(-(height - top) // rows), 0)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = _START
    while True:
        if at + 12 > len(content):
            raise ValueError("it ends before its last chunk")
        size = int.from_bytes(content[at : at + 4], "big")
        kind, data = content[at + 4 : at + 8], content[at + 8 : at + 8 + size]
        found = content[at + 8 + size : at + 12 + size]
        if len(found) < 4 or int.from_bytes(found, "big") != zlib.crc32(data, zlib.crc32(kind)):
            raise ValueError(f"its chunk {kind.decode('latin-1')!r} at byte {at} is damaged or cut short")
        if kind == b"IEND":
            return
        yield kind, data
        at += 12 + size


def _check_rows(data: memoryview, rows: list[tuple[int, int]]) -> None:
    """Unpack piece by piece. rows: (bytes with the filter's, rows) of each pass."""
    unpacker = zlib.decompressobj()
    rest: bytes | memoryview = b""
    at = 0
    for size, count in rows:
        left = size * count
        whole = max(_PIECE // size, 1) * size
        while left:
            piece = bytearray()
            wanted = min(whole, left)
            while len(piece) < wanted:
                if not rest:
                    rest = data[at : at + _FEED]
                    at += len(rest)
                try:
                    more = unpacker.decompress(rest, wanted - len(piece))
                except zlib.error as error:
                    raise ValueError(f"its pixels cannot be unpacked: {error}") from None
                rest = unpacker.unconsumed_tail
                if not more and (unpacker.eof or (not rest and at >= len(data))):
                    raise ValueError(f"its pixels end {left - len(piece):,} bytes before the last row")
                piece += more
            if max(piece[::size]) > 4:
                raise ValueError("a row of its pixels has no filter that there is")
            left -= wanted
