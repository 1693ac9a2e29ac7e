"""Blobs: contents by their SHA-256, sent in pieces, seen by nobody before the whole of it has the hash it was announced with.

    HEAD  /api/v1/blobs/sha256/{hash}?project=   200: it need not be sent; 404: Upload-Offset says how much of it is there
    PATCH /api/v1/blobs/sha256/{hash}?project=   the next piece: Upload-Offset, Upload-Length; 204, or 200 with the last
    PUT   /api/v1/runs/{run}/files/{path}        gives a content a name in a run: {"project", "sha256"}
    GET   /api/v1/blobs/sha256/{hash}            the content, inert, when a run that the key may read refers to it

HEAD, PUT and GET know only what the project sent or refers to: whether others have a content is nobody's business, and to know
a hash is not to have the content.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from milepost.sdk.errors import UsageError
from milepost.server.auth import Principal
from milepost.server.inert import inert
from milepost.server.ingest import MAX_NAME, check_project, is_name, read_body, store_of_ingest
from milepost.server.problems import Problem, bad_request, not_found
from milepost.server.store.contents import NotHeld, WrongContent, WrongOffset
from milepost.server.store.ingest import Deleted

Answer = TypeVar("Answer")

MAX_PIECE: Final = 16 << 20
MAX_BLOB: Final = 4 << 30
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_PATH: Final = re.compile(r"[^\x00-\x1f\x7f\\]{1,1000}")
_SLICE: Final = 1 << 20
"""What of a piece is in memory."""
_threads: Final = ThreadPoolExecutor(4, "milepost-server-contents")
"""Where contents are written: a large one, or a slow disk, holds up contents and nothing else."""


class NamedContent(msgspec.Struct):
    """What a content is called in a run."""

    project: str
    sha256: str


def routes() -> list[Route]:
    """The routes, for an app whose state has a `SqliteStore`."""
    return [
        Route("/api/v1/blobs/sha256/{hash}", ask, methods=["HEAD"]),
        Route("/api/v1/blobs/sha256/{hash}", content, methods=["GET"]),
        Route("/api/v1/blobs/sha256/{hash}", piece, methods=["PATCH"]),
        Route("/api/v1/runs/{run}/files/{path:path}", name_file, methods=["PUT"]),
    ]


def _hash(request: Request) -> str:
    found: str = request.path_params["hash"]
    if not _HASH.fullmatch(found):
        raise bad_request("invalid hash", f"a SHA-256 has 64 hexadecimal digits, got {found[:80]!r}")
    return found


def _project(request: Request) -> tuple[str, str]:
    """The project that a content is for, and who sends it."""
    principal: Principal | None = request.scope.get("principal")
    project = request.query_params.get("project") or (principal.project if principal else None) or ""
    check_project(project, principal)
    if not is_name(project):
        raise bad_request("invalid project", f"say which project the content is for: ?project=, got {project[:80]!r}")
    return project, principal.id if principal else "local"


async def _on_thread(work: Callable[..., Answer], *given: Any) -> Answer:
    return await asyncio.get_running_loop().run_in_executor(_threads, work, *given)


async def ask(request: Request) -> Response:
    """Whether a project has a content, or how much of it came."""
    store, sha256 = store_of_ingest(request), _hash(request)
    project, who = _project(request)

    def look() -> Response:
        if store.contents.is_held(sha256, project):
            return Response(status_code=200)
        return Response(status_code=404, headers={"Upload-Offset": str(store.contents.arrived(sha256, who))})

    return await _on_thread(look)


async def content(request: Request) -> Response:
    """A content."""
    store, sha256 = store_of_ingest(request), _hash(request)
    principal: Principal | None = request.scope.get("principal")

    def find() -> Response:
        if not store.contents.is_read_in(sha256, principal.project if principal else None):
            raise not_found("content", "no run that this key may read has it")
        return inert(store.contents.place(sha256), sha256[:16])

    return await _on_thread(find)


async def piece(request: Request) -> Response:
    """Take the next piece of a content, as it comes; the last one makes it visible, when the whole has the hash.

    What came before a connection broke is kept: HEAD says where to go on.
    """
    store, sha256 = store_of_ingest(request), _hash(request)
    project, who = _project(request)
    offset, length = (_number(request, name) for name in ("upload-offset", "upload-length"))
    if length > MAX_BLOB:
        text = f"a content of {length:,} bytes is larger than {MAX_BLOB:,}"
        raise Problem(413, "too large", text, limit=MAX_BLOB)
    told = request.headers.get("content-length", "")
    if told.isdigit() and offset + int(told) > length:
        text = f"a piece of {int(told):,} bytes from {offset:,} goes beyond the {length:,} of the content"
        raise Problem(409, "wrong offset", text)
    try:
        async for data in _slices(request):
            offset = await _on_thread(store.contents.add, sha256, who, project, offset, data, length)
    except WrongOffset as error:
        headers = {"Upload-Offset": str(error.have)}
        raise Problem(409, "wrong offset", str(error), headers=headers, offset=error.have) from None
    except WrongContent as error:
        raise Problem(422, "wrong content", str(error)) from None
    except OSError as error:
        text = f"the content cannot be stored: {error.strerror}"
        raise Problem(507, "insufficient storage", text, headers={"Retry-After": "10"}) from None
    return Response(status_code=200 if offset == length else 204, headers={"Upload-Offset": str(offset)})


async def _slices(request: Request) -> AsyncIterator[bytes]:
    """The body in slices of at least one: an empty one for an empty body. Raises `Problem` for one that is too large."""
    waiting = bytearray()
    size = 0
    given = False
    try:
        async for some in request.stream():
            size += len(some)
            if size > MAX_PIECE:
                text = f"a piece is larger than {MAX_PIECE:,} bytes; send less at a time"
                raise Problem(413, "too large", text, headers={"Connection": "close"}, limit=MAX_PIECE)
            waiting += some
            if len(waiting) >= _SLICE:
                yield bytes(waiting)
                given = True
                waiting.clear()
    except ClientDisconnect:
        if waiting:
            yield bytes(waiting)
        raise bad_request("incomplete body", "the connection was closed before the end of the body") from None
    if waiting or not given:
        yield bytes(waiting)


def _number(request: Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise bad_request("invalid upload", f"the header {name} is a number of bytes, got {text[:40]!r}")
    return int(text)


async def name_file(request: Request) -> Response:
    """Give a content a name in a run."""
    store = store_of_ingest(request)
    body = await read_body(request, 1 << 16)
    try:
        named = msgspec.json.decode(body, type=NamedContent)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(422, "invalid file", str(error)) from None
    check_project(named.project, request.scope.get("principal"))
    run, path = request.path_params["run"], request.path_params["path"]
    parts = path.split("/")
    if not _PATH.fullmatch(path) or {"", ".", ".."} & set(parts) or not _HASH.fullmatch(named.sha256):
        raise Problem(422, "invalid file", f"a file has a relative path and a SHA-256, got {path[:80]!r}")
    for what, text in (("project", named.project), ("run", run)):
        if not is_name(text):
            rule = f"1 to {MAX_NAME} characters without / and control characters"
            raise Problem(422, "invalid file", f"{what}: {rule}, got {text[:80]!r}")

    try:
        await _on_thread(store.name_file, named.project, run, path, named.sha256)
    except NotHeld as error:
        raise not_found("content", f"{error}; send it first: PATCH /api/v1/blobs/sha256/{{hash}}") from None
    except Deleted as error:
        raise Problem(410, "run deleted", str(error)) from None
    except UsageError as error:
        raise Problem(422, "too many files", str(error)) from None
    return Response(b"{}", media_type="application/json")
