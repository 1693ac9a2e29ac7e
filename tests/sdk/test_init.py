"""init(): which run starts, what it is, and what is refused."""

import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import milepost
from tests.sdk.runs import QUIET, read_back, recorded


def test_a_run_has_what_it_was_given() -> None:
    with recorded(
        project="digits",
        name="first",
        id="abc",
        group="sweep",
        job_type="train",
        tags=["a", "b"],
        notes="a note",
        config={"x": 1},
    ) as recording:
        run = recording.run
        assert (run.project, run.name, run.id, run.path) == ("digits", "first", "abc", "digits/abc")
        assert (run.group, run.job_type, run.tags, run.notes) == ("sweep", "train", ("a", "b"), "a note")
        assert Path(run.dir) == Path("milepost-runs/digits/abc").absolute()
        assert (run.step, run.starting_step, run.resumed, run.attempt) == (0, 0, False, 1)
        assert (run.state, run.mode, run.offline, run.disabled) == ("running", "online", False, False)
        assert (run.entity, run.url) == (None, None)
        assert run.start_time > 1.7e9


def test_a_run_that_is_given_nothing_has_an_id_and_a_name_made_up() -> None:
    with recorded(project=None) as first, recorded(project=None, reinit="create_new") as second:
        assert first.run.project == "uncategorized"
        assert first.run.id != second.run.id
        assert first.run.name
        assert Path(first.run.dir).is_dir()


def test_git_is_told_to_ignore_the_runs_and_nothing_else(tmp_path: Path) -> None:
    def ignored(directory: Path) -> list[str]:
        milepost.init(project="p", dir=directory, exporters=["file"], settings=QUIET).finish()
        milepost.init(project="p", dir=directory, exporters=["file"], settings=QUIET).finish()
        assert len(milepost.Api(directory).runs("p")) == 2
        return sorted(str(path.relative_to(directory)) for path in directory.rglob(".gitignore"))

    assert ignored(tmp_path / "of its own") == [".gitignore"]

    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").touch()
    assert ignored(tmp_path / "code") == ["p/.gitignore"]


def test_a_tag_that_is_given_twice_is_one_tag() -> None:
    with recorded(tags=["b", "a", "b"]) as recording:
        run = recording.run
        assert run.tags == ("b", "a")
        run.tags = [*run.tags, "c", "a"]
        run.finish()

    assert milepost.Api().run(run.path).tags == ["b", "a", "c"]


def test_name_tags_and_notes_can_be_changed() -> None:
    with recorded(tags=["old"]) as recording:
        run = recording.run
        run.name = "new"
        run.tags = [*run.tags, "added"]
        run.notes = "changed"
        assert (run.name, run.tags, run.notes) == ("new", ("old", "added"), "changed")
        run.tags = "single"  # as init() takes it
        assert run.tags == ("single",)
        run.finish()

        read = milepost.Api().run(run.path)
        assert (read.name, read.tags, read.notes) == ("new", ["single"], "changed")


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [
        ("tags", ["x" * 65], "64"),
        ("tags", ["ok", ""], "1 to 64"),
        ("tags", [5], "5"),
        ("tags", [None], "None"),
        ("tags", {"a": 1}, "list"),
        ("tags", 5, "list"),
        ("name", None, "None"),
        ("name", 5, "5"),
        ("notes", 5, "5"),
    ],
)
def test_what_init_refuses_is_refused_later_too_and_changes_nothing(attribute: str, value: Any, said: str) -> None:
    with recorded(name="first", tags=["old"], notes="n") as recording:
        run = recording.run
        with pytest.raises(milepost.DataError, match=said) as caught:
            setattr(run, attribute, value)
        assert f"run.{attribute}" in str(caught.value)
        assert (run.name, run.tags, run.notes) == ("first", ("old",), "n")


@pytest.mark.parametrize("attribute", ["id", "project", "path", "dir", "step", "state", "group", "url"])
def test_everything_else_of_a_run_is_read_only(attribute: str) -> None:
    with recorded() as run, pytest.raises(AttributeError):
        setattr(run.run, attribute, "new")


