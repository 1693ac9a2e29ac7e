"""Requests are packed by hand; what comes out is what OpenTelemetry's own encoder makes of the same data."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from milepost.exporters.otlp import resource
from milepost.exporters.otlp.metrics import MetricsEncoder
from milepost.exporters.otlp.records import RecordsEncoder
from milepost.exporters.otlp.selection import Selection
from milepost.sdk.event import Event
from milepost.sdk.testing import make_event, make_run

RUN: dict[str, Any] = {
    "service.name": "demo",
    "service.instance.id": "run1",
    "milepost.process.rank": 3,
    "share": 0.5,
    "on": True,
}
BEGIN = 1_700_000_000_000_000_000
MS = 1_000_000


def request_of(events: list[Event], **options: Any) -> ExportMetricsServiceRequest:
    """What milepost sends of these events."""
    selection = Selection(**options)
    encoder = MetricsEncoder(resource.encoded(RUN), resource.scope())
    request: ExportMetricsServiceRequest = ExportMetricsServiceRequest.FromString(
        encoder.encode(selection.select(events))
    )
    return request


def stock(*metrics: Metric) -> ExportMetricsServiceRequest:
    """What OpenTelemetry's encoder makes of these metrics."""
    scope = InstrumentationScope("milepost", resource.version())
    found = ScopeMetrics(scope=scope, metrics=list(metrics), schema_url="")
    of_run = ResourceMetrics(resource=Resource(RUN), scope_metrics=[found], schema_url="")
    encoded = encode_metrics(MetricsData(resource_metrics=[of_run]))
    assert isinstance(encoded, ExportMetricsServiceRequest)
    return encoded


def gauge(name: str, *points: tuple[int, float], attributes: dict[str, str] | None = None, unit: str = "") -> Metric:
    found = [NumberDataPoint(attributes or {}, None, time, value) for time, value in points]  # type: ignore[arg-type]
    return Metric(name=name, description="", unit=unit, data=Gauge(data_points=found))


def comparable(request: ExportMetricsServiceRequest) -> list[str]:
    """A request as text, metric by metric: equal for NaN too, and without what has no bytes on the wire."""
    return [str(type(request).FromString(request.SerializeToString()))]


def test_a_row_is_one_gauge_point_per_number_and_a_point_of_the_step() -> None:
    values = {
        "loss": 0.5,
        "nan": math.nan,
        "up": math.inf,
        "epoch": 3,
        "big": 2**63 - 1,
        "least": -(2**63),
        "done": True,
    }
    time = BEGIN + 7 * MS
    active = gauge("milepost.run.active", (time, 1))

    sent = request_of([make_event(values={**values, "phase": "warm", "none": None, "list": [1.0]}, seq=7)])

    expected = stock(
        *(gauge(key, (time, int(value) if key == "done" else value)) for key, value in values.items()),
        gauge("milepost.step", (time, 7)),
        active,
    )
    assert comparable(sent) == comparable(expected)


def test_rows_of_a_batch_are_points_of_the_same_gauges() -> None:
    events = [
        make_event(values={"loss": 1 / (1 + seq), "n": seq if seq % 2 else seq / 2}, seq=seq) for seq in range(50)
    ]

    sent = request_of(events)

    times = [BEGIN + seq * MS for seq in range(50)]
    expected = stock(
        gauge("loss", *((time, 1 / (1 + seq)) for seq, time in enumerate(times))),
        gauge("n", *((time, seq if seq % 2 else seq / 2) for seq, time in enumerate(times))),
        gauge("milepost.step", *((time, seq) for seq, time in enumerate(times))),
        gauge("milepost.run.active", (times[0], 1)),
    )
    assert comparable(sent) == comparable(expected)


def test_step_attribute_puts_the_step_on_every_point_in_place_of_the_companion() -> None:
    sent = request_of([make_event(values={"loss": 0.5, "n": 1}, seq=4)], step="attribute")

    time = BEGIN + 4 * MS
    step: Any = {"milepost.step": 4}
    expected = stock(
        gauge("loss", (time, 0.5), attributes=step),
        gauge("n", (time, 1), attributes=step),
        gauge("milepost.run.active", (time, 1)),
    )
    assert comparable(sent) == comparable(expected)


