"""OpenTelemetry clients send to the server, and their data shows as runs with steps."""

import asyncio
import gzip
import os
import re
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import pairwise
from typing import Any

import httpx
import numpy as np
import pytest
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics._internal.measurement import Measurement
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExportResult
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

import milepost
from milepost.server.otlp import writer_of
from milepost.server.otlp_errors import OtlpErrors
from milepost.server.otlp_read import Found
from milepost.server.problems import Problem
from milepost.server.problems import answer as problem_answer
from tests.server.conftest import ADMIN_KEY, Server
from tests.server.sending import row as one_row
from tests.server.sending import rows_of, send

Status: Any = import_module("google.rpc.status_pb2").Status
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
    assert [row["_runtime"] for row in rows] == [0, 1, 2]
    assert client.get("/api/v1/runs/shop/a").json()["metadata"]["resource"]["service.name"] == "shop"


def test_without_a_step_rows_are_counted(client: httpx.Client) -> None:
    body = gauges("b", [{"x": 1.0}, {"x": 2.0}], with_steps=False).SerializeToString()
    client.post("/v1/metrics", content=body, headers=PROTOBUF)

    assert [row["x"] for row in rows_of(client, "b", "shop")] == [1.0, 2.0]


def test_rows_get_numbers_behind_all_that_are_stored_whatever_holes_are_below(client: httpx.Client) -> None:
    writer = writer_of(Found({"service.name": "shop", "service.instance.id": "holes"}), "metrics")
    stored = [one_row(n, {"loss": float(n)}) for n in (2, 3)]
    assert send(client, stored, run="holes", project="shop", writer=writer).status_code == 200

    body = gauges("holes", [{"loss": 0.5}] * 4, first=4).SerializeToString()
    answer = client.post("/v1/metrics", content=body, headers=PROTOBUF)

    assert answer.status_code == 200, answer.text
    assert [r["loss"] for r in rows_of(client, "holes", "shop")] == [2.0, 3.0, 0.5, 0.5, 0.5, 0.5]


def test_a_request_that_is_refused_leaves_no_gap(client: httpx.Client) -> None:
    def post(request: ExportMetricsServiceRequest) -> int:
        return client.post("/v1/metrics", content=request.SerializeToString(), headers=PROTOBUF).status_code

    too_many = gauges("no-gap", [{f"key {n}": 1.0 for n in range(200_001)}])

    assert [post(too_many), post(gauges("no-gap", [{"loss": 0.5}])), post(too_many)] == [400, 200, 400]
    assert post(gauges("no-gap", [{"loss": 0.25}], first=1)) == 200
    assert [r["loss"] for r in rows_of(client, "no-gap", "shop")] == [0.5, 0.25]
    assert client.get("/api/v1/runs/shop/no-gap").json()["completeness"]["gaps"] == []


def test_a_client_that_goes_on_after_its_run_was_deleted_makes_it_anew(client: httpx.Client) -> None:
    for first in range(3):
        body = gauges("anew", [{"loss": float(first)}], first).SerializeToString()
        assert client.post("/v1/metrics", content=body, headers=PROTOBUF).status_code == 200
        if first == 1:
            deleted = client.post("/api/v1/bulk", json={"runs": ["shop/anew"], "delete": True})
            assert deleted.json()["changed"] == 1

    told = client.get("/api/v1/runs/shop/anew").json()
    assert [r["loss"] for r in rows_of(client, "anew", "shop")] == [2.0]
    assert told["metadata"]["resource"]["service.instance.id"] == "anew"
    assert told["completeness"]["gaps"] == []


def test_a_retry_is_known_also_after_the_server_was_killed(data_server: Callable[[], Server]) -> None:
    two = gauges("one", [{"loss": 0.5}])
    two.MergeFrom(gauges("two", [{"loss": 0.5}]))
    for _ in range(2):
        server = data_server()
        with server.client(ADMIN_KEY) as client:
            for _ in range(2):
                assert client.post("/v1/metrics", content=two.SerializeToString(), headers=PROTOBUF).status_code == 200
            assert [len(rows_of(client, run, "shop")) for run in ("one", "two")] == [1, 1]
        server.kill()


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
    assert "1 x summary, which nobody can add up" in answer.json()["partialSuccess"]["errorMessage"]
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


