"""The compliance suite of `milepost.sdk.testing`, run over every exporter of this distribution. A new one is added here."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from milepost.exporters.console import ConsoleExporter
from milepost.exporters.file import FileExporter
from milepost.exporters.memory import MemoryExporter
from milepost.exporters.otlp.exporter import OtlpExporter
from milepost.exporters.prometheus_remote_write import PrometheusRemoteWriteExporter
from milepost.sdk.event import Event
from milepost.sdk.exporter import CallableExporter, Exporter
from milepost.sdk.testing import ExporterContract
from tests.exporters.otlp.answering import http_backend
from tests.exporters.otlp.reading import samples_in
from tests.exporters.otlp.sink import Sink

Rows = list[Mapping[str, Any]]


def json_lines(text: str) -> Rows:
    """The objects of JSON lines."""
    return [json.loads(line) for line in text.split("\n") if line]


class TestMemory(ExporterContract):
    """memory."""

    def make(self, tmp_path: Path) -> MemoryExporter:
        return MemoryExporter()

    def rows_of(self, exporter: Exporter, tmp_path: Path) -> Rows:
        assert isinstance(exporter, MemoryExporter)
        return list(exporter.rows)


class TestFile(ExporterContract):
    """file, in the run's directory."""

    def make(self, tmp_path: Path) -> FileExporter:
        return FileExporter()

    def rows_of(self, exporter: Exporter, tmp_path: Path) -> Rows:
        return json_lines((tmp_path / "runs/demo/run1/history.jsonl").read_text(encoding="utf-8"))


class TestFileInAnotherFolder(TestFile):
    """file, with `dir`."""

    def make(self, tmp_path: Path) -> FileExporter:
        return FileExporter(dir=tmp_path / "elsewhere")

    def rows_of(self, exporter: Exporter, tmp_path: Path) -> Rows:
        return json_lines((tmp_path / "elsewhere/demo/run1/history.jsonl").read_text(encoding="utf-8"))


class TestConsole(ExporterContract):
    """console, every row as JSON, so that it can be read back."""

    def make(self, tmp_path: Path) -> ConsoleExporter:
        self.stream = io.StringIO()
        return ConsoleExporter(every=1, format="json", stream=self.stream)

    def rows_of(self, exporter: Exporter, tmp_path: Path) -> Rows:
        return json_lines(self.stream.getvalue())


class TestConsoleTable(TestConsole):
    """console, every row in a table."""

    def make(self, tmp_path: Path) -> ConsoleExporter:
        self.stream = io.StringIO()
        return ConsoleExporter(every=1, stream=self.stream)

    def rows_of(self, exporter: Exporter, tmp_path: Path) -> Rows:
        lines = self.stream.getvalue().splitlines()
        return [{"_step": int(line.split()[0])} for line in lines if line.split()[:1] and line.split()[0].isdigit()]


class TestConsolePlain(TestConsole):
    """console, every row on a plain line."""

    def make(self, tmp_path: Path) -> ConsoleExporter:
        self.stream = io.StringIO()
        return ConsoleExporter(every=1, format="plain", stream=self.stream)

    def rows_of(self, exporter: Exporter, tmp_path: Path) -> Rows:
        lines = self.stream.getvalue().splitlines()
        return [{"_step": int(line.split()[1])} for line in lines if line.startswith("step ")]


class TestCallable(ExporterContract):
    """A plain function as an exporter."""

    def make(self, tmp_path: Path) -> CallableExporter:
        self.events: list[Event] = []

        def collect(batch: Sequence[Event]) -> None:
            self.events.extend(batch)

        return CallableExporter(collect)

    def rows_of(self, exporter: Exporter, tmp_path: Path) -> Rows:
        return [{"_step": event.step} for event in self.events if event.kind == "row"]


class _OverHttp(ExporterContract):
    """An exporter that sends to a server of the test. What comes again after a crash is one for a receiver that can tell."""

    @pytest.fixture(autouse=True)
    def destination(self) -> Iterator[None]:
        """The server; at the end, every connection is closed."""
        self.made: list[Exporter] = []
        with Sink() as self.sink, http_backend() as self.backend:
            yield
            for exporter in self.made:
                exporter.shutdown()

    def otlp(self, *signals: str) -> OtlpExporter:
        exporter = OtlpExporter(endpoint=self.sink.address, signals=signals)
        self.made.append(exporter)
        return exporter


class TestOtlpLogs(_OverHttp):
    """otlp, the log signal: the number of a row tells it apart."""

    def make(self, tmp_path: Path) -> OtlpExporter:
        return self.otlp("logs")

    def rows_of(self, exporter: Exporter, tmp_path: Path) -> Rows:
        return list({row["_seq"]: row for row in self.sink.rows()}.values())


class TestOtlpBoth(TestOtlpLogs):
    """otlp, made as an object for both signals."""

    def make(self, tmp_path: Path) -> OtlpExporter:
        return self.otlp("metrics", "logs")


class TestOtlpMetrics(_OverHttp):
    """otlp, the metrics signal: a row is a point of the step, and the same point twice is one."""

    def make(self, tmp_path: Path) -> OtlpExporter:
        return self.otlp("metrics")

    def rows_of(self, exporter: Exporter, tmp_path: Path) -> Rows:
        return [{"_step": step} for _, step in dict.fromkeys(self.sink.points("milepost.step"))]


class TestPrometheusRemoteWrite(_OverHttp):
    """prometheus_remote_write; what real servers make of it is in tests/exporters/otlp/test_prometheus.py."""

    def make(self, tmp_path: Path) -> PrometheusRemoteWriteExporter:
        exporter = PrometheusRemoteWriteExporter(endpoint=self.backend.address)
        self.made.append(exporter)
        return exporter

    def rows_of(self, exporter: Exporter, tmp_path: Path) -> Rows:
        steps = [sample for body in self.backend.taken for sample in samples_in(body, "milepost_step")]
        return [{"_step": int(value)} for _, value in sorted(dict.fromkeys(steps))]
