"""Ogg files with a stream number that does not change: libsndfile takes a random one, and equal sounds were different files.

A page of an Ogg file holds the number of its stream and a checksum of itself (CRC-32 of 0x04C11DB7, which begins with zero). That
is linear: a change of the number changes the checksum by that of the change alone, however long the page is.
"""

from typing import BinaryIO, Final

_HEADER: Final = 27
_SERIAL, _CHECKSUM, _SEGMENTS = slice(14, 18), slice(22, 26), 26
_POLYNOMIAL: Final = 0x1_04C1_1DB7
NUMBER: Final = (1).to_bytes(4, "little")


def number_stream(file: BinaryIO) -> None:
    """Give the one stream in a file that was just written its number. Raises ValueError for what is no such file."""
    size = file.seek(0, 2)
    at = 0
    while at < size:
        file.seek(at)
        header = bytearray(file.read(_HEADER))
        segments = file.read(header[_SEGMENTS]) if len(header) == _HEADER else b""
        if not header.startswith(b"OggS"):
            raise ValueError(f"no page of an Ogg file at byte {at}")
        length = _HEADER + len(segments) + sum(segments)
        change = bytes(old ^ new for old, new in zip(header[_SERIAL], NUMBER, strict=True))
        found = int.from_bytes(header[_CHECKSUM], "little")
        header[_SERIAL] = NUMBER
        header[_CHECKSUM] = (found ^ _checksum(change, length - _SERIAL.stop)).to_bytes(4, "little")
        file.seek(at)
        file.write(header)
        at += length


def _checksum(data: bytes, zeros: int) -> int:
    """The checksum of 4 bytes with so many zeros behind them."""
    value = _times(int.from_bytes(data, "big"), 1 << 16)
    value = _times(value, 1 << 16)  # by x to the 32nd, as a checksum has it
    power, shift = 1 << 8, zeros
    while shift:
        if shift & 1:
            value = _times(value, power)
        power = _times(power, power)
        shift >>= 1
    return value


def _times(left: int, right: int) -> int:
    """The product of two polynomials over GF(2), less multiples of the checksum's."""
    product = 0
    while right:
        if right & 1:
            product ^= left
        right >>= 1
        left <<= 1
        if left >> 32:
            left ^= _POLYNOMIAL
    return product
