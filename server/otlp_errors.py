"""Errors of OTLP: a google.rpc.Status, in protobuf or JSON as the request was, in place of a problem.

An OpenTelemetry client shows the message to its user. The layer is around everything, so that a refused key is told in this
form too.

Source: OpenTelemetry Protocol specification, "Failures"; google/rpc/status.proto: code = 1 (int32), message = 2 (string).
"""

from typing import Any, Final

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from milepost.server.problems import MEDIA_TYPE

_CODES: Final = {
    400: 3, 401: 16, 403: 7, 404: 5, 409: 10, 413: 3, 415: 3, 422: 3, 429: 8, 500: 13, 503: 14, 507: 8,
}  # fmt: skip
"""Status codes of HTTP as google.rpc.Code; 2 (UNKNOWN) for others."""


class OtlpErrors:
    """Turns the problems of the addresses below /v1/ into statuses. One that came in another form stays a problem."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        kind = ""
        if scope["type"] == "http" and scope["path"].startswith("/v1/"):
            kind = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("application/x-protobuf", "application/json"):
            await self.app(scope, receive, send)
            return
        held: Message | None = None
        body = b""

        async def translated(message: Message) -> None:
            nonlocal held, body
            if message["type"] == "http.response.start":
                if Headers(raw=message["headers"]).get("content-type") == MEDIA_TYPE:
                    held = message
                    return
            elif held is not None:
                body += message.get("body", b"")
                if message.get("more_body"):
                    return
                start, held = held, None
                text = _status(msgspec.json.decode(body), kind)
                headers = MutableHeaders(raw=list(start["headers"]))
                headers["content-type"], headers["content-length"] = kind, str(len(text))
                await send({**start, "headers": headers.raw})
                message = {"type": "http.response.body", "body": text}
            await send(message)

        await self.app(scope, receive, translated)


def _status(problem: dict[str, Any], kind: str) -> bytes:
    """The status that says what a problem says."""
    code = _CODES.get(problem["status"], 2)
    text = f"{problem['title']}: {problem['detail']}" if problem["detail"] else str(problem["title"])
    if kind == "application/json":
        return msgspec.json.encode({"code": code, "message": text})
    data = text.encode()
    return b"\x08" + bytes([code]) + b"\x12" + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*found, number))
