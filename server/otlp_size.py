"""How many messages an OTLP request has, before it is decoded: two bytes of a body can be a message of a hundred in memory.

Nearly every request is let through by one look at its bytes: a message in protobuf begins with a byte whose lowest bits are 2.
Where there are too many of these, the messages are counted one by one, until there are too many.
Source: Protocol Buffers, Encoding (tag, length, value); the JSON mapping has a brace or a bracket for each.
"""

from typing import Any, Final

import numpy as np

from milepost.server.problems import Problem

MAX_RESOURCES: Final = 10_000
MAX_MESSAGES: Final = 1_200_000
"""Of a request: a point with its metric and its step is five of them; a batch has 200,000 keys at the most."""
_MOST_NESTED: Final = 100
"""As in the decoder, which refuses more."""
_SLICE: Final = 1 << 20
MAX_FIELDS: Final = 8_000_000
"""Of messages; more are no request that anybody means, and seconds of looking through."""
_FIXED: Final = {1: 8, 3: 0, 4: 0, 5: 4}
"""Bytes of a field by its wire type, where those are always as many. 3 and 4 begin and end a group, whose fields follow."""
_JSON_TIMES: Final = 4
"""An object of JSON takes so many times as much."""


def check_size(data: bytes, descriptor: Any) -> None:
    """Refuse a request of too many messages. descriptor: of the message that it is; None for JSON. Raises `Problem`."""
    if descriptor is None:
        if sum(map(data.count, (b"{", b"["))) > MAX_MESSAGES // _JSON_TIMES:
            raise _too_many(MAX_MESSAGES // _JSON_TIMES)
    else:
        if _may_begin(data) > MAX_MESSAGES:
            _count(data, descriptor)
        _count_resources(data)


def _may_begin(data: bytes) -> int:
    """How many messages could begin in a request at the most."""
    every = np.frombuffer(data, np.uint8)
    return sum(int(np.count_nonzero(every[at : at + _SLICE] & 7 == 2)) for at in range(0, len(every), _SLICE))


def _count(data: bytes, descriptor: Any) -> None:
    """Count the messages of a request. What is no protobuf is left to the decoder, which says so."""
    below: dict[Any, dict[int, Any]] = {}
    around = [(0, len(data), descriptor)]  # what is left of the message at hand, and of those around it
    count = fields = 0
    try:
        while around and len(around) < _MOST_NESTED:
            at, end, kind = around.pop()
            inner = below.get(kind)
            if inner is None:
                inner = below[kind] = {f.number: f.message_type for f in kind.fields if f.message_type is not None}
            while at < end:
                tag, at = _varint(data, at)
                if tag & 7 == 2:
                    size, at = _varint(data, at)
                    if tag >> 3 in inner:
                        count += 1
                        if count > MAX_MESSAGES:
                            raise _too_many(MAX_MESSAGES)
                        around += (at + size, end, kind), (at, min(at + size, end), inner[tag >> 3])
                        break
                    at += size
                elif tag & 7 == 0:
                    _, at = _varint(data, at)
                else:
                    at += _FIXED[tag & 7]
                fields += 1
                if fields > MAX_FIELDS:
                    raise _too_many(MAX_MESSAGES)
    except (IndexError, KeyError):
        return


def _count_resources(data: bytes) -> None:
    """Count what a request holds at its top, which is little: each has points or records of its own."""
    at = count = 0
    try:
        while at < len(data):
            tag, at = _varint(data, at)
            if tag & 7 != 2:
                at = _varint(data, at)[1] if tag & 7 == 0 else at + _FIXED[tag & 7]
                continue
            size, at = _varint(data, at)
            at += size
            count += 1
            if count > MAX_RESOURCES:
                text = f"more than {MAX_RESOURCES:,} resources in one request; send fewer at a time"
                raise Problem(413, "too large", text, limit=MAX_RESOURCES)
    except (IndexError, KeyError):
        return


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if shift > 63:
            raise IndexError("no number of protobuf is so long")
        if byte < 0x80:
            return value, at
        shift += 7


def _too_many(limit: int) -> Problem:
    text = f"the request has more than {limit:,} messages (objects and arrays in JSON); send fewer points or records at a time"
    return Problem(413, "too large", text, limit=limit)
