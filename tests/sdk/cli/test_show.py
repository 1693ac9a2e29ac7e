"""`milepost show` draws a run."""

import json
import math

import pytest

from milepost.sdk.cli import courses
from milepost.sdk.terminal import width
from tests.sdk.cli.conftest import Command, kill_a_run, log_run, script


def test_a_run_is_shown_with_its_config_a_chart_per_metric_and_its_summary(command: Command) -> None:
    log_run(
        [{"loss": 1 / (i + 1), "note": "text"} for i in range(50)],
        id="one", name="blue", tags=["first"], notes="a try", config={"model": {"layers": [32, 16]}},
    )  # fmt: skip

    code, out, err = command("show", "demo/one", "--dir", "runs")

    assert (code, err) == (0, "")
    assert "● blue · demo/one · finished after " in out
    assert "50 rows" in out
    for fact in ("tags      first", "notes     a try", "model.layers  [32, 16]", "  note     text", "  loss     0.02"):
        assert fact in out
    assert "last 0.02  min 0.02  max 1\n" in out
    assert sum("┤" in line or "│" in line for line in out.splitlines()) == 8
    assert "⠉" in out


def test_every_line_fits_the_terminal(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    log_run([{f"a rather long name of a metric, number {n}": i * 1e-7 for n in range(5)} for i in range(30)])

    for columns in (40, 80, 120, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = command("show", "--dir", "runs").out.splitlines()
        drawn = [line for line in lines if "│" in line or "┤" in line]

        assert max(map(width, drawn)) <= columns
        assert len(drawn) == 8 * {40: 5, 80: 5, 120: 3, 200: 2}[columns]


def test_a_metric_is_drawn_over_its_step_metric_and_a_hidden_one_is_not(command: Command) -> None:
    rows = [{"epoch": i, "accuracy": i / 10, "secret": 1.0} for i in range(10)]
    log_run(rows, define={"accuracy": {"step_metric": "epoch"}, "secret": {"hidden": True}})

    told = json.loads(command("show", "--dir", "runs", "--json").out)["metrics"]

    assert told["accuracy"]["x_axis"] == "epoch"
    assert told["accuracy"]["points"][3] == [3.0, 0.3]
    assert "secret" not in told
    assert list(json.loads(command("show", "--dir", "runs", "--json", "-k", "secret").out)["metrics"]) == ["secret"]


def test_nan_and_infinities_are_counted_and_the_rest_is_drawn(command: Command) -> None:
    log_run([{"loss": value} for value in (1.0, math.nan, 3.0, math.inf)])

    assert "last inf  min 1  max 3  2 NaN/inf" in command("show", "--dir", "runs").out
    told = json.loads(command("show", "--dir", "runs", "--json").out)["metrics"]["loss"]
    assert (told["last"], told["nan_or_infinite"], told["points"]) == ("Infinity", 2, [[0.0, 1.0], [2.0, 3.0]])


def test_of_a_large_run_a_sample_is_drawn_and_a_rare_metric_is_not_lost(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courses, "_VALUES", 0)
    monkeypatch.setattr(courses, "_ROWS_LEAST", 50)
    log_run([{"loss": float(i)} | ({"rare": float(i)} if i % 500 == 0 else {}) for i in range(2000)])

    out = command("show", "--dir", "runs").out

    assert "50 of 1,996 rows drawn, evenly spaced" in out or "50 of 2,000 rows drawn, evenly spaced" in out
    told = json.loads(command("show", "--dir", "runs", "--json").out)["metrics"]
    assert (told["loss"]["first"], told["loss"]["last"]) == (0.0, 1999.0)
    assert told["loss"]["sampled_from_rows"] == 2000
    assert [y for _, y in told["rare"]["points"]] == [0.0, 500.0, 1000.0, 1500.0]


def test_many_metrics_are_cut_and_the_way_to_the_rest_is_named(command: Command) -> None:
    log_run([{f"m{n}": 1.0 for n in range(60)}])

    out = command("show", "--dir", "runs", "--lines", "2").out

    assert "20 more metrics; choose with --keys GLOB" in out
    assert "m59" in command("show", "--dir", "runs", "--keys", "m5*").out


def test_keys_that_fit_nothing_are_an_error_that_names_what_is_near(command: Command) -> None:
    log_run([{"train": {"loss": 1.0}}])

    code, out, err = command("show", "--dir", "runs", "--keys", "train/loss")

    assert code == 2
    assert out == ""
    assert "'train/loss' was never logged (near it: 'train.loss')" in err


def test_a_killed_run_is_shown_with_the_row_it_left_open(command: Command) -> None:
    kill_a_run()

    out = command("show", "killed", "--dir", "runs").out

    assert "crashed" in out
    assert "201 rows" in out
    assert "  open      True" in out


def test_rows_of_child_processes_are_pointed_at(command: Command) -> None:
    script(
        "import os, milepost\n"
        "run = milepost.init(project='demo', dir='runs', exporters=['file'], settings={'capture': False})\n"
        "run.log({'x': 1})\n"
        "if os.fork() == 0:\n"
        "    for i in range(3): run.log({'y': i})\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )

    out = command("show", "--dir", "runs").out

    assert "1 row\n" in out
    assert "1 child process logged 3 more rows; see them with export --writer all" in out


def test_a_run_can_be_named_by_its_directory_and_the_newest_is_the_default(command: Command) -> None:
    directory = log_run([{"x": 1}], id="older")
    log_run([{"x": 1}], id="newer")

    assert "demo/older" in command("show", directory).out
    assert "demo/newer" in command("show", "--dir", "runs").out


def test_a_run_without_rows_is_shown(command: Command) -> None:
    log_run([])

    code, out, _ = command("show", "--dir", "runs")

    assert code == 0
    assert "0 rows" in out


def test_of_a_runs_directory_or_a_project_s_folder_the_newest_run_is_shown(command: Command) -> None:
    log_run([{"x": 1}], project="one", id="first", name="the-first")
    log_run([{"x": 1}], project="two", id="second", name="the-second")

    assert "the-second" in command("show", "runs").out
    assert "the-first" in command("show", "runs/one").out
    code, _, err = command("show", "no_such_thing", "--dir", "runs")
    assert code == 2
    assert "no_such_thing" in err
