"""Sink: where the collector of a test passes everything on to. Keeps every OTLP message it is given, in order."""

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

WAIT_S = 60.0
TEXTS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


class Sink:
    """A server on a port of its own; `address` is what an exporter or collector is given.

    taken:    called with each metrics request, for whoever passes it on.
    instance: when set, what is read back is of this `service.instance.id` only: a collector may still pass on what is older.
    """

    instance: str | None = None

    def __init__(self, taken: Callable[[ExportMetricsServiceRequest], None] | None = None) -> None:
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.logs: list[ExportLogsServiceRequest] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path.endswith("/v1/metrics"):
                    request = ExportMetricsServiceRequest.FromString(body)
                    if taken is not None:
                        taken(request)
                    sink.metrics.append(request)
                elif self.path.endswith("/v1/logs"):
                    sink.logs.append(ExportLogsServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    # -- what arrived ---------------------------------------------------------------------------------------------------

    def records(self) -> Iterator[Any]:
        """Every log record, in order."""
        for request in list(self.logs):
            for resource in request.resource_logs:
                if self._wanted(resource):
                    for scope in resource.scope_logs:
                        yield from scope.log_records

    def rows(self) -> list[dict[str, Any]]:
        """Every row of the log stream, in order, read as a back end would: `_step`, `_seq` and the values."""
        return [
            {
                "_step": attribute(record, "milepost.step"),
                "_seq": attribute(record, "milepost.seq"),
                **numbers(json.loads(record.body.string_value)),
            }
            for record in self.records()
            if record.event_name == "milepost.row"
        ]

    def points(self, name: str) -> list[tuple[int, float]]:
        """Time in nanoseconds and value of every point of a gauge, by time: a collector may send two requests at once."""
        return sorted(
            (point.time_unix_nano, point.as_double if point.HasField("as_double") else point.as_int)
            for metric in self.all_metrics()
            if metric.name == name
            for point in metric.gauge.data_points
        )

    def all_metrics(self) -> Iterator[Any]:
        """Every metric of every request."""
        for request in list(self.metrics):
            for resource in request.resource_metrics:
                if self._wanted(resource):
                    for scope in resource.scope_metrics:
                        yield from scope.metrics

    def _wanted(self, message: Any) -> bool:
        return self.instance is None or attributes(message.resource).get("service.instance.id") == self.instance

    def wait(self, found: Callable[[], bool]) -> None:
        """Wait until something is there."""
        deadline = time.monotonic() + WAIT_S
        while not found():
            assert time.monotonic() < deadline, (
                f"waited {WAIT_S:.0f} s; {len(self.metrics)} + {len(self.logs)} requests came"
            )
            time.sleep(0.02)


def metrics_of(request: ExportMetricsServiceRequest) -> Iterator[Any]:
    """Every metric of a request."""
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            yield from scope.metrics


def attribute(record: Any, name: str) -> Any:
    """The value of an attribute; None without it."""
    for pair in record.attributes:
        if pair.key == name:
            return getattr(pair.value, pair.value.WhichOneof("value"))
    return None


def attributes(resource: Any) -> dict[str, Any]:
    """All attributes of a resource."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in resource.attributes}


def numbers(values: dict[str, Any]) -> dict[str, Any]:
    """The values with the texts of NaN and the infinities read back."""
    return {key: TEXTS.get(value, value) if isinstance(value, str) else value for key, value in values.items()}
