"""What an answer means: retried with the delay asked for, counted to the point, set aside, or believed only when it is proved."""

import email.utils
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from milepost.exporters.otlp import wire
from milepost.exporters.otlp.exporter import OtlpExporter
from milepost.sdk.event import Event
from milepost.sdk.exporter import ExportResult
from milepost.sdk.testing import make_event, make_rows, make_run
from tests.exporters.otlp.answering import Reply, grpc_backend, http_backend, points_of
from tests.exporters.otlp.processes import prometheus
from tests.exporters.otlp.sink import metrics_of


def started(tmp_path: Path, signal: str, address: str, **options: Any) -> OtlpExporter:
    """An exporter of one signal that knows its run."""
    exporter = OtlpExporter(endpoint=address, signals=[signal], **options)
    exporter.start(make_run(tmp_path), None)
    return exporter


def export(exporter: OtlpExporter, events: list[Event]) -> ExportResult:
    """Export once and close."""
    try:
        return exporter.export(events)
    finally:
        exporter.shutdown()


def partial(rejected: int, message: str = "") -> bytes:
    """A response with a partial success."""
    return wire.message(1, wire.number(1, rejected) + wire.text(2, message))


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_overload_and_outages_are_retried(status: int, tmp_path: Path) -> None:
    with http_backend(lambda body: Reply(status, b"busy")) as backend:
        result = export(started(tmp_path, "metrics", backend.address), make_rows(3))

    assert result.outcome == "retry"
    assert f"HTTP {status}: busy" in result.reason
    assert len(backend.requests) == 1  # the delivery tries again, not the exporter


@pytest.mark.parametrize("form", ["seconds", "date", "asctime"])
def test_retry_after_is_the_delay(form: str, tmp_path: Path) -> None:
    date = email.utils.formatdate(time.time() + 7, usegmt=True)
    text = {"seconds": "7", "date": date, "asctime": time.asctime(time.gmtime(time.time() + 7))}[form]
    with http_backend(lambda body: Reply(429, headers={"retry-after": text})) as backend:
        result = export(started(tmp_path, "metrics", backend.address), make_rows(3))

    assert result.retry_after_s is not None
    assert 4 < result.retry_after_s <= 7


@pytest.mark.parametrize("text", ["soon", "inf", "nan"])
def test_a_retry_after_that_is_none_leaves_the_delay_to_us(text: str, tmp_path: Path) -> None:
    with http_backend(lambda body: Reply(429, headers={"retry-after": text})) as backend:
        result = export(started(tmp_path, "metrics", backend.address), make_rows(3))

    assert (result.outcome, result.retry_after_s) == ("retry", None)


def test_grpc_retry_info_is_the_delay(tmp_path: Path) -> None:
    def busy(request: bytes, context: Any) -> bytes:
        duration = wire.number(1, 3) + wire.number(2, 500_000_000)
        info = wire.text(1, "type.googleapis.com/google.rpc.RetryInfo") + wire.message(2, wire.message(1, duration))
        status = wire.number(1, 8) + wire.text(2, "busy") + wire.message(3, info)
        context.set_trailing_metadata((("grpc-status-details-bin", status),))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
        return b""

    with grpc_backend(busy) as backend:
        result = export(started(tmp_path, "metrics", backend.address, protocol="grpc"), make_rows(3))

    assert (result.outcome, result.retry_after_s) == ("retry", 3.5)


@pytest.mark.parametrize(
    "code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED", "DATA_LOSS", "OUT_OF_RANGE"]
)
def test_grpc_codes_that_pass_are_retried(code: str, tmp_path: Path) -> None:
    def answer(request: bytes, context: Any) -> bytes:
        context.abort(grpc.StatusCode[code], "later")
        return b""

    with grpc_backend(answer) as backend:
        result = export(started(tmp_path, "logs", backend.address, protocol="grpc"), make_rows(3))

    assert (result.outcome, "later" in result.reason) == ("retry", True)


