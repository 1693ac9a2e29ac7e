"""Back ends that answer as a test says: one for HTTP, one for gRPC. What they took is what a test looks at afterwards."""

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from tests.exporters.otlp.sink import metrics_of


@dataclass
class Reply:
    """An answer over HTTP."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


Answering = Callable[[bytes], Reply]


class HttpBackend:
    """Answers each POST with what `answer` returns; `requests` are the bodies that came, `taken` those answered with 2xx."""

    def __init__(self, answer: Answering, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.taken: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                backend.requests.append(body)
                backend.headers.append({name.lower(): value for name, value in self.headers.items()})
                backend.paths.append(self.path)
                reply = backend.answer(body)
                if reply.status < 300:
                    backend.taken.append(body)
                self.send_response(reply.status)
                for name, value in {"content-length": str(len(reply.body)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """Clients that speak something else are what some tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port: int = self._server.server_address[1]
        self.scheme = "http" if tls is None else "https"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def http_backend(answer: Answering | None = None, tls: ssl.SSLContext | None = None) -> Iterator[HttpBackend]:
    """A back end for one test; without `answer` it takes everything."""
    started = HttpBackend(answer or (lambda body: Reply()), tls)
    try:
        yield started
    finally:
        started.close()


class GrpcBackend:
    """Answers each Export with what `answer` does: bytes are a response; or it aborts through the context."""

    def __init__(
        self, answer: Callable[[bytes, Any], bytes], credentials: grpc.ServerCredentials | None = None, **options: int
    ) -> None:
        self.requests: list[bytes] = []
        self.taken: list[bytes] = []
        self.metadata: list[dict[str, Any]] = []

        def export(request: bytes, context: Any) -> bytes:
            self.requests.append(request)
            self.metadata.append(dict(context.invocation_metadata()))
            response = answer(request, context)
            self.taken.append(request)
            return response

        handlers = {
            f"opentelemetry.proto.collector.{signal.lower()}.v1.{signal}Service": {
                "Export": grpc.unary_unary_rpc_method_handler(export)
            }
            for signal in ("Metrics", "Logs")
        }
        self._server = grpc.server(
            futures.ThreadPoolExecutor(2), options=[(f"grpc.{name}", value) for name, value in options.items()]
        )
        for service, methods in handlers.items():
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
        if credentials is None:
            self.port: int = self._server.add_insecure_port("127.0.0.1:0")
        else:
            self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self.scheme = "http" if credentials is None else "https"
        self._server.start()

    @property
    def address(self) -> str:
        return f"{self.scheme}://localhost:{self.port}"

    def close(self) -> None:
        self._server.stop(None).wait()


@contextlib.contextmanager
def grpc_backend(
    answer: Callable[[bytes, Any], bytes] | None = None,
    credentials: grpc.ServerCredentials | None = None,
    **options: int,
) -> Iterator[GrpcBackend]:
    """A gRPC back end for one test; without `answer` it takes everything."""
    started = GrpcBackend(answer or (lambda request, context: b""), credentials, **options)
    try:
        yield started
    finally:
        started.close()


def points_of(bodies: list[bytes]) -> list[tuple[str, int]]:
    """Name and time of every gauge point in these metrics requests."""
    return [
        (metric.name, point.time_unix_nano)
        for body in bodies
        for metric in metrics_of(ExportMetricsServiceRequest.FromString(body))
        for point in metric.gauge.data_points
    ]
