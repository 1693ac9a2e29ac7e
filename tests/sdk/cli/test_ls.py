"""`milepost ls` lists runs, newest first."""

import json

import pytest

from tests.sdk.cli.conftest import Command, kill_a_run, log_run


def test_runs_are_listed_with_the_newest_first(command: Command) -> None:
    log_run([{"loss": 0.5, "step_s": 1.0}, {"loss": 0.25}], id="older", name="blue")
    log_run([{"loss": 1.0}], id="newer", name="green", exit_code=3)

    code, out, err = command("ls", "runs")

    assert (code, err) == (0, "")
    header, newer, older = out.splitlines()
    assert header.split() == ["run", "name", "state", "started", "(UTC)", "took", "rows", "step", "values"]
    assert newer.split()[:3] == ["demo/newer", "green", "failed"]
    assert older.split()[:3] == ["demo/older", "blue", "finished"]
    assert older.endswith("2     1  loss 0.25  step_s 1")


def test_json_tells_what_a_program_may_want(command: Command) -> None:
    directory = log_run([{"a": {"b": 1}}] * 3, id="one", tags=["t"], group="g", define={"a.b": {"summary": "max"}})

    (told,) = json.loads(command("ls", "runs", "--json").out)

    expected = {"path": "demo/one", "state": "finished", "rows": 3, "last_step": 2, "tags": ["t"], "group": "g"}
    assert expected.items() <= told.items()
    assert told["summary"] == {"a": {"b": {"max": 1}}}
    assert told["dir"] == str(directory)
    assert told["created_at"].endswith("Z")
    assert 0 < told["duration_s"] < 60


def test_a_killed_run_is_listed_as_crashed_with_every_row(command: Command) -> None:
    kill_a_run()

    (told,) = json.loads(command("ls", "runs", "--json").out)

    assert (told["state"], told["rows"], told["last_step"]) == ("crashed", 201, 200)


def test_a_project_can_be_chosen_by_name_and_by_folder(command: Command) -> None:
    log_run([{"x": 1}], project="one", id="first")
    log_run([{"x": 1}], project="two", id="second")

    assert [line.split()[0] for line in command("ls", "runs", "-p", "two").out.splitlines()] == ["run", "two/second"]
    assert [line.split()[0] for line in command("ls", "runs/one").out.splitlines()] == ["run", "one/first"]
    code, _, err = command("ls", "runs", "-p", "three")
    assert (code, err) == (2, "error: no project 'three' in runs; it has: one, two\n")


def test_values_are_chosen_by_globs(command: Command) -> None:
    log_run([{"train": {"loss": 0.5}, "val": {"accuracy": 0.9}}])

    assert command("ls", "runs", "--keys", "val.*").out.splitlines()[1].endswith("  val.accuracy 0.9")


def test_a_narrow_terminal_keeps_what_matters(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from milepost.sdk.cli import out
    from milepost.sdk.terminal import Screen

    log_run([{"loss": 0.5}], id="one", name="a-name-that-is-rather-long")

    class Narrow(Screen):
        def __init__(self) -> None:
            import sys

            super().__init__(sys.stdout)
            self.is_terminal, self.width = True, 60

    monkeypatch.setattr(out, "screen", Narrow)
    lines = command("ls", "runs").out.splitlines()

    assert max(map(len, lines)) <= 60
    assert lines[1].startswith("demo/one  ")
    assert "finished" in lines[1]


def test_an_empty_directory_is_no_error(command: Command, tmp_path: object) -> None:
    code, out, err = command("ls", str(tmp_path) + "/home")

    assert (code, out) == (0, "")
    assert "no runs in" in err


def test_a_directory_that_is_not_there_is_an_error(command: Command) -> None:
    code, _, err = command("ls", "nowhere")

    assert code == 2
    assert err.startswith("error: nowhere is no directory, and as a run: ")


def test_the_directory_may_be_given_as_an_option_as_for_show(command: Command) -> None:
    log_run([{"x": 1}], id="first")

    assert command("ls", "--dir", "runs").out == command("ls", "runs").out
    code, _, err = command("ls", "runs", "--dir", "runs")
    assert code == 2
    assert "give the directory once" in err
