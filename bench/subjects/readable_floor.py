"""readable_floor: the floor, and what it takes to read its rows back after SIGKILL: number, time, length and checksum of each.

As the floor it checks nothing, has no thread and no finish. Where the rows end is found by their checksums, as in a journal.
"""

import mmap
import os
import tempfile
from pathlib import Path
from struct import Struct
from time import time_ns
from typing import Any
from zlib import crc32

import msgspec

from bench.subjects import Subject
from bench.subjects.floor import plain

_SIZE = 64 * 2**20
HEADER = Struct("<II")
"""Bytes that follow, and their checksum."""


def start(directory: Path) -> Subject:
    """A mapping of 64 MiB in shared memory, every page of it touched before; it starts over when it is full."""
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        os.posix_fallocate(file.fileno(), 0, _SIZE)
        mapping = mmap.mmap(file.fileno(), _SIZE, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
    return Subject(appender(mapping), lambda: None)


def appender(mapping: mmap.mmap) -> Any:
    """log(row): append a row to the mapping."""
    encode = msgspec.msgpack.Encoder(enc_hook=plain).encode
    header = HEADER.pack
    size = len(mapping)
    position = number = 0

    def log(row: dict[str, Any], step: int | None = None) -> None:
        nonlocal position, number
        data = encode((number, time_ns(), row))
        data = header(len(data), crc32(data)) + data
        end = position + len(data)
        if end > size:
            position, end = 0, len(data)
        mapping[position:end] = data
        position = end
        number += 1

    return log


def read(data: bytes) -> list[tuple[int, int, dict[str, Any]]]:
    """The rows of a mapping that was not started over: number, nanoseconds since 1970, values."""
    rows: list[tuple[int, int, dict[str, Any]]] = []
    at = 0
    while at + HEADER.size <= len(data):
        length, checksum = HEADER.unpack_from(data, at)
        payload = data[at + HEADER.size : at + HEADER.size + length]
        if not length or crc32(payload) != checksum:
            break
        number, time, row = msgspec.msgpack.decode(payload)
        rows.append((number, time, row))
        at += HEADER.size + length
    return rows
