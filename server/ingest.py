"""The routes that take runs in: batches of rows, and what a client asks before it goes on.

    POST /api/v1/runs/{run}/batches             a batch (milepost.sdk.wire), msgpack or JSON, under zstd, gzip or nothing
    GET  /api/v1/runs/{run}/writers/{writer}    what is stored of a writer: ?project=
    GET  /api/v1/limits                         how large things may be

200: stored, durable. 400, 409, 410, 413, 422: never will be; 410: the run was deleted; 409 names the number that came with other
values. 429, 503, 507: not now, Retry-After says when (`problems`).
"""

import asyncio
import gzip
import io
import re
import zlib
from typing import Any, Final

import msgspec
import zstandard
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from milepost.sdk.wire import WireBatch
from milepost.server.auth import Principal
from milepost.server.intake import LARGE, MAX_LOOSE, Room, check_packed, one_at_a_time
from milepost.server.nested import check_values
from milepost.server.problems import Problem, bad_request, not_found
from milepost.server.store.ingest import Busy, Conflict, Deleted, Job, Receipt
from milepost.server.store.parts import MAX_KEYS, MAX_ROWS, InvalidBatch, decode_body, parts_of, pressed
from milepost.server.store.sqlite import SqliteStore

MAX_BODY: Final = 32 << 20
MAX_DECODED: Final = 128 << 20
MAX_NAME: Final = 200
_MOST_GZIP: Final = 1032
"""How many times as long as it is what gzip makes of a body can be."""
_HARMLESS: Final = 32 << 20
_PIECE: Final = 1 << 20
_WRITER: Final = re.compile(r"[0-9a-f]{16}")
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f/\\]+")
_FORM: Final = re.compile(r"application/(vnd\.milepost\.v1\+|x-)?(json|msgpack)")
_json: Final = msgspec.json.Decoder(WireBatch)

LIMITS: Final = {
    "body_bytes": MAX_BODY,
    "decoded_bytes": MAX_DECODED,
    "loose_bytes": MAX_LOOSE,
    "rows": MAX_ROWS,
    "keys": MAX_KEYS,
}


def routes() -> list[Route]:
    """The routes, for an app whose state has a `SqliteStore`."""
    return [
        Route("/api/v1/runs/{run}/batches", batches, methods=["POST"]),
        Route("/api/v1/runs/{run}/writers/{writer}", writer_state, methods=["GET"]),
        Route("/api/v1/runs/{run}/writers/{writer}/heartbeat", heartbeat, methods=["POST"]),
        Route("/api/v1/limits", limits, methods=["GET"]),
    ]


async def batches(request: Request) -> Response:
    """Store a batch; answered when it is durable."""
    store = store_of_ingest(request)
    with Room() as room:
        body = await read_body(request, MAX_BODY, room)
        kind, encoding = (request.headers.get(f"content-{name}", "") for name in ("type", "encoding"))
        given = (body, kind, encoding, request.path_params["run"], request.scope.get("principal"))
        job = await asyncio.to_thread(_job, room, *given)
        if isinstance(job, bytes):
            job = await asyncio.get_running_loop().run_in_executor(one_at_a_time, _decoded, job, *given)
        try:
            receipt = await asyncio.wrap_future(store.ingest.submit(job))
        except Conflict as error:
            raise Problem(409, "conflict", str(error), seq=error.seq) from None
        except Deleted as error:
            raise Problem(410, "run deleted", str(error)) from None
        except InvalidBatch as error:
            raise Problem(422, "invalid batch", str(error)) from None
        except Busy as error:
            raise Problem(429, "busy", str(error), headers={"Retry-After": "1"}) from None
        return _answer(receipt)


async def writer_state(request: Request) -> Response:
    """What is stored of a writer."""
    principal: Principal | None = request.scope.get("principal")
    project = request.query_params.get("project", "") or (principal.project if principal else None) or ""
    check_project(project, principal)
    run, writer = request.path_params["run"], request.path_params["writer"]
    try:
        return _answer(await asyncio.to_thread(store_of_ingest(request).receipt, project, run, writer))
    except Deleted as error:
        raise Problem(410, "run deleted", str(error)) from None


