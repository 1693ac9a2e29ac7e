"""Auth: who may do what. One gate in front of everything, which denies what no rule allows.

A key is `mp_ID_SECRET`. It has scopes (ingest, read, admin), may be bound to one project, and may expire. Stored is an HMAC
of it under a pepper that lies beside the database; the key itself is shown once. Who may send rows may also name and
tag runs and save views; admin may do everything. A browser trades its key for a cookie. A proxy may stand for users of its
own: `proxy_users`.
"""

import base64
import contextlib
import hashlib
import hmac
import os
import re
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send

from milepost.sdk.errors import UsageError
from milepost.server import problems
from milepost.server.problems import Problem
from milepost.server.proxy_users import ProxyUsers, check_own_page
from milepost.server.store.durable import NO_LINKS, sync_folder

SCOPES: Final = ("ingest", "read", "admin")
COOKIE: Final = "milepost_session"
SESSION_S: Final = 30 * 24 * 3600
_KEY: Final = re.compile(r"mp_([a-z0-9]{4,32})_([A-Za-z0-9_-]{16,200})")
_PUBLIC: Final = frozenset(
    ("/healthz", "/readyz", "/openapi.json", "/api/v1/login", "/api/v1/logout", "/api/v1/info", "/api/v1/docs")
)
_INGEST: Final = re.compile(
    r"(POST|PUT) /api/v1/runs/[^/]+/(batches|files/.+)|GET /api/v1/(runs/[^/]+/writers/[^/]+|limits)"
    r"|POST /api/v1/runs/[^/]+/writers/[^/]+/heartbeat"
    r"|POST /api/v1/bulk|(POST|PATCH|DELETE) /api/v1/projects/[^/]+/views(/[^/]+)?"
    r"|(HEAD|PATCH) /api/v1/blobs/sha256/[^/]+|POST /v1/(metrics|logs|traces)"
)
_ADMIN: Final = re.compile(r"[A-Z]+ /api/v1/keys(/.*)?")
_READ: Final = re.compile(r"(GET|HEAD) /(api/v1/.+|metrics)|POST /api/v1/(history|runs/[^/]+/[^/]+/read)")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. project: the only one it may see; None for all. user: the name that a proxy gave; id is then "user:NAME"."""

    id: str
    scopes: frozenset[str]
    project: str | None = None
    user: str | None = None

    def may(self, scope: str) -> bool:
        """Whether it has the scope; admin has all."""
        return scope in self.scopes or "admin" in self.scopes


ANYBODY: Final = Principal("local", frozenset(("read",)))
"""Whoever reaches a server without keys: it serves a directory, read only, on this machine."""


class Keys:
    """The keys of a server. secret_file: holds the pepper, made when it is not there."""

    def __init__(self, secret_file: Path, connect: Callable[[], sqlite3.Connection] | None, first: str | None) -> None:
        self._pepper = _pepper(secret_file)
        self._connect = connect
        self._first = self._mac(first) if first else None
        self._known: dict[str, tuple[bytes, Principal, float | None]] = {}
        self._ended: set[bytes] = set()
        self.reload()

    def reload(self) -> None:
        """Read the keys that are stored."""
        if self._connect is None:
            return
        connection = self._connect()
        query = "SELECT id, mac, project, scopes, expires FROM api_key WHERE revoked IS NULL"
        self._known = {
            number: (mac, Principal(number, frozenset(scopes.split()), project), expires)
            for number, mac, project, scopes, expires in connection.execute(query)
        }
        self._ended |= {
            session for (session,) in connection.execute("SELECT session FROM ended")
        }  # others are on their way
        connection.close()

    @property
    def some(self) -> bool:
        """Whether there is any key at all."""
        return bool(self._known) or self._first is not None

    def make(
        self, scopes: Iterable[str], project: str | None = None, expires: float | None = None, note: str = ""
    ) -> tuple[str, tuple[Any, ...]]:
        """A new key, and the line of the table that stands for it. expires: seconds since 1970."""
        wanted = sorted(set(scopes))
        if not wanted or not set(wanted) <= set(SCOPES):
            raise UsageError(f"scopes are some of {', '.join(SCOPES)}, got {', '.join(wanted) or 'none'}")
        number = base64.b32encode(secrets.token_bytes(5)).decode().lower()
        key = f"mp_{number}_{secrets.token_urlsafe(32)}"
        return key, (number, self._mac(key), project, " ".join(wanted), note, time.time(), expires, None)

    def check(self, key: str) -> Principal | None:
        """Whose key it is; None for a wrong, expired or revoked one. Takes as long for each."""
        match = _KEY.fullmatch(key)
        mac = self._mac(key)
        stored, principal, expires = self._known.get(match[1] if match else "", (b"\0" * 32, None, None))
        right = hmac.compare_digest(mac, stored)
        first = hmac.compare_digest(mac, self._first or b"\0" * 32)
        if first and self._first is not None:
            return Principal("first", frozenset(SCOPES))
        if not right or principal is None or (expires is not None and expires < time.time()):
            return None
        return principal

    def _mac(self, text: str) -> bytes:
        return hmac.digest(self._pepper, text.encode(errors="replace"), hashlib.sha256)

    def session(self, principal: Principal) -> str:
        """A cookie's value that stands for the key of this id until it ends."""
        told = f"{principal.id}.{int(time.time()) + SESSION_S}.{secrets.token_hex(8)}"
        return f"{told}.{self._session_mac(told)}"

    def of_session(self, value: str) -> Principal | None:
        """Who a cookie stands for, as long as its key is valid and nobody logged it out."""
        told, _, mac = value.rpartition(".")
        if not hmac.compare_digest(mac.encode(errors="replace"), self._session_mac(told).encode()):
            return None
        number, ends, _ = told.split(".")
        if float(ends) < time.time() or self._mac(told) in self._ended:
            return None
        return self._holder(number)

    def is_valid(self, principal: Principal) -> bool:
        """Whether the key that somebody came with is still valid. Those whom a proxy recognised come without one."""
        return principal.user is not None or principal == ANYBODY or self._holder(principal.id) is not None

    def end_session(self, value: str) -> tuple[bytes, float] | None:
        """Let a cookie stand for nobody from now on; the line of the table that says so, None where it stood for nobody."""
        if self.of_session(value) is None:
            return None
        told = value.rpartition(".")[0]
        line = self._mac(told), float(told.split(".")[1])
        self._ended.add(line[0])
        return line

    def _holder(self, number: str) -> Principal | None:
        if number == "first" and self._first is not None:
            return Principal("first", frozenset(SCOPES))
        _, principal, expires = self._known.get(number, (b"", None, None))
        return None if expires is not None and expires < time.time() else principal

    def _session_mac(self, told: str) -> str:
        # another first key ends the sessions of the one before
        first = self._first or b"" if told.startswith("first.") else b""
        return hmac.digest(self._pepper, b"session " + first + told.encode(errors="replace"), hashlib.sha256).hex()


