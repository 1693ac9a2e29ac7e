"""Every exporter keeps the contract, and the suite that says so catches the ones that do not."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from milepost.exporters.memory import MemoryExporter
from milepost.sdk import testing
from milepost.sdk.event import Event
from milepost.sdk.exporter import Exporter, ExportResult
from milepost.sdk.testing import ExporterContract
from tests.exporters.contract import (
    TestCallable,
    TestConsole,
    TestConsolePlain,
    TestConsoleTable,
    TestFile,
    TestFileInAnotherFolder,
    TestMemory,
    TestOtlpBoth,
    TestOtlpLogs,
    TestOtlpMetrics,
    TestPrometheusRemoteWrite,
)

__all__ = [
    "TestCallable",
    "TestConsole",
    "TestConsolePlain",
    "TestConsoleTable",
    "TestFile",
    "TestFileInAnotherFolder",
    "TestMemory",
    "TestOtlpBoth",
    "TestOtlpLogs",
    "TestOtlpMetrics",
    "TestPrometheusRemoteWrite",
]

Claim = Callable[[ExporterContract, Path], None]


class Broken(MemoryExporter):
    """An exporter that keeps the contract; each test below breaks one promise of it."""


class Silent(Broken):
    def export(self, batch: Sequence[Event]) -> ExportResult:
        return None  # type: ignore[return-value]


class Mutating(Broken):
    def export(self, batch: Sequence[Event]) -> ExportResult:
        for event in batch:
            event.values["seen"] = True
        return super().export(batch)


class Reversing(Broken):
    def export(self, batch: Sequence[Event]) -> ExportResult:
        return super().export(batch[::-1])


class Doubling(Broken):
    def export(self, batch: Sequence[Event]) -> ExportResult:
        return super().export([*batch, *batch])


class AfraidOfNaN(Broken):
    def export(self, batch: Sequence[Event]) -> ExportResult:
        for event in batch:
            for value in event.values.values():
                if isinstance(value, float):
                    round(value)
        return super().export(batch)


class OnlyRows(Broken):
    def export(self, batch: Sequence[Event]) -> ExportResult:
        assert all(event.values["train.loss"] for event in batch)
        return super().export(batch)


class RaisingWhenShutDownTwice(Broken):
    def shutdown(self, timeout_millis: int = 30_000) -> None:
        assert not self.closed
        super().shutdown(timeout_millis)


class RaisingAfterShutdown(Broken):
    def export(self, batch: Sequence[Event]) -> ExportResult:
        assert not self.closed
        return super().export(batch)


class Hanging(Broken):
    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        threading.Event().wait()
        return True


class ForgettingItsPosition(Broken):
    """It says that it can be cut back to a position, and cannot."""

    kept: list[Event]

    def start(self, run: Any, position: Mapping[str, Any] | None) -> None:
        self.events = self.kept

    def position(self) -> dict[str, Any]:
        return {"rows": len(self.rows)}


@pytest.mark.parametrize(
    ("broken", "claim"),
    [
        (Silent, ExporterContract.test_it_takes_an_empty_batch),
        (Mutating, ExporterContract.test_it_never_changes_an_event),
        (Reversing, ExporterContract.test_rows_arrive_once_and_in_order),
        (Doubling, ExporterContract.test_rows_arrive_once_and_in_order),
        (AfraidOfNaN, ExporterContract.test_it_takes_nan_and_infinities),
        (OnlyRows, ExporterContract.test_it_takes_every_kind_of_event),
        (RaisingWhenShutDownTwice, ExporterContract.test_shutdown_returns_within_its_timeout_and_twice_is_silent),
        (RaisingAfterShutdown, ExporterContract.test_export_after_shutdown_does_not_raise),
        (Hanging, ExporterContract.test_force_flush_answers_within_its_timeout),
        (ForgettingItsPosition, ExporterContract.test_a_started_exporter_goes_on_where_its_position_says),
    ],
)
def test_the_suite_catches_an_exporter_that_breaks_a_promise(
    broken: type[Broken], claim: Claim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(testing, "_GRACE_S", 0.2)
    ForgettingItsPosition.kept = []

    class Suite(ExporterContract):
        def make(self, tmp_path: Path) -> Exporter:
            return broken()

        def rows_of(self, exporter: Exporter, tmp_path: Path) -> list[Mapping[str, Any]]:
            assert isinstance(exporter, MemoryExporter)
            return list(exporter.rows)

    with pytest.raises((AssertionError, AttributeError, KeyError, TypeError, ValueError, OverflowError)):
        claim(Suite(), tmp_path)


def test_the_suite_says_what_to_write_first(tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match="write make"):
        ExporterContract().test_it_takes_an_empty_batch(tmp_path)


def test_without_a_way_to_read_back_the_claims_about_order_are_skipped_by_name(tmp_path: Path) -> None:
    class Suite(ExporterContract):
        def make(self, tmp_path: Path) -> Exporter:
            return MemoryExporter()

    with pytest.raises(pytest.skip.Exception, match="MemoryExporter: rows_of"):
        Suite().test_rows_arrive_once_and_in_order(tmp_path)