@pytest.mark.parametrize("mode", [None, "disabled"])
@pytest.mark.parametrize(
    ("attribute", "said"),
    [
        ("notess", "did you mean run.notes?"),
        ("stepp", "did you mean run.step?"),
        ("best_loss", "run.summary['best_loss']"),
        ("_mine", "no attribute '_mine'"),
        ("group", "can be is name, tags, notes, config, summary"),
    ],
)
def test_a_name_that_a_run_does_not_have_cannot_be_assigned_to(mode: str | None, attribute: str, said: str) -> None:
    with milepost.init(project="p", mode=mode) as run:
        with pytest.raises(milepost.UsageError) as caught:
            setattr(run, attribute, 1)
        assert said in str(caught.value)
        assert isinstance(caught.value, AttributeError)
        assert not hasattr(run, attribute) or attribute == "group"


@pytest.mark.parametrize("mode", [None, "disabled"])
def test_assigning_a_summary_or_a_config_adds_to_it(mode: str | None) -> None:
    with milepost.init(project="p", mode=mode, config={"a": 1}) as run:
        run.log({"loss": 0.5})
        run.config = {"b": 2}
        run.summary = {"best": 0.1}

        assert run.config.as_dict() == {"a": 1, "b": 2}
        assert (run.summary["loss"], run.summary["best"]) == (0.5, 0.1)


def test_one_tag_may_be_a_text() -> None:
    with recorded(tags="baseline") as run:
        assert run.run.tags == ("baseline",)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"mode": "of-line"}, "mode.*offline"),
        ({"mode": 5}, "mode"),
        ({"resume": "perhaps"}, "resume"),
        ({"tags": ["x" * 65]}, "tags.*64"),
        ({"tags": [""]}, "tags"),
        ({"tags": [5]}, "tags"),
        ({"name": 5}, "name"),
        ({"notes": 5}, "notes"),
        ({"settings": {"on_invalid": "shout"}}, "on_invalid"),
        ({"settings": {"no_such_key": 1}}, "no_such_key"),
        ({"config_file": "missing.yaml"}, r"missing\.yaml"),
        ({"exporters": ["no_such_exporter"]}, "no_such_exporter"),
        ({"processors": ["flatten"]}, "merge"),
        *[({"id": f"a{character}b"}, "id") for character in "/\\#?%:;,'\n\0"],
        *[({"project": f"a{character}b"}, "project") for character in "/\\#?%:\n\0"],
        ({"id": ""}, "id"),
        ({"id": " "}, "id"),
        ({"id": ".."}, "id"),
        ({"project": "."}, "project"),
        ({"id": "x" * 129}, "id"),
        ({"project": "é" * 128}, "project"),
    ],
)
def test_a_bad_argument_is_a_value_error_that_names_it_and_starts_nothing(
    arguments: dict[str, Any], named: str
) -> None:
    keywords: dict[str, Any] = {"project": "tests"} | arguments

    with pytest.raises(milepost.Error, match=named) as caught:
        milepost.init(**keywords)

    assert isinstance(caught.value, ValueError)
    assert milepost.run is None
    assert not Path("milepost-runs").exists()


def test_an_unknown_keyword_is_a_type_error() -> None:
    wrong: dict[str, Any] = {"projct": "x"}

    with pytest.raises(TypeError, match=r"projct.*did you mean 'project'"):
        milepost.init(**wrong)


def test_a_second_init_gives_the_run_that_is_active_and_says_which_arguments_it_ignored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with recorded(config={"a": 1}) as first:
        second = milepost.init(project="other", config={"b": 2})

        assert second is first.run
        assert first.run.config == {"a": 1, "b": 2}
        assert first.run.path in caplog.text
        assert "project" in caplog.text


