"""Blobs: contents by their SHA-256, sent in pieces, seen by nobody before the whole of it has the hash it was announced with.

    HEAD  /api/v1/blobs/sha256/{hash}?project=   200: it is there; 404: Upload-Offset says how much of it is
    PATCH /api/v1/blobs/sha256/{hash}?project=   the next piece: Upload-Offset, Upload-Length; 204, or 200 with the last
    PUT   /api/v1/runs/{run}/files/{path}        gives a content a name in a run: {"project", "sha256", "size"}
    GET   /api/v1/blobs/sha256/{hash}            the content, inert, when a run that the key may read refers to it

HEAD and GET know only what a project of the key refers to: whether others have a content is nobody's business.
"""

import asyncio
import hashlib
import os
import re
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from milepost.server.auth import Principal
from milepost.server.inert import inert
from milepost.server.ingest import MAX_NAME, check_project, is_name, read_body, store_of_ingest
from milepost.server.problems import Problem, bad_request, not_found
from milepost.server.store.sqlite import SqliteStore

MAX_PIECE: Final = 16 << 20
MAX_BLOB: Final = 4 << 30
MAX_FILES: Final = 100_000
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_PATH: Final = re.compile(r"[^\x00-\x1f\x7f\\]{1,1000}")
_uploading: Final = threading.Lock()


class _Named(msgspec.Struct):
    """What a content is called in a run."""

    project: str
    sha256: str
    size: int


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


def _project(request: Request) -> tuple[str | None, Principal | None]:
    principal: Principal | None = request.scope.get("principal")
    project = request.query_params.get("project") or (principal.project if principal else None)
    if project is not None:
        check_project(project, principal)
    return project, principal


def _refers(store: SqliteStore, sha256: str, project: str | None) -> bool:
    query = "SELECT 1 FROM file JOIN run ON run.id = file.run WHERE file.sha256 = ? AND (? IS NULL OR run.project = ?) LIMIT 1"
    return store.reading().execute(query, (sha256, project, project)).fetchone() is not None


def _part_of(store: SqliteStore, sha256: str, principal: Principal | None) -> Path:
    """Where a content grows: each key has its own, so that nobody can spoil another's."""
    return store.data / "uploads" / f"{sha256}-{principal.id if principal else 'local'}"


async def ask(request: Request) -> Response:
    """Whether a content is there, or how much of it."""
    store, sha256 = store_of_ingest(request), _hash(request)
    project, principal = _project(request)

    def look() -> Response:
        if project is not None and _refers(store, sha256, project) and store.blob(sha256).is_file():
            return Response(status_code=200)
        try:
            size = _part_of(store, sha256, principal).stat().st_size
        except OSError:
            size = 0
        return Response(status_code=404, headers={"Upload-Offset": str(size)})

    return await asyncio.to_thread(look)


async def content(request: Request) -> Response:
    """A content."""
    store, sha256 = store_of_ingest(request), _hash(request)
    principal: Principal | None = request.scope.get("principal")

    def find() -> Response:
        path = store.blob(sha256)
        if not _refers(store, sha256, principal.project if principal else None) or not path.is_file():
            raise not_found("content", "no run that this key may read has it")
        return inert(path, sha256[:16])

    return await asyncio.to_thread(find)


async def piece(request: Request) -> Response:
    """Take the next piece of a content; the last one makes it visible, when the whole has the hash."""
    store, sha256 = store_of_ingest(request), _hash(request)
    _, principal = _project(request)
    offset, length = (_number(request, name) for name in ("upload-offset", "upload-length"))
    if length > MAX_BLOB:
        text = f"a content of {length:,} bytes is larger than {MAX_BLOB:,}"
        raise Problem(413, "too large", text, limit=MAX_BLOB)
    body = await read_body(request, MAX_PIECE)
    return await asyncio.to_thread(_add, store, sha256, _part_of(store, sha256, principal), offset, length, body)


def _number(request: Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise bad_request("invalid upload", f"the header {name} is a number of bytes, got {text[:40]!r}")
    return int(text)


def _add(store: SqliteStore, sha256: str, part: Path, offset: int, length: int, body: bytes) -> Response:
    part.parent.mkdir(exist_ok=True)
    try:
        with _uploading:
            descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                have = os.fstat(descriptor).st_size
                if offset != have or offset + len(body) > length:
                    text = f"the next byte is {have} of {length}, got {len(body)} from {offset}"
                    raise Problem(409, "wrong offset", text, headers={"Upload-Offset": str(have)})
                written = 0
                while written < len(body):
                    written += os.pwrite(descriptor, body[written:], offset + written)
                if have + len(body) < length:
                    return Response(status_code=204, headers={"Upload-Offset": str(have + len(body))})
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            return _complete(store, sha256, part, length)
    except OSError as error:
        text = f"the content cannot be stored: {error.strerror}"
        raise Problem(507, "insufficient storage", text, headers={"Retry-After": "10"}) from None


def _complete(store: SqliteStore, sha256: str, part: Path, length: int) -> Response:
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        part.unlink()
        raise Problem(422, "wrong content", f"the bytes have the SHA-256 {found}, not {sha256}")
    place = store.blob(sha256)
    place.parent.mkdir(parents=True, exist_ok=True)

    def told(connection: sqlite3.Connection) -> None:
        os.replace(part, place)  # on the writing thread, where contents that nobody needs are removed, too
        folder = os.open(place.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        connection.execute("INSERT OR IGNORE INTO blob VALUES (?, ?, ?)", (sha256, length, time.time()))

    store.ingest.call(told)
    return Response(status_code=200, headers={"Upload-Offset": str(length)})


async def name_file(request: Request) -> Response:
    """Give a content a name in a run."""
    store = store_of_ingest(request)
    body = await read_body(request, 1 << 16)
    try:
        named = msgspec.json.decode(body, type=_Named)
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

    def add(connection: sqlite3.Connection) -> None:
        size: Any = connection.execute("SELECT size FROM blob WHERE sha256 = ?", (named.sha256,)).fetchone()
        if size is None:
            raise not_found("content", "send it first: PATCH /api/v1/blobs/sha256/{hash}")
        store.add_file(connection, named.project, run, path, named.sha256, int(size[0]), MAX_FILES)

    await asyncio.to_thread(store.ingest.call, add)
    return Response(b"{}", media_type="application/json")
