"""The compliance suite of `milepost.sdk.testing`, run over every exporter of this distribution. A new one is added here."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from milepost.exporters.console import ConsoleExporter
from milepost.exporters.file import FileExporter
from milepost.exporters.memory import MemoryExporter
from milepost.sdk.event import Event
from milepost.sdk.exporter import CallableExporter, Exporter
from milepost.sdk.testing import ExporterContract

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