@pytest.mark.parametrize("reinit", [True, "finish_previous"])
def test_reinit_finishes_the_run_that_is_active(reinit: Any) -> None:
    with recorded() as first, recorded(reinit=reinit) as second:
        assert second.run is not first.run
        assert first.run.state == "finished"
        assert milepost.run is second.run


@pytest.mark.parametrize("reinit", [False, "default", "return_previous"])
def test_other_values_of_reinit_give_back_the_run_that_is_active(reinit: Any) -> None:
    with recorded() as first:
        assert milepost.init(project="tests", reinit=reinit) is first.run


def test_a_wrong_reinit_is_an_error() -> None:
    with pytest.raises(milepost.Error, match=r"reinit.*create_new"):
        milepost.init(project="tests", reinit="perhaps")


def test_several_runs_log_side_by_side() -> None:
    with recorded(config={"which": 1}) as first, recorded(reinit="create_new") as second:
        for number in range(3):
            first.log({"a": number})
            second.log({"b": -number})
            milepost.log({"current": number})
        assert milepost.run is second.run
        second.run.finish()
        assert milepost.run is first.run
        milepost.log({"a": 99})

        assert first.values() == [{"a": 0}, {"a": 1}, {"a": 2}, {"a": 99}]
        assert second.values() == [values for number in range(3) for values in ({"b": -number}, {"current": number})]


def test_a_second_init_in_a_notebook_finishes_the_first_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("ipykernel", "IPython"):  # how a notebook is recognised: its kernel is loaded
        monkeypatch.setitem(sys.modules, module, sys)

    with recorded() as first, recorded() as second:
        assert first.run.state == "finished"
        assert milepost.run is second.run


@pytest.mark.parametrize(("leave", "code"), [(3, 3), (0, 0), (None, 0), ("text", 1)])
def test_sys_exit_in_a_with_block_sets_the_exit_code(leave: Any, code: int) -> None:
    with pytest.raises(SystemExit), recorded() as run, run.run:
        sys.exit(leave)

    (finish,) = run.memory.of_kind("run.finish")
    assert finish.values["exit_code"] == code
    assert run.run.state == ("failed" if code else "finished")


@pytest.mark.parametrize(("code", "state"), [(None, "finished"), (0, "finished"), (1, "failed"), (3, "failed")])
def test_finish_takes_the_exit_code(code: int | None, state: str) -> None:
    with recorded() as run:
        run.run.finish(code)

        assert run.run.state == state
        assert milepost.Api().run(run.run.path).state == state


def test_current_run_is_the_active_run_or_a_silent_one() -> None:
    milepost.current_run().log({"a": object()})
    with recorded() as run:
        assert milepost.current_run() is run.run
    assert milepost.current_run().disabled
    assert not Path("milepost-runs/disabled").exists()


def test_a_disabled_run_takes_every_call_and_writes_nothing(tmp_path: Path) -> None:
    model = object()
    with milepost.init(project="tests", mode="disabled", config={"lr": 0.1}, dir=tmp_path / "runs") as run:
        for step in range(3):
            milepost.log({"loss": step, "model": model}, step=step * 10)
        run.log(5, step="wrong", commit="wrong")  # type: ignore[arg-type]
        milepost.define_metric("loss", summary="max")
        milepost.summary["best"] = 1
        milepost.summary.update({"more": 2})
        milepost.config.update({"epochs": 3})
        milepost.save("*")
        milepost.watch(model)
        milepost.alert("title")
        assert run.flush()
        assert (run.step, run.id, run.disabled, run.url) == (0, "disabled", True, None)
        assert run.summary == {"loss": 2, "model": model, "best": 1, "more": 2}
        assert run.summary.best == 1
        assert run.config == {"lr": 0.1, "epochs": 3}

    assert milepost.run is None
    assert not (tmp_path / "runs").exists()


