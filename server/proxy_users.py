"""Proxy users: people whom a proxy before the server has recognised (oauth2-proxy, a gateway of OpenID Connect).

The proxy names the user in a header of each request. That header is worth what the address says that the request came
from: from the listed proxies it is the user; from anybody else it is text that anyone can type, so it is not looked at, but
counted. Whoever can open a connection from a listed address can be anybody: list the proxy's address and no more.
"""

import ipaddress
import logging
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from milepost.sdk.errors import UsageError
from milepost.server.problems import Problem, bad_request

logger = logging.getLogger("milepost.server")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_USER: Final = 320
"""Characters of a user's name: the longest address of e-mail."""
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_TAKEN: Final = frozenset(("authorization", "cookie", "host", "origin", "content-type", "content-length"))
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class Counter:
    """A number that several threads may add to."""

    def __init__(self) -> None:
        self.value = 0
        self._lock = threading.Lock()

    def add(self) -> int:
        """One more; how many there are then."""
        with self._lock:
            self.value += 1
            return self.value


@dataclass(frozen=True, kw_only=True)
class ProxyUsers:
    """Which header names the user, who may say so, and what users may do.

    scopes: of everybody; admins: the names of those who have all.
    """

    header: str
    proxies: tuple[Network, ...]
    scopes: frozenset[str] = frozenset(("read",))
    admins: frozenset[str] = frozenset()
    ignored: Counter = field(default_factory=Counter, compare=False)

    def user(self, headers: Headers, peer: str | None) -> str | None:
        """Who asks; None when the header is not there, or comes from somebody who is no proxy. Raises `Problem` 400."""
        told = headers.getlist(self.header)
        if not told:
            return None
        if not self.trusts(peer):
            if self.ignored.add() == 1:
                text = "%s sends the header %s and is none of --trusted-proxies; the header is ignored (told once, counted)"
                logger.warning(text, peer, self.header)
            return None
        if len(told) > 1:
            text = f"the header {self.header} came {len(told)} times; a proxy has to replace what a client sends"
            raise bad_request("ambiguous user", text)
        name = told[0].encode("latin-1").decode("utf-8", "replace").strip()
        if len(name) > MAX_USER or _CONTROL.search(name):
            text = f"the header {self.header} names a user in up to {MAX_USER} printable characters"
            raise bad_request("invalid user", f"{text}, got {name[:40]!r}")
        return name or None

    def trusts(self, peer: str | None) -> bool:
        """Whether an address is that of a listed proxy."""
        try:
            address = ipaddress.ip_address(peer or "")
        except ValueError:
            return False
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return any((mapped or address) in network for network in self.proxies)

    def scopes_of(self, user: str) -> frozenset[str]:
        """What a user may do."""
        return frozenset(("admin", "ingest", "read")) if user in self.admins else self.scopes


def proxy_users(
    header: str | None, proxies: str | None, admins: str | None, scopes: Sequence[str]
) -> ProxyUsers | None:
    """What the command line says; None when it says nothing of it. Raises `UsageError`."""
    if header is None:
        if proxies is not None or admins is not None:
            raise UsageError("--trusted-proxies and --proxy-admins go with --trust-proxy-user HEADER; name the header")
        return None
    if not _TOKEN.fullmatch(header) or header.lower() in _TAKEN:
        text = f"--trust-proxy-user takes the name of a header that the proxy alone sets, got {header!r}"
        raise UsageError(f"{text}; oauth2-proxy sets X-Forwarded-User, X-Forwarded-Email or X-Auth-Request-User")
    if proxies is None:
        text = f"anybody can send the header {header}: name the addresses of the proxies that may"
        raise UsageError(f"{text}, such as --trusted-proxies 127.0.0.1 or 10.0.3.0/29")
    names = frozenset(_listed(admins or ""))
    return ProxyUsers(header=header, proxies=_networks(proxies), scopes=frozenset(scopes), admins=names)


def _networks(text: str) -> tuple[Network, ...]:
    found: list[Network] = []
    for part in _listed(text):
        try:
            network = ipaddress.ip_network(part)
        except ValueError as error:
            raise UsageError(f"--trusted-proxies: {error}; addresses are such as 127.0.0.1, 10.0.3.0/29, ::1") from None
        if network.prefixlen == 0:
            raise UsageError(f"--trusted-proxies {part} would let anybody be any user; name the proxies' own addresses")
        found.append(network)
    if not found:
        raise UsageError("--trusted-proxies names no address; such as 127.0.0.1, 10.0.3.0/29, ::1")
    return tuple(found)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


class Peer:
    """Keeps in `scope["peer"]` the address that a connection really came from, before a proxy's headers replace it."""

    def __init__(self, app: ASGIApp, users: ProxyUsers | None) -> None:
        trusted = os.environ.get("FORWARDED_ALLOW_IPS") or "127.0.0.1,::1"  # uvicorn's own variable, and its default
        if users is not None and trusted != "*":
            trusted = ",".join((trusted, *(str(network) for network in users.proxies)))
        told: Any = ProxyHeadersMiddleware
        self.app: ASGIApp = told(app, trusted_hosts=trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] == "http":
            scope["peer"] = scope["client"][0] if scope.get("client") else None
        await self.app(scope, receive, send)


def check_own_page(method: str, headers: Headers) -> None:
    """Raise `Problem` 403 for a change that a page of somebody else makes a browser send.

    A cookie, and a user whom a proxy recognises by one, go along with whatever page makes the request. Browsers say where it
    comes from: in Sec-Fetch-Site, or, to a server without TLS, in Origin alone. One that says neither cannot be told apart.
    """
    if method in ("GET", "HEAD"):
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        own = site in ("same-origin", "none")
    else:
        own = origin is not None and origin.partition("://")[2].lower() == headers.get("host", "").lower()
    if not own:
        text = "a change has to come from this server's own page, whose browser says so in Sec-Fetch-Site or Origin"
        raise Problem(403, "forbidden", f"{text}; a program sends a key: Authorization: Bearer mp_...")