def test_partial_success_is_rejected_with_the_exact_count_and_not_sent_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with http_backend(lambda body: Reply(200, partial(3, "no"))) as backend:
        exporter = started(tmp_path, "logs", backend.address)
        result = exporter.export(make_rows(10))
        counts = exporter.position()["counts"]
        exporter.shutdown()

    assert result == ExportResult.rejected(3, "partial success")
    assert counts["sent"] == 7
    assert counts["rejected"] == {"partial success": 3}
    assert len(backend.requests) == 1
    assert "but for 3 of 10: no" in caplog.text


def test_partial_success_over_grpc_and_json(tmp_path: Path) -> None:
    with grpc_backend(lambda request, context: partial(2)) as backend:
        result = export(started(tmp_path, "logs", backend.address, protocol="grpc"), make_rows(10))
    assert result == ExportResult.rejected(2, "partial success")

    told = b'{"partialSuccess": {"rejectedLogRecords": "4", "errorMessage": "no"}}'
    with http_backend(lambda body: Reply(200, told)) as over_json:
        result = export(started(tmp_path, "logs", over_json.address, protocol="http/json"), make_rows(10))
    assert result == ExportResult.rejected(4, "partial success")


def test_a_warning_without_rejected_records_is_a_success(tmp_path: Path) -> None:
    with http_backend(lambda body: Reply(200, partial(0, "deprecated"))) as backend:
        assert export(started(tmp_path, "logs", backend.address), make_rows(10)) == ExportResult.SUCCESS


# -- bad points -------------------------------------------------------------------------------------------------------------


def poisoned(is_bad: Callable[[str, int], bool], status: int = 400) -> Callable[[bytes], Reply]:
    """A back end that refuses a whole request for one point, as Prometheus does."""

    def answer(body: bytes) -> Reply:
        bad = any(is_bad(name, at) for name, at in points_of([body]))
        return Reply(status, b"invalid sample") if bad else Reply()

    return answer


@pytest.mark.parametrize("status", [400, 422])
def test_one_bad_point_costs_one_point(status: int, tmp_path: Path) -> None:
    rows = make_rows(64)
    bad = ("train.loss", rows[37].time_unix_nano)
    with http_backend(poisoned(lambda *point: point == bad, status)) as backend:
        exporter = started(tmp_path, "metrics", backend.address)
        result = exporter.export(rows)
        counts = exporter.position()["counts"]
        exporter.shutdown()

    assert result == ExportResult.rejected(1, f"refused by the back end (HTTP {status})")
    arrived = points_of(backend.taken)
    expected = {(name, row.time_unix_nano) for row in rows for name in ("train.loss", "accuracy", "milepost.step")}
    assert set(arrived) - {("milepost.run.active", rows[0].time_unix_nano)} == expected - {bad}
    assert len(arrived) == len(set(arrived))
    assert counts["rejected"] == {f"refused by the back end (HTTP {status})": 1}
    assert len(backend.requests) < 30
    times = [at for _, at in arrived]
    assert times == sorted(times) or [at for name, at in arrived if name == "accuracy"] == [
        r.time_unix_nano for r in rows
    ]


def test_a_series_that_is_always_refused_is_left_out_after_three_points(tmp_path: Path) -> None:
    rows = [make_event(values={"good": 1.0, "é": 2.0}, seq=seq) for seq in range(200)]
    with http_backend(poisoned(lambda name, at: name == "é")) as backend:
        exporter = started(tmp_path, "metrics", backend.address)
        first = exporter.export(rows[:100])
        asked = len(backend.requests)
        second = exporter.export(rows[100:])
        exporter.shutdown()

    assert first.outcome == "rejected"
    assert second == ExportResult.SUCCESS
    assert asked < 60
    assert len(backend.requests) == asked + 1
    assert len([name for name, _ in points_of(backend.taken) if name == "good"]) == 200


def test_a_bad_row_of_the_logs_costs_one_row(tmp_path: Path) -> None:
    rows = make_rows(50)
    rows[20] = make_event(values={"poison": 1.0}, seq=20)
    with http_backend(lambda body: Reply(400, b"no") if b"poison" in body else Reply()) as backend:
        result = export(started(tmp_path, "logs", backend.address), rows)

    assert result == ExportResult.rejected(1, "refused by the back end (HTTP 400)")


