"""`milepost.Api`: runs found and read back through the public surface, written by real runs."""

import datetime
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import milepost
from milepost.sdk.api import Api, File, Run, Runs
from milepost.sdk.errors import Error, RunNotFoundError, UsageError
from tests.sdk.journals import Journalist, own_shared_memory, write_run_json
from tests.sdk.runs import recorded

__all__ = ["own_shared_memory"]

pytestmark = pytest.mark.usefixtures("own_shared_memory")

RUNS = Path("milepost-runs")


def log_run(rows: int = 3, **options: Any) -> str:
    """A finished run; its id."""
    options.setdefault("project", "digits")
    with milepost.init(exporters=[], **options) as run:
        for n in range(rows):
            run.log({"train": {"loss": 1 / (n + 1)}, "acc": n})
    return str(run.id)


def script(body: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program that logs in the test's working directory."""
    head = "import os, signal, milepost\n"
    command = [sys.executable, "-c", head + textwrap.dedent(body), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_finished_run_reads_back_as_it_was_logged() -> None:
    with milepost.init(
        project="digits",
        name="first",
        config={"lr": 0.1, "net": {"depth": 2}},
        tags=["a", "b"],
        notes="n",
        group="g",
        exporters=[],
    ) as run:
        run.log({"train": {"loss": 0.5}, "acc": 1})
        run.log({"train": {"loss": 0.25}, "text": "ü", "none": None, "list": [1, {"x": 2}]})
        expected_summary = run.summary.as_dict()

    read = milepost.Api().run(f"digits/{run.id}")

    assert [{k: v for k, v in row.items() if k not in ("_timestamp", "_runtime")} for row in read.scan_history()] == [
        {"_step": 0, "train.loss": 0.5, "acc": 1},
        {"_step": 1, "train.loss": 0.25, "text": "ü", "none": None, "list": [1, {"x": 2}]},
    ]
    assert read.summary == expected_summary
    assert read.summary["train"] == {"loss": 0.25}
    assert read.config == {"lr": 0.1, "net": {"depth": 2}}
    assert (read.state, read.id, read.project, read.name, read.path) == (
        "finished",
        run.id,
        "digits",
        "first",
        f"digits/{run.id}",
    )
    assert (read.group, read.tags, read.notes, read.job_type, read.url) == ("g", ["a", "b"], "n", None, None)
    assert (read.lastHistoryStep, read.last_step, read.attempt, read.attempts) == (1, 1, 1, [1])
    assert abs(read.created_at - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(minutes=2)
    assert read.damage == []
    assert read.accounting()["logged"] == 2


def test_a_run_is_read_while_it_is_written() -> None:
    run = milepost.init(project="digits", config={"lr": 1}, exporters=[])
    read = Api().run(f"digits/{run.id}")
    for n in range(50):
        run.log({"n": n})
        assert read.lastHistoryStep == n
    run.log({"open": 1}, commit=False)
    run.config.update({"batch": 8})
    run.summary["best"] = 7
    run.name = "renamed"

    assert read.state == "running"
    assert [row["n"] for row in read.scan_history()] == list(range(50))
    assert read.config == {"lr": 1, "batch": 8}
    assert read.summary == run.summary.as_dict()
    assert Api().run("renamed").id == run.id

    run.finish()
    assert Api().run(run.id).state == "finished"
    assert [row.get("open") for row in read.scan_history()][-1] == 1


def test_a_killed_run_gives_every_row_and_what_was_not_committed() -> None:
    done = script(
        """
        run = milepost.init(project="digits", id="k1", config={"lr": 0.5}, exporters=[])
        run.define_metric("acc", summary="max,mean")
        run.summary["by_hand"] = 3
        for n in range(500):
            run.log({"acc": n % 7, "n": n})
        run.log({"open": {"a": 1}}, commit=False)
        run.log({"open": {"b": 2}}, commit=False)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    assert done.returncode == -9, done.stderr

    read = Api().run("digits/k1")

    assert read.state == "crashed"
    rows = list(read.scan_history())
    assert [row.get("n") for row in rows] == [*range(500), None]
    assert rows[-1]["_step"] == 500
    assert (rows[-1]["open.a"], rows[-1]["open.b"]) == (1, 2)
    assert read.summary["acc"] == {"max": 6, "mean": sum(n % 7 for n in range(500)) / 500}
    assert (read.summary["by_hand"], read.summary["open"], read.summary["n"]) == (3, {"a": 1, "b": 2}, 499)
    assert read.config == {"lr": 0.5}
    assert read.accounting()["logged"] == 501
    assert read.damage == []


@pytest.mark.parametrize(
    ("ending", "state"),
    [
        ("import sys; sys.exit(3)", "failed"),
        ("import time; os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)", "preempted"),
    ],
)
def test_the_state_tells_how_a_run_ended(ending: str, state: str) -> None:
    script(f"run = milepost.init(project='digits', id='e1', exporters=[]); run.log({{'a': 1}}); {ending}")

    read = Api().run("digits/e1")

    assert read.state == state
    assert len(list(read.scan_history())) == 1


def test_a_resumed_run_reads_as_one_and_a_step_back_hides_what_was_replaced() -> None:
    with milepost.init(project="digits", id="r", exporters=[]) as run:
        for n in range(10):
            run.log({"n": n, "by": "first"})
    with milepost.init(project="digits", id="r", resume="must", exporters=[]) as run:
        for n in range(10, 15):
            run.log({"n": n, "by": "second"})
    with milepost.init(project="digits", id="r", resume="must", exporters=[]) as run:
        for n in range(5, 12):
            run.log({"n": n, "by": "third"}, step=n, commit=True)
        live = run.summary.as_dict()

    read = Api().run("digits/r")
    rows = [(row["_step"], row["n"], row["by"]) for row in read.scan_history()]

    assert rows == [(n, n, "first") for n in range(5)] + [(n, n, "third") for n in range(5, 12)]
    assert read.lastHistoryStep == 11
    assert len(read.history(pandas=False)) == 12
    kept = [row for row in read.scan_history(superseded=True) if row.get("_superseded")]
    assert [(row["_step"], row["by"]) for row in kept] == [(n, "first") for n in range(5, 10)] + [
        (n, "second") for n in range(10, 15)
    ]
    assert read.summary == live


def test_the_same_id_without_resume_is_another_attempt_and_the_last_one_is_read() -> None:
    log_run(rows=3, id="a")
    log_run(rows=5, id="a")

    api = Api()

    assert api.run("digits/a").attempts == [1, 2]
    assert len(api.run("digits/a").history(pandas=False)) == 5
    assert len(api.run("digits/a", attempt=1).history(pandas=False)) == 3
    assert api.run("digits/a", attempt=1).state == "finished"
    with pytest.raises(RunNotFoundError, match="has no attempt 3; it has: 1, 2"):
        api.run("digits/a", attempt=3)


def test_runs_are_listed_newest_first_and_by_project() -> None:
    ids = [log_run(rows=1) for _ in range(3)]
    other = log_run(rows=1, project="letters")

    api = Api()

    assert [run.id for run in api.runs()] == [other, *reversed(ids)]
    assert [run.id for run in api.runs("digits")] == list(reversed(ids))
    assert [run.id for run in api.runs("entity/letters")] == [other]
    assert api.projects() == ["digits", "letters"]
    assert api.runs("digits")[0].id == ids[-1]
    assert [run.id for run in api.runs("digits")[:2]] == [ids[2], ids[1]]
    assert repr(api.runs("digits")) == "<3 runs>"
    assert repr(api.runs()[0]) == f"<Run letters/{other} (finished)>"


def test_a_run_is_found_by_path_id_or_name() -> None:
    run_id = log_run(name="calm-river-7")
    api = Api()
    for path in (f"digits/{run_id}", run_id, "calm-river-7", f"entity/digits/{run_id}", "digits/calm-river-7"):
        assert api.run(path).id == run_id


def test_an_unknown_run_names_the_nearest_ones() -> None:
    log_run(id="baseline-1")
    api = Api()
    with pytest.raises(RunNotFoundError, match=r"no run 'digits/basline-1' in .*; near it: digits/baseline-1"):
        api.run("digits/basline-1")
    with pytest.raises(RunNotFoundError, match=r"no project 'digit' in .*; near it: digits"):
        api.runs("digit")
    for path in ("../digits/baseline-1", "digits/../digits", "digits", "..", "a/b/c/d", "\x00"):
        with pytest.raises(RunNotFoundError):
            api.run(path)
    with pytest.raises(RunNotFoundError, match='takes "project/run_id"'):
        api.run("")


def test_a_name_that_several_runs_have_names_them() -> None:
    first, second = log_run(name="same"), log_run(name="same")
    with pytest.raises(RunNotFoundError, match="not one run but 2") as caught:
        Api().run("same")
    assert first in str(caught.value)
    assert second in str(caught.value)


def test_a_missing_directory_is_named_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match=r"no runs directory at .*/nowhere: give the one that milepost.init"):
        Api(tmp_path / "nowhere")
    with pytest.raises(RunNotFoundError, match="milepost-runs"):
        Api()
    (tmp_path / "file").write_text("")
    with pytest.raises(RunNotFoundError):
        Api(tmp_path / "file")


def test_a_url_is_one_of_a_server() -> None:
    with pytest.raises(Error, match="a server's address begins with http"):
        Api("ftp://milepost.example.org")
    with pytest.raises(Error, match="cannot be reached"):
        Api("http://127.0.0.1:9").projects()


def test_the_directory_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_DIR", str(tmp_path / "there"))
    run_id = log_run()
    assert Api().run(run_id).dir == tmp_path / "there" / "digits" / run_id


def test_an_empty_directory_has_no_runs(tmp_path: Path) -> None:
    assert list(Api(tmp_path).runs()) == []
    with pytest.raises(RunNotFoundError, match="which holds no runs"):
        Api(tmp_path).run("a/b")


def test_odd_things_in_the_runs_directory_are_passed_over() -> None:
    run_id = log_run()
    (RUNS / "loop").symlink_to(RUNS.absolute(), target_is_directory=True)
    (RUNS / "digits" / "self").symlink_to("self")
    (RUNS / "digits" / "notes.txt").write_text("hello")
    (RUNS / "digits" / "empty").mkdir()
    os.mkfifo(RUNS / "digits" / "fifo")
    broken = RUNS / "digits" / "broken"
    (broken / "journal" / "0123456789abcdef").mkdir(parents=True)
    (broken / "run.json").write_bytes(b"\x00\xff{")
    (RUNS / "digits" / "cards only").mkdir()
    (RUNS / "digits" / "cards only" / "run.json").write_text(json.dumps({"id": 5, "created_unix_nano": "x", "tags": 3}))

    runs = {run.dir.name: run for run in Api().runs()}

    assert set(runs) == {run_id, "broken", "cards only"}
    for odd in ("broken", "cards only"):
        assert runs[odd].state == "crashed"
        assert runs[odd].name == odd
        assert list(runs[odd].scan_history()) == []
        assert len(runs[odd].history()) == 0
        assert (runs[odd].summary, runs[odd].config, runs[odd].lastHistoryStep) == ({}, {}, -1)
        assert runs[odd].accounting()["logged"] == 0


def test_listing_reads_only_the_cards_of_finished_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(30):
        write_run_json(tmp_path / "p" / f"run{n}", created_unix_nano=n, name=f"name {n}", tags=["t"])

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a journal was opened")

    monkeypatch.setattr("milepost.sdk.reading.run.open_run", never)

    listed = [(run.path, run.name, run.state, run.tags) for run in Api(tmp_path).runs()]

    assert listed == [(f"p/run{n}", f"name {n}", "finished", ["t"]) for n in reversed(range(30))]


def test_a_run_without_run_json_is_read_from_its_journal() -> None:
    run_id = log_run(name="first", tags=["x"])
    (RUNS / "digits" / run_id / "run.json").unlink()

    read = Api().run(run_id)

    assert (read.id, read.name, read.tags, read.state) == (run_id, "first", ["x"], "finished")


def test_files_are_listed_and_copied_and_never_leave_the_directory(tmp_path: Path) -> None:
    run_id = log_run()
    run_dir = RUNS / "digits" / run_id
    (run_dir / "media" / "images").mkdir(parents=True)
    (run_dir / "media" / "images" / "x.bin").write_bytes(b"12345")
    (run_dir / "outside").symlink_to("/etc")
    (run_dir / "passwd").symlink_to("/etc/passwd")
    read = Api().run(run_id)

    names = {file.name: file for file in read.files()}

    assert names["media/images/x.bin"].size == 5
    assert "run.json" in names
    assert not [name for name in names if name.startswith(("journal", "outside", "passwd"))]
    copy = names["media/images/x.bin"].download(tmp_path / "out")
    assert copy == tmp_path / "out" / "media" / "images" / "x.bin"
    assert copy.read_bytes() == b"12345"
    with pytest.raises(UsageError, match="replace=True"):
        names["media/images/x.bin"].download(tmp_path / "out")
    assert names["media/images/x.bin"].download(tmp_path / "out", replace=True) == copy
    with pytest.raises(UsageError, match="leads out of"):
        File(run_dir, "../escape", 1).download(tmp_path / "out")
    with pytest.raises(UsageError, match=r"not a regular file|cannot be opened"):
        File(run_dir, "passwd", 1).download(tmp_path / "out")
    assert read.file("media/images/x.bin").size == 5
    with pytest.raises(UsageError, match="has no file 'y'"):
        read.file("y")


def test_media_values_open_their_file_and_nothing_outside_the_run() -> None:
    run_dir = RUNS / "digits" / "m"
    journal = Journalist(run_dir)
    journal.row(
        image={"_type": "image-file", "path": "media/x.bin", "size": 3}, hist={"_type": "histogram", "values": [1]}
    )
    journal.row(image={"_type": "image-file", "path": "../../../../etc/passwd"})
    journal.row(image={"_type": "image-file", "path": "media/gone.bin"})
    journal.finish()
    (run_dir / "media").mkdir()
    (run_dir / "media" / "x.bin").write_bytes(b"abc")

    first, second, third = Api().run("digits/m").scan_history()

    with first["image"].open() as file:
        assert file.read() == b"abc"
    assert first["image"] == {"_type": "image-file", "path": "media/x.bin", "size": 3}
    with pytest.raises(UsageError, match="has no file"):
        first["hist"].open()
    with pytest.raises(UsageError, match="leads out of"):
        second["image"].open()
    with pytest.raises(RunNotFoundError, match=r"gone\.bin"):
        third["image"].open()


def test_system_metrics_and_metadata_are_read_apart_from_the_rows() -> None:
    journal = Journalist(RUNS / "digits" / "s")
    journal.event("environment", {"python": "3.11", "command": "train.py"})
    journal.event("system", {"process.cpu.utilization": 0.5})
    journal.row(a=1)
    journal.event("system", {"process.cpu.utilization": 0.75})
    journal.finish()

    read = Api().run("digits/s")

    assert [row["process.cpu.utilization"] for row in read.system] == [0.5, 0.75]
    assert read.metadata == {"python": "3.11", "command": "train.py"}
    assert len(list(read.scan_history())) == 1
    assert [event.kind for event in read.events("row", "environment")] == ["environment", "row"]


def test_a_read_only_directory_is_read() -> None:
    journal = Journalist(RUNS / "digits" / "ro", use_ring=True)
    journal.row(a=1)
    journal.die()
    for path in [RUNS, *RUNS.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        assert [row["a"] for row in Api(RUNS).run("digits/ro").scan_history()] == [1]
    finally:
        for path in [RUNS, *RUNS.rglob("*")]:
            path.chmod(path.stat().st_mode | 0o200)


def test_accounting_adds_up_per_exporter() -> None:
    with milepost.init(project="digits", id="acc") as run:
        for n in range(20):
            run.log({"n": n})

    figures = Api().run("digits/acc").accounting()

    assert figures["logged"] == 20
    assert figures["exporters"]
    for exporter in figures["exporters"].values():
        settled = (
            exporter["delivered"]
            + exporter["filtered"]
            + sum(exporter["rejected"].values())
            + sum(exporter["dropped"].values())
        )
        assert settled + exporter["pending"] == 20


def test_run_is_what_api_gives() -> None:
    assert isinstance(Api(RUNS.parent).runs(), Runs)
    log_run()
    assert all(isinstance(run, Run) for run in Api().runs())


@pytest.mark.parametrize("path", [5, None, ["a/b"]])
def test_a_run_is_asked_for_by_text(path: Any) -> None:
    with recorded():
        api = milepost.Api()
        with pytest.raises(milepost.RunNotFoundError, match=r'takes "project/run_id"'):
            api.run(path)


def test_without_an_argument_it_reads_where_this_process_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with recorded(dir=tmp_path / "elsewhere") as recording:
        recording.log({"x": 1})
        recording.run.flush()
        assert len(list(milepost.Api().run(recording.run.path).scan_history())) == 1
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILEPOST_DIR", str(tmp_path / "other"))
    assert milepost.Api().dir == tmp_path / "elsewhere"
