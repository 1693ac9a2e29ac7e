"""Keys over HTTP: make, list and revoke them (admin), trade one for a browser's cookie, and end that."""

import contextlib
import sqlite3
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from milepost.sdk.errors import UsageError
from milepost.server.auth import COOKIE, SESSION_S, Keys
from milepost.server.ingest import MAX_NAME, is_name
from milepost.server.problems import Problem, bad_request, not_found
from milepost.server.proxy_users import check_own_page
from milepost.server.read_api import ERRORS
from milepost.server.store.sqlite import SqliteStore

keys_router = APIRouter(prefix="/api/v1", tags=["keys"], responses={422: ERRORS[422]})


class NewKey(BaseModel):
    """The key that is wanted. project: the only one it is for; null for all. expires_in: seconds; null for never."""

    model_config = ConfigDict(extra="forbid")

    scopes: list[Literal["ingest", "read", "admin"]] = Field(min_length=1, max_length=3)
    project: str | None = Field(None, min_length=1, max_length=200)
    expires_in: float | None = Field(None, gt=0, lt=1e10, allow_inf_nan=False)
    note: str = Field("", max_length=1000)


class MadeKey(BaseModel):
    """A key that was made: the only time that it is told."""

    key: str
    id: str
    expires: float | None


class KeyLine(BaseModel):
    """A key as it is listed. scopes: with spaces between them."""

    id: str
    project: str | None
    scopes: str
    note: str
    created: float
    expires: float | None
    revoked: float | None


class KeyList(BaseModel):
    """All keys, also those that are over."""

    keys: list[KeyLine]


class Revoked(BaseModel):
    """The id of the key that was revoked."""

    revoked: str


class Holder(BaseModel):
    """Whose key it is."""

    id: str
    scopes: list[str]
    project: str | None


class Login(BaseModel):
    """A key."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(max_length=1000)


def _told(model: type, *errors: int, status: int = 200) -> dict[str, Any]:
    """What a route says of itself. Without keys, or a place for them, every one of them is 409."""
    others = {each: {"description": "see `detail`"} for each in (*errors, 409)}
    return {"response_model": None, "responses": {status: {"model": model}, **others}}


def _keys(request: Request) -> Keys:
    keys: Keys | None = request.app.state.keys
    if keys is None:
        raise Problem(409, "no keys", "this server serves a directory on this machine, and has no keys")
    return keys


def _store(request: Request) -> SqliteStore:
    store: Any = request.app.state.store
    if not isinstance(store, SqliteStore):
        raise Problem(409, "read only", "keys are stored by a server with --data")
    return store


TheKeys = Annotated[Keys, Depends(_keys)]
TheStore = Annotated[SqliteStore, Depends(_store)]


@keys_router.post("/login", **_told(Holder, 401))
def login(request: Request, keys: TheKeys, given: Login) -> Response:
    """Trade a key for a cookie that a page of this server can use, for 30 days or as long as the key is valid."""
    principal = keys.check(given.key.strip())
    if principal is None:
        raise Problem(401, "unauthorized", "this key is not valid here")
    answer = JSONResponse({"id": principal.id, "scopes": sorted(principal.scopes), "project": principal.project})
    answer.set_cookie(
        COOKIE,
        keys.session(principal),
        max_age=SESSION_S,
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return answer


@keys_router.post("/logout", response_model=None, status_code=204)
def logout(request: Request, keys: TheKeys) -> Response:
    """End the session of a browser: its cookie stands for nobody from now on, wherever a copy of it is."""
    session = request.cookies.get(COOKIE)
    if session:
        check_own_page("POST", request.headers)
        with contextlib.suppress(ValueError):
            line = keys.end_session(session)
            store: Any = request.app.state.store
            if line is not None and isinstance(store, SqliteStore):
                store.ingest.call(lambda connection: end_session(connection, line))
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, httponly=True, samesite="lax", secure=request.url.scheme == "https")
    return answer


@keys_router.get("/keys", **_told(KeyList))
def list_keys(store: TheStore) -> Response:
    """All keys, without their secrets."""
    connection = store.reading()
    query = "SELECT id, project, scopes, note, created, expires, revoked FROM api_key ORDER BY created"
    names = ("id", "project", "scopes", "note", "created", "expires", "revoked")
    return JSONResponse({"keys": [dict(zip(names, each, strict=True)) for each in connection.execute(query)]})


@keys_router.post("/keys", status_code=201, **_told(MadeKey, 400, status=201))
def make_key(keys: TheKeys, store: TheStore, wanted: NewKey) -> Response:
    """Make a key. This answer is the only place where it is shown."""
    if wanted.project is not None and not is_name(wanted.project):
        rule = f"1 to {MAX_NAME} characters without / and control characters"
        raise bad_request("invalid key", f"project: {rule}, got {wanted.project[:80]!r}")
    expires = None if wanted.expires_in is None else time.time() + wanted.expires_in
    try:
        key, line = keys.make(wanted.scopes, wanted.project, expires, wanted.note)
    except UsageError as error:
        raise bad_request("invalid key", str(error)) from None
    store.ingest.call(lambda connection: add_key(connection, line))
    keys.reload()
    return JSONResponse({"key": key, "id": line[0], "expires": expires}, 201)


@keys_router.delete("/keys/{number}", **_told(Revoked, 404))
def revoke_key(keys: TheKeys, store: TheStore, number: str) -> Response:
    """Revoke a key: from now on it is refused."""
    found = store.reading().execute("SELECT 1 FROM api_key WHERE id = ? AND revoked IS NULL", (number,)).fetchone()
    if found is None:
        raise not_found("key", f"no valid key has the id {number[:80]!r}")

    def revoke(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE api_key SET revoked = ? WHERE id = ?", (time.time(), number))

    store.ingest.call(revoke)
    keys.reload()
    return JSONResponse({"revoked": number})


def add_key(connection: sqlite3.Connection, line: tuple[Any, ...]) -> None:
    """Store a key's line."""
    connection.execute("INSERT INTO api_key VALUES (?, ?, ?, ?, ?, ?, ?, ?)", line)


def end_session(connection: sqlite3.Connection, line: tuple[bytes, float]) -> None:
    """Store that a session was ended, and forget those that would be over by now."""
    connection.execute("DELETE FROM ended WHERE until < ?", (time.time(),))
    connection.execute("INSERT OR IGNORE INTO ended VALUES (?, ?)", line)
