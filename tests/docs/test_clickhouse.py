"""The page of ClickHouse: rows go through a real collector into tables of the real engine, and its queries find them there.

A gate test: the engine is 180 MB to download, into an environment of its own.
"""

import math
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import milepost
from bench.peers import environment
from tests.docs.blocks import blocks
from tests.exporters.otlp.processes import Backend, free_port, rotel

PAGE = Path(__file__).resolve().parents[2] / "docs" / "stacks" / "clickhouse.md"
ENGINE = "chdb-core==26.9.0"

_MAP = "Map(LowCardinality(String), String)"
_WHO = f"""ResourceAttributes {_MAP}, ResourceSchemaUrl String, ScopeName String, ScopeVersion String, ScopeAttributes {_MAP},
ScopeSchemaUrl String, ServiceName LowCardinality(String)"""
_METRIC = f"""{_WHO}, ScopeDroppedAttrCount UInt32, MetricName String, MetricDescription String, MetricUnit String,
Attributes {_MAP}, StartTimeUnix DateTime64(9), TimeUnix DateTime64(9), Value Float64, Flags UInt32,
`Exemplars.FilteredAttributes` Array({_MAP}), `Exemplars.TimeUnix` Array(DateTime64(9)), `Exemplars.Value` Array(Float64),
`Exemplars.SpanId` Array(String), `Exemplars.TraceId` Array(String)"""
_SUM = f"{_METRIC}, AggregationTemporality Int32, IsMonotonic Bool"
_LOG = f"""{_WHO}, Timestamp DateTime64(9), TraceId String, SpanId String, TraceFlags UInt8, SeverityText String,
SeverityNumber UInt8, Body String, LogAttributes {_MAP}, EventName String"""
_SORTED = "ENGINE = MergeTree ORDER BY"
TABLES = (
    "CREATE DATABASE otel",
    f"CREATE TABLE otel.otel_metrics_gauge ({_METRIC}) {_SORTED} (ServiceName, MetricName, TimeUnix)",
    f"CREATE TABLE otel.otel_metrics_sum ({_SUM}) {_SORTED} (ServiceName, MetricName, TimeUnix)",
    f"CREATE TABLE otel.otel_logs ({_LOG}) {_SORTED} (ServiceName, Timestamp)",
)
"""As the Collector's exporter makes them, with the columns that rotel writes."""


class ClickHouse:
    """Asks the engine."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def ask(self, query: str) -> list[list[str]]:
        """The rows of the answer, without that of the names."""
        asked = urllib.request.Request(f"{self.address}/?{urllib.parse.urlencode({'query': query})}", b"")
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return [line.split("\t") for line in answer.read().decode().splitlines()[1:]]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[ClickHouse]:
    front = Path(__file__).with_name("clickhouse_front.py")
    python = environment("clickhouse", [ENGINE, "numpy"])
    with subprocess.Popen([python, front, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = ClickHouse(int(process.stdout.readline()))
            for table in TABLES:
                found.ask(table)
            yield found
        finally:
            process.kill()
            shutil.rmtree(python.parent.parent, ignore_errors=True)  # 600 MB


@pytest.fixture
def collecting(tmp_path: Path, engine: ClickHouse) -> Iterator[Backend]:
    """A collector that writes into the engine."""
    program = rotel()
    if program is None:
        pytest.skip("rotel has no wheel for this Python or machine")

    def command(port: int) -> list[str]:
        return [
            program, "start", "--pid-file", str(tmp_path / "rotel.pid"), "--batch-timeout", "100ms",
            "--otlp-grpc-endpoint", f"127.0.0.1:{free_port()}", "--otlp-http-endpoint", f"127.0.0.1:{port}",
            "--exporter", "clickhouse", "--clickhouse-exporter-endpoint", engine.address,
            "--clickhouse-exporter-database", "otel", "--clickhouse-exporter-compression", "none",
        ]  # fmt: skip

    started = Backend(command, "", tmp_path / "rotel.log", tmp_path)
    yield started
    started.close()


@pytest.mark.gate
def test_every_query_of_the_page_finds_the_rows_of_a_run(engine: ClickHouse, collecting: Backend) -> None:
    losses = [math.nan if step == 7 else 1 / (1 + step) for step in range(20)]
    settings = {"capture": False, "shipper": {"run_in": "thread"}}
    exporters = [{"otlp": {"endpoint": collecting.http}}]
    with milepost.init(project="digits", exporters=exporters, settings=settings) as run:
        for loss in losses:
            run.log({"train.loss": loss})
            time.sleep(0.002)
    deadline = time.monotonic() + 60
    wanted = {
        "otel_logs WHERE LogAttributes['event.name'] = 'milepost.row'",
        "otel_metrics_gauge WHERE MetricName = 'train.loss'",
    }
    while any(engine.ask(f"SELECT count() FROM otel.{each}") != [["20"]] for each in wanted):
        assert time.monotonic() < deadline, "not every row is in the tables after a minute"
        time.sleep(0.1)

    by_time, exact, strange = (
        engine.ask(block.code.replace("RUN_ID", run.id)) for block in blocks(PAGE) if block.language == "sql"
    )

    for found in (by_time, exact):
        assert [int(step) for step, _ in found] == list(range(20))
        assert [float(loss) for _, loss in found] == pytest.approx(losses, nan_ok=True, rel=0, abs=0)
    assert strange == [["7", '{"train.loss":"NaN"}']]