def test_files_that_a_script_writes_into_a_disabled_run_are_gone_at_the_end() -> None:
    script = """
import os, milepost
run = milepost.init(mode="disabled")
os.makedirs(run.dir, exist_ok=True)
with open(os.path.join(run.dir, "model.pt"), "w") as file:
    file.write("weights")
print(run.dir)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)

    folder = Path(done.stdout.strip())
    assert folder.is_absolute()
    assert not folder.exists()
    assert list(Path.cwd().iterdir()) == []


def test_an_object_that_can_only_export_is_an_exporter(caplog: pytest.LogCaptureFixture) -> None:
    class Exporting:
        def __init__(self) -> None:
            self.rows: list[Any] = []

        def export(self, batch: list[milepost.Event]) -> milepost.ExportResult:
            self.rows += [event.values for event in batch if event.kind == "row"]
            return milepost.ExportResult.SUCCESS

    exporter = Exporting()
    with milepost.init(project="tests", exporters=[exporter], settings={"capture": False}) as run:
        run.log({"a": 1})

    assert exporter.rows == [{"a": 1}]
    assert caplog.text == ""


def test_media_of_another_runs_directory_do_not_make_init_import_numpy(tmp_path: Path) -> None:
    script = """
import sys, threading, milepost
milepost.init(project="p", dir=sys.argv[1], exporters=[], settings={"capture": False})
for thread in threading.enumerate():
    if thread.name == "milepost-recover":
        thread.join(30)
