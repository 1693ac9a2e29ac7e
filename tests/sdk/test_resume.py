"""Starting an id again: resume, rewind, and further attempts."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import milepost
from tests.sdk.runs import QUIET, read_back, recorded, without_clocks


def first_run(rows: int = 3, **arguments: Any) -> None:
    """A finished run with the id "r" and rows of steps 0, 1, ..."""
    with recorded(id="r", **arguments) as run:
        for number in range(rows):
            run.log({"a": number})


def steps_and_values() -> list[tuple[int, Any]]:
    return [(row["_step"], row["a"]) for row in milepost.Api().run("tests/r").scan_history()]


@pytest.mark.parametrize("resume", ["allow", "must"])
def test_a_resumed_run_goes_on_after_its_last_step(resume: Any) -> None:
    first_run()
    with recorded(id="r", resume=resume) as run:
        assert run.run.resumed
        assert run.run.step == run.run.starting_step == 3
        run.log({"a": 3})

    assert steps_and_values() == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_it_keeps_config_summary_name_tags_and_notes() -> None:
    first_run(config={"lr": 0.1, "kept": 1}, name="first name", tags=["t"], notes="n", group="g", job_type="train")
    with recorded(id="r", resume="must", config={"lr": 0.2}) as again:
        run = again.run
        assert (run.name, run.tags, run.notes, run.group, run.job_type) == ("first name", ("t",), "n", "g", "train")
        assert run.config == {"lr": 0.2, "kept": 1}
        assert again.summary() == {"a": 2}
        run.finish()

        read = milepost.Api().run("tests/r")
        assert (read.name, read.config) == ("first name", {"lr": 0.2, "kept": 1})


def test_the_runtime_goes_on() -> None:
    first_run()
    last = list(milepost.Api().run("tests/r").scan_history())[-1]["_runtime"]
    with recorded(id="r", resume="must") as run:
        run.log({"a": 3})
        run.run.finish()

        assert run.memory.rows[0]["_runtime"] > last


def test_a_resumed_run_that_logs_no_row_keeps_the_step_of_the_last() -> None:
    first_run()
    with recorded(id="r", resume="must") as run:
        run.run.summary["best"] = 2

    assert milepost.Api().run("tests/r").summary["_step"] == 2
    assert milepost.Api().run("tests/r").summary["best"] == 2


def test_resume_must_without_a_run_is_an_error_that_says_where_it_looked() -> None:
    with pytest.raises(milepost.UsageError, match=r'resume="must".*no run r in .*tests'):
        milepost.init(project="tests", id="r", resume="must")
    with pytest.raises(milepost.UsageError, match=r'resume="must".*needs the id'):
        milepost.init(project="tests", resume="must")

    assert milepost.run is None


def test_resume_never_with_a_run_is_an_error() -> None:
    first_run()

    with pytest.raises(milepost.UsageError, match=r'resume="never".*run r exists'):
        milepost.init(project="tests", id="r", resume="never")
    assert steps_and_values() == [(0, 0), (1, 1), (2, 2)]


def test_resume_never_and_allow_start_a_run_that_is_not_there() -> None:
    with recorded(id="n", resume="never") as run:
        assert not run.run.resumed
    with recorded(id="a", resume="allow") as run:
        assert not run.run.resumed


CRASHING = """
import os, milepost
run = milepost.init(project="tests", id="{id}", settings={{"capture": {{"enabled": False}}}})
run.log({{"a": 0}})
run.log({{"a": 1}}, commit=False)
os._exit(9)
"""


def crash(run_id: str) -> None:
    """A program that dies with a row that is closed and one that is open."""
    subprocess.run([sys.executable, "-c", CRASHING.format(id=run_id)], check=False)


@pytest.mark.parametrize("resume", ["auto", True])
def test_auto_takes_the_last_run_that_crashed_here(resume: Any) -> None:
    first_run()
    crash("crashed")
    with recorded(resume=resume) as run:
        assert run.run.id == "crashed"
        assert run.run.step == 2  # the open row is committed, as finish() would have done
        run.log({"a": 2})
        run.run.finish()

        assert read_back(run.run) == [{"_step": 0, "a": 0}, {"_step": 1, "a": 1}, {"_step": 2, "a": 2}]


def test_auto_starts_a_new_run_where_none_crashed() -> None:
    first_run()
    with recorded(resume="auto") as run:
        assert run.run.id != "r"
        assert not run.run.resumed


def test_the_same_id_without_resume_is_a_new_attempt_and_nothing_is_overwritten(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first_run()
    with recorded(id="r") as run:
        assert run.run.attempt == 2
        assert run.run.step == 0
        run.log({"a": "second"})

    assert "attempt 2" in caplog.text
    assert steps_and_values() == [(0, "second")]
    earlier = milepost.Api().run("tests/r", attempt=1)
    assert [row["a"] for row in earlier.scan_history()] == [0, 1, 2]


def test_an_explicit_step_behind_rewinds_and_hides_the_older_rows(caplog: pytest.LogCaptureFixture) -> None:
    first_run(rows=5)
    with recorded(id="r", resume="must") as run:
        run.log({"a": "again"}, step=2, commit=True)
        assert "superseded" in caplog.text
        run.log({"a": "and on"})

    assert steps_and_values() == [(0, 0), (1, 1), (2, "again"), (3, "and on")]
    everything = milepost.Api().run("tests/r").scan_history(superseded=True)
    assert sorted(str(row["a"]) for row in everything) == ["0", "1", "2", "3", "4", "again", "and on"]


def test_only_the_first_explicit_step_rewinds() -> None:
    first_run(rows=5)
    with recorded(id="r", resume="must") as run:
        run.log({"a": "x"}, step=3, commit=True)
        run.log({"a": "stale"}, step=1, commit=True)

    assert steps_and_values() == [(0, 0), (1, 1), (2, 2), (3, "x")]


def test_a_run_that_logged_with_an_explicit_step_ahead_does_not_rewind_later() -> None:
    first_run(rows=5)
    with recorded(id="r", resume="must") as run:
        run.log({"a": "x"}, step=10, commit=True)
        run.log({"a": "stale"}, step=1, commit=True)

    assert steps_and_values()[-1] == (10, "x")
    assert len(steps_and_values()) == 6


def test_resume_step_says_where_to_go_on() -> None:
    first_run(rows=5)
    with recorded(id="r", resume="must", settings={"resume_step": 2}) as run:
        assert run.run.step == 2
        run.log({"a": "two"})

    assert steps_and_values() == [(0, 0), (1, 1), (2, "two")]


def test_resume_from_of_wandb_does_the_same() -> None:
    first_run(rows=5)
    with recorded(resume_from="r?_step=2") as run:
        assert (run.run.id, run.run.step) == ("r", 2)


@pytest.mark.parametrize("value", ["r", "r?_step=x", "?_step=2", 5])
def test_a_resume_from_of_another_form_is_an_error(value: Any) -> None:
    with pytest.raises(milepost.Error, match="resume_from"):
        milepost.init(project="tests", resume_from=value)


def test_several_preemptions_each_supersede_what_came_before() -> None:
    first_run(rows=6)
    for back in (4, 2):
        with recorded(id="r", resume="allow") as run:
            for step in range(back, back + 3):
                run.log({"a": f"{back}-{step}"}, step=step, commit=True)

    assert steps_and_values() == [(0, 0), (1, 1), (2, "2-2"), (3, "2-3"), (4, "2-4")]


def test_a_rewind_takes_the_summary_back_and_keeps_what_was_set_by_hand() -> None:
    with recorded(id="r") as run:
        run.run.define_metric("a", summary="max")
        run.log({"a": 4})
        run.log({"a": 5, "c": 1})
        run.log({"a": 3})
        for number in (9, 7):
            run.log({"a": number, "b": number, "c": number})
        run.run.summary["best"] = "by hand"
    with recorded(id="r", resume="must") as run:
        run.log({"b": 1}, step=3, commit=True)

        assert run.summary() == {"a": {"max": 5}, "b": 1, "c": 1, "best": "by hand"}
        assert without_clocks(milepost.Api().run("tests/r").summary, "_step") == run.summary()
        run.run.finish()
        assert without_clocks(milepost.Api().run("tests/r").summary, "_step") == run.summary()


def test_aggregates_go_on_after_a_resume() -> None:
    with recorded(id="r") as run:
        run.run.define_metric("a", summary="min,max,mean,first,last")
        run.run.define_metric("n.x", summary="max")
        for number in (5, 9):
            run.log({"a": number, "n": {"x": number}})
    with recorded(id="r", resume="must") as run:
        assert run.summary() == {"a": {"min": 5, "max": 9, "mean": 7.0, "first": 5, "last": 9}, "n": {"x": {"max": 9}}}
        run.log({"a": 1, "n": {"x": 1}})

        expected = {"a": {"min": 1, "max": 9, "mean": 5.0, "first": 5, "last": 1}, "n": {"x": {"max": 9}}}
        assert run.summary() == expected
        run.run.finish()
        assert without_clocks(milepost.Api().run("tests/r").summary, "_step") == expected


def test_step_metrics_go_on_after_a_resume() -> None:
    with recorded(id="r") as run:
        run.run.define_metric("val", step_metric="epoch")
        run.log({"epoch": 7})
    with recorded(id="r", resume="must") as run:
        run.log({"val": 1.0})

        assert run.values() == [{"val": 1.0, "epoch": 7}]


def test_values_set_by_hand_stay_locked_after_a_resume() -> None:
    with recorded(id="r") as run:
        run.run.summary["best"] = 99
    with recorded(id="r", resume="must") as run:
        run.log({"best": 1})

        assert run.summary() == {"best": 99}
        run.run.finish()
        assert milepost.Api().run("tests/r").summary["best"] == 99


def test_the_files_of_a_resumed_run_hold_all_of_it() -> None:
    directories: list[str] = []
    for resume in (None, "must"):
        with milepost.init(project="tests", id="r", resume=resume, exporters=["file"], settings=QUIET) as run:
            directories.append(run.dir)
            for _ in range(3):
                run.log({"a": run.step})

    lines = (Path(directories[-1]) / "history.jsonl").read_text().splitlines()
    assert len(lines) == 6
