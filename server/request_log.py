"""Requests in the log: one record for each, when its answer has ended, with a number that the answer carries too.

What stands in it says nothing of anybody's data: the route as a template, in place of names; who asked by the id of their
key, in place of the key; no query, no header, no body.
"""

import logging
import re
import secrets
import time
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from milepost.server import problems
from milepost.server.problems import Problem

logger = logging.getLogger("milepost.server.requests")

HEADER: Final = "X-Request-Id"
CLOSED: Final = 499
"""The status of a request whose client went away before its answer began; nginx has the number too."""

_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestLog:
    """The layer around all that does something. An error that nobody caught is logged, and answered as every other problem."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request and log it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        number = given if _ID.fullmatch(given) else secrets.token_hex(8)
        began, status, came, went = time.perf_counter(), 0, 0, 0

        async def receive_counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body") or b"")
            return message

        async def send_counted(message: Message) -> None:
            nonlocal status, went
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (HEADER.lower().encode(), number.encode())]
            else:
                went += len(message.get("body") or b"")
            await send(message)

        error: Exception | None = None
        try:
            await self.app(scope, receive_counted, send_counted)
        except Exception as raised:  # noqa: BLE001 - the last place where it can be told
            error = raised
            if status == 0:
                text = f"this is a mistake of the server; its log says more of the request {number}"
                await problems.answer(Problem(500, "internal error", text))(scope, receive, send_counted)
        finally:
            facts = {
                "request_id": number,
                "method": scope["method"],
                "route": _template(scope),
                "status": status or CLOSED,
                "ms": round((time.perf_counter() - began) * 1000, 2),
                "bytes_in": came,
                "bytes_out": went,
                "who": getattr(scope.get("principal"), "id", None),
                "client": scope["client"][0] if scope.get("client") else None,
            }
            _log(facts, error)


def _template(scope: Scope) -> str | None:
    """The route's address with {names}; None where none was found, or nobody looked for it as the key was wrong."""
    path: str | None = getattr(scope.get("route"), "path", None)
    if path is None and scope.get("endpoint") is not None:  # FastAPI keeps the route of its own routes only
        path = scope["app"].state.templates.get(scope["endpoint"])
    return path


def _log(facts: dict[str, Any], error: Exception | None) -> None:
    level = logging.ERROR if error is not None or facts["status"] >= 500 else logging.INFO
    if logger.isEnabledFor(level):
        text = "%(method)s %(route)s %(status)s %(ms)s ms"
        logger.log(level, text, facts, exc_info=error, extra={"facts": facts})
