"""Stock exporters of OpenTelemetry, by name or as objects, get what milepost's own OTLP exporter sends."""

import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData

import milepost
from milepost.exporters.opentelemetry import OpenTelemetryExporter
from milepost.exporters.otlp.exporter import OtlpExporter
from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event
from milepost.sdk.testing import make_event, make_rows, make_run
from tests.exporters.otlp.sink import Sink


class Collecting(MetricExporter):
    """Keeps what it is given; answers FAILURE while `fails` says so."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[MetricsData] = []
        self.fails: Any = lambda data: False
        self.flushed = 0
        self.closed = False

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        if self.fails(metrics_data):
            return MetricExportResult.FAILURE
        self.taken.append(metrics_data)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        self.flushed += 1
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self.closed = True


def points(taken: Sequence[MetricsData]) -> list[tuple[str, int]]:
    return [
        (metric.name, point.time_unix_nano)
        for data in taken
        for of_resource in data.resource_metrics
        for of_scope in of_resource.scope_metrics
        for metric in of_scope.metrics
        for point in metric.data.data_points
    ]


EVENTS: list[Event] = [
    make_event("run.start", seq=0),
    *make_rows(20, first=1),
    make_event(values={"nan": math.nan, "up": math.inf, "big": 2**63 - 1, "on": True}, seq=21),
    make_event(values={"h": {"_type": "histogram", "values": [1, 2], "bins": [0.0, 0.5, 1.0]}}, seq=22),
    make_event("system", {"process.disk.io.read": 10, "system.cpu.utilization": 0.5}, seq=23),
    msgspec.structs.replace(
        make_event(seq=24), trace_id="0af7651916cd43dd8448eb211c80319c", span_id="b7ad6b7169203331", trace_flags=1
    ),
    make_event("console", seq=25),
    make_event("alert", seq=26),
    make_event("run.finish", seq=27),
]


@pytest.mark.parametrize("step", ["companion", "attribute"])
def test_the_stock_otlp_exporter_sends_the_same_messages_as_ours(step: Any, tmp_path: Path) -> None:
    with Sink() as ours, Sink() as stock:
        own = OtlpExporter(endpoint=ours.address, step=step)
        theirs = OpenTelemetryExporter(
            metrics="otlp_proto_http",
            metrics_options={"endpoint": f"{stock.address}/v1/metrics"},
            logs="otlp_proto_http",
            logs_options={"endpoint": f"{stock.address}/v1/logs"},
            step=step,
        )
        for exporter in (own, theirs):
            exporter.start(make_run(tmp_path), None)
            assert exporter.export(EVENTS).outcome == "success"
            exporter.shutdown()

    assert [str(request) for request in stock.metrics] == [str(request) for request in ours.metrics]
    assert [str(record) for record in stock.records()] == [str(record) for record in ours.records()]
    assert str(stock.logs[0].resource_logs[0].resource) == str(ours.logs[0].resource_logs[0].resource)


def test_objects_get_every_row_of_one_run_after_another() -> None:
    metrics = Collecting()
    logs = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]

    settings = {"capture": False, "shipper": {"run_in": "thread"}}
    exporter = OpenTelemetryExporter(metrics=metrics, logs=logs)
    runs: list[str] = []
    for _ in range(2):
        with milepost.init(project="digits", exporters=[exporter], settings=settings) as run:
            run.define_metric("secret", hidden=not runs)
            runs.append(run.id)
            for step in range(10):
                run.log({"loss": 1 / (1 + step), "secret": 1})
                time.sleep(0.002)

    names = [name for name, _ in points(metrics.taken)]
    assert (names.count("loss"), names.count("secret")) == (20, 10)  # the second run hides nothing
    found: tuple[ReadableLogRecord, ...] = logs.get_finished_logs()
    rows = [each for each in found if each.log_record.event_name == "milepost.row"]
    told = [
        (each.resource.attributes["milepost.run.id"], (each.log_record.attributes or {})["milepost.step"])
        for each in rows
    ]
    assert told == [(run_id, step) for run_id in runs for step in range(10)]
    assert (metrics.flushed, metrics.closed) == (2, False)


def test_a_failure_is_tried_again_and_nothing_is_given_up(tmp_path: Path) -> None:
    metrics = Collecting()
    metrics.fails = lambda data: bool(data.resource_metrics)
    exporter = OpenTelemetryExporter(metrics=metrics)
    exporter.start(make_run(tmp_path), None)

    results = [exporter.export(make_rows(5)) for _ in range(12)]
    metrics.fails = lambda data: False
    last = exporter.export(make_rows(5))
    exporter.shutdown()

    assert {result.outcome for result in results} == {"retry"}
    assert "FAILURE of Collecting" in results[0].reason
    assert last.outcome == "success"


def test_why_a_stock_exporter_failed_is_what_it_logged(tmp_path: Path) -> None:
    exporter = OpenTelemetryExporter(
        metrics="otlp_proto_grpc", metrics_options={"endpoint": "http://127.0.0.1:9", "timeout": 1}
    )
    exporter.start(make_run(tmp_path), None)

    result = exporter.export(make_rows(2))
    exporter.shutdown()

    assert result.outcome == "retry"
    assert "FAILURE of OTLPMetricExporter: " in result.reason
    assert "127.0.0.1:9" in result.reason
    assert "UNAVAILABLE" in result.reason or "DEADLINE_EXCEEDED" in result.reason


@pytest.mark.parametrize("heard", [False, True])
def test_a_warning_of_a_stock_exporter_is_seen_once_by_whoever_hears_its_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, heard: bool
) -> None:
    class Vendor(Collecting):
        __module__ = "vendor.exporter"

        def export(
            self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
        ) -> MetricExportResult:
            logging.getLogger("vendor.exporter").warning("the quota of %s is used up", "today")
            return MetricExportResult.FAILURE

    class Ears(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    found: list[str] = []
    logger = logging.getLogger("vendor")
    monkeypatch.setattr(logger, "propagate", False)  # so that pytest's own handler does not hear it
    monkeypatch.setattr(logger, "handlers", [Ears()] if heard else [])
    exporter = OpenTelemetryExporter(metrics=Vendor())
    exporter.start(make_run(tmp_path), None)

    result = exporter.export(make_rows(2))

    assert "FAILURE of Vendor: the quota of today is used up" in result.reason
    on_stderr = capsys.readouterr().err.count("the quota of today is used up")
    assert (on_stderr, len(found)) == ((0, 1) if heard else (1, 0))


def test_an_outage_is_not_searched_for_a_bad_point_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from milepost.exporters.otlp import shipment

    class Down(Collecting):
        asked = 0

        def export(
            self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
        ) -> MetricExportResult:
            self.asked += bool(metrics_data.resource_metrics)
            return super().export(metrics_data, timeout_millis)

    monkeypatch.setattr(shipment, "SEARCH_S", 0.0)
    metrics = Down()
    metrics.fails = lambda data: bool(data.resource_metrics)  # what holds nothing it takes without asking anybody
    exporter = OpenTelemetryExporter(metrics=metrics)
    exporter.start(make_run(tmp_path), None)
    results = [exporter.export(make_rows(200)) for _ in range(10)]
    exporter.shutdown()

    assert {result.outcome for result in results} == {"retry"}
    assert metrics.asked <= 2 * len(results)


def test_a_point_that_fails_a_whole_batch_costs_one_point(tmp_path: Path) -> None:
    rows = make_rows(16)
    bad = ("train.loss", rows[9].time_unix_nano)
    metrics = Collecting()
    metrics.fails = lambda data: bad in points([data])
    exporter = OpenTelemetryExporter(metrics=metrics)
    exporter.start(make_run(tmp_path), None)

    results = [exporter.export(rows) for _ in range(5)]
    exporter.shutdown()

    assert [result.outcome for result in results] == ["retry"] * 4 + ["rejected"]
    assert results[-1].count == 1
    assert len({point for point in points(metrics.taken) if point[0] == "train.loss"}) == 15


def test_what_an_exporter_raises_is_a_failure(tmp_path: Path) -> None:
    class Raising(Collecting):
        def export(
            self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
        ) -> MetricExportResult:
            raise RuntimeError("no network here")

    exporter = OpenTelemetryExporter(metrics=Raising())
    exporter.start(make_run(tmp_path), None)
    result = exporter.export(make_rows(2))
    exporter.shutdown()

    assert (result.outcome, "RuntimeError: no network here" in result.reason) == ("retry", True)


def test_a_name_that_nobody_registers_is_told_with_those_that_are() -> None:
    with pytest.raises(
        ConfigurationError, match=r"no installed package registers 'otpl'.*There are: .*otlp_proto_http"
    ):
        OpenTelemetryExporter(metrics="otpl")
    with pytest.raises(ConfigurationError, match="give metrics or logs"):
        OpenTelemetryExporter()
    with pytest.raises(ConfigurationError, match="'console' could not be made: TypeError"):
        OpenTelemetryExporter(logs="console", logs_options={"colour": 1})
    with pytest.raises(ConfigurationError, match='must have "metrics" or "logs"'):
        milepost.init(settings={"exporters": [{"opentelemetry": {}}]})


def test_by_name_in_a_config_file_each_signal_is_a_route(tmp_path: Path) -> None:
    with Sink() as sink:
        Path("milepost.yaml").write_text(
            f"""
file_format: "1.0"
capture: false
shipper: {{run_in: thread}}
exporters:
  - opentelemetry:
      metrics: otlp_proto_http
      metrics_options: [{{name: endpoint, value: "{sink.address}/v1/metrics"}}]
      logs: otlp_proto_http
      logs_options: [{{name: endpoint, value: "{sink.address}/v1/logs"}}]
""",
            encoding="utf-8",
        )
        with milepost.init(project="digits") as run:
            run.log({"loss": 0.5})

    assert len(sink.rows()) == 1
    assert [value for _, value in sink.points("loss")] == [0.5]
    names = {path.name for path in Path(run.dir).glob("journal/*/cursor-*")}
    assert names == {"cursor-opentelemetry-metrics.json", "cursor-opentelemetry-logs.json"}
