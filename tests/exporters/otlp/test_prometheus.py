"""Every value logged is found again in Prometheus by query, at its exact time, with its step: by remote write, and by OTLP
through a real collector."""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import milepost
from milepost.exporters.otlp.naming import prometheus_label, prometheus_name
from milepost.exporters.otlp.points import Points, Series
from milepost.exporters.otlp.remote_write import RemoteWriteEncoder, bound_text
from milepost.exporters.prometheus_remote_write import PrometheusRemoteWriteExporter
from milepost.sdk.event import Event
from milepost.sdk.exporter import RunInfo
from milepost.sdk.testing import make_run
from tests.exporters.otlp.processes import Backend, collector, prometheus, victoria_metrics
from tests.exporters.otlp.querying import query, samples, series, wait_for
from tests.exporters.otlp.relay import Relay
from tests.exporters.otlp.sink import Sink


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A Prometheus without an out-of-order window, as it comes."""
    with prometheus(tmp_path_factory.mktemp("prometheus")) as started:
        yield started


def train(exporters: list[Any], rows: list[dict[str, Any]]) -> tuple[Any, list[dict[str, Any]]]:
    """A run that logs the rows, at least 2 ms apart; it and what its own record holds."""
    settings = {"exporters": exporters, "capture": False, "shipper": {"run_in": "thread"}}
    with milepost.init(project="digits", settings=settings) as run:
        for row in rows:
            run.log(row)
            time.sleep(0.002)
    return run, list(milepost.Api().run(run.path).scan_history())


def stamp(row: dict[str, Any]) -> float:
    """A row's time as Prometheus keeps it: whole milliseconds."""
    return math.floor(float(row["_timestamp"]) * 1000) / 1000


def equal(found: list[tuple[float, float]], expected: list[tuple[float, float]], room: float = 0.0) -> bool:
    """Whether times and values are equal, NaN included; room: how far values may be off, relatively."""
    return len(found) == len(expected) and all(
        round(one[0] * 1000) == round(other[0] * 1000)
        and (repr(float(one[1])) == repr(float(other[1])) or abs(one[1] - other[1]) <= room * abs(other[1]))
        for one, other in zip(found, expected, strict=True)
    )


ROWS: list[dict[str, Any]] = [
    {"train/loss": 1 / (1 + step), "acc@5": math.nan if step == 7 else step / 50, "lr": math.inf if step == 9 else 0.1}
    for step in range(50)
]


def check(backend: Backend, run: Any, rows: list[dict[str, Any]]) -> None:
    """Each value of each row is there, and its step by the companion metric at the same time."""
    where = f'{{job="digits", instance="{run.id}"}}'
    steps = dict(wait_for(backend, f"milepost_step{where}", len(rows)))
    assert list(steps.values()) == [row["_step"] for row in rows]
    for key, name in (("train/loss", "train_loss"), ("acc@5", "acc_5"), ("lr", "lr")):
        found = samples(backend, f"{name}{where}")
        assert equal(found, [(stamp(row), row[key]) for row in rows]), key
        assert [steps[when] for when, _ in found] == [row["_step"] for row in rows]


def test_remote_write_keeps_every_value_with_time_and_step(running: Backend) -> None:
    run, rows = train([{"prometheus_remote_write": {"endpoint": f"{running.http}/api/v1/write"}}], ROWS)

    check(running, run, rows)


def test_otlp_through_a_collector_keeps_every_value_with_time_and_step(running: Backend, tmp_path: Path) -> None:
    with Sink(Relay(f"{running.http}/api/v1/write")) as sink, collector(tmp_path, sink.address) as middle:
        run, rows = train([{"otlp": {"endpoint": middle.http}}], ROWS)
        sink.wait(lambda: len(sink.points("milepost.step")) == len(rows))

    check(running, run, rows)


def test_a_joined_query_gives_the_loss_by_step(running: Backend) -> None:
    run, rows = train([{"prometheus_remote_write": {"endpoint": f"{running.http}/api/v1/write"}}], ROWS[:20])
    where = f'{{instance="{run.id}"}}'
    wait_for(running, f"milepost_step{where}", 20)

    at = stamp(rows[12]) + 0.0005
    step = query(running, f"milepost_step{where}", at)[0]["value"][1]
    loss = query(running, f"train_loss{where}", at)[0]["value"][1]

    assert (int(step), float(loss)) == (12, 1 / 13)


