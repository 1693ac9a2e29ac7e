"""What `milepost.Api(URL)` reads: the same as over a directory, in msgpack, where every value keeps its type.

POST /api/v1/runs/{project}/{run}/read    rows: a stream of pages, each a msgpack array of rows behind its size in 4 bytes
                                          (big-endian); with `samples`, one page, and {"total"} before it
GET  /api/v1/runs/{project}/{run}/whole   everything a run says of itself
GET  /api/v1/runs/{project}/{run}/system  system metrics
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response, StreamingResponse

from milepost.sdk.errors import RunNotFoundError, UsageError
from milepost.server.problems import bad_request
from milepost.server.read_api import ERRORS, Stored, found_run
from milepost.server.store import RowQuery

router = APIRouter(prefix="/api/v1", tags=["read"], responses={404: ERRORS[404], 422: ERRORS[422]})

_encode = msgspec.msgpack.Encoder(enc_hook=str).encode
_TYPE = "application/msgpack"
_PACKED: Final[dict[str, Any]] = {
    "response_model": None,
    "response_class": Response,
    "responses": {200: {"content": {_TYPE: {}}, "description": __doc__}},
}


class ReadRequest(BaseModel):
    """Which rows. samples: at most so many, evenly spaced, the first and the last among them; null for all."""

    model_config = ConfigDict(extra="forbid")

    keys: list[str] | None = Field(None, max_length=100_000)
    along: list[str] = Field([], max_length=10)
    require: str = "all"
    low: int = Field(0, ge=0, le=2**63)
    high: int = Field(2**63 - 1, ge=0, le=2**63)
    writer: str | int | None = None
    superseded: bool = False
    samples: int | None = Field(None, ge=1, le=10_000_000)


@router.post("/runs/{project}/{run}/read", **_PACKED)
def read(store: Stored, project: str, run: str, asked: ReadRequest) -> Response:
    """Rows, exact, as a stream; or a sample of them."""
    record = found_run(store, project, run)
    query = RowQuery(
        asked.keys, asked.require, asked.low, asked.high, asked.writer, asked.superseded, tuple(asked.along)
    )
    try:
        if asked.samples is not None:
            rows, total = store.sample(project, run, query, asked.samples)
            return Response(_page({"total": total}) + _page(rows), media_type=_TYPE)
        pages = store.rows(project, run, query)
    except UsageError as error:
        raise bad_request("invalid query", str(error)) from None

    def stream() -> Iterator[bytes]:
        yield from map(_page, pages)
        yield _page(None)  # the end, in so many words: a connection that breaks is not taken for it

    return StreamingResponse(stream(), media_type=_TYPE, headers={"Milepost-Run": record.id})


def _page(value: Any) -> bytes:
    data = _encode(value)
    return len(data).to_bytes(4, "big") + data


@router.get("/runs/{project}/{run}/whole", **_PACKED)
def whole(store: Stored, project: str, run: str) -> Response:
    """Everything a run says of itself."""
    record = found_run(store, project, run)
    told = {**record.as_json(), "config": record.config, **store.details(project, run)}
    told["summary"] = store.summary(project, run)
    told["keys"] = [key.key for key in store.keys(project, run)]
    return Response(_encode(told), media_type=_TYPE)


@router.get("/runs/{project}/{run}/system", **_PACKED)
def system(store: Stored, project: str, run: str) -> Response:
    """System metrics: OpenTelemetry names to numbers, with `_timestamp` and `_runtime` in seconds."""
    try:
        rows = [
            {"_timestamp": event["time"], "_runtime": event["runtime"], **event["values"]}
            for event in store.events(project, run, "system")
        ]
    except RunNotFoundError:
        found_run(store, project, run)
        raise
    return Response(_encode(rows), media_type=_TYPE)
