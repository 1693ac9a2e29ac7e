"""Target: where one signal goes and how, from the exporter's options and OpenTelemetry's environment variables.

An option of the signal wins over one of the exporter, that over OTEL_EXPORTER_OTLP_METRICS_... (or _LOGS_...), that over
OTEL_EXPORTER_OTLP_..., that over the default. A general HTTP endpoint gets the signal's path; one of a signal is used as it is.

Source: OpenTelemetry specification, "OpenTelemetry Protocol Exporter". Timeouts in variables are seconds, as Python's SDK
has it; 1000 and more are the milliseconds of the specification.
"""

import logging
import math
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from milepost.sdk.configuration.node import Secret
from milepost.sdk.errors import ConfigurationError

logger = logging.getLogger("milepost")

Signal = Literal["metrics", "logs"]
SIGNALS: Final[tuple[Signal, ...]] = ("metrics", "logs")
PROTOCOLS: Final = ("grpc", "http/protobuf", "http/json")
COMPRESSIONS: Final = ("gzip", "deflate", "none")
_DESTINATION: Final = ("protocol", "endpoint", "headers", "headers_list", "compression", "timeout", "tls")
_TLS: Final = {
    "ca_file": "CERTIFICATE",
    "cert_file": "CLIENT_CERTIFICATE",
    "key_file": "CLIENT_KEY",
    "insecure": "INSECURE",
}
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


def completed(options: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """The options with what they leave open filled from the environment, so that another process can make the exporter.

    What decides the destination stands under each signal afterwards; doing it twice changes nothing.
    """
    found = {key: value for key, value in options.items() if key not in _DESTINATION}
    refused: set[str] = set()
    for signal in options.get("signals") or SIGNALS:
        if signal in SIGNALS:
            own = {key: value for key, value in (options.get(signal) or {}).items() if value is not None}
            found[signal] = _Completion(signal, own, options, environ, refused).options()
    return found


class _Completion:
    """The destination of one signal, option by option. refused: variables without effect that were said already."""

    def __init__(
        self,
        signal: str,
        own: Mapping[str, Any],
        general: Mapping[str, Any],
        environ: Mapping[str, str],
        refused: set[str],
    ) -> None:
        self._signal = signal
        self._own = own
        self._general = general
        self._environ = environ
        self._refused = refused

    def options(self) -> dict[str, Any]:
        """All of them, none left open."""
        protocol = self._first("protocol") or self._variable("PROTOCOL", PROTOCOLS) or "http/protobuf"
        return {
            "protocol": protocol,
            "endpoint": self._endpoint(protocol),
            "headers": self._headers(),
            "compression": self._first("compression") or self._variable("COMPRESSION", COMPRESSIONS) or "none",
            "timeout": self._first("timeout") or self._timeout() or 10_000,
            "tls": self._tls(),
        }

    def _first(self, name: str) -> Any:
        own = self._own.get(name)
        return own if own is not None else self._general.get(name)

    def _endpoint(self, protocol: str) -> str:
        name = f"OTEL_EXPORTER_OTLP_{self._signal.upper()}_ENDPOINT"
        own = self._own.get("endpoint") or (not self._general.get("endpoint") and self._environ.get(name))
        if own:
            return str(own).strip()
        port = 4317 if protocol == "grpc" else 4318
        base = self._general.get("endpoint") or self._environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        base = str(base or f"http://localhost:{port}").strip()
        if protocol == "grpc" or base.endswith("://"):
            return base
        return f"{base.rstrip('/')}/v1/{self._signal}"

    def _headers(self) -> dict[str, str]:
        if not any(level.get(name) for level in (self._own, self._general) for name in ("headers", "headers_list")):
            text = self._text("HEADERS")
            if any(part.strip() and not part.partition("=")[1] for part in text.split(",")):
                # not the part itself, which may be a secret
                self._say("HEADERS", 'holds a part that is not "name=value", which is left out')
            return {name: Secret(value) for name, value in pairs(text).items()}
        found: dict[str, Any] = {}
        for level in (self._general, self._own):
            found.update(pairs(level.get("headers_list") or ""))
            given = level.get("headers") or {}
            found.update({str(name).lower(): value for name, value in given.items()})
        return {name: Secret(value if isinstance(value, str) else str(value)) for name, value in found.items()}

    def _tls(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, variable in _TLS.items():
            value = (self._own.get("tls") or {}).get(name)
            value = (self._general.get("tls") or {}).get(name) if value is None else value
            text = self._text(variable)
            if value is None and text:
                value = self._truth(variable, text) if name == "insecure" else text
            if value is not None:
                found[name] = value if isinstance(value, bool) else str(value)
        return found

    def _truth(self, name: str, text: str) -> bool:
        if text.lower() not in ("true", "false"):
            self._refuse(name, text, "true or false")
        return text.lower() == "true"

    def _timeout(self) -> int | None:
        text = self._text("TIMEOUT")
        try:
            seconds = float(text) if text else 0.0
        except ValueError:
            seconds = -1.0
        if seconds < 0 or not math.isfinite(seconds):
            self._refuse("TIMEOUT", text, "a number of seconds")
            return None
        return round(seconds if seconds >= 1000 else seconds * 1000) or None

    def _variable(self, name: str, choices: Sequence[str]) -> str | None:
        text = self._text(name).lower()
        if text and text not in choices:
            self._refuse(name, text, f"one of {', '.join(choices)}")
            return None
        return text or None

    def _text(self, name: str) -> str:
        own = self._environ.get(f"OTEL_EXPORTER_OTLP_{self._signal.upper()}_{name}", "")
        return (own or self._environ.get(f"OTEL_EXPORTER_OTLP_{name}", "")).strip()

    def _refuse(self, name: str, text: str, wanted: str) -> None:
        self._say(name, f"is {text[:60]!r} and has no effect; it must be {wanted}")

    def _say(self, name: str, told: str) -> None:
        own = f"OTEL_EXPORTER_OTLP_{self._signal.upper()}_{name}"
        name = own if self._environ.get(own) else f"OTEL_EXPORTER_OTLP_{name}"
        if name not in self._refused:
            self._refused.add(name)
            logger.warning("milepost: %s %s", name, told)


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


def pairs(text: str) -> dict[str, str]:
    """Headers of `a=1,b=two%20words`; what is no pair is left out. Source: W3C Baggage, as OpenTelemetry uses it."""
    found: dict[str, str] = {}
    for pair in text.split(","):
        name, equals, value = pair.partition("=")
        if equals and name.strip():
            found[urllib.parse.unquote(name.strip()).lower()] = urllib.parse.unquote(value.strip())
    return found


def _choice(name: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ConfigurationError(f"otlp: {name} is {value!r}; it must be one of {', '.join(choices)}")