print("numpy" in sys.modules)
"""
    with milepost.init(project="tests", dir=tmp_path / "one", exporters=[], settings={"capture": False}) as run:
        run.log({"image": milepost.Image(np.zeros((64, 64, 3), np.uint8))})
        command = [sys.executable, "-c", script, str(tmp_path / "two")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout == "False\n"


def test_disabled_by_the_environment_works_with_any_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_MODE", "disabled")

    with milepost.init(project="tests", tags=["a"], group="g") as run:
        run.log({"a": 1})

    assert not Path("milepost-runs").exists()


def test_an_offline_run_is_stored_like_any_other() -> None:
    with milepost.init(project="tests", mode="offline", settings=QUIET) as run:
        run.log({"a": 1})
        assert run.offline

    assert read_back(run) == [{"_step": 0, "a": 1}]


def test_the_environment_fills_in_what_arguments_leave_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = {
        "PROJECT": "from-env",
        "NAME": "env name",
        "RUN_ID": "env-id",
        "RUN_GROUP": "env-group",
        "TAGS": "x,y",
        "NOTES": "n",
    }
    for name, value in said.items():
        monkeypatch.setenv(f"MILEPOST_{name}", value)
    monkeypatch.setenv("MILEPOST_DIR", str(tmp_path / "there"))

    with recorded(project=None, name="argument") as run:
        found = run.run
        assert (found.project, found.id, found.group, found.tags, found.notes) == (
            "from-env",
            "env-id",
            "env-group",
            ("x", "y"),
            "n",
        )
        assert found.name == "argument"
        assert Path(found.dir) == tmp_path / "there" / "from-env" / "env-id"


def test_names_and_notes_in_any_script_and_with_broken_unicode_are_taken() -> None:
    with recorded(name="Läufe 🚀 \udc80", notes="損失\x00", tags=["é", "\udc80"], group="g\udc80") as run:
        run.run.name += " again"
        run.run.finish()

        read = milepost.Api().run(run.run.path)
        assert read.name is not None
        assert read.name.startswith("Läufe 🚀")
        assert read.name.endswith("again")


def test_an_alert_is_recorded_and_said_once_a_minute_per_title(caplog: pytest.LogCaptureFixture) -> None:
    with recorded() as run:
        for number in range(3):
            milepost.alert("Loss is NaN", f"in batch {number}", level=milepost.AlertLevel.ERROR)
        run.run.alert("Slow", level="warn", wait_duration=0)
        run.run.alert("Slow", level="WARN", wait_duration=0)
        with pytest.raises(ValueError, match="level"):
            run.run.alert("x", level="LOUD")
        with pytest.raises(ValueError, match="wait_duration"):
            run.run.alert("x", wait_duration="long")
        run.run.finish()

        alerts = [event.values for event in run.memory.of_kind("alert")]
        assert [(alert["title"], alert["level"]) for alert in alerts] == [("Loss is NaN", "ERROR")] * 3 + [
            ("Slow", "WARN")
        ] * 2
        said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert sum("Loss is NaN" in line for line in said) == 1
        assert sum("Slow" in line for line in said) == 2


def _log_in_child(run: milepost.Run, number: int) -> None:
    run.log({"child": number})
    run.log({"child": number}, commit=False)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_attach_with_the_run_and_all_rows_are_kept(method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    with milepost.init(project="tests", settings=QUIET) as run:
        run.log({"parent": 1})
        children = [context.Process(target=_log_in_child, args=(run, number)) for number in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join(60)
        run.log({"parent": 2})

    assert read_back(run) == [{"_step": 0, "parent": 1}, {"_step": 1, "parent": 2}]
    rows = list(milepost.Api().run(run.path).scan_history(writer="all"))
    assert sorted((row["_step"], row["child"]) for row in rows if "child" in row) == [(1, 0), (1, 1), (2, 0), (2, 1)]


def test_a_run_unpickled_in_its_own_process_is_the_run_itself() -> None:
    with recorded() as run:
        assert pickle.loads(pickle.dumps(run.run)) is run.run


def test_threads_share_one_counter_and_lose_nothing() -> None:
    import threading

    with recorded() as run:

        def work(which: int) -> None:
            for number in range(50):
                run.log({"thread": which, "number": number})

        threads = [threading.Thread(target=work, args=(which,)) for which in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        rows = run.rows()
        assert [row["_step"] for row in rows] == list(range(200))
        assert {(row["thread"], row["number"]) for row in rows} == {(t, n) for t in range(4) for n in range(50)}


def test_the_run_of_a_process_is_found_by_its_pid_in_the_start_event() -> None:
    with recorded() as run:
        run.run.finish()

        assert run.memory.of_kind("run.start")[0].values["pid"] == os.getpid()


def test_a_loop_of_runs_says_its_promise_once_and_one_line_a_run_into_a_log() -> None:
    script = (
        "import milepost\nfor n in range(3):\n    with milepost.init(project='p') as run:\n        run.log({'n': n})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == ""
    assert done.stderr.count("SIGKILL loses nothing") == 1
    assert len(done.stderr.splitlines()) == 1 + 2 * 3
    assert done.stderr.count("finished after") == 3


def test_a_mistake_in_init_ends_in_a_short_traceback_whose_last_line_stands_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import milepost\nmilepost.init(project='a/b')"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert done.stderr.count("  File ") == 2
    assert done.stderr.splitlines()[-1].startswith(
        "milepost.sdk.errors.ConfigurationError: init(): project: must not hold"
    )


def test_a_second_process_with_the_same_id_says_that_it_joins(caplog: pytest.LogCaptureFixture) -> None:
    script = (
        "import milepost, sys\n"
        "run = milepost.init(project='tests', id='same', exporters=[])\n"
        "print('up', flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "up\n"
        with recorded(id="same"):
            pass
        other.communicate("")

    said = [record.getMessage() for record in caplog.records if "is running already" in record.getMessage()]
    assert len(said) == 1
    assert "run same is running already, with 1 writer" in said[0]
    assert "another id" in said[0]


def test_an_exporter_object_that_returns_nothing_has_taken_the_batch(caplog: pytest.LogCaptureFixture) -> None:
    class Listing:
        seen: ClassVar[list[int]] = []

        def export(self, batch: Sequence[milepost.Event]) -> None:
            self.seen.extend(event.values["n"] for event in batch if event.kind == "row")

    with recorded(exporters=[Listing()]) as recording:
        for n in range(3):
            recording.log({"n": n})
        recording.run.finish()
        (told,) = milepost.Api().run(recording.run.path).accounting()["exporters"].values()

    assert Listing.seen == [0, 1, 2]
    assert (told["delivered"], told["pending"]) == (3, 0)
    assert "deliver" not in caplog.text
