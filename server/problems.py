"""Problems: every error of the API in one JSON shape.

Source: RFC 9457, `application/problem+json`: type, title, status, detail; `extra` members say more, such as the limit that
was passed or the nearest valid name.
"""

import sqlite3
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from milepost.sdk.errors import RunNotFoundError
from milepost.server.store.chunks import DamagedChunk
from milepost.server.store.ingest import Damaged, Locked, NoSpace, refusal_of

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """An answer other than 2xx. title: the kind of mistake; detail: value, rule and next step."""

    def __init__(
        self, status: int, title: str, detail: str = "", *, headers: dict[str, str] | None = None, **extra: Any
    ) -> None:
        super().__init__(detail or title)
        self.status = status
        self.title = title
        self.detail = detail
        self.headers = headers
        self.extra = extra


def not_found(what: str, detail: str = "", **extra: Any) -> Problem:
    """404: what is not there."""
    return Problem(404, f"no such {what}", detail, **extra)


def bad_request(title: str, detail: str, **extra: Any) -> Problem:
    """400: what is wrong with the request."""
    return Problem(400, title, detail, **extra)


def answer(problem: Problem) -> Response:
    """The response that says it."""
    slug = problem.title.lower().replace(" ", "-")
    body = {
        "type": f"urn:milepost:problem:{slug}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        **problem.extra,
    }
    return Response(msgspec.json.encode(body), problem.status, problem.headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Let every error of the app leave in this shape."""

    async def said(_: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return answer(error)

    async def raised(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        title = HTTPStatus(error.status_code).phrase.lower()
        headers = dict(error.headers) if error.headers else None
        detail = error.detail if error.detail.lower() != title else ""
        if error.status_code == 405 and headers and "Allow" in headers:
            detail = f"this route takes {headers['Allow']}"
        return answer(Problem(error.status_code, title, detail, headers=headers))

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        mistakes = [
            {"at": ".".join(str(part) for part in each["loc"]), "rule": str(each["msg"])}
            for each in error.errors()[:20]
        ]
        text = "; ".join(f"{each['at']}: {each['rule']}" for each in mistakes[:5])
        return answer(Problem(422, "invalid request", text, errors=mistakes))

    async def full(_: Request, error: Exception) -> Response:
        return answer(Problem(507, "insufficient storage", str(error), headers={"Retry-After": "10"}))

    async def locked(_: Request, error: Exception) -> Response:
        return answer(Problem(503, "busy", str(error), headers={"Retry-After": "1"}))

    async def gone(_: Request, error: Exception) -> Response:
        return answer(not_found("run", str(error)))

    async def damaged(request: Request, error: Exception) -> Response:
        store: Any = request.app.state.store
        if isinstance(error, DamagedChunk):
            store.note_damage(error.group)
        text = f"{error}; what cannot be read is set aside, and told in the run's completeness: ask again in a moment"
        return answer(Problem(503, "damaged", text, headers={"Retry-After": "2"}))

    async def database(request: Request, error: Exception) -> Response:
        refusal = refusal_of(error)
        if isinstance(refusal, Locked):
            return await locked(request, refusal)
        if isinstance(refusal, NoSpace):
            return await full(request, refusal)
        raise error

    app.add_exception_handler(Problem, said)
    app.add_exception_handler(NoSpace, full)
    app.add_exception_handler(Locked, locked)
    app.add_exception_handler(RunNotFoundError, gone)  # it was deleted a moment ago, or cannot be read
    app.add_exception_handler(Damaged, damaged)
    app.add_exception_handler(DamagedChunk, damaged)
    app.add_exception_handler(sqlite3.OperationalError, database)
    app.add_exception_handler(HTTPException, raised)
    app.add_exception_handler(RequestValidationError, invalid)
