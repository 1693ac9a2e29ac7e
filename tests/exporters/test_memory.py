"""The exporter for tests."""

from pathlib import Path

import pytest

from milepost.exporters.memory import MemoryExporter
from milepost.sdk.exporter import ExportResult
from milepost.sdk.testing import make_event, make_rows, make_run


def test_rows_are_dicts_with_their_clocks() -> None:
    memory = MemoryExporter()
    memory.export([make_event("run.start"), make_event(values={"loss": 0.5}, step=3)])
    assert memory.rows == [{"_step": 3, "_timestamp": 1_700_000_000.0, "_runtime": 0.0, "loss": 0.5}]
    assert [event.kind for event in memory.events] == ["run.start", "row"]
    assert memory.of_kind("run.start")[0].values["project"] == "demo"


def test_the_summary_is_that_of_the_finished_run() -> None:
    memory = MemoryExporter()
    assert memory.summary == {}
    memory.export([make_event("run.finish", {"summary": {"loss": 0.1}})])
    assert memory.summary == {"loss": 0.1}


def test_answers_follow_the_script_and_then_are_success() -> None:
    memory = MemoryExporter(
        results=[ExportResult.retry("busy", 0.5), ExportResult.rejected(1, "bad"), OSError("broken")]
    )
    batch = make_rows(2)
    assert memory.export(batch).reason == "busy"
    assert memory.rows == []
    assert memory.export(batch).outcome == "rejected"
    assert len(memory.rows) == 2
    with pytest.raises(OSError, match="broken"):
        memory.export(batch)
    assert memory.export(batch) == ExportResult.SUCCESS
    assert [len(each) for each in memory.batches] == [2, 2, 2, 2]


def test_the_run_and_the_end_are_noted_and_clear_forgets_events(tmp_path: Path) -> None:
    memory = MemoryExporter()
    memory.start(make_run(tmp_path), None)
    memory.export(make_rows(1))
    memory.shutdown()
    assert (memory.runs[0].id, memory.closed) == ("run1", True)
    memory.clear()
    assert (memory.events, memory.batches) == ([], [])
