"""floor: encode the row and append it to memory that outlives the process. No checks, no thread, no numbers, no finish.

The least that a logger in Python can do when SIGKILL shall lose nothing: no rival, but the unit in which the others are told.
"""

import mmap
import os
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from bench.subjects import Subject

_SIZE = 64 * 2**20


def start(directory: Path) -> Subject:
    """A mapping of 64 MiB in shared memory, every page of it touched before; it starts over when it is full."""
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        os.posix_fallocate(file.fileno(), 0, _SIZE)
        mapping = mmap.mmap(file.fileno(), _SIZE, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
    encode = msgspec.msgpack.Encoder(enc_hook=plain).encode
    position = 0

    def log(row: dict[str, Any], step: int | None = None) -> None:
        nonlocal position
        data = encode(row)
        end = position + len(data)
        if end > _SIZE:
            position, end = 0, len(data)
        mapping[position:end] = data
        position = end

    return Subject(log, lambda: None)


def plain(value: Any) -> Any:
    """A numpy scalar as the number it is."""
    return value.item()