@pytest.mark.parametrize("most", [160, 4], ids=["fine", "coarse"])
@pytest.mark.parametrize("kind", ["positive", "both", "negative", "zeros", "one", "wide"])
def test_exponential_histograms_of_the_stock_sdk_are_histograms(client: httpx.Client, kind: str, most: int) -> None:
    random = np.random.default_rng(3)
    values = {
        "positive": random.lognormal(size=500),
        "both": random.normal(size=500),
        "negative": -random.lognormal(size=500),
        "zeros": np.concatenate((np.zeros(20), random.normal(size=100))),
        "one": np.full(7, 4.0),
        "wide": 10.0 ** random.uniform(-300, 300, 400),
    }[kind]
    reader = InMemoryMetricReader()
    run = f"exp-{kind}-{most}"
    resource = Resource.create({"service.name": "shop", "service.instance.id": run})
    view = View(instrument_name="time", aggregation=ExponentialBucketHistogramAggregation(max_size=most))
    meter = MeterProvider(resource=resource, metric_readers=[reader], views=[view]).get_meter("m")
    histogram = meter.create_histogram("time")
    for value in values.tolist():
        # The SDK refuses what is below zero here, but its aggregation, and other SDKs, take it.
        histogram.record(value) if value >= 0 else record_below_zero(histogram, value)
    body = encode_metrics(reader.get_metrics_data()).SerializeToString()  # type: ignore[arg-type]

    answer = client.post("/v1/metrics", content=body, headers=PROTOBUF)

    assert not ExportMetricsServiceResponse.FromString(answer.content).HasField("partial_success"), answer.content
    (row,) = rows_of(client, run, "shop")
    counts, edges = row["time"]["values"], row["time"]["bins"]
    assert sum(counts) == len(values)
    assert all(a < b for a, b in pairwise(edges))
    assert edges[0] <= values.min()
    assert values.max() <= edges[-1]
    # The edges are exact powers: no value lies on one but the least, the greatest, zero and 4.0 = 2 ** 2.
    if kind != "one":
        inside = np.histogram(values, np.nextafter(edges, np.inf))[0]
        assert abs(inside - counts).sum() <= 2


def record_below_zero(histogram: Any, value: float) -> None:
    measurement = Measurement(value, time.time_ns(), histogram, Context(), None)
    histogram._measurement_consumer.consume_measurement(measurement)


def test_what_is_not_taken_is_counted_by_reason(client: httpx.Client) -> None:
    request = gauges("odd", [{"a": 1.0}])
    metrics = request.resource_metrics[0].scope_metrics[0].metrics
    metrics.add(name="twice").gauge.data_points.extend([metrics[0].gauge.data_points[0]] * 3)
    metrics.add(name="nothing").gauge.data_points.add(time_unix_nano=T0)
    metrics.add(name="stale").gauge.data_points.add(time_unix_nano=T0, flags=1)
    metrics.add(name="n" * 5000).gauge.data_points.add(time_unix_nano=T0, as_double=1)
    metrics.add(name="").gauge.data_points.add(time_unix_nano=T0, as_double=1)
    metrics.add(name="milepost.step").gauge.data_points.add(time_unix_nano=T0, as_double=-1)
    metrics.add(name="h").histogram.data_points.add(time_unix_nano=T0, explicit_bounds=[2, 1], bucket_counts=[1, 1, 1])
    metrics.add(name="h2").histogram.data_points.add(time_unix_nano=T0, explicit_bounds=[2, 1], bucket_counts=[1, 1])
    point = metrics.add(name="e").exponential_histogram.data_points.add(time_unix_nano=T0, scale=99)
    point.positive.bucket_counts.append(1)

    answer = client.post("/v1/metrics", content=request.SerializeToString(), headers=PROTOBUF)
    told = ExportMetricsServiceResponse.FromString(answer.content).partial_success

    assert told.rejected_data_points == 9
    assert "2 x second point of one time, name and attributes, such as 'twice'" in told.error_message
    assert "2 x name that has not 1 to 4,096 characters" in told.error_message
    (row,) = rows_of(client, "odd", "shop")
    assert {key: row[key] for key in row if not key.startswith("_")} == {"a": 1.0, "twice": 1.0}
    counted = re.findall(
        r'^milepost_server_otlp_rejected_total\{signal="metrics",reason="(.*)"\} (\d+)$',
        client.get("/metrics").text,
        re.MULTILINE,
    )
    assert ("milepost.step that is no step", "1") in counted


