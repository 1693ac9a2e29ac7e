"""E8: an exporter or processor that raises, hangs or returns junk harms nobody but itself, and is named."""

import json
import time
from pathlib import Path

import pytest

import milepost
from tests.reliability.conftest import Figure
from tests.reliability.oracle import judge, judge_run, unbalanced
from tests.reliability.programs import Program

ROWS = 500

PROGRAM = """
SUCCESS = milepost.ExportResult.SUCCESS

class Good:
    name = "bad"
    def start(self, run, position): pass
    def export(self, batch): return SUCCESS
    def force_flush(self, timeout_millis=0): return True
    def shutdown(self, timeout_millis=0): pass

class Bad(Good):
    def {fault}

run = milepost.init(project="reliability", id=ID, dir=DIR, exporters=["file", Bad()], settings={{"finish": {{"timeout": 2000}}}})
worst = 0.0
for n in range({rows}):
    values = KINDS["plain"](ID, n).values
    began = time.perf_counter()
    run.log(values)
    worst = max(worst, time.perf_counter() - began)
    ACKS[0] = n + 1
    time.sleep(0.0005)
began = time.monotonic()
milepost.finish()
print("RESULT", round(time.monotonic() - began, 2), round(worst * 1000, 1), flush=True)
"""

EXPORTERS = {
    "export raises": "export(self, batch): raise ValueError('no')",
    "export raises SystemExit": "export(self, batch): sys.exit(9)",
    "export raises KeyboardInterrupt": "export(self, batch): raise KeyboardInterrupt",
    "export raises CancelledError": "export(self, batch): import asyncio; raise asyncio.CancelledError",
    "export hangs": "export(self, batch): time.sleep(1000)",
    "export returns junk": "export(self, batch): return {'ok': True}",
    "export returns nothing": "export(self, batch): return None",
    "export empties the batch": "export(self, batch): batch.clear(); return SUCCESS",
    "export rejects too much": "export(self, batch): return milepost.ExportResult.rejected(10**9, 'all of it')",
    "start raises": "start(self, run, position): raise RuntimeError('no')",
    "start hangs": "start(self, run, position): time.sleep(1000)",
    "shutdown raises": "shutdown(self, timeout_millis=0): raise OSError('no')",
    "shutdown hangs": "shutdown(self, timeout_millis=0): time.sleep(1000)",
    "force_flush raises": "force_flush(self, timeout_millis=0): raise OSError('no')",
    "position is junk": "position(self): return object()",
}


@pytest.mark.parametrize("fault", EXPORTERS)
def test_an_exporter_that_misbehaves_harms_nobody_else(tmp_path: Path, figure: Figure, fault: str) -> None:
    program = Program(tmp_path, "plugins").script(PROGRAM.format(fault=EXPORTERS[fault], rows=ROWS))

    began = time.monotonic()
    assert program.end() == 0, program.log
    took = time.monotonic() - began

    verdict = judge_run(program.run_dir, "plain", program.acks.counts(), tried=0)
    assert verdict.good, verdict
    run = milepost.Api(program.runs).run("reliability/plugins")
    assert run.state == "finished"
    lines = [json.loads(line) for line in (program.run_dir / "history.jsonl").read_text().splitlines()]
    assert [line["n"] for line in lines] == list(range(ROWS))
    exporters = run.accounting()["exporters"]
    assert exporters["file"]["delivered"] == ROWS
    assert unbalanced(run) == []
    # One line when it goes wrong and one at the end of the run, of which the SDK may also be the only one to speak.
    assert len(program.warnings()) <= 3, program.log
    assert "Traceback" not in program.log
    finish_s, _ = next(line for line in program.log.splitlines() if line.startswith("RESULT")).split()[1:]
    assert float(finish_s) < 12
    assert took < 40
    figure("E8", f"{fault}: {ROWS} of {ROWS} rows in the journal and in the other exporter, finish() {finish_s} s")


PROCESSORS = {
    "raises": ("def bad(event): raise ValueError('no')", ROWS),
    "raises SystemExit": ("def bad(event): sys.exit(9)", ROWS),
    "returns junk": ("def bad(event): return 17", ROWS),
    "raises now and then": (
        "calls = []\ndef bad(event):\n    calls.append(1)\n    return event if len(calls) % 3 else 1 / 0",
        ROWS,
    ),
    "drops everything": ("def bad(event): return None", 0),
}


@pytest.mark.parametrize("place", ["in the pipeline", "of an exporter"])
@pytest.mark.parametrize("fault", PROCESSORS)
def test_a_processor_that_misbehaves_is_passed_over(tmp_path: Path, figure: Figure, fault: str, place: str) -> None:
    definition, kept = PROCESSORS[fault]
    where = (
        'processors=["flatten", bad, "merge", "summarize"]'
        if place == "in the pipeline"
        else 'exporters=[{"file": {"processors": [bad]}}]'
    )
    program = Program(tmp_path, "plugins").script(
        f"{definition}\nrun = milepost.init(project='reliability', id=ID, dir=DIR, {where})\n"
        f"log_calls(run, 'plain', ACKS, count={ROWS})\nmilepost.finish()\n"
    )

    assert program.end() == 0, program.log

    run = milepost.Api(program.runs).run("reliability/plugins")
    rows = list(run.scan_history())
    in_journal = kept if place == "in the pipeline" else ROWS
    assert len(rows) == in_journal
    if in_journal:
        verdict = judge(rows, "plugins", "plain", ROWS, 0, 0)
        assert verdict.good, verdict
    history = program.run_dir / "history.jsonl"
    assert len(history.read_text().splitlines() if history.exists() else []) == kept
    assert unbalanced(run) == []
    assert len(program.warnings()) <= 2, program.log
    assert "Traceback" not in program.log
    figure(
        "E8", f"a processor {place} that {fault}: {len(rows)} rows in the journal, warnings: {len(program.warnings())}"
    )
