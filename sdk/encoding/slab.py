"""Slab: one file of shared memory with places for many payloads of about one size, mapped as a whole.

A payload is copied into a place without a system call, and a place that was released is used again. One descriptor serves for
all of a slab. What lies in it is found by its heads (payload_file.py).
"""

import contextlib
import mmap
import os
from pathlib import Path
from zlib import crc32

import msgspec

from milepost.sdk.encoding import ahead
from milepost.sdk.encoding.payload_file import HEAD, MAGIC, SLAB, Note, begin, encode, start


class Slab:
    """The places of one file. Used under the stash's lock.

    path: of the file, which is made. note: of any payload, to say whose the file is. capacity: of a place, in bytes.
    Raises OSError where there is no room, or no descriptor to spare.
    """

    __slots__ = ("_first", "buffer", "capacity", "count", "free", "path", "size")

    def __init__(self, path: Path, note: Note, capacity: int, count: int, *, max_descriptor: int) -> None:
        self.path = path
        self.capacity = capacity
        self.count = count
        note = msgspec.structs.replace(
            note, key="", options={}, children=[], encoder="", number=count, size=capacity, begin=0
        )
        head = encode(note)
        self._first = begin(len(head))
        self.size = self._first + capacity * count
        descriptor = ahead.nameless(path.parent)
        try:
            if descriptor > max_descriptor:
                raise OSError("the program may need the descriptors that are left")
            self.buffer: mmap.mmap = ahead.mapped(descriptor, self.size)
            self.buffer[: self._first] = start(head, SLAB)
            ahead.give_name(descriptor, path)
        finally:
            os.close(descriptor)
        self.free = [self._first + number * capacity for number in reversed(range(count))]

    def put(self, head: bytes, view: memoryview) -> int:
        """Copy a payload into a free place; where that is. head: its note, encoded."""
        buffer = self.buffer
        at = self.free.pop()
        first = at + begin(len(head))
        buffer[first : first + len(view)] = view
        buffer[at + HEAD : at + HEAD + len(head)] = head
        buffer[at + 8 : at + HEAD] = len(head).to_bytes(4, "little") + crc32(head).to_bytes(4, "little")
        buffer[at : at + 8] = MAGIC
        return at

    def release(self, at: int) -> None:
        """A place holds nothing any more."""
        self.buffer[at : at + 8] = bytes(8)
        self.free.append(at)

    @property
    def is_free(self) -> bool:
        """Whether nothing lies in it."""
        return len(self.free) == self.count

    def close(self) -> None:
        """Let go of it: the file goes when nothing lies in it, else it stays for whoever finishes the work."""
        if self.is_free:
            self.path.unlink(missing_ok=True)
        with contextlib.suppress(BufferError):  # somebody reads it: the mapping goes with the last reader
            self.buffer.close()