def test_a_histogram_has_the_edges_as_bounds_empty_outer_buckets_and_begins_at_the_row_before() -> None:
    first = {"_type": "histogram", "values": [1, 2], "bins": [0.0, 0.5, 1.0]}
    second = {"_type": "histogram", "values": [5, 0], "bins": [-1.0, 0.0, 2.5]}
    events = [
        make_event("run.start", seq=0),
        make_event(values={"weights": first}, seq=5),
        make_event(values={"weights": second}, seq=9),
    ]

    sent = request_of(events)

    points = [
        HistogramDataPoint(
            attributes={}, start_time_unix_nano=start, time_unix_nano=time, count=count, sum=None,  # type: ignore[arg-type]
            bucket_counts=counts, explicit_bounds=bounds, min=bounds[0], max=bounds[-1],
        )
        for start, time, count, counts, bounds in (
            (BEGIN, BEGIN + 5 * MS, 3, [0, 1, 2, 0], [0.0, 0.5, 1.0]),
            (BEGIN + 5 * MS, BEGIN + 9 * MS, 5, [0, 5, 0, 0], [-1.0, 0.0, 2.5]),
        )
    ]  # fmt: skip
    histogram = Histogram(data_points=points, aggregation_temporality=AggregationTemporality.CUMULATIVE)
    expected = stock(
        gauge("milepost.run.active", (BEGIN, 1)),
        Metric(name="weights", description="", unit="", data=histogram),
        gauge("milepost.step", (BEGIN + 5 * MS, 5), (BEGIN + 9 * MS, 9)),
    )
    assert comparable(sent) == comparable(expected)


def test_system_samples_have_opentelemetrys_names_units_instruments_and_attributes() -> None:
    sampled = {
        "system.cpu.utilization": 0.25,
        "process.memory.usage": 1_000,
        "process.disk.io.read": 10,
        "process.disk.io.write": 20,
        "hw.gpu.utilization.0": 0.5,
        "unknown": 1,
    }

    sent = request_of([make_event("system", sampled, seq=1)])

    time = BEGIN + MS

    def total(name: str, unit: str, value: int, *, monotonic: bool, attributes: dict[str, str]) -> Metric:
        point = NumberDataPoint(attributes, None, time, value)  # type: ignore[arg-type]
        data = Sum([point], AggregationTemporality.CUMULATIVE, is_monotonic=monotonic)
        return Metric(name=name, description="", unit=unit, data=data)

    expected = stock(
        gauge("system.cpu.utilization", (time, 0.25), unit="1"),
        total("process.memory.usage", "By", 1_000, monotonic=False, attributes={}),
        total("process.disk.io", "By", 10, monotonic=True, attributes={"disk.io.direction": "read"}),
        total("process.disk.io", "By", 20, monotonic=True, attributes={"disk.io.direction": "write"}),
        gauge("hw.gpu.utilization", (time, 0.5), attributes={"hw.id": "0"}, unit="1"),
        gauge("unknown", (time, 1)),
        gauge("milepost.run.active", (time, 1)),
    )
    assert comparable(sent) == comparable(expected)


def records_of(events: list[Event], **options: Any) -> list[Any]:
    """The log records that milepost sends of these events."""
    encoder = RecordsEncoder(resource.encoded(RUN), resource.scope(), **options)
    request = ExportLogsServiceRequest.FromString(encoder.encode(encoder.select(events)))
    (of_resource,) = request.resource_logs
    (of_scope,) = of_resource.scope_logs
    assert of_scope.scope.name == "milepost"
    return list(of_scope.log_records)


def stock_record(event: Event, body: Any, attributes: dict[str, Any], severity: int = 9) -> Any:
    """The log record that OpenTelemetry's encoder makes."""
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    context = None
    if event.trace_id:
        flags = TraceFlags(event.trace_flags)
        span = SpanContext(int(event.trace_id, 16), int(event.span_id, 16), is_remote=False, trace_flags=flags)
        context = set_span_in_context(NonRecordingSpan(span))
    record = LogRecord(
        timestamp=event.time_unix_nano,
        observed_timestamp=event.time_unix_nano,
        context=context,
        severity_number=SeverityNumber(severity),
        body=body,
        attributes=attributes,
        event_name=attributes["event.name"],
    )
    encoded = encode_logs([ReadableLogRecord(record, Resource(RUN), InstrumentationScope("milepost"))])
    return encoded.resource_logs[0].scope_logs[0].log_records[0]


