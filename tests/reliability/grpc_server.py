"""The fault server over gRPC, and what OTLP requests hold: log records of rows, with run, writer, number and values.

ok, refuse, hang, partial:3, poison     as over HTTP (poison: INVALID_ARGUMENT)
UNAVAILABLE, RESOURCE_EXHAUSTED:2       that status; with a number, a RetryInfo of so many seconds
"""

import contextlib
import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any
from zlib import crc32

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from tests.reliability.fault_server import Item, Request

LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"


def rows_of_logs(body: bytes) -> list[Item]:
    """The rows in an ExportLogsServiceRequest. Metrics hold none."""
    found: list[Item] = []
    for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
        about = {each.key: each.value.string_value for each in resource.resource.attributes}
        for scope in resource.scope_logs:
            for record in scope.log_records:
                if record.event_name == "milepost.row":
                    told = {each.key: each.value.int_value for each in record.attributes}
                    found.append(
                        {
                            "run": f"{about['milepost.project']}/{about['milepost.run.id']}",
                            "writer": about["service.instance.id"],
                            "seq": told["milepost.seq"],
                            "values": json.loads(record.body.string_value),
                        }
                    )
    return found


def rows_of_otlp(path: str, headers: dict[str, str], body: bytes) -> list[Item]:
    """The rows of an OTLP request over HTTP (protobuf)."""
    if headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    return rows_of_logs(body) if path.endswith("/v1/logs") else []


def otlp_answer(path: str, refused: int) -> tuple[str, bytes]:
    """The body of a success over HTTP."""
    return "application/x-protobuf", _response(path.endswith("/v1/logs"), refused).SerializeToString()


def _response(logs: bool, refused: int) -> Any:
    answer: Any = ExportLogsServiceResponse() if logs else ExportMetricsServiceResponse()
    if refused and logs:
        answer.partial_success.rejected_log_records = refused
        answer.partial_success.error_message = "refused in part"
    return answer


class GrpcFaultServer:
    """As `FaultServer`, over gRPC, for the logs and metrics services of OTLP."""

    def __init__(self, *, is_poison: Callable[[Item], bool] = lambda item: False) -> None:
        self._is_poison = is_poison
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._behaviour = "ok"
        self._server: grpc.Server | None = None
        self.requests: list[Request] = []
        self.accepted: list[Item] = []
        self.refused = 0
        self.port = 0
        self._start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def behave(self, behaviour: str) -> None:
        """Behave so from now on."""
        with self._lock:
            self._behaviour = behaviour
        self._changed.set()  # whoever hangs is let go
        self._changed = threading.Event()
        if behaviour == "refuse":
            self._stop()
        elif self._server is None:
            self._start()

    def seqs(self) -> list[tuple[str, int]]:
        with self._lock:
            return [(item["writer"], item["seq"]) for item in self.accepted]

    def close(self) -> None:
        self.behave("ok")
        self._stop()

    def _start(self) -> None:
        server = grpc.server(futures.ThreadPoolExecutor(8), options=(("grpc.so_reuseport", 0),))
        handlers = {
            method.rpartition("/")[0][1:]: grpc.method_handlers_generic_handler(
                method.rpartition("/")[0][1:],
                {"Export": grpc.unary_unary_rpc_method_handler(self._handler(method == LOGS))},
            )
            for method in (LOGS, METRICS)
        }
        server.add_generic_rpc_handlers(tuple(handlers.values()))
        self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
        server.start()
        self._server = server

    def _stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.stop(5).wait(10)  # after the answers that are under way: what was taken is heard

    def _handler(self, logs: bool) -> Callable[[bytes, Any], bytes]:
        def export(body: bytes, context: Any) -> bytes:
            with self._lock:
                behaviour, changed = self._behaviour, self._changed
                if behaviour == "refuse":  # it came before the port was closed
                    behaviour = "UNAVAILABLE"
                request = Request(time.monotonic(), behaviour, LOGS if logs else METRICS, body=(crc32(body), len(body)))
                self.requests.append(request)
            name, _, argument = behaviour.partition(":")
            if behaviour == "hang":
                changed.wait(60)
                context.abort(grpc.StatusCode.UNAVAILABLE, "let go")
            if name.isupper():
                if argument:
                    context.set_trailing_metadata((("grpc-status-details-bin", retry_info(int(argument))),))
                context.abort(getattr(grpc.StatusCode, name), "as the script says")
            items = rows_of_logs(body) if logs else []
            if name == "poison" and any(map(self._is_poison, items)):
                request.behaviour = "400"
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "bad value")
            with self._lock:
                request.items = items
                refused = min(int(argument), len(items)) if name == "partial" else 0
                self.refused += refused
                self.accepted += items
            answer: bytes = _response(logs, refused).SerializeToString()
            request.left_s = context.time_remaining()
            return answer

        return export


def retry_info(seconds: int) -> bytes:
    """A google.rpc.Status that carries a RetryInfo, packed by hand: three nested messages."""
    info = b"\x0a" + bytes((2, 0x08, seconds))  # retry_delay: Duration{seconds}
    kind = b"type.googleapis.com/google.rpc.RetryInfo"
    any_ = b"\x0a" + bytes((len(kind),)) + kind + b"\x12" + bytes((len(info),)) + info
    return b"\x08\x08" + b"\x1a" + bytes((len(any_),)) + any_


@contextlib.contextmanager
def serving_grpc(**options: Any) -> Iterator[GrpcFaultServer]:
    """A gRPC fault server for the time of a block."""
    server = GrpcFaultServer(**options)
    try:
        yield server
    finally:
        server.close()
