"""OpenTelemetry clients send to the server, and their data shows as runs with steps."""

import gzip
import os
from collections.abc import Iterator

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExportResult
from opentelemetry.sdk.resources import Resource

import milepost
from milepost.server.otlp import Found, writer_of
from tests.server.conftest import ADMIN_KEY, Server
from tests.server.sending import row as one_row
from tests.server.sending import rows_of, send

T0 = 1_790_000_000_000_000_000
PROTOBUF = {"Content-Type": "application/x-protobuf"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    data = tmp_path_factory.mktemp("otlp") / "data"
    server = Server(["--data", str(data)], {**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY})
    with server.client(ADMIN_KEY) as client:
        yield client
    server.kill()


def gauges(
    run: str, rows: list[dict[str, float]], first: int = 0, with_steps: bool = True
) -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    for key, value in (("service.name", "shop"), ("service.instance.id", run)):
        attribute = resource.resource.attributes.add()
        attribute.key, attribute.value.string_value = key, value
    scope = resource.scope_metrics.add()
    for key in {key for row in rows for key in row}:
        metric = scope.metrics.add()
        metric.name = key
        for n, row in enumerate(rows, start=first):
            point = metric.gauge.data_points.add()
            point.time_unix_nano, point.as_double = T0 + n * 10**9, row[key]
            if with_steps:
                step = point.attributes.add()
                step.key, step.value.int_value = "step", n * 10
    return request


def test_gauges_with_a_step_are_rows(client: httpx.Client) -> None:
    body = gauges("a", [{"loss": 0.5, "acc": 0.1}, {"loss": 0.25, "acc": 0.2}]).SerializeToString()

    for _ in range(3):  # a client that lost the answer sends the same bytes again
        assert client.post("/v1/metrics", content=body, headers=PROTOBUF).status_code == 200
    more = gzip.compress(gauges("a", [{"loss": 0.125, "acc": 0.3}], first=2).SerializeToString())
    assert client.post("/v1/metrics", content=more, headers={**PROTOBUF, "Content-Encoding": "gzip"}).status_code == 200

    rows = rows_of(client, "a", "shop")
    assert [(row["_step"], row["loss"], row["acc"]) for row in rows] == [
        (0, 0.5, 0.1),
        (10, 0.25, 0.2),
        (20, 0.125, 0.3),
    ]
    assert [row["_timestamp"] for row in rows] == [(T0 + n * 10**9) / 1e9 for n in range(3)]
    assert client.get("/api/v1/runs/shop/a").json()["metadata"]["resource"]["service.name"] == "shop"


def test_without_a_step_rows_are_counted(client: httpx.Client) -> None:
    body = gauges("b", [{"x": 1.0}, {"x": 2.0}], with_steps=False).SerializeToString()
    client.post("/v1/metrics", content=body, headers=PROTOBUF)

    assert [row["x"] for row in rows_of(client, "b", "shop")] == [1.0, 2.0]


def test_after_a_request_that_was_refused_and_a_restart_rows_get_numbers_behind_all_that_are_stored(
    client: httpx.Client,
) -> None:
    writer = writer_of(Found({"service.name": "shop", "service.instance.id": "holes"}), "metrics")
    stored = [one_row(n, {"loss": float(n)}) for n in (2, 3)]  # 0 and 1 were refused: the disk was full
    assert send(client, stored, run="holes", project="shop", writer=writer).status_code == 200

    body = gauges("holes", [{"loss": 0.5}] * 4, first=4).SerializeToString()
    answer = client.post("/v1/metrics", content=body, headers=PROTOBUF)

    assert answer.status_code == 200, answer.text
    assert [r["loss"] for r in rows_of(client, "holes", "shop")] == [2.0, 3.0, 0.5, 0.5, 0.5, 0.5]


def test_json_and_other_attributes_and_histograms(client: httpx.Client) -> None:
    point = {"timeUnixNano": str(T0)}
    gauge = {"dataPoints": [point | {"asInt": "3", "attributes": [{"key": "gpu", "value": {"intValue": "1"}}]}]}
    counts = {"count": "3", "bucketCounts": ["1", "2"], "explicitBounds": [5], "min": 1, "max": 9}
    histogram = {"dataPoints": [point | counts]}
    summary = {"dataPoints": [{"timeUnixNano": str(T0), "count": "3"}]}
    metrics = [
        {"name": "memory", "gauge": gauge},
        {"name": "time", "histogram": histogram | {"aggregationTemporality": 2}},
        {"name": "odd", "summary": summary},
    ]
    named = {"milepost.project": "json", "milepost.run.id": "r"}
    resource = {"attributes": [{"key": key, "value": {"stringValue": text}} for key, text in named.items()]}
    body = {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": metrics}]}]}

    answer = client.post("/v1/metrics", json=body)

    assert answer.json()["partialSuccess"]["rejectedDataPoints"] == "1"
    assert "summary of 'odd' is not taken" in answer.json()["partialSuccess"]["errorMessage"]
    (row,) = rows_of(client, "r", "json")
    assert row["memory{gpu=1}"] == 3
    assert row["time"] == {"_type": "histogram", "values": [1, 2], "bins": [1.0, 5.0, 9.0]}


def test_a_program_with_the_stock_sdk_shows_as_a_run(client: httpx.Client) -> None:
    reader = InMemoryMetricReader()
    resource = Resource.create({"service.name": "stock", "service.instance.id": "i1"})
    meter = MeterProvider(resource=resource, metric_readers=[reader]).get_meter("m")
    exporter = OTLPMetricExporter(
        endpoint=f"{client.base_url}/v1/metrics", headers={"authorization": f"Bearer {ADMIN_KEY}"}
    )
    gauge, counter = meter.create_gauge("loss"), meter.create_counter("seen")
    for n in range(3):
        gauge.set(1 / (n + 1))
        counter.add(2)
        data = reader.get_metrics_data()
        assert data is not None
        assert exporter.export(data) is MetricExportResult.SUCCESS
    exporter.shutdown()

    rows = rows_of(client, "i1", "stock")
    assert [row["seen"] for row in rows if "seen" in row] == [2, 4, 6]
    assert [row["loss"] for row in rows if "loss" in row] == [1.0, 0.5, 1 / 3]


def test_the_otlp_exporter_shows_the_rows_of_a_run_once(client: httpx.Client) -> None:
    exporters = [
        {
            "otlp": {
                "endpoint": str(client.base_url),
                "headers": [{"name": "authorization", "value": f"Bearer {ADMIN_KEY}"}],
            }
        }
    ]
    settings = {"exporters": exporters, "shipper": {"run_in": "thread"}}
    run = milepost.init(project="via-otlp", dir="runs", id="r", settings=settings)
    for n in range(20):
        milepost.log({"loss": 1 / (n + 1), "odd": float("nan") if n == 3 else 1.0}, step=n * 2)
    milepost.finish()

    rows = rows_of(client, "r", "via-otlp")
    assert run.id == "r"
    assert [(row["_step"], row["loss"]) for row in rows] == [(n * 2, 1 / (n + 1)) for n in range(20)]
    assert rows[3]["odd"] == "NaN"
    assert client.get("/api/v1/runs/via-otlp/r").json()["rows"] == 20


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"\xff\xff\xff", PROTOBUF, 400),
        (b"{", {"Content-Type": "application/json"}, 400),
        (b"x", {"Content-Type": "text/plain"}, 415),
        (b'{"resourceMetrics": ' + b'[{"resource":' * 2000, {"Content-Type": "application/json"}, 400),
        (b"x", {**PROTOBUF, "Content-Encoding": "gzip"}, 400),
        (gzip.compress(bytes(100 << 20), 1), {**PROTOBUF, "Content-Encoding": "gzip"}, 413),
    ],
    ids=["protobuf", "json", "type", "deep", "gzip", "bomb"],
)
def test_what_is_no_request_is_refused(
    client: httpx.Client, content: bytes, headers: dict[str, str], status: int
) -> None:
    for signal in ("metrics", "logs"):
        assert client.post(f"/v1/{signal}", content=content, headers=headers).status_code == status


def test_an_answer_is_what_the_protocol_says(client: httpx.Client) -> None:
    answer = client.post("/v1/metrics", content=gauges("c", [{"x": 1.0}]).SerializeToString(), headers=PROTOBUF)

    assert answer.headers["content-type"] == "application/x-protobuf"
    assert not ExportMetricsServiceResponse.FromString(answer.content).HasField("partial_success")
