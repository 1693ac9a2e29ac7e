"""Options: what those of `otlp` come to, without the exporter, which programs leave to the shipper.

An option of the signal wins over one of the exporter, that over OTEL_EXPORTER_OTLP_METRICS_... (or _LOGS_...), that over
OTEL_EXPORTER_OTLP_..., that over the default. A general HTTP endpoint gets the signal's path; one of a signal is used as it is.

Source: OpenTelemetry specification, "OpenTelemetry Protocol Exporter". Timeouts in variables are seconds, as Python's SDK
has it; 1000 and more are the milliseconds of the specification.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from milepost.sdk.configuration.node import Secret

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


def parts(options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """One exporter for each signal."""
    signals = options.get("signals")
    return {signal: {**options, "signals": [signal]} for signal in (SIGNALS if signals is None else signals)}


def with_environment(options: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
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


def pairs(text: str) -> dict[str, str]:
    """Headers of `a=1,b=two%20words`; what is no pair is left out. Source: W3C Baggage, as OpenTelemetry uses it."""
    import urllib.parse  # only here: few programs have such headers

    found: dict[str, str] = {}
    for pair in text.split(","):
        name, equals, value = pair.partition("=")
        if equals and name.strip():
            found[urllib.parse.unquote(name.strip()).lower()] = urllib.parse.unquote(value.strip())
    return found
