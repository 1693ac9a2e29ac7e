"""OTLP over gRPC: the requests are bytes already, so no generated stub is needed.

Source: OpenTelemetry Protocol specification, "OTLP/gRPC" (which codes can be retried); google.rpc.RetryInfo.
"""

import re
from typing import TYPE_CHECKING, Any, Final

from milepost.exporters.otlp import wire
from milepost.exporters.otlp.sender import Answer, is_aged, partial_success, short, unusable
from milepost.exporters.otlp.target import Target

if TYPE_CHECKING:
    import grpc

_METHODS: Final = {
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
_RETRYABLE: Final = frozenset(
    ("CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS", "RESOURCE_EXHAUSTED")
)
_SETTINGS: Final = {
    "UNAUTHENTICATED": "the back end wants other credentials; set headers",
    "PERMISSION_DENIED": "the back end does not allow it; look at headers",
    "UNIMPLEMENTED": "the back end does not take this signal there; look at protocol and endpoint, and signals",
    "NOT_FOUND": "nothing is there; look at endpoint",
}
_NOT_GRPC: Final = r"(?i)http/1|http1|settings frame|trying to connect|recvmsg|socket closed|http2 header with status"
_TOO_LARGE: Final = r"(?i)larger than max|too large|message length|exceeds the limit|exceeded.*size"


class GrpcSender:
    """Sends to one service method."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._channel: grpc.Channel | None = None
        self._call: Any = None
        # grpcio wants bytes for the names that end so
        self._metadata = tuple((k, v.encode() if k.endswith("-bin") else v) for k, v in target.headers.items())

    def send(self, request: bytes) -> Answer:
        """Call Export."""
        import grpc

        target = self._target
        if self._call is None and (why := unusable(target)):
            return Answer(outcome="wait", reason=f"{target.endpoint}: {why}")
        try:
            call = self._call or self._open()
            compression = grpc.Compression.Gzip if target.compression == "gzip" else None
            body = call(request, timeout=target.timeout_s, metadata=self._metadata, compression=compression)
        except grpc.RpcError as error:
            return self._answer(error)
        except (OSError, ValueError) as error:
            self.close()
            return Answer(outcome="wait", reason=f"{target.endpoint}: {short(str(error))}; look at tls and headers")
        return partial_success(body)

    def close(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            self._channel.close()
        self._channel = self._call = None

    def _open(self) -> Any:
        import grpc

        target = self._target
        options = [
            (
                "grpc.enable_retries",
                0,
            ),  # retries are ours: the same request, in order, with the delay that was asked for
            ("grpc.max_send_message_length", -1),
            ("grpc.primary_user_agent", "milepost"),
            ("grpc.initial_reconnect_backoff_ms", 200),
            (
                "grpc.min_reconnect_backoff_ms",
                round(target.timeout_s * 1000),
            ),  # how long a connection may take to be made
            ("grpc.max_reconnect_backoff_ms", 5_000),
        ]
        if target.secure:
            credentials = grpc.ssl_channel_credentials(
                _read(target.ca_file),
                private_key=_read(target.key_file or target.cert_file),  # one file may hold both
                certificate_chain=_read(target.cert_file),
            )
            self._channel = grpc.secure_channel(target.url, credentials, options=options)
        else:
            self._channel = grpc.insecure_channel(target.url, options=options)
        self._call = self._channel.unary_unary(_METHODS[target.signal])
        return self._call

    def _answer(self, error: Any) -> Answer:
        code, whole = error.code().name, error.details() or ""
        details = short(whole)
        told = f"{code}: {details}" if details else code
        if code in ("RESOURCE_EXHAUSTED", "OUT_OF_RANGE", "INVALID_ARGUMENT") and re.search(_TOO_LARGE, details):
            return Answer(outcome="large", reason=told)
        if is_aged(details):
            return Answer(outcome="aged", reason=told)
        if code == "UNIMPLEMENTED" and re.search(_NOT_GRPC, details):
            return Answer(outcome="wait", reason=self._trouble(told, whole))
        if code in _SETTINGS:
            return Answer(outcome="wait", reason=f"{self._target.endpoint} answers {told}; {_SETTINGS[code]}")
        if code in _RETRYABLE:
            doubtful = code in ("CANCELLED", "DEADLINE_EXCEEDED") or (
                code == "UNAVAILABLE" and "connect" not in details
            )
            after_s = retry_info_s(error.trailing_metadata())
            if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                self.close()  # an own channel would wait out its back-off, and its name look-up, on top of ours
            return Answer(outcome="wait", reason=self._trouble(told, whole), after_s=after_s, doubtful=doubtful)
        return Answer(outcome="failed" if code in ("INTERNAL", "UNKNOWN") else "refused", reason=told)

    def _trouble(self, told: str, details: str) -> str:
        """Why no answer came: endpoint, cause, and the setting where one is to be changed."""
        endpoint = self._target.endpoint
        if self._target.secure:
            if found := re.search(r"CERTIFICATE_VERIFY_FAILED(?:: ([^:]+))?", details, re.IGNORECASE):
                why = found[1] or "certificate verify failed"
                return f"{endpoint}: its certificate is not trusted ({why}); set tls: {{ca_file: ...}}"
            if re.search(r"hostname verification", details, re.IGNORECASE):
                return f"{endpoint}: its certificate is for another host; look at endpoint"
            if re.search(r"WRONG_VERSION_NUMBER", details, re.IGNORECASE):
                if "://" in endpoint:
                    plain = endpoint.replace("https://", "http://", 1)
                    return f"{endpoint} does not speak TLS (wrong version number); if that is right, set endpoint to {plain}"
                return (
                    f"{endpoint} does not speak TLS, which an endpoint without a scheme means; if that is right, write "
                    f"endpoint: http://{endpoint}"
                )
            if "TSI_DATA_CORRUPTED" in details:  # an alert after the handshake, as Go's servers send it
                which = "another client's certificate" if self._target.cert_file else "a client's certificate"
                return f"{endpoint} wants {which} ({told}); look at tls: {{cert_file: ..., key_file: ...}}"
            if re.search(r"SSL_ERROR_SSL|handshake", details, re.IGNORECASE):
                return (
                    f"{endpoint} does not speak TLS as wanted ({told}); look at endpoint (http:// is without TLS), "
                    "and at tls: {ca_file, cert_file, key_file}"
                )
        if re.search(_NOT_GRPC, details):
            asks = self._target.secure and not self._target.cert_file
            wanted = "; if it wants a client's certificate, set tls: {cert_file: ..., key_file: ...}" if asks else ""
            return (
                f"{endpoint} does not answer in gRPC ({told}); look at {self._target.usual}, and TLS wants https://"
                + wanted
            )
        if self._target.secure and "://" not in endpoint:
            return (
                f"{endpoint} answers {told}; without a scheme TLS is used: for none, write endpoint: http://{endpoint}"
            )
        return f"{endpoint} answers {told}"


def retry_info_s(metadata: Any) -> float | None:
    """The delay of a RetryInfo in the status details of an answer; None without one."""
    for key, value in metadata or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            try:
                return _retry_delay(value)
            except (wire.Malformed, TypeError, ValueError):
                return None
    return None


def _retry_delay(status: bytes) -> float | None:
    """Status.details (3): Any.value (2) of a RetryInfo: retry_delay (1): Duration of seconds (1) and nanos (2)."""
    for field, detail in wire.fields(status):
        if field != 3 or not isinstance(detail, bytes):
            continue
        found = dict(wire.fields(detail))
        kind, value = found.get(1, b""), found.get(2, b"")
        if isinstance(kind, bytes) and isinstance(value, bytes) and kind.endswith(b"google.rpc.RetryInfo"):
            delay = dict(wire.fields(value)).get(1, b"")
            parts = dict(wire.fields(delay)) if isinstance(delay, bytes) else {}
            seconds, nanos = parts.get(1, 0), parts.get(2, 0)
            if isinstance(seconds, int) and isinstance(nanos, int):
                return max(wire.signed(seconds) + wire.signed(nanos) / 1e9, 0.0)
    return None


def _read(path: str | None) -> bytes | None:
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()
