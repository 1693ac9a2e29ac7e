"""Malformed: what is no HTTP request at all is answered in the form of every other mistake, before there is an app to ask."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from milepost.server import problems
from milepost.server.problems import Problem


class Protocol(HttpToolsProtocol):
    """The server's side of a connection."""

    def send_400_response(self, msg: str) -> None:
        """Say that what came is no request, and end the connection: where the next one begins cannot be known."""
        text = "this is no HTTP request: encode what stands in its address by percent, and end each line of its head with CRLF"
        body = bytes(problems.answer(Problem(400, "malformed request", text)).body)
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: {problems.MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"x-content-type-options: nosniff\r\nconnection: close\r\n\r\n" + body)
        self.transport.close()
