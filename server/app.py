"""The app: routes, answers to errors, headers of every answer, and what is started and stopped with it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, MutableMapping
from importlib.metadata import version
from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from milepost.server import (
    api_page,
    blobs,
    events,
    groups_api,
    history_api,
    ingest,
    metrics,
    models,
    otlp,
    page,
    problems,
    read_api,
    reading_api,
    views_api,
)  # fmt: skip
from milepost.server.auth import Gate, Keys, Principal
from milepost.server.description import DescribedApp
from milepost.server.intake import BodyLimit, Drain
from milepost.server.keys_api import keys_router
from milepost.server.otlp_errors import OtlpErrors
from milepost.server.proxy_users import ProxyUsers
from milepost.server.request_log import RequestLog
from milepost.server.store import Store
from milepost.server.store.sqlite import SqliteStore

API_VERSION: Final = 1

_HEADERS: Final = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": (
        b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        b"media-src 'self' blob:; font-src 'self'; connect-src 'self'; worker-src 'self'; frame-src 'self' blob:; "
        b"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
}


class SafeHeaders:
    """Puts headers on every answer that keep a browser from doing more than the page asks for. Answers may set their own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers: list[tuple[bytes, bytes]] = list(message["headers"])
                have = {name.lower() for name, _ in headers}
                headers += [(name, value) for name, value in _HEADERS.items() if name not in have]
                headers.append((b"milepost-server", _VERSION.encode()))
                message["headers"] = headers
            await send(message)

        await self.app(scope, receive, send_more if scope["type"] == "http" else send)


_VERSION: Final = version("milepost")


def create_app(
    store: Store, keys: Keys | None = None, hosts: frozenset[str] | None = None, users: ProxyUsers | None = None
) -> FastAPI:
    """The server over a store, which is started and stopped with it. keys, hosts, users: as in `Gate`."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(store.start)
        yield
        app.state.stopping.set()
        await asyncio.to_thread(store.stop)

    app = DescribedApp(
        title="milepost",
        version=_VERSION,
        description="Runs, their metrics, media and files. See docs/server-api.md.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.store = store
    app.state.keys = keys
    app.state.streams = 0
    app.state.stopping = asyncio.Event()
    app.state.users = users
    app.state.otlp = otlp.Receiver()
    app.add_middleware(BodyLimit)
    app.add_middleware(Gate, keys=keys, hosts=hosts, users=users)
    app.add_middleware(OtlpErrors)
    app.add_middleware(Drain)
    app.add_middleware(RequestLog)
    app.add_middleware(SafeHeaders)
    app.router.routes += [*ingest.routes(), *blobs.routes(), *app.state.otlp.routes()]
    problems.install(app)

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", tags=["operation"])
    def healthz() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "ok"}

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", tags=["operation"])
    def readyz() -> dict[str, str]:
        """Whether the store answers."""
        store.projects()
        return {"status": "ready"}

    @app.get("/api/v1/info", response_model=models.Info, tags=["read"])
    def info(request: Request) -> Response:
        """What this server is, can do, and allows; and who asks, when they are known."""
        who: Principal | None = request.scope.get("principal")
        return JSONResponse(
            {
                "name": "milepost",
                "version": _VERSION,
                "api": API_VERSION,
                "mode": "data" if isinstance(store, SqliteStore) else "runs",
                "writable": store.writable,
                "features": ["events", "filter", "groups", "history", "views"],
                "limits": {
                    "series": history_api.MAX_SERIES,
                    "points": history_api.MAX_POINTS,
                    "filter_length": 4096,
                    "buckets": 20_000,
                },
                "auth": {
                    "required": keys is not None,
                    "user": who.user if who else None,
                    "scopes": sorted(who.scopes) if who else [],
                    "project": who.project if who else None,
                },
            }
        )

    app.include_router(read_api.router)
    app.include_router(history_api.router)
    app.include_router(groups_api.router)
    app.include_router(reading_api.router)
    app.include_router(events.router)
    app.include_router(keys_router)
    app.include_router(views_api.router)
    app.include_router(metrics.router)
    app.router.routes += [api_page.route(), *page.routes()]
    app.state.templates = {route.endpoint: route.path for route in app.routes if isinstance(route, Route)}
    return app


def openapi_text() -> str:
    """The OpenAPI description as it is committed: server/openapi.json."""
    store: Any = _NoStore()
    described: MutableMapping[str, Any] = create_app(store).openapi()
    described["info"]["version"] = str(API_VERSION)
    return msgspec.json.format(msgspec.json.encode(described)).decode() + "\n"


class _NoStore:
    """Enough of a store to describe the API."""

    writable = False

    def start(self) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""
