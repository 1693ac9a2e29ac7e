"""The wire between milepost and its server: batches of rows by the column, as msgpack under zstd; JSON is understood too.

A batch names one writer and an interval of its numbers, and brings everything in it: rows in groups that hold the same keys, and
events of other kinds. Numbers of the interval that no row or event has were left out on purpose (a filter).

    column = [value, ...] | {"f8": little-endian bytes} | {"i8": bytes} | {"b1": bytes}      numbers; of seq: also one whole
             number, the first of consecutive ones
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec

from milepost.sdk.batch import Rows, parts
from milepost.sdk.event import Event

MEDIA_TYPE: Final = "application/vnd.milepost.v1+msgpack"
JSON_TYPE: Final = "application/vnd.milepost.v1+json"

Column = list[Any] | dict[str, bytes] | int


class Group(msgspec.Struct, kw_only=True):
    """Rows that hold the same keys. time: nanoseconds since 1970; runtime: microseconds; values: a column for each key."""

    keys: list[str]
    seq: Column
    time: Column
    runtime: Column
    step: Column
    values: list[Column]


class WireEvent(msgspec.Struct, array_like=True):
    """An event that is no row; as in the journal."""

    seq: int
    time: int
    runtime: int
    step: int | None
    kind: str
    values: dict[str, Any]


class WireBatch(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What one request brings.

    first, last: the interval of numbers that is accounted for, both included.
    project:     may be left out with a key of one project.
    started:     when the writer was; created: when the run was first. Nanoseconds since 1970; 0 when unknown.
    """

    writer: str
    first: int
    last: int
    project: str = ""
    groups: list[Group] = []
    events: list[WireEvent] = []
    attempt: int = 1
    rank: int | None = None
    parent: str = ""
    started: int = 0
    created: int = 0
    host: str = ""


def batch_of(events: Sequence[Event], first: int, last: int, **facts: Any) -> WireBatch:
    """The events of one writer as a batch. facts: the other fields of `WireBatch`."""
    groups: list[Group] = []
    others: list[WireEvent] = []
    for part in parts(events):
        if isinstance(part, Rows):
            seq, time, runtime, step, *values = part.columns
            packed: list[Column] = [pack(column) for column in values]
            clocks = [_seq_of(seq), *(pack(column) for column in (time, runtime, step))]
            groups.append(_group(list(part.keys), clocks, packed))
            continue
        singles: dict[tuple[str, ...], list[Event]] = {}
        for event in part:
            if event.kind == "row":
                singles.setdefault(tuple(event.values), []).append(event)
            elif event.kind != "part":
                runtime_us = round(event.runtime_s * 1e6)
                others.append(
                    WireEvent(event.seq, event.time_unix_nano, runtime_us, event.step, event.kind, event.values)
                )
        for keys, rows in singles.items():
            clocks = [
                _seq_of([row.seq for row in rows]),
                pack([row.time_unix_nano for row in rows]),
                pack([round(row.runtime_s * 1e6) for row in rows]),
                pack([row.step for row in rows]),
            ]
            columns = zip(*(row.values.values() for row in rows), strict=True) if keys else ()
            groups.append(_group(list(keys), clocks, [pack(list(column)) for column in columns]))
    return WireBatch(first=first, last=last, groups=groups, events=others, **facts)


def _group(keys: list[str], clocks: list[Column], values: list[Column]) -> Group:
    seq, time, runtime, step = clocks
    return Group(keys=keys, seq=seq, time=time, runtime=runtime, step=step, values=values)


def _seq_of(values: Sequence[int]) -> Column:
    first = values[0]
    if values[-1] - first == len(values) - 1 and all(b - a == 1 for a, b in pairwise(values)):
        return int(first)
    return pack(values)


def pack(values: Sequence[Any]) -> Column:
    """A column: packed when all values are of one kind of number, else as they are."""
    kinds = set(map(type, values))
    if len(kinds) == 1:
        import array

        kind = kinds.pop()
        try:
            if kind is float:
                return {"f8": _little(array.array("d", values))}
            if kind is int:
                return {"i8": _little(array.array("q", values))}
            if kind is bool:
                return {"b1": bytes(values)}
        except OverflowError:
            pass  # a whole number of more than 64 bits
    return list(values)


def _little(packed: Any) -> bytes:
    import sys

    if sys.byteorder == "big":
        packed.byteswap()
    return bytes(packed.tobytes())


def encode(batch: WireBatch) -> bytes:
    """The bytes of a request, compressed."""
    import zstandard

    return bytes(zstandard.ZstdCompressor(level=3).compress(msgspec.msgpack.encode(batch)))