def test_a_back_end_that_refuses_everything_gets_no_rows_and_loses_none(tmp_path: Path) -> None:
    with http_backend(lambda body: Reply(400, b"this is no OTLP receiver")) as backend:
        result = export(started(tmp_path, "logs", backend.address), make_rows(50))

    assert result.outcome == "retry"
    assert "refuses all it is sent: HTTP 400: this is no OTLP receiver" in result.reason
    assert len(backend.requests) == 2  # the batch, and an empty request that finds out


def test_a_back_end_that_fails_is_not_taken_for_one_that_refuses(tmp_path: Path) -> None:
    with http_backend(lambda body: Reply(500, b"database is down") if body else Reply()) as backend:
        exporter = started(tmp_path, "logs", backend.address)
        results = [exporter.export(make_rows(8)) for _ in range(20)]
        backend.answer = lambda body: Reply()
        last = exporter.export(make_rows(8))
        exporter.shutdown()

    assert {result.outcome for result in results} == {"retry"}
    assert last == ExportResult.SUCCESS


def test_what_was_taken_is_not_sent_again_when_the_rest_has_to_wait(tmp_path: Path) -> None:
    replies = iter([Reply(413), Reply(200), Reply(503), Reply(200)])
    with http_backend(lambda body: next(replies)) as backend:
        exporter = started(tmp_path, "metrics", backend.address)
        waits = exporter.export(make_rows(10))
        done = exporter.export(make_rows(10))
        exporter.shutdown()

    assert (waits.outcome, done.outcome) == ("retry", "success")
    arrived = [point for point in points_of(backend.taken) if point[0] == "train.loss"]
    assert arrived == [("train.loss", row.time_unix_nano) for row in make_rows(10)]


def test_too_large_requests_are_halved_and_grpc_stays_below_four_mebibytes(tmp_path: Path) -> None:
    wide = [make_event(values={f"key{i:04}": float(seq) for i in range(4_000)}, seq=seq) for seq in range(55)]
    with grpc_backend(max_receive_message_length=4 * 1024 * 1024) as backend:
        exporter = started(tmp_path, "metrics", backend.address, protocol="grpc", max_series=100_000)
        result = export(exporter, wide)

    assert result == ExportResult.SUCCESS
    assert max(map(len, backend.requests)) < 4 * 1024 * 1024
    assert len(backend.requests) > 1
    assert sum(body.count(b"\x0a\x12\x19") for body in backend.taken) == 55 * 4_001 + 1  # each is a point


# -- age and order ------------------------------------------------------------------------------------------------------------


def test_samples_too_old_for_prometheus_are_set_aside_counted_and_the_setting_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from milepost.exporters.prometheus_remote_write import PrometheusRemoteWriteExporter

    now = time.time_ns()

    def rows(age_s: int, first: int) -> list[Event]:
        begin = now - age_s * 1_000_000_000
        return [
            Event(
                kind="row",
                values={"loss": 1.0},
                step=seq,
                seq=seq,
                time_unix_nano=begin + seq * 2_000_000,
                run="demo/run1",
            )
            for seq in range(first, first + 20)
        ]

    with prometheus(tmp_path / "prometheus") as backend, caplog.at_level(logging.WARNING):
        exporter = PrometheusRemoteWriteExporter(endpoint=f"{backend.http}/api/v1/write")
        exporter.start(make_run(tmp_path), None)
        results = [exporter.export(rows(*of)) for of in ((60, 0), (2 * 86_400, 100), (30, 200))]
        exporter.shutdown()

    assert [result.outcome for result in results] == ["success", "rejected", "success"]
    assert results[1].count == 20
    assert results[1].reason == "too old or out of order (HTTP 400)"
    assert caplog.text.count("out_of_order_time_window") == 1


