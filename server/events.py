"""Events: what changes, told to a page as it happens, as server-sent events. One stream per page is enough.

    event: run       {"project", "run", "state", "name"}        it is new, or what it says of itself changed
    event: rows      {"project", "run", "rows", "last_step"}    rows came: ask /history with `after`
    event: deleted   {"project", "run"}
    event: reset     {}                                          too much happened since the last event: read everything anew
    event: quiet     {}                                          nothing happened for 15 seconds

`id:` is the version; a client that comes back with Last-Event-ID (browsers do so by themselves), or with `after`, gets what it
missed. Of what changes several times within a quarter of a second the last is told. `quiet` keeps proxies from closing the
stream, and tells a client that misses it that its connection is dead.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from milepost.server.auth import Keys, Principal
from milepost.server.problems import Problem
from milepost.server.read_api import ERRORS, store_of
from milepost.server.store import Store

router = APIRouter(prefix="/api/v1", tags=["live"], responses={422: ERRORS[422]})

LOOK_S: Final = 0.25
QUIET_S: Final = 15.0
MAX_STREAMS: Final = 200


@router.get(
    "/events",
    response_model=None,
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {}}, "description": __doc__}},
)
async def events(
    request: Request,
    project: Annotated[str | None, Query(max_length=1000)] = None,
    after: Annotated[int | None, Query(ge=0, le=2**62)] = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """A stream of what changes; of one project when it is named."""
    state = request.app.state
    if state.streams >= MAX_STREAMS:
        text = f"{MAX_STREAMS} event streams are open; close a page, or use one stream for all"
        raise Problem(503, "too many streams", text, headers={"Retry-After": "10"})
    if after is None and last_event_id is not None and last_event_id.isascii() and last_event_id.isdigit():
        after = int(last_event_id[:18])
    store = store_of(request)
    version, _ = store.changes(2**62)

    async def stream() -> AsyncIterator[bytes]:
        state.streams += 1
        try:
            async for part in _changes(request, store, version if after is None else after, project):
                yield part
        finally:
            state.streams -= 1

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream(), headers=headers, media_type="text/event-stream")


async def _changes(request: Request, store: Store, version: int, project: str | None) -> AsyncIterator[bytes]:
    yield f": milepost\nretry: 2000\nid: {version}\n\n".encode()
    told = time.monotonic()
    while not request.app.state.stopping.is_set():
        now, changes = store.changes(version)
        parts: list[bytes] = []
        if changes is None:
            parts.append(f"event: reset\nid: {now}\ndata: {{}}\n\n".encode())
        latest = {(c.kind, c.project, c.run): c for c in changes or () if project in (None, c.project)}
        ordered = sorted(latest.values(), key=lambda change: change.version)
        parts += [b"event: %s\nid: %d\ndata: %s\n\n" % (c.kind.encode(), c.version, c.told) for c in ordered]
        version = now
        if parts:
            yield b"".join(parts)
            told = time.monotonic()
        elif time.monotonic() - told > QUIET_S:
            yield b"event: quiet\ndata: {}\n\n"
            told = time.monotonic()
        await asyncio.sleep(LOOK_S)
        if await request.is_disconnected() or not _is_allowed(request):
            return


def _is_allowed(request: Request) -> bool:
    """Whether whoever opened the stream still may: its key may have been revoked, or be over."""
    keys: Keys | None = request.app.state.keys
    principal: Principal | None = request.scope.get("principal")
    return keys is None or (principal is not None and keys.is_valid(principal))
