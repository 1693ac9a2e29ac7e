"""OTLP as JSON over HTTP: the same requests, translated. For back ends that take nothing else; it costs ten times as much.

Source: OpenTelemetry Protocol specification, "JSON Protobuf Encoding": field names in lowerCamelCase, trace and span ids in
hex, enums as numbers, 64-bit integers as text.
"""

import json
from typing import Any, Final

from milepost.exporters.otlp.over_http import HttpSender
from milepost.exporters.otlp.sender import Answer
from milepost.exporters.otlp.target import Target

_IDS: Final = ("traceId", "spanId")


class JsonSender:
    """Sends protobuf requests as JSON."""

    def __init__(self, target: Target) -> None:
        self._signal = target.signal
        self._http = HttpSender(target, content_type="application/json")

    def send(self, request: bytes) -> Answer:
        """Translate and POST it."""
        return self._http.send(translated(request, self._signal))

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


def translated(request: bytes, signal: str) -> bytes:
    """The JSON of an encoded request."""
    from google.protobuf.json_format import MessageToDict

    message: Any
    if signal == "metrics":
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

        message = ExportMetricsServiceRequest()
    else:
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

        message = ExportLogsServiceRequest()
    message.ParseFromString(request)
    found = MessageToDict(message, use_integers_for_enums=True)
    for resource_logs in found.get("resourceLogs", ()):
        for scope_logs in resource_logs.get("scopeLogs", ()):
            for record in scope_logs.get("logRecords", ()):
                _hex_ids(record)
    return json.dumps(found, separators=(",", ":")).encode()


def _hex_ids(record: dict[str, Any]) -> None:
    import base64

    for name in _IDS:
        if name in record:
            record[name] = base64.b64decode(record[name]).hex()