def test_with_a_window_an_older_run_goes_in_and_past_the_window_it_is_set_aside(tmp_path: Path) -> None:
    from milepost.exporters.prometheus_remote_write import PrometheusRemoteWriteExporter

    now = time.time_ns()
    with prometheus(tmp_path / "prometheus", window="1h") as backend:
        exporter = PrometheusRemoteWriteExporter(endpoint=f"{backend.http}/api/v1/write")
        exporter.start(make_run(tmp_path), None)
        results: list[str] = []
        for seq, age_s in enumerate((0, 1_800, 7_200)):
            at = now - age_s * 1_000_000_000
            row = Event(kind="row", values={"loss": 1.0}, step=seq, seq=seq, time_unix_nano=at, run="demo/run1")
            result = exporter.export([row])  # Prometheus 2.42 answers 500 past its window
            results.append(f"{result.outcome} {result.count}")
        exporter.shutdown()

    assert results == ["success 0", "success 0", "rejected 1"]


def late(body: bytes) -> Reply:
    """Taken, but the answer comes when nobody waits for it any more."""
    time.sleep(1.0)
    return Reply()


def test_a_refusal_for_order_after_a_lost_answer_says_that_it_is_most_likely_there(tmp_path: Path) -> None:
    with http_backend() as backend:
        exporter = started(tmp_path, "metrics", backend.address, timeout=300)
        backend.answer = late
        first = exporter.export(make_rows(3))
        backend.answer = lambda body: Reply(400, b"out of order sample")
        second = exporter.export(make_rows(3))
        exporter.shutdown()

    assert first.outcome == "retry"
    assert second == ExportResult.rejected(3, "out of order after an answer was lost: most likely stored already")


def test_so_does_one_that_comes_first_after_a_process_that_did_not_come_back(tmp_path: Path) -> None:
    with http_backend() as backend:
        before = started(tmp_path, "metrics", backend.address)
        before.export(make_rows(3))
        backend.answer = lambda body: Reply(400, b"out of order sample")
        after = OtlpExporter(endpoint=backend.address, signals=["metrics"])
        after.start(make_run(tmp_path), before.position())
        first = after.export(make_rows(3))
        backend.answer = lambda body: Reply()
        after.export(make_rows(3, first=3))
        backend.answer = lambda body: Reply(400, b"out of order sample")
        last = after.export(make_rows(3, first=6))
        before.shutdown()
        after.shutdown()

    assert first.reason == "out of order after an answer was lost: most likely stored already"
    assert last.reason == "too old or out of order (HTTP 400)"


# -- coalescing and intervals ---------------------------------------------------------------------------------------------------


def at_ms(ms: float, loss: float, seq: int) -> Event:
    """A row at so many milliseconds."""
    time_ns = 1_700_000_000_000_000_000 + int(ms * 1e6)
    return Event(kind="row", values={"loss": loss}, step=seq, seq=seq, time_unix_nano=time_ns, run="demo/run1")


def test_rows_of_one_millisecond_coalesce_to_the_last_and_are_counted(tmp_path: Path) -> None:
    with http_backend() as backend:
        exporter = started(tmp_path, "metrics", backend.address)
        result = exporter.export([at_ms(0.1, 1.0, 0), at_ms(0.5, 2.0, 1), at_ms(0.9, 3.0, 2), at_ms(1.2, 4.0, 3)])
        counts = exporter.position()["counts"]
        exporter.shutdown()

    assert result == ExportResult.SUCCESS
    assert [name for name, _ in points_of(backend.taken)].count("loss") == 2
    assert values_of(backend.taken, "loss") == [3.0, 4.0]
    assert values_of(backend.taken, "milepost.step") == [2, 3]
    assert counts["coalesced"] == 4


def test_interval_thins_a_key_and_its_last_value_comes_at_the_end_of_the_run(tmp_path: Path) -> None:
    rows = [at_ms(10 * seq, float(seq), seq) for seq in range(25)]
    with http_backend() as backend:
        exporter = started(tmp_path, "metrics", backend.address, interval=100)
        for row in rows:
            exporter.export([row])
        finish = Event(kind="run.finish", values={}, seq=99, time_unix_nano=rows[-1].time_unix_nano + 5_000_000)
        exporter.export([finish])
        exporter.shutdown()

    assert values_of(backend.taken, "loss") == [0.0, 10.0, 20.0, 24.0]
    assert values_of(backend.taken, "milepost.step") == [0, 10, 20, 24]


