"""Sources: what there is of one writer, opened once: its card, its segments, the copies of its keys, and its ring.

The ring is copied before the segments are listed: a row drained in between is then seen twice, never not at all.
"""

import contextlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import msgspec

from milepost.sdk import frame
from milepost.sdk.decode import Decoder
from milepost.sdk.reading.alive import alive
from milepost.sdk.reading.blocks import DECODE_ERRORS, Block, well_formed
from milepost.sdk.reading.files import (
    KEYS_FILE,
    RING_PAGE,
    Problem,
    Source,
    Unreadable,
    read_file,
    read_json,
    ring_files,
    segments,
)
from milepost.sdk.reading.index import Frames, index

_KEYS: Final = msgspec.msgpack.Decoder(tuple[str, ...])


class WriterSources:
    """The sources of one writer as they were when this was made, and the payloads that can be read from them."""

    def __init__(self, directory: Path, run: str = "") -> None:
        self.dir = directory
        self.id = directory.name
        self.run = run
        self.seed = frame.writer_seed(self.id)
        self.problems: list[Problem] = []
        self.info = self._read_info()
        self.alive = alive(self.id, self.info, directory)
        """Whether its process existed when this snapshot was begun."""
        self._rings = list(self._copy_rings())
        found, odd = segments(directory, frame.SEGMENT_HEADER_SIZE)
        self.problems += odd
        self.segments: list[Source] = [source for _, source in found]
        self.trimmed: bool = bool(found) and found[0][0] > 0
        """Whether the oldest segments are gone (`keep: undelivered`)."""
        self._decoder = Decoder(run, self.id)
        self._keys = self._decoder.schemas
        self._searched_all = False
        self._read_keys()

    @cached_property
    def _ring_frames(self) -> list[tuple[Source, Frames]]:
        """The frames at the front of each ring block, where the new ones stand; behind them are those of earlier uses."""
        found: list[tuple[Source, Frames]] = []
        for source in self._rings:
            data = source.data or b""
            found.append((source, index(data, self.seed, source.start, search=False)))
            self._learn(data, found[-1][1])
        return found

    def _read_info(self) -> dict[str, Any]:
        try:
            return read_json(self.dir / "writer.json")
        except Unreadable as error:
            self.problems.append(
                Problem(self.dir / "writer.json", 0, 0, f"{error}: rank and start are taken from the rows")
            )
            return {}

    def _copy_rings(self) -> Iterator[Source]:
        for path in ring_files(self.id, self.info, self.dir):
            try:
                data = read_file(path)
            except Unreadable:
                continue  # drained and removed, or of another machine: its rows are in the segments
            if len(data) > RING_PAGE:
                yield Source(path, RING_PAGE, len(data), data, ring=True)

    def _read_keys(self) -> None:
        path = self.dir / KEYS_FILE
        source = Source(path, 0, 1 << 40)
        try:
            buffer = source.read()
            head = frame.SEGMENT_HEADER_SIZE if buffer.startswith(frame.SEGMENT_MAGIC) else 0
            self._learn(buffer, index(buffer, self.seed, head, verify=True))
        except (Unreadable, frame.NewerFormat) as error:
            if str(error) != "is gone":
                self._set_aside(source, error)

    def _set_aside(self, source: Source, error: Exception) -> None:
        problem = Problem(source.path, 0, 0, f"{error}: set aside")
        if problem not in self.problems:
            self.problems.append(problem)

    def _learn(self, buffer: bytes, frames: Frames) -> None:
        """Take in the keys that the SCHEMA frames of a buffer name."""
        for i in frames.where(frame.SCHEMA).tolist():
            schema = int(frames.schema[i])
            if schema in self._keys:
                continue
            payload = buffer[int(frames.at[i]) + frame.HEADER_SIZE : int(frames.end[i])]
            if crc32(payload, frame.frame_seed(self.seed, frame.SCHEMA, schema)) == int(frames.crc[i]):
                try:
                    self._keys[schema] = _KEYS.decode(payload)
                except DECODE_ERRORS:
                    continue

    def keys(self, schema: int) -> tuple[str, ...] | None:
        """The keys of a schema, or None when every copy of them is lost."""
        found = self._keys.get(schema)
        if found is None and self._ring_frames:
            found = self._keys.get(schema)
        if found is None and not self._searched_all:
            self._searched_all = True
            for source in self.segments:
                loaded = self._load(source)
                if loaded is not None:
                    self._learn(*loaded)
            found = self._keys.get(schema)
        return found

    def schemas(self) -> dict[int, tuple[str, ...]]:
        """All schemas known so far: those of keys.mpj, the ring, and the segments that were read."""
        return self._keys

    def _load(self, source: Source, *, verify: bool = False) -> tuple[bytes, Frames] | None:
        """A source's bytes and frames, or None when it is set aside."""
        try:
            buffer = source.read()
            frames = index(buffer, self.seed, source.start, verify=verify)
        except (Unreadable, frame.NewerFormat) as error:
            if not (isinstance(error, Unreadable) and str(error) == "is gone"):
                self._set_aside(source, error)
            return None
        try:
            frame.check_segment_header(b"" if source.ring else buffer)
        except frame.NewerFormat as error:
            self._set_aside(source, error)
            return None
        self._learn(buffer, frames)
        return buffer, frames

    def sound(self, block: Block, i: int, *, quiet: bool = False) -> bytes | None:
        """The payload of a block's frame i when its sum is right, else None (and a problem is noted unless quiet)."""
        try:
            payload = block.data()[int(block.at[i]) + frame.HEADER_SIZE : int(block.end[i])]
        except Unreadable as error:
            self._set_aside(block.source, error)
            return None
        if crc32(payload, frame.frame_seed(self.seed, int(block.kind[i]), int(block.schema[i]))) == int(block.crc[i]):
            return payload
        if not quiet:
            self.lost(block, i, "a damaged frame")
        return None

    def payload(self, block: Block, i: int) -> list[Any] | None:
        """The decoded payload of a block's frame i, of the shape `frame` describes, or None (and a problem is noted)."""
        payload = self.sound(block, i)
        if payload is None:
            return None
        decoded: object = None
        with contextlib.suppress(*DECODE_ERRORS):
            decoded = frame.decode_payload(payload)
        if not well_formed(decoded, int(block.kind[i])):
            self.lost(block, i, "a frame that cannot be decoded")
            return None
        return decoded

    def lost(self, block: Block, i: int, text: str) -> None:
        """Report that frame i of a block cannot be read."""
        seq, at = int(block.seq[i]), int(block.at[i])
        problem = Problem(block.source.path, at, int(block.end[i]) - at, text, ((seq, seq),) if seq >= 0 else ())
        if problem not in self.problems:
            self.problems.append(problem)

    def _report(self, problem: Problem) -> None:
        if problem not in self.problems:
            self.problems.append(problem)
