"""Each benchmark runs at a tiny size, on milepost and on the floor, and yields every figure of its table. None is judged."""

import json
import mmap
import shutil
from pathlib import Path

import pytest

from bench import processes, report
from bench.__main__ import main
from bench.benchmark import BUDGET_S
from bench.subjects import OWN
from bench.subjects.readable_floor import appender, read
from bench.workloads import BENCHMARKS

ONLY_MILEPOST = {"disabled_call_us"}
TASKS = [
    (name, subject, case)
    for name, benchmark in BENCHMARKS.items()
    for case, subjects in benchmark.cases.items()
    for subject in OWN
    if subject in subjects
]


@pytest.mark.parametrize(("name", "subject", "case"), TASKS)
def test_a_benchmark_yields_every_figure_of_its_table(name: str, subject: str, case: str) -> None:
    benchmark = BENCHMARKS[name]
    slow_disk_ms = benchmark.slow_disk.get(case, 0)
    if slow_disk_ms and shutil.which("strace") is None:
        with pytest.raises(processes.TaskFailed, match="strace"):
            processes.slow(slow_disk_ms)
        return

    figures = processes.run(name, subject, case, benchmark.sizes["tiny"], BUDGET_S["tiny"], slow_disk_ms)

    expected = set(benchmark.fields) - (set() if subject == "milepost" else ONLY_MILEPOST)
    if name == "media":  # few calls have no p99
        expected.discard("p99_us")
    assert expected <= set(figures)
    assert all(isinstance(value, (int, float)) for value in figures.values())


def test_the_command_prints_a_table_and_stores_every_repeat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = tmp_path / "figures.json"

    code = main(["calls", "--size", "tiny", "--repeats", "2", "--peers", "none", "--json", str(stored)])

    assert code == 0
    printed = capsys.readouterr().out
    assert "| milepost |" in printed
    assert {"python", "processor", "versions", "results"} <= set(json.loads(stored.read_text()))
    _about, results = report.load(stored)
    assert [len(repeats) for repeats in results["calls"].values()] == [2, 2, 2]
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- figures: here -->\nold\n<!-- end of the figures -->\nafter\n")
    main(["--report", str(stored), "--into", str(page)])
    assert "| milepost |" in page.read_text()
    assert "old" not in page.read_text()
    assert page.read_text().endswith("<!-- end of the figures -->\nafter\n")


def test_a_ratio_compares_figures_of_one_repeat() -> None:
    mine = [{"p50_us": 2.0}, {}, {"p50_us": 30.0}, {"p50_us": 9.0}]
    floor = [{"p50_us": 1.0}, {"p50_us": 1.0}, {"p50_us": 10.0}, {"p50_us": 3.0}]

    assert report.ratios(mine, floor, ["p50_us"]) == {"p50_us": 3.0}


def test_the_readable_floor_can_be_read_back_up_to_a_torn_row() -> None:
    mapping = mmap.mmap(-1, 4096)
    log = appender(mapping)
    rows = [{"a": float(number), "b": "text"} for number in range(5)]
    for row in rows:
        log(row)
    whole = mapping[:]
    last = len(whole.rstrip(b"\0")) - 1
    torn = whole[:last] + b"\0" + whole[last + 1 :]

    assert [(number, row) for number, _, row in read(whole)] == list(enumerate(rows))
    assert [row for _, _, row in read(torn)] == rows[:-1]


def test_a_task_that_fails_says_what_the_process_said() -> None:
    with pytest.raises(processes.TaskFailed, match="kind of row 'cold'"):
        processes.run("calls", "floor", "cold", 10, 1.0)
