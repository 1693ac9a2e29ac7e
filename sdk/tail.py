"""Tail: a writer's journal read forward from a cursor, while it grows."""

import os
from collections.abc import Iterator
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from struct import Struct
from typing import Final
from zlib import crc32

from milepost.sdk import frame
from milepost.sdk.batch import Batch, Builder
from milepost.sdk.decode import Decoder
from milepost.sdk.event import Event
from milepost.sdk.frame import HEADER, HEADER_SIZE, MAGIC, ROW, SCHEMA, VERSION, Damage
from milepost.sdk.journal import segment_name

CHUNK: Final = 64 * 1024
"""Bytes read at once when nothing else is asked for."""


Decoded = tuple[Batch, int, int]
"""Events, bytes they took, bytes that were damaged."""
Piece = tuple[int, int, int, int]
"""Segment, offset, bytes read, and the limit before which its frames begin."""
_SLICE: Final = 4096
_OVERLAP: Final = 4096
"""Bytes read beyond a piece's limit, for its last frame."""
_KEPT: Final = 4
_FIRST_RUN: Final = 8
"""Frames of one size that are looked for at first; twice as many each time they were found."""
_PAUSE: Final = 16
"""Frames taken one by one where there was no such run."""


class Shared:
    """The pieces decoded last, so that exporters of one writer that keep pace decode each row once between them."""

    def __init__(self) -> None:
        self.schemas: dict[int, tuple[str, ...]] = {}
        self._pieces: dict[Piece, Decoded] = {}

    def get(self, piece: Piece) -> Decoded | None:
        """A piece decoded before."""
        return self._pieces.get(piece)

    def put(self, piece: Piece, decoded: Decoded) -> None:
        """Keep a piece; the oldest one goes. Threads may do so at once: then one piece more or less is kept."""
        self._pieces[piece] = decoded
        while len(self._pieces) > _KEPT:
            self._pieces.pop(next(iter(self._pieces.copy()), piece), None)


