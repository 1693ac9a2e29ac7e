"""Frames: the bytes of one event, the same in the ring, in the journal and on every machine.

A frame is a 16-byte little-endian header and one msgpack array:

    magic u16 = "MP" | kind u8 | version u8 | payload bytes u32 | crc u32 | schema u32 | payload

The CRC-32 covers the payload and, as its start value, the writer's id, the kind, the version and the schema. So a torn,
flipped, misplaced or foreign frame is never taken for a row, and after damage a reader finds the next frame by its magic:
one flipped bit costs at most one row.

    SCHEMA  [key, ...]                                                      the header's schema field is its id, >= 1
    ROW     [seq, time_ns, runtime_us, step, value, ...]                    keys are those of the schema
    TRACED  [seq, time_ns, runtime_us, step, trace_id, span_id, value, ...]
    PART    [next_seq, part_no, time_ns, runtime_us, step, {key: value}]    a call not committed yet
    EVENT   [seq, time_ns, runtime_us, step, kind, {key: value}]
    GAP     [seq, last_seq, time_ns, reason]                                rows seq..last_seq were dropped, for this reason

span_id has 9 bytes: the id and the trace flags of W3C; 8 in journals that were written before those were kept.
A ROW or TRACED frame of schema 0 holds one {key: value} map in place of its values. seq has no holes within a writer over
ROW, TRACED, EVENT and GAP. A PART is over once a ROW with seq >= its next_seq exists.
"""

import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgspec

MAGIC: Final = 0x504D
MAGIC_BYTES: Final = b"MP"
VERSION: Final = 1
SCHEMA, ROW, TRACED, PART, EVENT, GAP = 1, 2, 3, 4, 5, 6
KINDS: Final = frozenset((SCHEMA, ROW, TRACED, PART, EVENT, GAP))
INLINE: Final = 0
"""The schema id of rows that carry their own keys."""

HEADER: Final = struct.Struct("<HBBIII")
HEADER_SIZE: Final = HEADER.size
_SEED = struct.Struct("<BBI")
_pack_header = HEADER.pack

SEGMENT_MAGIC: Final = b"MILEPOST"
SEGMENT_HEADER: Final = struct.Struct("<8sHHI16sQI20x")
SEGMENT_HEADER_SIZE: Final = SEGMENT_HEADER.size

# zlib.crc32 lets the GIL go above 5 KiB, and a busy thread then holds log() up for a switch interval: slices stay below.
SLICE: Final = 4096

encode_payload = msgspec.msgpack.Encoder().encode
decode_payload = msgspec.msgpack.Decoder().decode


def writer_seed(writer: str) -> int:
    """The CRC start value of a writer: rows of two writers cannot be taken for each other."""
    return crc32(writer.encode())


def frame_seed(seed: int, kind: int, schema: int = INLINE) -> int:
    """The CRC start value of a frame of this kind and schema; compute it once per schema, not per row."""
    return crc32(_SEED.pack(kind, VERSION, schema), seed)


def checksum(payload: bytes | memoryview, seed: int) -> int:
    """CRC-32 of a payload from a start value, in slices that never release the GIL."""
    size = len(payload)
    if size <= SLICE:
        return crc32(payload, seed)
    view = memoryview(payload)
    for at in range(0, size, SLICE):
        seed = crc32(view[at : at + SLICE], seed)
    return seed


def frame(kind: int, payload: bytes, seed: int, schema: int = INLINE) -> bytes:
    """The bytes of one frame. seed: of the writer, the kind and the schema (`frame_seed`)."""
    size = len(payload)
    crc = crc32(payload, seed) if size <= SLICE else checksum(payload, seed)
    return _pack_header(MAGIC, kind, VERSION, size, crc, schema) + payload


class Frame(NamedTuple):
    """A frame found in a buffer: payload is buffer[start:end]; the next frame may begin at end."""

    kind: int
    schema: int
    start: int
    end: int


class Damage(NamedTuple):
    """A range of a buffer that holds no whole frame: buffer[start:end]."""

    start: int
    end: int


def scan(
    buffer: Any, seed: int, start: int = 0, stop: int | None = None, *, verify: bool = True
) -> Iterator[Frame | Damage]:
    """Every frame of buffer[start:stop] in order, and the ranges between them that hold none.

    buffer: bytes, mmap or memoryview. seed: of the writer. verify=False trusts headers that follow one another
    (for counting frames whose sums were checked before); it must not be used on what may be damaged.
    A frame of a newer version raises `NewerFormat`.
    """
    stop = len(buffer) if stop is None else stop
    view = memoryview(buffer)
    unpack = HEADER.unpack_from
    seeds: dict[tuple[int, int], int] = {}
    at = start
    bad_from = -1
    try:
        while at + HEADER_SIZE <= stop:
            magic, kind, version, length, crc, schema = unpack(view, at)
            begin = at + HEADER_SIZE
            end = begin + length
            if magic == MAGIC and end <= stop and kind in KINDS and version == VERSION:
                key = (kind, schema)
                start_value = seeds.get(key)
                if start_value is None:
                    start_value = seeds[key] = frame_seed(seed, kind, schema)
                if not verify or checksum(view[begin:end], start_value) == crc:
                    if bad_from >= 0:
                        yield Damage(bad_from, at)
                        bad_from = -1
                    yield Frame(kind, schema, begin, end)
                    at = end
                    continue
                if len(seeds) > 4096:
                    seeds.clear()
            elif magic == MAGIC and VERSION < version <= VERSION + 16 and end <= stop:
                newer = crc32(_SEED.pack(kind, version, schema), seed)
                if checksum(view[begin:end], newer) == crc:
                    raise NewerFormat(version)
            if bad_from < 0:
                bad_from = at
            at = _next_magic(view, at + 1, stop)
        if bad_from < 0 and at < stop:
            bad_from = at
        if bad_from >= 0:
            yield Damage(bad_from, stop)
    finally:
        view.release()


class NewerFormat(Exception):
    """Written by a newer milepost: version is the format it used."""

    def __init__(self, version: int) -> None:
        super().__init__(
            f"written in format {version} by a newer milepost; this one reads up to {VERSION}: upgrade with: "
            "pip install -U milepost"
        )
        self.version = version


def _next_magic(view: memoryview, start: int, stop: int) -> int:
    """Where the next magic stands in view[start:stop], or stop."""
    at = start
    while at < stop:
        chunk = bytes(view[at : min(at + 65536, stop)])
        found = chunk.find(MAGIC_BYTES)
        if found >= 0:
            return at + found
        at += max(len(chunk) - 1, 1)
        if stop - at <= 1:
            break
    return stop


def segment_header(writer: str, index: int) -> bytes:
    """The first 64 bytes of a segment file. What a reader needs stands in its name and frames too: this one is for people."""
    tail = struct.pack("<16sQ", writer.encode(), index)
    return SEGMENT_HEADER.pack(SEGMENT_MAGIC, VERSION, 0, crc32(tail, VERSION), writer.encode(), index, 0)


def check_segment_header(data: bytes) -> None:
    """Raise `NewerFormat` when a whole header says so; a damaged one is passed over, since frames stand for themselves."""
    if len(data) < SEGMENT_HEADER_SIZE:
        return
    magic, version, _flags, crc, writer, index, _ = SEGMENT_HEADER.unpack_from(data)
    whole = magic == SEGMENT_MAGIC and crc == crc32(struct.pack("<16sQ", writer, index), version)
    if whole and version > VERSION:
        raise NewerFormat(version)
