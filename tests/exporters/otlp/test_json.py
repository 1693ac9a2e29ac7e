"""OTLP as JSON says what the protobuf request says, in the form that the protocol asks for."""

import base64
import json
import math
from typing import Any

import msgspec
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from milepost.exporters.otlp import resource
from milepost.exporters.otlp.as_json import translated
from milepost.exporters.otlp.metrics import MetricsEncoder
from milepost.exporters.otlp.records import RecordsEncoder
from milepost.exporters.otlp.selection import Selection
from milepost.sdk.testing import make_event

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
RUN = resource.encoded({"service.name": "demo", "rank": 3})


def test_metrics_in_json_are_the_metrics_in_protobuf() -> None:
    values: dict[str, Any] = {"loss": 1 / 3, "nan": math.nan, "down": -math.inf, "big": 2**63 - 1}
    values["h"] = {"_type": "histogram", "values": [1, 2], "bins": [0.0, 0.5, 1.0]}
    request = MetricsEncoder(RUN, resource.scope()).encode(Selection().select([make_event(values=values, seq=5)]))

    found = json.loads(translated(request, "metrics"))

    message = ExportMetricsServiceRequest.FromString(request)
    assert str(ParseDict(found, ExportMetricsServiceRequest())) == str(message)
    metrics = {metric["name"]: metric for metric in found["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]}
    assert metrics["nan"]["gauge"]["dataPoints"][0]["asDouble"] == "NaN"
    assert metrics["big"]["gauge"]["dataPoints"][0]["asInt"] == str(2**63 - 1)
    assert metrics["h"]["histogram"]["aggregationTemporality"] == 2


def test_log_records_in_json_have_their_ids_in_hex() -> None:
    event = msgspec.structs.replace(make_event(seq=5), trace_id=TRACE, span_id=SPAN, trace_flags=1)
    encoder = RecordsEncoder(RUN, resource.scope())
    request = encoder.encode(encoder.select([event]))

    found = json.loads(translated(request, "logs"))

    (record,) = found["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert (record["traceId"], record["spanId"], record["flags"]) == (TRACE, SPAN, 1)
    for name in ("traceId", "spanId"):  # protobuf's own JSON has base64 there
        record[name] = base64.b64encode(bytes.fromhex(record[name])).decode()
    assert str(ParseDict(found, ExportLogsServiceRequest())) == str(ExportLogsServiceRequest.FromString(request))
