"""The web page: its files and the headers they are sent with. Built from server/web into server/static, which is committed.

Every address that is not a file is the page itself: it reads from the address what to show. Files under /assets/ carry a hash
of their content in their names, so browsers keep them for ever; the page is asked for anew each time.
"""

import gzip
import hashlib
import mimetypes
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from milepost.server.problems import answer, not_found

STATIC: Final = Path(__file__).with_name("static")
FRAME: Final = "frame.html"

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self' blob: data:; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may load: itself and what the server stores, nothing inline, no other host."""

FRAME_SECURITY_POLICY: Final = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob: data:; "
    "style-src 'unsafe-inline' data:; img-src data: blob:; media-src data: blob:; font-src data:; frame-ancestors 'self'"
)
"""Of /frame.html, where the HTML that runs log is shown: scripts run, in a document of no origin and without network."""

HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_ASK_AGAIN: Final = "no-cache"
_COMPRESSED: Final = frozenset((".css", ".html", ".js", ".svg"))
_NOT_PAGES: Final = ("/api/", "/assets/", "/v1/")


class _File:
    """One file, read once; its gzip form is made when somebody first asks for it."""

    def __init__(self, path: Path, name: str) -> None:
        self.body = path.read_bytes()
        self.etag = f'"{hashlib.sha256(self.body).hexdigest()[:24]}"'
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        if path.suffix == ".js":
            kind = "text/javascript"  # what the system's table says differs from host to host
        self.kind = f"{kind}; charset=utf-8" if path.suffix in _COMPRESSED else kind
        self.keep = _FOR_EVER if name.startswith("assets/") else _ASK_AGAIN
        self.compressible = path.suffix in _COMPRESSED
        self.headers = {**HEADERS, "Cache-Control": self.keep, "ETag": self.etag, "Vary": "Accept-Encoding"}
        if name == FRAME:
            self.headers |= {"Content-Security-Policy": FRAME_SECURITY_POLICY, "X-Frame-Options": "SAMEORIGIN"}
        self._gzip: bytes | None = None

    def gzip(self) -> bytes:
        if self._gzip is None:
            self._gzip = gzip.compress(self.body, 9, mtime=0)
        return self._gzip


class Page:
    """The files of a folder by the address they are asked for. Raises FileNotFoundError when the page was never built."""

    def __init__(self, static: Path = STATIC) -> None:
        self._files = {
            path.relative_to(static).as_posix(): _File(path, path.relative_to(static).as_posix())
            for path in sorted(static.rglob("*"))
            if path.is_file()
        }
        if "index.html" not in self._files:
            raise FileNotFoundError(f"{static} holds no index.html; build the page with: make page-build")

    def answer(self, request: Request) -> Response:
        """The file that the address names, else the page."""
        path = request.url.path
        found = self._files.get(path.lstrip("/"))
        if found is None:
            if path.startswith(_NOT_PAGES):
                return answer(not_found("route", f"there is no {path}; see /openapi.json"))
            found = self._files["index.html"]
        headers = dict(found.headers)
        if request.headers.get("if-none-match") == found.etag:
            return Response(status_code=304, headers=headers)
        body = found.body
        if found.compressible and "gzip" in request.headers.get("accept-encoding", ""):
            body = found.gzip()
            headers["Content-Encoding"] = "gzip"
        return Response(body, 200, headers, found.kind)


def routes(static: Path = STATIC) -> list[Route]:
    """The route of the page: the last one of an app, as it takes what no other route took."""
    page = Page(static)

    async def serve(request: Request) -> Response:
        return page.answer(request)

    return [Route("/{path:path}", serve, methods=["GET"], include_in_schema=False)]
