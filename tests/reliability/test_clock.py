"""E10: the wall clock jumps an hour back and a day ahead in the middle of a run."""

import datetime
import time
from pathlib import Path

import pytest
import time_machine

import milepost
from tests.reliability.conftest import Figure
from tests.reliability.oracle import judge, plain


@pytest.mark.parametrize(
    "jumps",
    [(-1,), (24,), (-1, 24), (24, -48)],
    ids=["an hour back", "a day ahead", "back, then ahead", "ahead, then back"],
)
def test_a_clock_that_jumps_changes_no_order_and_stalls_nothing(
    tmp_path: Path, figure: Figure, jumps: tuple[int, ...]
) -> None:
    run = milepost.init(project="p", id="clock", dir=tmp_path)
    n = 0

    def log_some() -> None:
        nonlocal n
        for _ in range(200):
            run.log(plain("clock", n).values)
            n += 1
            time.sleep(0.001)

    log_some()
    began = time.monotonic()
    for hours in jumps:
        with time_machine.travel(datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=hours), tick=True):
            log_some()
            deadline = time.monotonic() + 20
            while len(_in_journal(tmp_path)) < n and time.monotonic() < deadline:
                time.sleep(0.05)
            assert len(_in_journal(tmp_path)) == n, "the drain stands still"
    log_some()
    milepost.finish(timeout=20)
    took = time.monotonic() - began

    rows = list(milepost.Api(tmp_path).run("p/clock").scan_history())
    verdict = judge(rows, "clock", "plain", n, 0, 0)
    assert verdict.good, verdict
    assert [row["n"] for row in rows] == list(range(n))
    runtimes = [row["_runtime"] for row in rows]
    assert runtimes == sorted(runtimes)
    assert 0 <= runtimes[0] <= runtimes[-1] < 120
    assert len((tmp_path / "p" / "clock" / "history.jsonl").read_text().splitlines()) == n
    assert took < 60
    figure(
        "E10",
        f"wall clock set by {' and '.join(f'{hours:+d} h' for hours in jumps)}: {n} rows in order, "
        "runtimes rise, nothing stalled",
    )


def _in_journal(root: Path) -> list[dict[str, object]]:
    return list(milepost.Api(root).run("p/clock").scan_history())
