"""C1: a disk that fills up in the middle of a run and is freed again costs no exception and no uncounted row."""

import time
from pathlib import Path

import pytest

import milepost
from tests.reliability import faults
from tests.reliability.conftest import Figure
from tests.reliability.oracle import judge, unbalanced
from tests.reliability.programs import Program

# Logs while the disk is full, tells the worst call, and goes on until the test has freed the disk and seen it resume.
PROGRAM = """
run = milepost.init(project="reliability", id=ID, dir=DIR, settings={settings})
worst = 0.0
n = 0
stop = Path(DIR).parents[1] / "stop"
while not stop.exists() and n < {most}:
    call = KINDS["sized" if {large} else "numbers"](run.id, n)
    began = time.perf_counter()
    run.log(call.values)
    worst = max(worst, time.perf_counter() - began)
    n += 1
    ACKS[0] = n
    if n % {burst} == 0:
        time.sleep(0.002)
began = time.monotonic()
milepost.finish(timeout={timeout})
took = time.monotonic() - began
print(f"RESULT worst_ms={{worst * 1000:.1f}} finish_s={{took:.1f}} dropped={{dict(run._writer.dropped)}}", flush=True)
"""


def program(
    tmp_path: Path, disk: Path, *, large: bool = False, burst: int = 20, most: int = 10**9, timeout: float = 30
) -> Program:
    found = Program(tmp_path, "full")
    found.runs = disk / "runs"
    found.run_dir = found.runs / "reliability" / "full"
    settings = {"ring": {"max_bytes": 8 << 20}}
    return found.script(PROGRAM.format(settings=settings, large=large, burst=burst, most=most, timeout=timeout))


def result(log: str) -> str:
    return next(line for line in log.splitlines() if line.startswith("RESULT"))


def worst(log: str) -> str:
    """The longest call to log(), in milliseconds, as text."""
    return result(log).partition("worst_ms=")[2].split()[0]


@pytest.mark.parametrize("large", [False, True], ids=["rows that wait", "rows that are dropped"])
def test_a_full_disk_raises_nothing_warns_once_and_logging_resumes(tmp_path: Path, figure: Figure, large: bool) -> None:
    size_mb = 256 if large else 64
    with faults.small_disk(tmp_path / "disk", size_mb << 20) as disk:
        ballast = disk / "ballast"  # all but what the journal leaves alone (a twentieth), and a little
        ballast.write_bytes(bytes(int(size_mb * 0.95 - 2) << 20))
        run = program(tmp_path, disk, large=large, burst=2 if large else 20)
        run.wait_for(lambda: "cannot write the journal" in run.log, "a warning")
        before = run.acks[0]
        run.wait_for(lambda: run.acks[0] > before + (500 if large else 10_000), "more calls on the full disk")
        during = run.acks[0]
        if large:
            run.wait_for(lambda: "rows are being dropped" in run.log, "dropped rows")
        ballast.unlink()
        run.wait_for(lambda: "logging goes on" in run.log, "word that logging resumed")
        resumed = run.acks[0]
        run.wait_for(lambda: run.acks[0] > resumed + 50, "calls after the disk was freed")
        (tmp_path / "stop").touch()
        assert run.end() == 0, run.log

        found = milepost.Api(run.runs).run("reliability/full")
        rows = list(found.scan_history())
        acknowledged = run.acks[0]
        verdict = judge(rows, "full", "sized" if large else "numbers", acknowledged, tried=0)
        gaps = found.reader().events("gap")
        in_gaps = sum(gap.values["last"] - gap.values["first"] + 1 for gap in gaps)
        kept = {row["n"] for row in rows}

        assert verdict.altered == verdict.doubled == verdict.foreign == 0, verdict
        assert [line for line in run.log.splitlines() if "Traceback" in line] == []
        journal_warnings = [line for line in run.warnings() if "cannot write the journal" in line]
        assert len(journal_warnings) == 1, run.log
        assert str(run.run_dir) in journal_warnings[0]
        missing = acknowledged - len(kept)
        # The rest of what is numbered and may fall into a gap: system metrics and other events.
        assert missing <= in_gaps <= missing + 20, (missing, gaps)
        assert f"'disk_full': {missing}" in result(run.log) if missing else "dropped={}" in result(run.log)
        assert max(kept) == acknowledged - 1
        assert unbalanced(found) == []
        assert found.damage == []
        if not large:
            assert missing == 0
        figure(
            "C1",
            f"disk full at call {before}, freed after call {during}, {acknowledged} calls in all: 0 exceptions, 1 warning, "
            f"{missing} dropped and counted in {len(gaps)} gaps, logging resumed; "
            f"longest call {worst(run.log)} ms",
        )


def test_a_program_that_ends_on_a_full_disk_leaves_its_rows_readable_and_says_where_they_are(
    tmp_path: Path, figure: Figure
) -> None:
    with faults.small_disk(tmp_path / "disk", 2 << 20) as disk:
        run = program(tmp_path, disk, burst=50, most=20_000, timeout=2)
        began = time.monotonic()
        assert run.end() == 0, run.log
        took = time.monotonic() - began

        found = milepost.Api(run.runs).run("reliability/full")
        rows = list(found.scan_history())
        verdict = judge(rows, "full", "numbers", run.acks[0], tried=0)

        assert verdict.altered == verdict.doubled == verdict.foreign == 0, verdict
        assert verdict.lost == 0, (verdict, run.log)
        assert "Traceback" not in run.log
        assert "are not delivered to file yet" in run.log
        print(run.log)
        figure(
            "C1",
            f"20,000 rows on a disk of 2 MiB that stays full to the end: {len(rows)} readable, {verdict.lost} lost, "
            f"the program ended after {took:.1f} s",
        )
