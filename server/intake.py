"""Intake: how much of what clients send is in memory at once, and how much a body may become when it is decoded.

A body of some kB can decompress to a hundred MB, and each of these bytes can be a value of its own: an object of sixty bytes in
this process. So what waits is counted, columns that are not packed are measured before they are decoded, and large bodies are
decoded one at a time.
"""

import asyncio
import contextlib
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self

import msgspec
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from milepost.server import problems
from milepost.server.problems import Problem

MAX_TOGETHER: Final = 512 << 20
MAX_LOOSE: Final = 16 << 20
"""Bytes of a body that are not packed numbers."""
LARGE: Final = 4 << 20
MAX_ASKED: Final = 8 << 20
MAX_LOGIN: Final = 1 << 16
"""Of what anybody may send, without a key."""
MAX_DRAINED: Final = 64 << 20
DRAIN_S: Final = 20.0
_STREAMS: Final = re.compile(
    r"POST /v1/[^/]+|PATCH /api/v1/blobs/.+|PUT /api/v1/runs/[^/]+/files/.+"
    r"|POST /api/v1/runs/[^/]+/(batches|writers/[^/]+/heartbeat)"
)

one_at_a_time: Final = ThreadPoolExecutor(1, "milepost-server-large")
"""Where large bodies are decoded; small ones do not wait for them."""


class Room:
    """The bytes that a request holds, among those of all; given back when it is answered."""

    _all = 0
    _lock = threading.Lock()

    def __init__(self) -> None:
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with Room._lock:
            Room._all -= self._bytes

    def take(self, size: int) -> None:
        """Hold so many bytes more. Raises `Problem` 503 when too much is held."""
        with Room._lock:
            if Room._all + size > MAX_TOGETHER:
                text = f"requests of {Room._all >> 20} MiB are being taken in; send this one again in a moment"
                raise Problem(503, "busy", text, headers={"Retry-After": "1"})
            Room._all += size
            self._bytes += size


class Drain:
    """Reads what is left of a body that was refused before its end, within bounds, and throws it away: then comes the answer.

    A client that is still sending, or a proxy, takes an answer amid its body for a broken connection. One that asked first
    (Expect: 100-continue) is told at once, and sends nothing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        came = 0
        over = False

        async def counted() -> Message:
            nonlocal came, over
            message = await receive()
            came += len(message.get("body", b""))
            over = message["type"] != "http.request" or not message.get("more_body")
            return message

        async def drained(message: Message) -> None:
            asked = not came and Headers(scope=scope).get("expect", "").lower() == "100-continue"
            if message["type"] == "http.response.start" and message["status"] >= 400:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(DRAIN_S):
                        while not asked and not over and came <= MAX_DRAINED:
                            await counted()
                if not over:
                    headers = [each for each in message["headers"] if each[0].lower() != b"connection"]
                    message["headers"] = [*headers, (b"connection", b"close")]  # the rest is not read
            await send(message)

        await self.app(scope, counted, drained)


class BodyLimit:
    """Refuses bodies that are larger than a request of the described routes can be. Routes that stream limit themselves."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        whole = f"{scope.get('method')} {scope.get('path')}"
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD") or _STREAMS.fullmatch(whole):
            await self.app(scope, receive, send)
            return
        limit = MAX_LOGIN if scope["path"] == "/api/v1/login" else MAX_ASKED
        told = Headers(scope=scope).get("content-length", "")
        if told.isdigit() and int(told) > limit:
            await problems.answer(_too_much(limit))(scope, receive, send)
            return
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > limit:
                raise HTTPException(413, _too_much(limit).detail, {"Connection": "close"})
            return message

        await self.app(scope, counted, send)


def _too_much(limit: int) -> Problem:
    text = f"the body is larger than {limit:,} bytes; ask for less at a time"
    return Problem(413, "too large", text, headers={"Connection": "close"}, limit=limit)


class _RawGroup(msgspec.Struct):
    keys: msgspec.Raw = msgspec.Raw()
    seq: msgspec.Raw = msgspec.Raw()
    time: msgspec.Raw = msgspec.Raw()
    runtime: msgspec.Raw = msgspec.Raw()
    step: msgspec.Raw = msgspec.Raw()
    values: msgspec.Raw = msgspec.Raw()


class _Outline(msgspec.Struct):
    groups: msgspec.Raw = msgspec.Raw(b"\x90")
    events: msgspec.Raw = msgspec.Raw(b"\x90")


def check_packed(data: bytes, most_items: int) -> None:
    """Look at the outline of a large batch in msgpack: raise `Problem` 413 when too much of it would become objects."""
    if len(data) <= LARGE:
        return
    outline = msgspec.msgpack.decode(data, type=_Outline)
    loose = len(memoryview(outline.events))
    if _length(outline.groups) > most_items:
        raise _too_loose(len(data))
    for group in msgspec.msgpack.decode(outline.groups, type=list[_RawGroup]):
        for column in (group.keys, group.seq, group.time, group.runtime, group.step):
            loose += 0 if _is_packed(column) else len(memoryview(column))
        if _length(group.values) > most_items:
            raise _too_loose(len(data))
        if group.values:
            columns = msgspec.msgpack.decode(group.values, type=list[msgspec.Raw])
            loose += sum(len(memoryview(column)) for column in columns if not _is_packed(column))
    if loose > MAX_LOOSE:
        raise _too_loose(loose)


def _too_loose(size: int) -> Problem:
    text = f"{size:,} bytes of values that are not packed are more than {MAX_LOOSE:,}; pack columns of numbers, or send less"
    return Problem(413, "too large", text, limit=MAX_LOOSE)


def _is_packed(column: msgspec.Raw) -> bool:
    """Whether a column is a map, and so one of packed bytes."""
    return bytes(memoryview(column)[:1]) == b"\x81"


def _length(array: msgspec.Raw) -> int:
    """How many items an array in msgpack has; 0 for what is none."""
    head = bytes(memoryview(array)[:5])
    if head[:1] == b"\xdc":
        return int.from_bytes(head[1:3], "big")
    if head[:1] == b"\xdd":
        return int.from_bytes(head[1:5], "big")
    return head[0] & 0xF if head and head[0] & 0xF0 == 0x90 else 0