class Tail:
    """Reads events in order, each once. `index` and `offset` say how far; set them to go on from a stored cursor.

    directory: RUN_DIR/journal/WRITER. Parts and schemas are passed over. Events that the journal holds twice (copied on
    after a failed sync) come once.
    """

    def __init__(
        self,
        directory: Path,
        run: str,
        writer: str,
        index: int = 0,
        offset: int = 0,
        seq: int = -1,
        shared: "Shared | None" = None,
    ) -> None:
        self.directory = directory
        self._shared = shared if shared is not None else Shared()
        self._seeds: dict[int, int] = {}
        self.index = index
        self.offset = offset
        self.seq = seq
        """The number of the last event given out."""
        self.damaged_bytes = 0
        self._seed = frame.writer_seed(writer)
        self._decoder = Decoder(run, writer)
        self._decoder.schemas = self._shared.schemas
        self._fd = -1
        self._opened = -1
        self._complete = -1
        """The segment that was seen to have a successor: nothing is added to it any more."""
        if index or offset:
            self._learn_schemas()

    def read(self, size: int = CHUNK) -> Batch:
        """The next events, about `size` bytes of them; empty when nothing is new yet."""
        while True:
            self.offset = max(self.offset, frame.SEGMENT_HEADER_SIZE)
            # A piece holds the frames that begin before the next multiple of size, so that tails that began at different places
            # soon read the same pieces.
            limit = size - self.offset % size
            data = self._next_bytes(limit + _OVERLAP)
            if not data:
                if not self._next_segment():
                    return Batch(())
                continue
            events, taken = self._parse(data, limit)
            if taken == 0 and len(data) >= HEADER_SIZE:  # a frame that is longer, or the end of what is there
                data = self._next_bytes(self._frame_size(data))
                events, taken = self._parse(data, 1)
                if taken == 0:  # or damage, and then a longer one
                    data = self._next_bytes(os.fstat(self._fd).st_size - self.offset)
                    events, taken = self._parse(data, len(data))
            if taken == 0:
                if not self._next_segment():
                    return Batch(())
                continue
            self.offset += taken
            if events:
                return events

    def pending_bytes(self) -> int:
        """Bytes of the journal that were not read yet."""
        left = -self.offset
        index = self.index
        while True:
            try:
                left += os.stat(self.directory / segment_name(index)).st_size
            except OSError:
                return max(left, 0)
            index += 1

    def close(self) -> None:
        """Close the open segment."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._opened = -1

    def _next_bytes(self, size: int) -> bytes:
        if self._opened != self.index:
            self.close()
            try:
                self._fd = os.open(self.directory / segment_name(self.index), os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            except OSError:
                return b""
            self._opened = self.index
        return os.pread(self._fd, size, self.offset)

    def _next_segment(self) -> bool:
        """Go on to the next segment when there is one; whether there is something to read now."""
        if not (self.directory / segment_name(self.index + 1)).exists():
            return False
        if self._complete != self.index:  # it may have grown between the last read and this look: it is read once more
            self._complete = self.index
            return True
        self.damaged_bytes += len(self._next_bytes(CHUNK))
        self.index += 1
        self.offset = 0
        return True

    def _parse(self, data: bytes, limit: int) -> tuple[Batch, int]:
        """The events of the whole frames that begin before data[limit], and how many bytes they take.

        A damaged range at the end may still grow.
        """
        piece = (self.index, self.offset, len(data), limit)
        found = self._shared.get(piece)
        if found is None:
            found = self._decode(data, limit)
            self._shared.put(piece, found)
        events, taken, damaged = found
        self.damaged_bytes += damaged
        if events and events.first_seq <= self.seq:
            later = [event for event in events if event.seq > self.seq]
            events = Batch([later] if later else ())
        if events:
            self.seq = events.last_seq
        return events, taken

    def _decode(self, data: bytes, limit: int) -> "Decoded":
        """Frames to events. Rows of a known schema, nearly all there is, are taken in runs, or one by one in a tight loop."""
        made = Builder(self._decoder.run, self._decoder.writer)
        taken = at = damaged = 0
        size, pause = len(data), 0
        unpack, keys_of, seeds = HEADER.unpack_from, self._decoder.schemas, self._seeds
        while at < limit and at + HEADER_SIZE <= size:
            magic, kind, version, length, crc, schema = unpack(data, at)
            end = at + HEADER_SIZE + length
            keys = keys_of.get(schema)
            if (
                kind == ROW
                and magic == MAGIC
                and version == VERSION
                and end <= size
                and keys is not None
                and length <= CHUNK
            ):
                seed = seeds.get(schema)
                if seed is None:
                    seed = seeds[schema] = frame.frame_seed(self._seed, ROW, schema)
                if length <= _SLICE and pause <= 0:
                    payloads = _run(data, at, length, min(limit, size), seed)
                    if payloads:
                        made.rows(keys).extend(payloads)
                        taken = at = at + len(payloads) * (HEADER_SIZE + length)
                        continue
                    pause = _PAUSE
                pause -= 1
                payload = data[at + HEADER_SIZE : end]
                if (crc32(payload, seed) if length <= _SLICE else frame.checksum(payload, seed)) == crc:
                    made.rows(keys).append(payload)
                    taken = at = end
                    continue
            found = next(frame.scan(data, self._seed, at))
            at = found.end
            if isinstance(found, Damage):
                if found.end == size:
                    break
                damaged += found.end - found.start
                continue
            taken = at
            event = self._decoder.event(found, data)
            if event is not None and event.kind != "part":
                made.add(event)
        return made.batch(), taken, damaged

    def _frame_size(self, data: bytes) -> int:
        length: int = frame.HEADER.unpack_from(data)[3]
        return max(CHUNK, min(HEADER_SIZE + length, 2**31))

    def _learn_schemas(self) -> None:
        """Read the schemas announced before the cursor."""
        for path in [self.directory / "keys.mpj", self.directory / segment_name(self.index)]:
            try:
                data = path.read_bytes()
            except OSError:
                continue
            start = 0 if path.name == "keys.mpj" else frame.SEGMENT_HEADER_SIZE
            for found in frame.scan(data, self._seed, start):
                if not isinstance(found, Damage) and found.kind == SCHEMA:
                    self._decoder.event(found, data)


def _run(data: bytes, at: int, length: int, limit: int, seed: int) -> list[bytes]:
    """The payloads of the sound frames from data[at] on that begin before data[limit] and are all like the first: same size,
    kind and schema. None of them when there are few, for then it is not worth the while."""
    size = HEADER_SIZE + length
    layout = _layout(length)
    kind, schema = data[at : at + 8], data[at + 12 : at + HEADER_SIZE]
    payloads: list[bytes] = []
    wanted = _FIRST_RUN
    while True:
        count = min(wanted, (min(limit + size - 1, len(data)) - at) // size)
        if count < _FIRST_RUN:
            return payloads
        kinds, sums, schemas, found = zip(*layout.iter_unpack(data[at : at + count * size]), strict=True)
        alike = kinds.count(kind) == schemas.count(schema) == count
        if not alike or tuple(map(crc32, found, repeat(seed))) != sums:
            return payloads
        payloads += found
        at += count * size
        wanted *= 2


@lru_cache(maxsize=256)
def _layout(length: int) -> Struct:
    """A frame with a payload of so many bytes: its first 8 bytes (`magic` to `payload bytes`), sum, schema, payload."""
    return Struct(f"<8sI4s{length}s")


def every(tail: Tail) -> Iterator[Event]:
    """All events up to the end of what is there now."""
    while events := tail.read():
        yield from events