def test_victoria_metrics_keeps_every_value_but_nan(tmp_path: Path) -> None:
    with victoria_metrics(tmp_path / "vm") as backend:
        run, rows = train([{"prometheus_remote_write": {"endpoint": f"{backend.http}/api/v1/write"}}], ROWS)

        where = f'{{job="digits", instance="{run.id}"}}'
        found = wait_for(backend, f"train_loss{where}", len(rows))
        # it keeps decimals, of some 12 digits
        assert equal(found, [(stamp(row), row["train/loss"]) for row in rows], room=1e-11)
        assert len(samples(backend, f"acc_5{where}")) == len(rows) - 1
        assert [value for _, value in samples(backend, f"milepost_step{where}")] == [row["_step"] for row in rows]


def test_target_info_tells_the_run_and_promoted_attributes_are_labels(running: Backend) -> None:
    options = {"endpoint": f"{running.http}/api/v1/write", "promote_resource_attributes": ["milepost.run.name"]}

    run, rows = train([{"prometheus_remote_write": options}], ROWS[:3])

    wait_for(running, f'milepost_step{{instance="{run.id}"}}', len(rows))
    (info,) = series(running, f'target_info{{instance="{run.id}"}}')
    assert info["milepost_run_id"] == run.id
    (loss,) = series(running, f'train_loss{{instance="{run.id}"}}')
    assert loss["milepost_run_name"] == run.name


def test_run_active_is_one_and_then_zero(running: Backend) -> None:
    run, _ = train([{"prometheus_remote_write": {"endpoint": f"{running.http}/api/v1/write"}}], ROWS[:3])

    found = wait_for(running, f'milepost_run_active{{instance="{run.id}"}}', 2)
    assert [value for _, value in found] == [1.0, 0.0]


def test_names_that_become_one_stay_apart(running: Backend) -> None:
    rows = [{"a/b": 1.0 + step, "a.b": 10.0 + step, "milepost/step": -1.0, "target_info": 5.0} for step in range(3)]

    run, _ = train([{"prometheus_remote_write": {"endpoint": f"{running.http}/api/v1/write"}}], rows)

    where = f'instance="{run.id}"'
    assert [value for _, value in wait_for(running, f'a_b{{{where}, milepost_key=""}}', 3)] == [1.0, 2.0, 3.0]
    assert [value for _, value in samples(running, f'a_b{{{where}, milepost_key="a.b"}}')] == [10.0, 11.0, 12.0]
    assert [value for _, value in samples(running, f'milepost_step{{{where}, milepost_key=""}}')] == [0.0, 1.0, 2.0]
    assert [value for _, value in samples(running, f'target_info{{{where}, milepost_key="target_info"}}')] == [5.0] * 3


