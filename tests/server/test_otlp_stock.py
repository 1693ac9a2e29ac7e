"""Programs with the stock OpenTelemetry SDKs, for JavaScript and for Python, show as runs with steps."""

import os
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

import milepost
from tests.server import otel_node
from tests.server.conftest import ADMIN_KEY, Server
from tests.server.sending import rows_of

PYTHON = """
import logging
from opentelemetry import metrics
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View

reader = PeriodicExportingMetricReader(OTLPMetricExporter(), export_interval_millis=3_600_000)
views = [View(instrument_name="fine", aggregation=ExponentialBucketHistogramAggregation())]
meters, logs = MeterProvider(metric_readers=[reader], views=views), LoggerProvider()
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
meter, logger = meters.get_meter("training"), logs.get_logger("training")
loss, step, seen = meter.create_gauge("loss"), meter.create_gauge("milepost.step"), meter.create_counter("images")
coarse, fine = meter.create_histogram("coarse"), meter.create_histogram("fine")
for n in range(5):
    step.set(n * 10)
    loss.set(1 / (n + 1))
    seen.add(32, {"split": "train"})
    coarse.record(n + 0.5)
    fine.record(n + 0.5)
    logger.emit(body=f"epoch {n} done", severity_text="INFO", severity_number=SeverityNumber.INFO)
    meters.force_flush()
logs.force_flush()
meters.shutdown()
logs.shutdown()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("stock") / "data"
    started = Server(["--data", str(data)], {**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY})
    yield started
    started.kill()


def check(client: httpx.Client, project: str, run: str) -> None:
    # The SDKs send everything once more as they end.
    rows = {row["_step"]: row for row in rows_of(client, run, project)}
    assert [(step, row["loss"], row["images{split=train}"]) for step, row in rows.items()] == [
        (n * 10, 1 / (n + 1), 32 * (n + 1)) for n in range(5)
    ]
    coarse, fine = rows[40]["coarse"], rows[40]["fine"]
    assert (coarse["values"], coarse["bins"]) == ([5], [0.5, 4.5])  # the default bounds are 0, 5, 10, ...
    assert (sum(fine["values"]), fine["bins"][-1]) == (5, 4.5)
    assert fine["bins"][0] == pytest.approx(0.5, rel=0.05)
    lines = client.get(f"/api/v1/runs/{project}/{run}/console").json()["lines"]
    assert [line["text"] for line in lines] == [f"INFO epoch {n} done" for n in range(5)]


@pytest.mark.parametrize("protocol", ["proto", "http"])
def test_a_program_with_the_sdk_for_javascript_shows_as_a_run(server: Server, protocol: str) -> None:
    done = otel_node.run(protocol, server.url, ADMIN_KEY)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with server.client(ADMIN_KEY) as client:
        check(client, "js", protocol)
        assert client.get(f"/api/v1/runs/js/{protocol}").json()["name"] == f"with {protocol}"
    assert milepost.Api(server.url, api_key=ADMIN_KEY).run(f"js/{protocol}").summary["loss"] == 0.2


def test_a_program_with_the_sdk_for_javascript_is_told_that_its_key_is_wrong(server: Server) -> None:
    done = otel_node.run("http", server.url, "mp_wrong_" + "x" * 30)

    assert "Unauthorized" in done.stderr


def test_a_program_with_the_sdk_for_python_shows_as_a_run(server: Server) -> None:
    environment = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": server.url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{ADMIN_KEY}",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_SERVICE_NAME": "py",
        "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=one",
    }
    done = subprocess.run([sys.executable, "-c", PYTHON], env=environment, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    with server.client(ADMIN_KEY) as client:
        check(client, "py", "one")
