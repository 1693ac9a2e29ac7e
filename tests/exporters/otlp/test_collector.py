"""Rows through a real collector: every protocol, whole runs, what the log stream and the metrics hold afterwards."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

import milepost
from milepost.exporters.otlp.resource import detected
from tests.exporters.otlp.processes import Collector
from tests.exporters.otlp.sink import Sink, attributes

PROTOCOLS: dict[str, dict[str, Any]] = {
    "http/protobuf": {},
    "http/protobuf in gzip": {"compression": "gzip"},
    "http/json": {},
    "grpc": {},
    "grpc in gzip": {"compression": "gzip"},
}


ON_A_THREAD: dict[str, Any] = {"capture": False, "shipper": {"run_in": "thread"}}
"""Settings: in the program, so that no process outlives the test. The shipper's own tests are in tests/reliability."""


def options(running: Collector, case: str) -> dict[str, Any]:
    """The exporter's options for a case of PROTOCOLS."""
    protocol = case.split()[0]
    return {"protocol": protocol, "endpoint": running.grpc if protocol == "grpc" else running.http, **PROTOCOLS[case]}


def train(exporter: dict[str, Any], rows: list[dict[str, Any]], **arguments: Any) -> Any:
    """A run that logs these rows to OTLP; it is over when everything is delivered."""
    settings = {"exporters": [{"otlp": exporter}], **ON_A_THREAD}
    with milepost.init(project="digits", settings=settings, **arguments) as run:
        for row in rows:
            run.log(row)
    return run


def same(found: list[dict[str, Any]], logged: list[dict[str, Any]]) -> bool:
    """Whether rows are equal, NaN included."""
    return repr(found) == repr(logged)


@pytest.mark.parametrize("case", PROTOCOLS)
def test_every_row_comes_out_of_the_collector_once_in_order_and_exact(
    case: str, collecting: tuple[Collector, Sink]
) -> None:
    running, sink = collecting
    rows: list[dict[str, Any]] = [
        {"train.loss": 1 / (1 + step), "n": step, "phase": "warm up"} for step in range(200)
    ] + [{"train.loss": math.nan, "up": math.inf, "down": -math.inf, "none": None, "big": 2**63 - 1}]

    sink.instance = train(options(running, case), rows).id

    sink.wait(
        lambda: len(sink.rows()) >= len(rows) and any(r.event_name == "milepost.run.finish" for r in sink.records())
    )
    # Two batches at once are what a busy collector passes on; the number of each row says which comes first.
    found = sorted(sink.rows(), key=lambda row: int(row["_seq"]))
    assert [row.pop("_step") for row in found] == list(range(201))
    seqs = [row.pop("_seq") for row in found]
    assert len(set(seqs)) == len(seqs)
    assert same(found, rows)
    told = [record for record in sink.records() if record.event_name not in ("milepost.row", "milepost.sdk")]
    told.sort(key=lambda record: int(record.time_unix_nano))
    assert told[0].event_name == "milepost.run.start"
    assert told[-1].event_name == "milepost.run.finish"


@pytest.mark.parametrize("case", ["http/protobuf", "http/json", "grpc"])
def test_metrics_come_out_as_gauges_with_the_rows_own_times(case: str, collecting: tuple[Collector, Sink]) -> None:
    import time

    running, sink = collecting
    exporter = {**options(running, case), "signals": ["metrics"]}
    settings = {"exporters": [{"otlp": exporter}], **ON_A_THREAD}
    with milepost.init(project="digits", settings=settings) as run:
        for step in range(20):
            run.log({"loss": 1 / (1 + step), "nan": math.nan})
            time.sleep(0.002)  # one point per key and millisecond

    rows = list(milepost.Api().run(run.path).scan_history())
    sink.instance = run.id
    sink.wait(lambda: len(sink.points("loss")) >= 20)
    times = [time for time, _ in sink.points("loss")]
    assert [round(time / 1e9, 6) for time in times] == [round(row["_timestamp"], 6) for row in rows]
    # Of JSON, rotel reads decimals to the last bit but one, and whole numbers and NaN not at all: see test_json.py.
    room = 1e-15 if case == "http/json" else 0.0
    assert [value for _, value in sink.points("loss")] == pytest.approx(
        [row["loss"] for row in rows], rel=room, abs=0.0
    )
    if case != "http/json":
        assert sink.points("milepost.step") == [(time, step) for step, time in enumerate(times)]
        assert all(math.isnan(value) for _, value in sink.points("nan"))
    assert not [*sink.records()]


def test_one_signal_can_go_elsewhere(collecting: tuple[Collector, Sink]) -> None:
    running, sink = collecting
    with Sink() as other:
        logs = {"endpoint": f"{other.address}/v1/logs", "protocol": "http/protobuf"}
        run = train({"protocol": "grpc", "endpoint": running.grpc, "logs": logs}, [{"loss": 0.5}])

        sink.instance = run.id
        sink.wait(lambda: bool(sink.points("loss")))
        other.wait(lambda: len(other.rows()) == 1)
        assert not [*sink.records()]
        assert not other.metrics