def _pepper(path: Path) -> bytes:
    """The secret in a file, made when it is not there. Of several who make it at once, one's is everybody's."""
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_secret(path)
        found = path.read_bytes()
    if len(found) != 32:
        raise UsageError(f"{path} is not the secret of a milepost server: 32 bytes are expected, it has {len(found)}")
    return found


def _make_secret(path: Path) -> None:
    """Make a secret under a name of its own, whole, and give it the name where there is none yet."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")  # a disk that is full leaves no half of it
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        try:
            os.write(descriptor, secrets.token_bytes(32))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        os.rename(fresh, path)  # of several at once the last one has the word
    finally:
        fresh.unlink(missing_ok=True)
    sync_folder(path.parent)


class Gate:
    """The gate: asks for a key and its scope before anything of the app runs.

    keys: None when everybody on this machine may read. hosts: the names it answers to then, against pages that point a name of
    theirs at this machine; None for any. users: those whom a proxy recognises; none without.
    """

    def __init__(
        self, app: ASGIApp, keys: Keys | None, hosts: frozenset[str] | None = None, users: ProxyUsers | None = None
    ) -> None:
        self.app = app
        self.keys = keys
        self.hosts = hosts
        self.users = users

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or say why not."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # web sockets: there are none
        try:
            peer = scope.get("peer")
            scope["principal"] = self.admit(scope["method"], scope["path"], Headers(scope=scope), peer)
        except Problem as problem:
            await problems.answer(problem)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def admit(self, method: str, path: str, headers: Headers, peer: str | None = None) -> Principal | None:
        """Who asks; None on public paths without a key. peer: the address it comes from. Raises `Problem` 401 or 403."""
        needed = scope_of(method, path)
        if self.keys is None:
            host = re.sub(r":\d+$", "", headers.get("host", "")).strip("[]").lower()
            if self.hosts is not None and host not in self.hosts:
                raise Problem(
                    421, "misdirected request", f"this server does not answer to the name {host!r}; see --host"
                )
            if needed == "admin":
                raise Problem(403, "forbidden", "this server has no keys and reads only; start it with --data for more")
            return ANYBODY
        principal, by_browser = self._asking(headers, peer)
        if needed is None:
            return principal
        if principal is None:
            text = "send a key: Authorization: Bearer mp_..."
            if headers.get("authorization"):
                text = "this key is not valid here: it is wrong, revoked, or over; an admin makes another"
            raise Problem(401, "unauthorized", text, headers={"WWW-Authenticate": 'Bearer realm="milepost"'})
        if not principal.may(needed) or (needed == "admin" and principal.project is not None):
            who = "this key" if principal.user is None else f"the user {principal.user!r}"
            raise Problem(403, "forbidden", f"{who} lacks the scope {needed!r}")
        if by_browser:
            check_own_page(method, headers)
        return principal

    def _asking(self, headers: Headers, peer: str | None) -> tuple[Principal | None, bool]:
        """Who asks, and whether by what a browser sends along with any request, whichever page makes it."""
        assert self.keys is not None
        given = headers.get("authorization", "")
        kind, _, key = given.partition(" ")
        found = self.keys.check(key.strip()) if kind.lower() == "bearer" else None
        if found is not None or key.startswith("mp_"):
            return found, False
        user = self.users.user(headers, peer) if self.users is not None else None
        if self.users is not None and user is not None:  # what else is in Authorization is the proxy's own
            return Principal(f"user:{user}", self.users.scopes_of(user), None, user), True
        if given:
            return None, False
        session = cookie_parser(headers.get("cookie", "")).get(COOKIE)  # http.cookies gives up at names of others
        try:
            return (self.keys.of_session(session) if session else None), True
        except ValueError:
            return None, False


def scope_of(method: str, path: str) -> str | None:
    """The scope a request needs; None for what everybody may have: health, the description of the API, the page itself."""
    asked = f"{method} {path}"
    if path in _PUBLIC:
        return None
    if _INGEST.fullmatch(asked):
        return "ingest"
    if _ADMIN.fullmatch(asked):
        return "admin"
    if _READ.fullmatch(asked):
        return "read"
    if method in ("GET", "HEAD") and not path.startswith(("/api/", "/v1/")):
        return None  # the files of the page, which hold nothing of anybody
    return "admin"