def test_a_row_is_one_log_record_with_its_values_as_json_text() -> None:
    event = make_event(values={"loss": 0.5, "nan": math.nan, "down": -math.inf, "phase": "warm", "none": None}, seq=3)

    (sent,) = records_of([event])

    attributes = {"event.name": "milepost.row", "milepost.step": 3, "milepost.seq": 3, "milepost.runtime": 0.003}
    body = '{"loss":0.5,"nan":"NaN","down":"-Infinity","phase":"warm","none":null}'
    assert str(sent) == str(stock_record(event, body, attributes))


def test_a_row_as_a_map_holds_nested_lists_and_texts_for_what_is_not_finite() -> None:
    event = make_event(values={"loss": 0.5, "nan": math.nan, "n": 3, "on": True, "list": [1.5, "a"]}, seq=3)

    (sent,) = records_of([event], body="map")

    attributes = {"event.name": "milepost.row", "milepost.step": 3, "milepost.seq": 3, "milepost.runtime": 0.003}
    body = {"loss": 0.5, "nan": "NaN", "n": 3, "on": True, "list": [1.5, "a"]}
    assert str(sent) == str(stock_record(event, body, attributes))


@pytest.mark.parametrize("flags", [0, 1])
def test_a_row_logged_in_a_span_carries_its_trace_its_span_and_whether_it_is_sampled(flags: int) -> None:
    import msgspec

    event = msgspec.structs.replace(make_event(values={"loss": 1.0}, seq=2), trace_id="0af7651916cd43dd8448eb211c80319c",
                                    span_id="b7ad6b7169203331", trace_flags=flags)  # fmt: skip

    (sent,) = records_of([event])

    attributes = {"event.name": "milepost.row", "milepost.step": 2, "milepost.seq": 2, "milepost.runtime": 0.002}
    assert str(sent) == str(stock_record(event, '{"loss":1.0}', attributes))
    assert (sent.trace_id.hex(), sent.flags) == (event.trace_id, flags)


@pytest.mark.parametrize(
    ("kind", "severity"),
    [("run.start", 9), ("config", 9), ("summary", 9), ("metric", 9), ("run.finish", 9), ("alert", 13)],
)
def test_other_events_are_log_records_under_their_own_names(kind: str, severity: int) -> None:
    event = make_event(kind, seq=5)

    (sent,) = records_of([event])

    assert sent.event_name == f"milepost.{kind}"
    assert sent.severity_number == severity
    assert json.loads(sent.body.string_value) == event.values


def test_a_console_line_is_its_own_text() -> None:
    (sent,) = records_of([make_event("console", seq=5)])

    assert sent.body.string_value == "epoch 1 done\n"


def test_media_are_a_reference() -> None:
    image = {"_type": "image-file", "path": "media/x.png", "sha256": "0" * 64, "size": 10, "caption": "a cat"}

    (sent,) = records_of([make_event(values={"cat": image}, seq=1)])
    points = request_of([make_event(values={"cat": image}, seq=1)])

    assert json.loads(sent.body.string_value) == {"cat": image}
    assert not points.resource_metrics


def test_the_resource_tells_runs_and_ranks_apart(tmp_path: Path) -> None:
    run = make_run(tmp_path, group="sweep", resource={"service.name": "digits", "deployment.environment.name": "lab"})
    rank = make_run(tmp_path, rank=3, primary=False)
    child = make_run(tmp_path, primary=False, parent="00000000000000bb")

    found = resource.attributes(run)

    assert found["service.name"] == "digits"
    assert found["service.instance.id"] == found["milepost.run.id"] == "run1"
    assert found["milepost.run.group"] == "sweep"
    assert found["deployment.environment.name"] == "lab"
    assert resource.attributes(rank)["service.instance.id"] == "run1-rank-3"
    assert resource.attributes(child)["service.instance.id"] == f"run1-{child.writer}"
