"""Batches of milepost's own wire, encoded beforehand as an exporter encodes them.

A writer sends its batches to a run, and then the same ones to another run: to the server each is new, and nothing is encoded
while it is measured.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray

from bench.server import curves
from bench.server.curves import BEGIN, KEYS, NAMES, PROJECT, ROWS, STEP_NS
from bench.server.process import KEY
from bench.server.sending import request
from milepost.sdk.wire import MEDIA_TYPE, Group, WireBatch

WRITERS = 8
BATCHES = 60
"""Of a run: 6,000 rows of 100 numbers."""


def bodies(kind: str, number: int, batches: int = BATCHES) -> list[bytes]:
    """The bodies of the batches of a writer, as an exporter sends them."""
    values = curves.curves(kind, batches * ROWS, KEYS, number)
    press = zstandard.ZstdCompressor(level=3).compress
    found: list[bytes] = []
    for first in range(0, batches * ROWS, ROWS):
        seq = np.arange(first, first + ROWS)
        group = Group(
            keys=NAMES,
            seq=first,
            time=packed(BEGIN + seq * STEP_NS),
            runtime=packed(seq * (STEP_NS // 1000)),
            step=packed(seq),
            values=[{"f8": values[key, first : first + ROWS].tobytes()} for key in range(KEYS)],
        )
        facts: dict[str, Any] = {"writer": f"{number:016x}", "project": PROJECT, "started": BEGIN}
        batch = WireBatch(first=first, last=first + ROWS - 1, groups=[group], **facts)
        found.append(press(msgspec.msgpack.encode(batch)))
    return found


def packed(values: NDArray[np.int64]) -> list[Any] | dict[str, bytes] | int:
    """A column of whole numbers as the wire has it."""
    return {"i8": values.astype("<i8").tobytes()}


def to_run(host: str, run: str, body: bytes) -> bytes:
    """The request that brings a batch to a run."""
    headers = {"Authorization": f"Bearer {KEY}", "Content_Type": MEDIA_TYPE, "Content_Encoding": "zstd"}
    return request(host, f"/api/v1/runs/{run}/batches", body, **headers)


def requests(host: str, number: int, batches: Sequence[bytes]) -> Iterator[bytes]:
    """Requests without end: of run after run of a writer."""
    for run in count():
        yield from (to_run(host, f"w{number}-{run}", body) for body in batches)