def test_the_end_of_a_run_sends_no_second_point_of_a_millisecond(tmp_path: Path) -> None:
    with http_backend() as backend:
        exporter = started(tmp_path, "metrics", backend.address)
        exporter.export([at_ms(1.1, 1.0, 0)])
        exporter.export([at_ms(1.5, 2.0, 1)])
        exporter.export([Event(kind="run.finish", values={}, seq=2, time_unix_nano=at_ms(1.7, 0.0, 0).time_unix_nano)])
        counts = exporter.position()["counts"]
        exporter.shutdown()

    assert values_of(backend.taken, "loss") == [1.0]
    assert values_of(backend.taken, "milepost.step") == [0]
    assert values_of(backend.taken, "milepost.run.active") == [1, 0]
    active = [at // 1_000_000 for name, at in points_of(backend.taken) if name == "milepost.run.active"]
    assert active[0] < active[1]
    assert counts["coalesced"] == 1


def values_of(bodies: list[bytes], name: str) -> list[float]:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    return [
        point.as_double if point.HasField("as_double") else point.as_int
        for body in bodies
        for metric in metrics_of(ExportMetricsServiceRequest.FromString(body))
        if metric.name == name
        for point in metric.gauge.data_points
    ]


def test_two_names_that_are_one_in_prometheus_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with http_backend() as backend:
        exporter = started(tmp_path, "metrics", backend.address)
        for seq in range(3):
            exporter.export([make_event(values={"a/b": 1.0, "a.b": 2.0}, seq=seq)])
        exporter.shutdown()

    assert caplog.text.count("'a/b' and 'a.b' are both 'a_b' in Prometheus") == 1


def test_an_exporter_that_starts_again_knows_what_is_hidden(tmp_path: Path) -> None:
    hide = Event(kind="metric", values={"name": "secret", "hidden": True}, seq=0, time_unix_nano=1)
    with http_backend() as backend:
        first = started(tmp_path, "metrics", backend.address)
        first.export([hide])
        second = OtlpExporter(endpoint=backend.address, signals=["metrics"])
        second.start(make_run(tmp_path), first.position())
        second.export([make_event(values={"secret": 1.0, "loss": 2.0}, seq=1)])
        first.shutdown()
        second.shutdown()

    assert "secret" not in {name for name, _ in points_of(backend.taken)}


@pytest.mark.parametrize("signal", ["metrics", "logs"])
def test_what_only_calls_itself_a_histogram_holds_nothing_up(signal: str, tmp_path: Path) -> None:
    forms: list[Any] = [
        {"values": "x", "bins": [[1.0], 2.0]},
        {"values": [1.5], "bins": [0.0, 1.0]},
        {"values": [1], "bins": 7},
        {"values": [1, 2], "bins": [0.0, 2.0, 1.0]},
        {"values": [], "bins": []},
        {"values": [-1], "bins": [0.0, 1.0]},
        {},
    ]
    rows = [
        make_event(values={"h": {"_type": "histogram", **form}, "loss": 1.0}, seq=seq) for seq, form in enumerate(forms)
    ]
    with http_backend() as backend:
        assert export(started(tmp_path, signal, backend.address), rows) == ExportResult.SUCCESS

    assert backend.taken


def test_bins_that_change_with_every_row_do_not_fill_prometheus(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        make_event(values={"h": {"_type": "histogram", "values": [1], "bins": [0.0, 1.0 + seq]}, "loss": 1.0}, seq=seq)
        for seq in range(100)
    ]
    fixed = [
        make_event(values={"h": {"_type": "histogram", "values": [1], "bins": [0.0, 1.0]}}, seq=seq)
        for seq in (200, 201)
    ]
    with http_backend() as backend:
        exporter = started(tmp_path, "metrics", backend.address, max_series=40)
        exporter.export(rows)
        exporter.export(fixed)
        exporter.shutdown()

    assert len(values_of(backend.taken, "loss")) == 100
    assert caplog.text.count("the bins of 'h' change from row to row") == 1