class Beat(msgspec.Struct):
    """Whether a writer's program lives."""

    project: str = ""
    alive: bool = True


async def heartbeat(request: Request) -> Response:
    """Note that a writer's program lives, though it logs nothing; or that it is gone."""
    store, principal = store_of_ingest(request), request.scope.get("principal")
    try:
        told = msgspec.json.decode(await read_body(request, 1 << 12) or b"{}", type=Beat)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(422, "invalid heartbeat", str(error)) from None
    project = told.project or (principal.project if principal else None) or ""
    check_project(project, principal)
    run, writer = request.path_params["run"], request.path_params["writer"]
    if not await asyncio.to_thread(store.heard, project, run, writer, alive=told.alive):
        raise not_found("writer", "send its rows first: POST /api/v1/runs/{run}/batches")
    return Response(status_code=204)


async def limits(_: Request) -> Response:
    """How large things may be."""
    return Response(msgspec.json.encode(LIMITS), media_type="application/json")


def _answer(receipt: Receipt) -> Response:
    told = {"stored_through": receipt.stored_through, "duplicates": receipt.duplicates, "gaps": receipt.gaps}
    return Response(msgspec.json.encode(told), media_type="application/json")


def store_of_ingest(request: Request) -> SqliteStore:
    """The store that takes runs in. Raises `Problem` when there is none."""
    store: Any = request.app.state.store
    if not isinstance(store, SqliteStore):
        raise Problem(409, "read only", "this server reads a runs directory; start it with --data to send runs to it")
    return store


async def read_body(request: Request, limit: int, room: Room | None = None) -> bytes:
    """The body, refused as soon as it is too large. room: what it is counted in."""
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > limit:
        raise _too_large("body", limit)
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise _too_large("body", limit)
            if room is not None:
                room.take(len(part))
            parts.append(part)
    except ClientDisconnect:
        raise bad_request("incomplete body", "the connection was closed before the end of the body") from None
    return b"".join(parts)