def test_a_record_that_is_too_deep_is_refused_alone(client: httpx.Client) -> None:
    bodies = ['{"a": 1}', '{"a": ' + "[" * 400 + "]" * 400 + "}"]
    records = [{"timeUnixNano": "1", "eventName": "milepost.row", "body": {"stringValue": body}} for body in bodies]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "depths"}}]}

    answer = client.post(
        "/v1/logs", json={"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]}
    )

    assert answer.json()["partialSuccess"]["rejectedLogRecords"] == "1"
    assert "nested deeper than 256 levels" in answer.json()["partialSuccess"]["errorMessage"]
    assert [row["a"] for row in rows_of(client, "depths", "depths")] == [1]


def test_a_time_that_is_not_told_is_now(client: httpx.Client) -> None:
    request = gauges("timeless", [{"a": 1.0}])
    request.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0].time_unix_nano = 0
    before = time.time()
    client.post("/v1/metrics", content=request.SerializeToString(), headers=PROTOBUF)

    assert before <= rows_of(client, "timeless", "shop")[0]["_timestamp"] <= time.time()


@pytest.mark.parametrize("kind", ["application/x-protobuf", "application/json"])
def test_an_error_is_a_status_in_the_form_of_the_request(client: httpx.Client, kind: str) -> None:
    def status(answer: httpx.Response) -> tuple[int, str]:
        assert answer.headers["content-type"] == kind
        if kind == "application/json":
            told = answer.json()
            return told["code"], told["message"]
        found = Status.FromString(answer.content)
        return found.code, found.message

    headers = {"Content-Type": kind}
    wrong = client.post("/v1/metrics", content=b"{\xff", headers=headers)
    unknown = client.post("/v1/logs", content=b"", headers={**headers, "Authorization": "Bearer mp_no_" + "x" * 300})
    traces = client.post("/v1/traces", content=b"", headers=headers)

    assert (wrong.status_code, status(wrong)[0]) == (400, 3)
    assert "this is no OTLP metrics request" in status(wrong)[1]
    assert (unknown.status_code, *status(unknown)) == (
        401,
        16,
        "unauthorized: this key is not valid here: it is wrong, revoked, or over; an admin makes another",
    )
    assert (traces.status_code, status(traces)[0]) == (404, 5)
    assert "traces are not stored here" in status(traces)[1]


def test_a_server_that_is_busy_says_when_to_come_again() -> None:
    async def ask() -> tuple[int, dict[str, str], bytes]:
        text = "x" * 200
        problem = Problem(429, "busy", text, headers={"Retry-After": "7"})
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "path": "/v1/metrics", "headers": [(b"content-type", b"application/x-protobuf")]}
        await OtlpErrors(problem_answer(problem))(scope, None, send)  # type: ignore[arg-type]
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], headers, sent[1]["body"]

    code, headers, body = asyncio.run(ask())

    assert (code, headers["retry-after"], headers["content-length"]) == (429, "7", str(len(body)))
    assert Status.FromString(body) == Status(code=8, message="busy: " + "x" * 200)


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