def test_a_name_of_which_nothing_is_left_is_found_by_its_label(
    running: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    run, _ = train(
        [{"prometheus_remote_write": {"endpoint": f"{running.http}/api/v1/write"}}], [{"损失": 1.0, "é": 2.0}] * 3
    )

    for key, value in (("损失", 1.0), ("é", 2.0)):
        found = wait_for(running, f'_{{instance="{run.id}", milepost_key="{key}"}}', 3)
        assert [each for _, each in found] == [value] * 3
    assert caplog.text.count("no letter or digit that a translated name in Prometheus may have") == 1


def test_attributes_of_the_resource_that_become_one_label_share_it() -> None:
    resource = {"service.name": "digits", "a.b": 1, "a/b": True, "损失": "x"}

    request = RemoteWriteEncoder(resource, ["a/b", "a.b"]).encode(Points([point("loss")], frozenset()))

    assert b"\x0a\x03a_b\x12\x061;true" in request
    assert b"x" not in request


def point(name: str) -> Series:
    """A series of one point."""
    made = Series(name, name)
    made.times, made.values = [1_000_000], [1.0]
    return made


def test_a_histogram_is_a_classic_histogram_whose_quantiles_can_be_asked_for(running: Backend, tmp_path: Path) -> None:
    now = time.time_ns()
    value = {"_type": "histogram", "values": [10, 20, 70], "bins": [0.0, 0.5, 1.0, 1.5]}

    write(running, make_run(tmp_path, id="with-histogram"), [event(now, {"weights": value}, 3)])

    where = 'instance="with-histogram"'
    at = now / 1e9 + 1
    buckets = {
        each["metric"]["le"]: float(each["value"][1]) for each in query(running, f"weights_bucket{{{where}}}", at)
    }
    assert buckets == {"0": 0.0, "0.5": 10.0, "1": 30.0, "1.5": 100.0, "+Inf": 100.0}
    assert float(query(running, f"weights_count{{{where}}}", at)[0]["value"][1]) == 100.0
    (median,) = query(running, f"histogram_quantile(0.5, weights_bucket{{{where}}})", at)
    assert 1.0 < float(median["value"][1]) < 1.5


def test_system_metrics_have_the_names_of_the_standard_translation(running: Backend, tmp_path: Path) -> None:
    now = time.time_ns()
    sampled = {"process.disk.io.read": 10, "process.memory.usage": 20, "system.cpu.utilization": 0.5}

    sample = Event(kind="system", values=sampled, time_unix_nano=now, run="demo/run1", seq=1)
    write(running, make_run(tmp_path, id="with-system"), [sample])

    found = {each["__name__"]: each for each in series(running, '{instance="with-system"}', now / 1e9 + 1)}
    assert found["process_disk_io_bytes_total"]["disk_io_direction"] == "read"
    assert {"process_memory_usage_bytes", "system_cpu_utilization_ratio", "milepost_run_active"} <= found.keys()


def write(backend: Backend, run: RunInfo, events: list[Event]) -> None:
    """Export events of made-up runs."""
    exporter = PrometheusRemoteWriteExporter(endpoint=f"{backend.http}/api/v1/write")
    exporter.start(run, None)
    result = exporter.export(events)
    exporter.shutdown()
    assert result.outcome == "success", result.reason


def event(time_ns: int, values: dict[str, Any], step: int) -> Event:
    return Event(kind="row", values=values, step=step, time_unix_nano=time_ns, run="demo/run1", writer="aa", seq=step)


@pytest.mark.parametrize(
    ("name", "unit", "expected"),
    [
        ("train/loss", "", "train_loss"),
        ("dataset-1.acc", "", "dataset_1_acc"),
        ("loss (mean)", "", "loss_mean"),
        ("1st", "", "_1st"),
        ("_under", "", "under"),
        ("a:b", "", "a:b"),
        ("memory", "By", "memory_bytes"),
        ("memory.bytes", "By", "memory_bytes"),
        ("share", "1", "share_ratio"),
        ("threads", "{thread}", "threads"),
        ("speed", "m/s", "speed_meters_per_second"),
    ],
)
def test_names_are_those_of_the_standard_translation(name: str, unit: str, expected: str) -> None:
    assert prometheus_name(name, unit) == expected


def test_labels_and_bounds_are_those_of_the_standard_translation() -> None:
    assert [prometheus_label(name) for name in ("a.b", "_p", "1x", "__q")] == ["a_b", "key_p", "key_1x", "__q"]
    assert [bound_text(bound) for bound in (0.0, 1.0, 0.1, 1e-7, 1e21, -2.5)] == [
        "0", "1", "0.1", "0.0000001", "1000000000000000000000", "-2.5",
    ]  # fmt: skip


def test_the_figures_of_the_delivery_are_series_of_an_instance_of_their_own(running: Backend, tmp_path: Path) -> None:
    now = time.time_ns()
    told = {
        "milepost.component.name": "prometheus_remote_write",
        "milepost.sdk.exporter.rows.delivered": 7,
        "milepost.sdk.exporter.rows.rejected": 1,
        "milepost.sdk.exporter.pending.bytes": 100,
        "milepost.sdk.exporter.lag": 2.5,
    }

    write(running, make_run(tmp_path, id="told"), [Event(kind="sdk", values=told, time_unix_nano=now)])

    where = '{instance="told-prometheus_remote_write"}'
    found = {each["metric"]["__name__"]: each for each in query(running, where, now / 1e9 + 1)}
    assert {name: float(each["value"][1]) for name, each in found.items()} == {
        "milepost_sdk_exporter_rows_delivered_total": 7.0,
        "milepost_sdk_exporter_rows_rejected_total": 1.0,
        "milepost_sdk_exporter_pending_bytes": 100.0,
        "milepost_sdk_exporter_lag_seconds": 2.5,
    }
    labels = found["milepost_sdk_exporter_lag_seconds"]["metric"]
    assert labels["milepost_component_name"] == "prometheus_remote_write"
