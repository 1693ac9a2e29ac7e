"""C6: a run's directory that is deleted or moved while it is written, and two programs on one directory."""

import shutil
import time
from pathlib import Path

import pytest

import milepost
from milepost.sdk.recovery import recover
from tests.reliability.conftest import Figure
from tests.reliability.oracle import Verdict, judge, judge_run, unbalanced
from tests.reliability.programs import Program

PROGRAM = """
run = milepost.init(project="reliability", id=ID, dir=DIR)
stop = Path(DIR).parent / "stop"
n = 0
while not stop.exists():
    log_calls(run, "plain", ACKS, first=n, count=20, rate=1000)
    n += 20
milepost.finish(timeout=3)
print("RESULT", run._writer.directory, flush=True)
"""


@pytest.mark.parametrize("what", ["the run's directory", "the journal", "the segment", "all runs"])
def test_a_run_whose_files_are_deleted_goes_on_and_keeps_what_is_left(
    tmp_path: Path, figure: Figure, what: str
) -> None:
    program = Program(tmp_path, "deleted").script(PROGRAM)
    program.wait_for(lambda: program.acks[0] > 300, "300 calls")
    segment = next(program.run_dir.glob("journal/*/000000.mpj"))
    gone = {
        "the run's directory": program.run_dir,
        "the journal": program.run_dir / "journal",
        "the segment": segment,
        "all runs": program.runs,
    }[what]

    if gone.is_dir():
        shutil.rmtree(gone, ignore_errors=True)
    else:
        gone.unlink()
    at = program.acks[0]
    program.wait_for(lambda: "was deleted" in program.log, "a warning")
    program.wait_for(lambda: program.acks[0] > at + 1000, "calls after that")
    (tmp_path / "stop").touch()
    assert program.end() == 0, program.log

    verdict = judge_run(program.run_dir, "plain", program.acks.counts(), tried=0)
    assert verdict.good, verdict
    warnings = [line for line in program.warnings() if "was deleted" in line]
    assert len(warnings) == 1
    assert str(program.run_dir) in warnings[0]
    assert "Traceback" not in program.log
    figure(
        "C6",
        f"{what} deleted after {at} calls: {verdict.acknowledged} of {verdict.acknowledged} rows in the journal, 1 warning",
    )


@pytest.mark.parametrize("end", ["finishes", "is killed", "is killed at once"])
def test_a_run_whose_directory_is_moved_goes_on_in_the_moved_one(tmp_path: Path, figure: Figure, end: str) -> None:
    program = Program(tmp_path, "moved").script(PROGRAM)
    program.wait_for(lambda: program.acks[0] > 300, "300 calls")
    moved = program.runs / "reliability" / "elsewhere"

    program.run_dir.rename(moved)
    at = program.acks[0]
    if end != "is killed at once":
        program.wait_for(lambda: "was moved" in program.log, "a warning")
        program.wait_for(lambda: program.acks[0] > at + 500, "calls after that")
    if end == "finishes":
        (tmp_path / "stop").touch()
        assert program.end() == 0, program.log
    else:
        program.kill()

    total = Verdict()
    for recoveries in (0, 1, 2):
        rows: list[dict[str, object]] = list(milepost.Api(program.runs).run("reliability/elsewhere").scan_history())
        total += judge(rows, "moved", "plain", program.acks[0])
        if recoveries < 2:
            recover(program.runs, settled_s=0.0)
    assert total.good, total
    assert len([line for line in program.warnings() if "was moved" in line]) == (end != "is killed at once")
    assert "Traceback" not in program.log
    figure(
        "C6",
        f"run directory moved after {at} calls, then the program {end}: {program.acks[0]} of "
        f"{program.acks[0]} rows there",
    )


SHARED = """
run = milepost.init(project="reliability", id="shared", dir=DIR{resume})
lane = int(sys.argv[1])
log_calls(run, "plain", ACKS, lane, count=300, rate=600)
"""


def test_two_programs_on_one_run_do_not_mix_their_rows(tmp_path: Path, figure: Figure) -> None:
    programs: list[Program] = []
    for lane in range(2):
        program = Program(tmp_path, f"shared{lane}", lanes=2)
        program.script(SHARED.format(resume="").replace("int(sys.argv[1])", str(lane)))
        programs.append(program)
        time.sleep(0.05)

    assert [program.end() for program in programs] == [0, 0], "\n".join(program.log for program in programs)

    api = milepost.Api(tmp_path / "runs")
    run = api.run("reliability/shared")
    found: dict[int, int] = {}
    for writer in run.reader().writers:
        rows = list(run.scan_history(writer=writer.id))
        (lane,) = {row["lane"] for row in rows}
        verdict = judge(rows, "shared", "plain", programs[lane].acks[lane], lane, 0)
        assert verdict.good, verdict
        found[lane] = len(rows)
    assert found == {0: 300, 1: 300}
    for attempt in run.attempts:
        assert unbalanced(api.run("reliability/shared", attempt=attempt)) == []
    figure(
        "C6",
        f"two programs on one run at once: 2 writers, {sum(found.values())} of 600 rows, none mixed, attempts {run.attempts}",
    )