def unpack(body: bytes, encoding: str, limit: int = MAX_DECODED) -> bytes:
    """The body without its compression. What would be larger than limit is refused before there is memory for it."""
    encoding = encoding.strip().lower().removeprefix("x-")  # RFC 9110, 8.4.1: without regard to case; x-gzip is gzip
    try:
        if encoding in ("", "identity"):
            return body
        if encoding == "zstd":
            if (told := zstandard.get_frame_parameters(body).content_size) != zstandard.CONTENTSIZE_UNKNOWN:
                _check_decompressed(told, limit)
            else:
                _check_decompressed(_length_of(_zstd(body), limit), limit)
            data: bytes = _zstd(body).read(limit + 1)
        elif encoding == "gzip":
            if len(body) * _MOST_GZIP > _HARMLESS:
                _check_decompressed(_length_of(gzip.GzipFile(fileobj=io.BytesIO(body)), limit), limit)
            stream = zlib.decompressobj(wbits=31)
            data = stream.decompress(body, limit + 1)
            if not stream.eof and len(data) <= limit:
                raise bad_request("invalid body", "this gzip stream has no end")
            if stream.unused_data:
                raise bad_request(
                    "invalid body", "something follows the end of this gzip stream; send one stream a body"
                )
        else:
            text = f"bodies are sent plain, under zstd or gzip, got {encoding!r}"
            raise Problem(415, "unsupported media type", text, headers={"Accept-Encoding": "zstd, gzip"})
    except (zstandard.ZstdError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise bad_request("invalid body", f"this is not {encoding}: {error}") from None
    _check_decompressed(len(data), limit)
    return data


def _zstd(body: bytes) -> Any:
    return zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(body, read_across_frames=False)


def _length_of(stream: Any, limit: int) -> int:
    """How long what a stream gives is, or that it is longer than the limit; nothing of it is kept."""
    length = 0
    while length <= limit and (piece := stream.read(_PIECE)):
        length += len(piece)
    return length


def _check_decompressed(length: int, limit: int) -> None:
    if length > limit:
        raise _too_large("decompressed body", limit)


def _too_large(what: str, limit: int) -> Problem:
    text = f"the {what} is larger than {limit:,} bytes; send less at a time"
    return Problem(413, "too large", text, headers={"Connection": "close"}, limit=limit)  # the rest is not read


def _job(room: Room, body: bytes, kind: str, encoding: str, run: str, principal: Principal | None) -> Job | bytes:
    """The batch of a body; of a large one what it is without its compression."""
    data = unpack(body, encoding)
    room.take(len(data) if encoding else 0)
    return data if len(data) > LARGE else _decoded(data, body, kind, encoding, run, principal)


def _decoded(data: bytes, body: bytes, kind: str, encoding: str, run: str, principal: Principal | None) -> Job:
    form = kind.partition(";")[0].strip().lower()
    as_json = form.endswith("json")
    if not _FORM.fullmatch(form):
        text = f"a batch is application/vnd.milepost.v1+msgpack or +json here, got {kind[:80]!r}"
        raise Problem(415, "unsupported media type", text)
    if as_json and len(data) > MAX_LOOSE:
        raise _too_large("JSON of a batch", MAX_LOOSE)
    try:
        if not as_json:
            check_packed(data, MAX_KEYS)
        batch = _json.decode(data) if as_json else decode_body(data)
        project = batch.project or (principal.project if principal else None) or ""
        _check(batch, run, project, principal)
        check_values(batch, from_json=as_json)
        parts = parts_of(batch, from_json=as_json)
        as_it_came = not as_json and encoding == "zstd" and not batch.events
        groups = [part.group() for part in parts]
        kept = (
            body
            if as_it_came
            else pressed(WireBatch(writer=batch.writer, first=batch.first, last=batch.last, groups=groups))
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError, InvalidBatch) as error:
        raise Problem(422, "invalid batch", str(error)) from None
    return Job(project, run, batch, parts, kept)


def _check(batch: WireBatch, run: str, project: str, principal: Principal | None) -> None:
    for what, text in (("project", project), ("run", run)):
        if not is_name(text):
            raise InvalidBatch(
                f"{what}: 1 to {MAX_NAME} characters without / and control characters, got {text[:80]!r}"
            )
    check_project(project, principal)
    if not _WRITER.fullmatch(batch.writer):
        raise InvalidBatch(f"writer: 16 hexadecimal digits, got {batch.writer[:80]!r}")
    _check_numbers(batch)
    if not 0 <= batch.first <= batch.last < 2**62:
        raise InvalidBatch(f"first and last are whole numbers, 0 <= first <= last, got {batch.first} and {batch.last}")
    for event in batch.events:
        if event.kind == "gap" and not all(isinstance(event.values.get(name), int) for name in ("first", "last")):
            raise InvalidBatch(f"events: gap {event.seq} says first and last")
        if not 0 <= event.seq < 2**62 or event.kind in ("row", "part"):
            raise InvalidBatch(
                f"events: rows stand in groups, and seq is a whole number, got {event.kind!r} {event.seq}"
            )


def _check_numbers(batch: WireBatch) -> None:
    told = [("attempt", batch.attempt), ("rank", batch.rank), ("started", batch.started), ("created", batch.created)]
    for event in batch.events:
        told += [("events: time", event.time), ("events: runtime", event.runtime), ("events: step", event.step)]
    for name, value in told:
        if value is not None and not -(2**63) <= value < 2**63:
            raise InvalidBatch(f"{name}: a whole number of 64 bits is expected, got {str(value)[:40]}")


def is_name(text: str) -> bool:
    """Whether a text can name a project or a run."""
    return bool(_NAME.fullmatch(text)) and len(text) <= MAX_NAME and text not in (".", "..")


def check_project(project: str, principal: Principal | None) -> None:
    """Raise `Problem` when the key is for another project."""
    if principal is not None and principal.project not in (None, project):
        raise Problem(403, "forbidden", f"this key is for another project than {project[:80]!r}")