def test_two_of_a_kind_go_to_two_places_with_cursors_of_their_own(collecting: tuple[Collector, Sink]) -> None:
    running, sink = collecting
    with Sink() as other:
        settings = {
            "exporters": [
                {"otlp": {"endpoint": running.http, "signals": ["logs"]}},
                {"otlp": {"endpoint": other.address, "processors": [{"filter": {"include": ["loss"]}}]}},
            ],
            **ON_A_THREAD,
        }
        with milepost.init(project="digits", settings=settings) as run:
            run.log({"loss": 0.5, "n": 1})

        sink.instance = run.id
        sink.wait(lambda: len(sink.rows()) == 1)
        assert [{*row} for row in sink.rows()] == [{"_step", "_seq", "loss", "n"}]
        assert [{*row} for row in other.rows()] == [{"_step", "_seq", "loss"}]
    names = {path.stem for path in Path(run.dir).glob("journal/*/cursor-*.json")}
    assert names == {"cursor-otlp-logs", "cursor-otlp-2-metrics", "cursor-otlp-2-logs"}


def test_hidden_metrics_and_those_beyond_max_series_are_in_the_logs_only(
    collecting: tuple[Collector, Sink], caplog: pytest.LogCaptureFixture
) -> None:
    running, sink = collecting
    settings = {"exporters": [{"otlp": {"endpoint": running.http, "max_series": 5}}], **ON_A_THREAD}
    with milepost.init(project="digits", settings=settings) as run:
        run.define_metric("secret.*", hidden=True)
        run.log({"secret.a": 1.0, "loss": 0.5})
        run.log({f"key{i}": float(i) for i in range(10)})

    sink.instance = run.id
    sink.wait(lambda: len(sink.rows()) == 2 and bool(sink.points("milepost.step")))
    names = {metric.name for metric in sink.all_metrics()}
    assert "loss" in names
    assert "secret.a" not in names
    assert len([name for name in names if name.startswith("key")]) < 5
    assert {"secret.a", "key9"} <= {key for row in sink.rows() for key in row}
    assert sum("max_series is 5" in record.getMessage() for record in caplog.records) == 1


def test_processors_of_the_exporter_stand_before_both_signals(collecting: tuple[Collector, Sink]) -> None:
    running, sink = collecting
    settings = {
        "exporters": [{"otlp": {"endpoint": running.http, "processors": [{"filter": {"include": ["train.*"]}}]}}],
        **ON_A_THREAD,
    }
    with milepost.init(project="digits", settings=settings) as run:
        run.log({"train.loss": 0.5, "other": 1.0})

    sink.instance = run.id
    sink.wait(lambda: len(sink.rows()) == 1 and bool(sink.points("train.loss")))
    assert not sink.points("other")
    assert "other" not in sink.rows()[0]
    sink.wait(lambda: any(record.event_name == "milepost.run.finish" for record in sink.records()))
    (end,) = (record for record in sink.records() if record.event_name == "milepost.run.finish")
    summary = json.loads(end.body.string_value)["summary"]
    assert (summary.get("train.loss"), summary.get("other")) == (0.5, None)


def test_a_row_logged_inside_a_span_is_found_from_its_trace(collecting: tuple[Collector, Sink]) -> None:
    from opentelemetry.sdk.trace import TracerProvider

    running, sink = collecting
    tracer = TracerProvider().get_tracer("service")
    settings = {"exporters": [{"otlp": {"endpoint": running.http}}], **ON_A_THREAD}
    with milepost.init(project="digits", settings=settings) as run:
        with tracer.start_as_current_span("fit") as span:
            run.log({"loss": 0.5})
        run.log({"loss": 0.25})

    sink.instance = run.id
    sink.wait(lambda: len(sink.rows()) == 2)
    inside, outside = (record for record in sink.records() if record.event_name == "milepost.row")
    assert inside.trace_id.hex() == format(span.get_span_context().trace_id, "032x")
    assert inside.span_id.hex() == format(span.get_span_context().span_id, "016x")
    assert inside.flags == span.get_span_context().trace_flags != 0
    assert (outside.trace_id, outside.flags) == (b"", 0)


def test_the_resource_has_what_opentelemetrys_variables_and_the_file_say(
    collecting: tuple[Collector, Sink], monkeypatch: pytest.MonkeyPatch
) -> None:
    running, sink = collecting
    monkeypatch.setenv("OTEL_SERVICE_NAME", "trainer")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=lab,team=a")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.http)
    settings = {
        "exporters": [{"otlp": {"detectors": ["os"]}}],
        "resource": {"attributes": [{"name": "team", "value": "b"}]},
        **ON_A_THREAD,
    }
    with milepost.init(project="digits", settings=settings, group="sweep") as run:
        run.log({"loss": 0.5})

    sink.instance = run.id
    sink.wait(lambda: len(sink.rows()) == 1 and bool(sink.points("loss")))
    wanted = {
        "service.name": "trainer", "deployment.environment.name": "lab", "team": "b", "os.type": "linux",
        "milepost.project": "digits", "milepost.run.group": "sweep", "milepost.run.name": run.name,
    }  # fmt: skip
    for resource in (sink.logs[-1].resource_logs[-1].resource, sink.metrics[-1].resource_metrics[-1].resource):
        found = attributes(resource)
        assert {name: found.get(name) for name in wanted} == wanted


def test_a_detector_that_is_not_there_is_said_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    assert detected(["no-such-machine"]) == {}
    assert "resource detector 'no-such-machine' found nothing" in caplog.text
