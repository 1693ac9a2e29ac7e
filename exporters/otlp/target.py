"""Target: where one signal goes and how, from options that are complete (`options.py`)."""

import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from milepost.exporters.otlp.options import COMPRESSIONS, PROTOCOLS, Signal, pairs
from milepost.sdk.errors import ConfigurationError

_HTTP_HEADER: Final = (r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", r"[\t\x20-\x7e]*")
_GRPC_HEADER: Final = (r"[0-9A-Za-z_.-]+", r"[\x20-\x7e]*")
_OF_THE_BODY: Final = ("content-length", "content-encoding", "transfer-encoding")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One destination.

    endpoint: as messages show it; without user and password.
    url:      for HTTP, the whole URL; for gRPC, "host:port" or what else grpcio takes.
    secure:   whether TLS is used. There is no way back from it: a server without TLS is refused.
    headers:  names in lower case.
    usual:    the options that say where to, and what they usually are, for messages.
    problem:  what is wrong with the settings, so that nothing can be sent; "" for nothing.
    """

    signal: Signal
    protocol: Literal["grpc", "http/protobuf", "http/json"]
    endpoint: str
    url: str
    secure: bool
    headers: dict[str, str] = {}
    usual: str = "protocol and endpoint: gRPC is usually on port 4317, HTTP on 4318"
    compression: Literal["gzip", "deflate", "none"] = "none"
    timeout_s: float = 10.0
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    problem: str = ""


def target(signal: Signal, options: Mapping[str, Any]) -> Target:
    """The target of a signal from completed options. Raises ConfigurationError for a choice that does not exist."""
    told = options[signal]
    protocol, compression = told["protocol"], told["compression"]
    _choice("protocol", protocol, PROTOCOLS)
    _choice("compression", compression, COMPRESSIONS)
    endpoint = str(told["endpoint"])
    tls = told.get("tls") or {}
    parse: Callable[[str, bool], tuple[str, bool, str]] = _grpc if protocol == "grpc" else _http
    url, secure, problem = parse(endpoint, bool(tls.get("insecure")))
    if protocol == "grpc" and compression == "deflate":
        problem = problem or 'compression is "deflate", which the Collector refuses over gRPC; write compression: gzip'
    for name, value in told["headers"].items():
        problem = problem or _wrong_header(name, value, _GRPC_HEADER if protocol == "grpc" else _HTTP_HEADER)
    return Target(
        signal=signal,
        protocol=protocol,
        endpoint=re.sub(r"(?<=://)[^/\s]+(?=@)", "***", endpoint),
        url=url,
        secure=secure,
        headers={name.lower(): str.__str__(value) for name, value in told["headers"].items()},
        compression=compression,
        timeout_s=told["timeout"] / 1000,
        ca_file=tls.get("ca_file"),
        cert_file=tls.get("cert_file"),
        key_file=tls.get("key_file"),
        problem=problem,
    )


def remote_write_target(
    endpoint: str,
    headers: Mapping[str, Any] | None,
    headers_list: str | None,
    timeout: int,
    tls: Mapping[str, Any] | None,
) -> Target:
    """The target of an exporter that knows one signal and no environment variables."""
    found = {**pairs(headers_list or ""), **{name.lower(): value for name, value in (headers or {}).items()}}
    options = {
        "protocol": "http/protobuf",
        "endpoint": endpoint,
        "headers": {name: value if isinstance(value, str) else str(value) for name, value in found.items()},
        "compression": "none",
        "timeout": timeout,
        "tls": {name: v if isinstance(v, bool) else str(v) for name, v in (tls or {}).items() if v is not None},
    }
    usual = "endpoint: remote write is usually on port 9090, path /api/v1/write"
    return msgspec.structs.replace(target("metrics", {"metrics": options}), usual=usual)


def _http(endpoint: str, insecure: bool) -> tuple[str, bool, str]:
    scheme, colon, rest = endpoint.partition("://")
    if not colon:
        shown = endpoint.removesuffix("/v1/metrics").removesuffix("/v1/logs")
        return endpoint, False, f"it has no scheme; write endpoint: http://{shown}, or https:// for TLS"
    if scheme.lower() not in ("http", "https") or not rest.strip("/"):
        return endpoint, False, f"it is no HTTP address; write endpoint: {_example(endpoint)}"
    return endpoint, scheme.lower() == "https", ""


def _grpc(endpoint: str, insecure: bool) -> tuple[str, bool, str]:
    scheme, colon, rest = endpoint.partition("://")
    if endpoint.startswith("unix:"):
        return endpoint, False, ""
    if not colon:
        return endpoint, not insecure, ""
    host = rest.split("/", 1)[0].rpartition("@")[2]
    if scheme.lower() not in ("http", "https") or not host:
        return endpoint, False, f"it is no address for gRPC; write endpoint: {_example(endpoint, 4317)}"
    try:
        port = urllib.parse.urlsplit(f"//{host}").port
    except ValueError as error:
        return endpoint, False, f"it is no address for gRPC ({error}); write endpoint: http://localhost:4317"
    if port is None:
        host = f"{host}:{443 if scheme.lower() == 'https' else 80}"
    return host, scheme.lower() == "https", ""


def _wrong_header(name: str, value: str, patterns: tuple[str, str]) -> str:
    """Why a header cannot be sent; "" when it can."""
    if name.lower() in _OF_THE_BODY:
        return f"header {name!r} tells of the request's body, which is made here; leave it out"
    if not re.fullmatch(patterns[0], name) or not re.fullmatch(patterns[1], value):
        return f"header {name[:40]!r} cannot be sent: a name is a word, and a value one line of ASCII text"
    return ""


def _example(endpoint: str, port: int = 4318) -> str:
    host = endpoint.partition("://")[2].split("/", 1)[0] or f"localhost:{port}"
    return f"http://{host}"


def _choice(name: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ConfigurationError(f"otlp: {name} is {value!r}; it must be one of {', '.join(choices)}")
