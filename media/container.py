"""Container: whether a video file is whole, as far as its own bookkeeping tells, without decoding a picture.

Each check raises ValueError with what is wrong.
"""

import struct
from typing import Final

from milepost.media.pixels import MAX_PIXELS

MAX_PARTS: Final = 1_000_000


def check_gif(content: bytes) -> None:
    """Blocks up to the trailer, none of them larger than the screen they are drawn on."""
    if len(content) < 13:
        raise ValueError("it ends in its header")
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    if width * height > MAX_PIXELS:
        raise ValueError(f"a picture has {width} x {height} pixels; {MAX_PIXELS:,} are accepted")
    at = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    pictures = 0
    for _ in range(MAX_PARTS):
        if at >= len(content):
            break
        kind = content[at]
        if kind == 0x3B:
            if not pictures:
                raise ValueError("it holds no picture")
            return
        if kind == 0x21:
            at = _sub_blocks(content, at + 2)
        elif kind == 0x2C and at + 10 <= len(content):
            packed = content[at + 9]
            pictures += 1
            at = _sub_blocks(content, at + 10 + (3 << ((packed & 7) + 1) if packed & 0x80 else 0) + 1)
        else:
            raise ValueError(f"byte {at} begins no block")
    raise ValueError("it ends before its trailer")


def gif_parts(content: bytes) -> tuple[bytes, bytes, bytes]:
    """Of a gif of one picture: its descriptor (10 bytes), its palette, and its pixels."""
    flags = content[10]
    at = 13 + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)
    palette = content[13:at]
    while content[at] == 0x21:
        at = _sub_blocks(content, at + 2)
    descriptor = content[at : at + 10]
    begin = at + 10
    if descriptor[9] & 0x80:
        begin += 3 << ((descriptor[9] & 7) + 1)
        palette = content[at + 10 : begin]
    return descriptor, palette, content[begin : _sub_blocks(content, begin + 1)]


def _sub_blocks(content: bytes, at: int) -> int:
    while at < len(content):
        size = content[at]
        at += 1 + size
        if not size:
            return at
    return len(content)


def check_mp4(content: bytes) -> None:
    """Boxes that add up to the file, with an index (moov) and data (mdat) among them."""
    at = 0
    seen: set[bytes] = set()
    for _ in range(MAX_PARTS):
        if at + 8 > len(content):
            break
        size, kind = struct.unpack_from(">I4s", content, at)
        if size == 1 and at + 16 <= len(content):
            size = struct.unpack_from(">Q", content, at + 8)[0]
        elif size == 0:
            size = len(content) - at
        if size < 8 or at + size > len(content):
            raise ValueError(f"the box {kind.decode('latin-1')!r} at byte {at} reaches beyond the end")
        seen.add(kind)
        at += size
    if at != len(content):
        raise ValueError(f"{len(content) - at} bytes stand behind the last box")
    for kind in (b"moov", b"mdat"):
        if kind not in seen:
            raise ValueError(f"it has no box {kind.decode()!r}")


def check_webm(content: bytes) -> None:
    """An EBML header and a segment that ends where it says."""
    at = 0
    for name in (b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"):
        if content[at : at + 4] != name:
            raise ValueError(f"byte {at} does not begin its {'header' if at == 0 else 'segment'}")
        size, width = _ebml_size(content, at + 4)
        at += 4 + width
        if name == b"\x1a\x45\xdf\xa3":
            if b"webm" not in content[at : at + size] and b"matroska" not in content[at : at + size]:
                raise ValueError("its header does not say webm")
            at += size
        elif size >= 0 and at + size > len(content):
            raise ValueError(f"its segment has {size} bytes, and {len(content) - at} are there")


def _ebml_size(content: bytes, at: int) -> tuple[int, int]:
    """A size of EBML and the bytes it takes; -1 where it is left open."""
    first = content[at] if at < len(content) else 0
    width = 9 - first.bit_length()
    if width > 8 or at + width > len(content):
        raise ValueError("it ends in its header")
    value = int.from_bytes(content[at : at + width], "big") & ((1 << 7 * width) - 1)
    return (-1 if value == (1 << 7 * width) - 1 else value), width


def check_ogg(content: bytes) -> None:
    """Pages that add up to the file, the last one marked as such."""
    at, last = 0, 0
    for _ in range(MAX_PARTS):
        if at + 27 > len(content) or content[at : at + 4] != b"OggS":
            break
        last, segments = content[at + 5], content[at + 26]
        at += 27 + segments + sum(content[at + 27 : at + 27 + segments])
    if at != len(content) or not last & 4:
        raise ValueError("it ends before its last page")
