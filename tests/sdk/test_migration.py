"""`import milepost as wandb`: ordinary scripts run with no other line changed."""

import logging
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import milepost
from milepost.sdk import migration
from tests.sdk.runs import recorded, without_clocks

TRAINING = """
import argparse
import math
import random

import milepost as wandb

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--epochs", type=int, default=3)
args = parser.parse_args([])

wandb.login()
run = wandb.init(entity="team", project="mnist", name="baseline", tags=["cnn", "first"], config=vars(args), save_code=True,
                 settings=wandb.Settings(start_method="thread"), reinit=True, dir="runs")
config = wandb.config
wandb.define_metric("epoch")
wandb.define_metric("val/*", step_metric="epoch")
wandb.define_metric("val/acc", summary="max")

random.seed(0)
step, best = 0, 0.0
for epoch in range(config.epochs):
    for batch in range(4):
        loss = math.exp(-step / 5)
        wandb.log({"train/loss": loss, "lr": config.lr, "epoch": epoch}, step=step)
        step += 1
    accuracy = [0.5, 0.9, 0.8][epoch]
    weights = wandb.Histogram([random.random() for _ in range(100)])
    wandb.log({"val/acc": accuracy, "epoch": epoch, "weights": weights}, step=step - 1)
    if accuracy > best:
        best = accuracy
        wandb.run.summary["best_accuracy"] = best
        with open("model.txt", "w") as file:
            file.write(f"weights of epoch {epoch}")
        wandb.save("model.txt")
if wandb.run is not None:
    wandb.alert(title="done", text=f"best {best}", level=wandb.AlertLevel.INFO)
assert wandb.run.name == "baseline" and run.id and run.url is None and run.dir
wandb.finish()
assert wandb.run is None
"""

TRAINER = """
# As the callback of a training library logs: it is handed a dict per event, and knows nothing of the loop.
import os
import milepost as wandb

class Arguments:
    def __init__(self):
        self.learning_rate, self.output_dir, self.report_to = 5e-5, "out", ["wandb"]
    def to_dict(self):
        return dict(vars(self))

class Callback:
    def __init__(self):
        self._initialized = False
    def setup(self, args, model_config):
        self._initialized = True
        if wandb.run is None:
            wandb.init(project=os.getenv("WANDB_PROJECT", "huggingface"), name=args.output_dir, group=None, resume=None)
        wandb.config.update({**args.to_dict(), **model_config}, allow_val_change=True)
        if getattr(wandb, "define_metric", None):
            wandb.define_metric("train/global_step")
            wandb.define_metric("*", step_metric="train/global_step", step_sync=True)
        wandb.config["model/num_parameters"] = 1234
        wandb.run._label(code="transformers_trainer")
    def on_log(self, logs, step):
        wandb.log({**{f"train/{name}": value for name, value in logs.items()}, "train/global_step": step})
    def on_end(self, metrics):
        for name, value in metrics.items():
            wandb.run.summary[name] = value

callback = Callback()
args = Arguments()
callback.setup(args, {"hidden_size": 768, "vocab": None})
for step in range(1, 4):
    callback.on_log({"loss": 1 / step, "learning_rate": args.learning_rate}, step * 10)
wandb.log({"eval/loss": 0.5})
callback.on_end({"train_runtime": 1.5})
"""

LOOPING = """
import milepost as wandb
import numpy as np

def train(config):
    with wandb.init(project="sweep", config=config, group="grid", job_type="train", mode="offline") as run:
        for step in range(3):
            run.log({"loss": np.float32(config["lr"] / (step + 1)), "images": {"mean": np.arange(3)}}, commit=False)
            run.log({"time": step})
        run.summary.update({"score": config["lr"] * 10})
        run.tags = run.tags + ("done",)
        run.notes = "from a loop"
        return run.path

paths = [train({"lr": lr}) for lr in (0.1, 0.2)]
api = wandb.Api()
for path in paths:
    run = api.run(path)
    assert run.state == "finished" and run.config["lr"] in (0.1, 0.2), (run.state, run.config)
    assert [row["time"] for row in run.scan_history(keys=["time"])] == [0, 1, 2]
    assert len(run.history(samples=10)) == 3
assert len(api.runs("sweep")) == 2
"""

LIBRARY = """
# A library that logs when the program wants it, and is quiet when not.
import milepost as wandb

def compute():
    if wandb.run is not None:
        wandb.log({"value": 1})
    return 1

compute()
wandb.init(project="library", mode="disabled")
compute()
wandb.watch(object(), log="all")
wandb.save("nothing*")
wandb.summary["x"] = 1
wandb.run.summary.update({"y": 2})
wandb.run.log_code(".")
wandb.run.mark_preempting()
wandb.finish()
"""


CHARTS = """
import math
import numpy as np
import pandas as pd
import milepost as wandb

wandb.init(project="charts", entity="me")
y_true = np.array([0, 1, 2, 1])
y_probas = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6], [0.5, 0.4, 0.1]])
labels = ["cat", "dog", "owl"]
wandb.log({"pr": wandb.plots.precision_recall(y_true, y_probas, labels), "roc": wandb.plots.ROC(y_true, y_probas, labels)})
wandb.log({"conf_mat": wandb.plot.confusion_matrix(probs=None, y_true=y_true, preds=y_probas.argmax(1), class_names=labels)})
wandb.log({"roc": wandb.plot.roc_curve(y_true, y_probas, labels=labels, classes_to_plot=None)}, commit=False)
wandb.log({"pr": wandb.plot.pr_curve(y_true, y_probas, labels=labels, classes_to_plot=None)})

data = [[x, math.sin(x)] for x in range(5)]
table = wandb.Table(data=data, columns=["x", "y"])
wandb.log({"line": wandb.plot.line(table, "x", "y", title="Sine"), "dots": wandb.plot.scatter(table, "x", "y")})
wandb.log({"hist": wandb.plot.histogram(table, "y", title="Values")})
bars = wandb.Table(data=[["car", 0.6], ["bus", 0.9]], columns=["class", "acc"])
wandb.log({"bars": wandb.plot.bar(bars, "class", "acc", title="Accuracy")})
wandb.log({"lines": wandb.plot.line_series(xs=[0, 1, 2], ys=[[1, 2, 3], [3, 2, 1]], keys=["up", "down"], xname="step")})
wandb.log({"custom": wandb.plot_table("wandb/line/v0", table, {"x": "x", "y": "y"}, {"title": "Mine"})})
wandb.log({"older": wandb.visualize("wandb/pr_curve/v1", table)})

predictions = wandb.data_types.Table(columns=["id", "image", "guess"])
for number in range(3):
    predictions.add_data(number, wandb.Image(np.full((4, 4), number * 10, dtype=np.uint8)), labels[number])
predictions.add_column("score", [0.1, 0.2, 0.3])
wandb.log({"predictions": predictions})
wandb.log({"frame": pd.DataFrame({"a": [1, 2]}), "of_frame": wandb.Table(dataframe=pd.DataFrame({"a": [1, 2]}))})
wandb.run.summary["predictions"] = predictions
wandb.finish()
"""


def run_script(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_training_script_runs_and_what_it_logged_is_there() -> None:
    outcome = run_script(TRAINING)

    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.count("Traceback") == 0
    (run,) = milepost.Api("runs").runs("mnist")
    assert (run.name, run.tags, run.state) == ("baseline", ["cnn", "first"], "finished")
    assert run.config == {"lr": 0.1, "epochs": 3}
    rows = list(run.scan_history())
    assert [row["_step"] for row in rows] == list(range(12))
    assert [row["val/acc"] for row in rows if "val/acc" in row] == [0.5, 0.9, 0.8]
    assert rows[3]["weights"]["_type"] == "histogram"
    assert run.summary["val/acc"] == {"max": 0.9}
    assert run.summary["best_accuracy"] == 0.9
    assert (run.dir / "files" / "model.txt").read_text() == "weights of epoch 1"
    assert run.file("files/model.txt").size > 0


def test_what_has_no_effect_is_said_once_and_names_the_replacement() -> None:
    outcome = run_script(TRAINING)

    for argument in ("entity", "save_code"):
        assert outcome.stderr.count(f"init({argument}=...) has no effect") == 1
    assert outcome.stderr.count("wandb's own and have no effect in milepost: start_method") == 1


def test_a_callback_of_a_training_library_runs() -> None:
    outcome = run_script(TRAINER)

    assert outcome.returncode == 0, outcome.stderr
    (run,) = milepost.Api().runs("huggingface")
    assert run.config["learning_rate"] == 5e-5
    assert run.config["model/num_parameters"] == 1234
    rows = [without_clocks(row) for row in run.scan_history()]
    assert rows[-1] == {"_step": 3, "eval/loss": 0.5, "train/global_step": 30}
    assert run.summary["train_runtime"] == 1.5


def test_a_script_that_draws_charts_and_logs_tables_runs() -> None:
    outcome = run_script(CHARTS)

    assert outcome.returncode == 0, outcome.stderr
    (run,) = milepost.Api().runs("charts")
    values = {name: value for row in run.scan_history() for name, value in row.items() if not name.startswith("_")}
    kinds = {name: value["kind"] for name, value in values.items() if value["_type"] == "chart-file"}
    assert kinds == {
        "pr": "curve",
        "roc": "curve",
        "conf_mat": "confusion_matrix",
        "line": "line",
        "dots": "scatter",
        "hist": "histogram",
        "bars": "bar",
        "lines": "line_series",
        "custom": "line",
        "older": "curve",
    }
    assert values.keys() == kinds.keys() | {f"{name}_table" for name in kinds} | {"predictions", "frame", "of_frame"}
    assert values["roc"]["strings"]["title"] == "ROC Curve"
    assert (values["predictions"]["nrows"], values["predictions"]["ncols"]) == (3, 4)


def test_several_runs_in_one_script_and_reading_them_back_runs() -> None:
    outcome = run_script(LOOPING)

    assert outcome.returncode == 0, outcome.stderr
    runs = milepost.Api().runs("sweep")
    assert {(run.group, run.job_type, run.notes, *run.tags) for run in runs} == {
        ("grid", "train", "from a loop", "done")
    }
    assert sorted(run.summary["score"] for run in runs) == [1.0, 2.0]
    assert next(iter(runs[0].scan_history()))["images.mean"] == [0, 1, 2]


def test_a_disabled_run_in_a_library_writes_nothing() -> None:
    outcome = run_script(LIBRARY)

    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr == ""
    assert not Path("milepost-runs").exists()


def test_a_script_that_raises_keeps_its_traceback_and_exit_code() -> None:
    outcome = run_script("import milepost as wandb\nwandb.init(project='p')\nwandb.log({'a': 1}, commit=False)\n1 / 0")

    assert outcome.returncode == 1
    assert "ZeroDivisionError" in outcome.stderr
    (run,) = milepost.Api().runs("p")
    assert run.state == "failed"
    assert [row["a"] for row in run.scan_history()] == [1]


# Keywords of init

WANDB_KEYWORDS: dict[str, Any] = {
    "entity": "team", "project": "p", "dir": None, "id": None, "name": None, "notes": None, "tags": None, "config": {"a": 1},
    "config_exclude_keys": None, "config_include_keys": None, "allow_val_change": True, "group": None, "job_type": None,
    "mode": "offline", "force": True, "reinit": None, "resume": None, "resume_from": None, "fork_from": None, "save_code": True,
    "tensorboard": True, "sync_tensorboard": True, "monitor_gym": True, "settings": None, "anonymous": "must", "magic": True,
}  # fmt: skip


@pytest.fixture
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has just begun."""
    monkeypatch.setattr(migration, "_said", set())


@pytest.mark.usefixtures("nothing_said")
def test_every_keyword_of_wandb_init_is_accepted(caplog: pytest.LogCaptureFixture) -> None:
    with milepost.init(**WANDB_KEYWORDS, exporters=[]) as run:
        assert run.config == {"a": 1}

    for name in (
        "entity",
        "force",
        "save_code",
        "tensorboard",
        "sync_tensorboard",
        "monitor_gym",
        "anonymous",
        "magic",
    ):
        assert caplog.text.count(f"init({name}=...) has no effect") == 1
    caplog.clear()
    with milepost.init(**WANDB_KEYWORDS, exporters=[]):
        pass
    assert "no effect" not in caplog.text


@pytest.mark.usefixtures("nothing_said")
def test_keywords_that_are_not_used_say_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with milepost.init(project="p", entity=None, save_code=False, anonymous=None, exporters=[]):
        pass

    assert caplog.text == ""


def test_config_keys_can_be_included_and_excluded() -> None:
    config = {"a": 1, "b": 2, "c": 3}
    with recorded(config=config, config_exclude_keys=["b"]) as run:
        assert run.run.config == {"a": 1, "c": 3}
    with recorded(config=types.SimpleNamespace(**config), config_include_keys=("a", "b")) as run:
        assert run.run.config == {"a": 1, "b": 2}
    with pytest.raises(milepost.Error, match="config_exclude_keys"):
        milepost.init(project="p", config_exclude_keys="a")


@pytest.mark.parametrize(
    ("mode", "offline"), [("dryrun", True), ("offline", True), ("online", False), ("shared", False), ("run", False)]
)
def test_the_modes_of_wandb_are_understood(mode: str, offline: bool) -> None:
    with recorded(mode=mode) as run:
        assert run.run.offline is offline


@pytest.mark.usefixtures("nothing_said")
@pytest.mark.parametrize("form", [milepost.Settings, dict])
def test_settings_that_milepost_knows_take_effect_and_the_others_are_named_once(
    form: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings = form(
        project="from-settings", run_id="r1", run_name="named", run_tags=("x",), run_group="g", mode="dryrun", resume=False,
        console="off", _disable_stats=True, init_timeout=5, start_method="thread", x_stats_sampling_interval=2.0,
    )  # fmt: skip
    with milepost.init(settings=settings, exporters=[]) as run:
        assert (run.project, run.id, run.name, run.tags, run.group) == ("from-settings", "r1", "named", ("x",), "g")
        assert run.offline

    said = "no effect in milepost: _disable_stats, console, init_timeout, start_method, x_stats_sampling_interval"
    assert said in caplog.text


@pytest.mark.parametrize("form", [milepost.Settings, dict])
def test_a_setting_that_neither_knows_is_an_error(form: Any) -> None:
    with pytest.raises(milepost.ConfigurationError, match="start_methd"):
        milepost.init(settings=form(start_methd="thread"), exporters=[])


@pytest.mark.usefixtures("nothing_said")
def test_variables_of_wandb_that_would_have_decided_something_are_named_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in {
        "PROJECT": "theirs",
        "MODE": "disabled",
        "RUN_ID": "x",
        "API_KEY": "secret",
        "NAME": "n",
    }.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.setenv("MILEPOST_NAME", "mine")
    for _ in range(2):
        with recorded(project="mine") as run:
            assert run.run.project == "mine"

    assert caplog.text.count("milepost does not read") == 1
    assert "does not read WANDB_MODE, WANDB_RUN_ID; set MILEPOST_MODE, MILEPOST_RUN_ID" in caplog.text


def test_login_is_true_and_needs_nothing() -> None:
    assert milepost.login()
    assert milepost.login(key="secret", relogin=True, host="https://example.org")


@pytest.mark.parametrize(
    ("name", "said"), [("use_artifact", "files"), ("sweep", "group="), ("agent", "config="), ("gym", "log()")]
)
def test_other_names_of_wandb_say_what_to_use_instead(name: str, said: str) -> None:
    with pytest.raises(AttributeError, match=said):
        getattr(milepost, name)
    with recorded() as run:
        if name == "use_artifact":
            with pytest.raises(AttributeError, match=said):
                getattr(run.run, name)
        assert not hasattr(run.run, name)


def test_the_errors_of_wandb_are_caught_by_their_names() -> None:
    module: Any = milepost
    run = milepost.init(project="p", exporters=[])
    run.finish()
    with pytest.raises(module.errors.UsageError):
        run.log({})
    with pytest.raises(module.errors.CommError):
        milepost.Api().run("p/nowhere")
    assert module.errors.Error is milepost.Error


def test_names_of_wandb_that_need_nothing_do_nothing() -> None:
    module: Any = milepost
    for call in (module.require, module.setup, module.teardown, module.unwatch):
        assert call("core") is None
    with recorded() as recording:
        run: Any = recording.run
        assert [run.get_url(), run.log_code("."), run.mark_preempting(), run.unwatch(), run.sweep_id] == [None] * 5
        assert run.project_name() == run.project
        with pytest.raises(AttributeError, match="a run has no attribute 'no_such_thing'"):
            _ = run.no_such_thing


@pytest.mark.parametrize(
    ("line", "meant"),
    [("milepost.logg({})", "log"), ("milepost.init(mode='disabled').define_metrics('x')", "define_metric")],
)
def test_a_misspelt_name_names_the_one_that_may_have_been_meant(line: str, meant: str) -> None:
    script = f"import milepost; {line}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 1
    assert f"Did you mean: '{meant}'?" in done.stderr


def test_an_id_can_be_made_before_the_run() -> None:
    module: Any = milepost
    ids = {module.util.generate_id() for _ in range(100)}

    assert len(ids) == 100
    assert {len(each) for each in ids} == {8}
    assert len(module.util.generate_id(20)) == 20
    with recorded(id=ids.pop(), resume="allow") as recording:
        assert len(recording.run.id) == 8


def test_lines_for_the_terminal_are_said_there(capsys: pytest.CaptureFixture[str]) -> None:
    module: Any = milepost
    module.termlog("step 1")
    module.termwarn("100% slow", repeat=False)

    assert capsys.readouterr().err == "milepost: step 1\nmilepost: 100% slow\n"


# save


def write(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)


def saved(run: milepost.Run) -> dict[str, str]:
    """Path below files/ -> content."""
    files = Path(run.dir) / "files"
    return {path.relative_to(files).as_posix(): path.read_text() for path in sorted(files.rglob("*")) if path.is_file()}


def test_save_copies_what_matches_and_keeps_the_folders_below_the_working_directory() -> None:
    write("a.txt", "sub/b.txt", "sub/deep/c.txt", "sub/d.log")
    with recorded() as run:
        paths = milepost.save("sub/**/*.txt", policy="now")

        assert saved(run.run) == {"sub/b.txt": "sub/b.txt", "sub/deep/c.txt": "sub/deep/c.txt"}
        assert paths == [f"{run.run.dir}/files/sub/b.txt", f"{run.run.dir}/files/sub/deep/c.txt"]
        run.run.finish()
        events = {event.values["path"]: event.values for event in run.memory.of_kind("file")}
        assert events.keys() == {"files/sub/b.txt", "files/sub/deep/c.txt"}
        assert (events["files/sub/b.txt"]["size"], len(events["files/sub/b.txt"]["sha256"])) == (9, 64)


def test_save_keeps_the_folders_below_the_base_path(tmp_path: Path) -> None:
    write(f"{tmp_path}/out/sub/b.txt")
    with recorded() as run:
        run.run.save(f"{tmp_path}/out/sub/*", base_path=tmp_path / "out")
        run.run.save(tmp_path / "out" / "sub" / "b.txt")
        run.run.save("home.txt", ".")

        assert saved(run.run).keys() == {"sub/b.txt", "b.txt"}


def test_save_gives_an_empty_list_when_nothing_matches(caplog: pytest.LogCaptureFixture) -> None:
    write("folder/a.txt")
    with recorded() as run:
        assert milepost.save("nothing*.txt") == []
        assert caplog.text == ""
        assert milepost.save("folder") == []
        assert "folder/*" in caplog.text
        assert not (Path(run.run.dir) / "files").exists()


@pytest.mark.parametrize(
    ("policy", "before", "after"),
    [
        ("now", {"a.txt": "old"}, {"a.txt": "old"}),
        ("live", {"a.txt": "old"}, {"a.txt": "new", "b.txt": "later"}),
        ("end", {}, {"a.txt": "new", "b.txt": "later"}),
    ],
)
def test_the_policy_says_when_files_are_copied(policy: str, before: dict[str, str], after: dict[str, str]) -> None:
    Path("a.txt").write_text("old")
    with recorded() as run:
        assert milepost.save("*.txt", policy=policy) == [f"{run.run.dir}/files/a.txt"]
        assert saved(run.run) == before
        Path("a.txt").write_text("new")
        Path("b.txt").write_text("later")
        run.run.finish()

        assert saved(run.run) == after


def test_save_without_a_path_after_the_name_was_set_does_nothing() -> None:
    with recorded() as run:
        run.run.name = "baseline"
        assert run.run.save() == []
        assert run.run.name == "baseline"


def test_a_file_that_did_not_change_is_copied_once() -> None:
    write("a.txt", "b.txt")
    with recorded() as run:
        milepost.save("*.txt")
        copies = {path.name: path.stat().st_ino for path in (Path(run.run.dir) / "files").iterdir()}
        Path("b.txt").write_text("longer than before")
        run.run.finish()

        after = {path.name: path.stat().st_ino for path in (Path(run.run.dir) / "files").iterdir()}
        assert after["a.txt"] == copies["a.txt"]
        assert after["b.txt"] != copies["b.txt"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("*", None, "sometimes"), "policy.*live"),
        ((5,), "glob_str"),
        (("",), "glob_str"),
        (("a\0b",), "glob_str"),
        (("s3://bucket/a",), "address"),
        (("a.txt", "elsewhere"), "base_path"),
        (("../outside.txt", "."), "base_path"),
    ],
)
def test_a_wrong_argument_of_save_is_a_value_error_that_names_it(arguments: tuple[Any, ...], named: str) -> None:
    with recorded(), pytest.raises(ValueError, match=named):
        milepost.save(*arguments)


def test_nothing_is_ever_saved_outside_the_run(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    write("a.txt", "sub/a.txt", "../sibling/x.txt", "victim/a.txt")
    with recorded() as run:
        files = Path(run.run.dir) / "files"
        files.mkdir()
        (files / "sub").symlink_to(outside)
        (files / "a.txt").symlink_to(outside / "target.txt")
        for pattern in (
            "../sibling/*",
            "sub/../../sibling/*",
            f"{tmp_path}/**/x.txt",
            "sub/a.txt",
            "a.txt",
            "./victim/../a.txt",
        ):
            milepost.save(pattern, policy="now")

        assert list(outside.iterdir()) == []
        assert (files / "a.txt").read_text() == "a.txt"
        assert not (files / "a.txt").is_symlink()
        assert (files / "x.txt").exists()


def test_files_that_lie_in_the_run_already_are_not_copied() -> None:
    with recorded() as run:
        path = Path(run.run.dir) / "model.txt"
        path.write_text("weights")

        assert milepost.save(str(path)) == [str(path)]
        assert milepost.save(f"{run.run.dir}/**") != []
        assert not (Path(run.run.dir) / "files").exists()


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_copied(caplog: pytest.LogCaptureFixture) -> None:
    write("a.txt", "b.txt")
    with recorded() as run:
        (Path(run.run.dir) / "files").mkdir()
        (Path(run.run.dir) / "files" / "a.txt").mkdir()
        milepost.save("*.txt")

        assert saved(run.run) == {"b.txt": "b.txt"}
        assert "could not copy" in caplog.text
        assert "a.txt" in caplog.text


# watch without PyTorch; tests/sdk/test_values_torch.py has the tests with it


def test_watch_without_pytorch_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with recorded() as run, pytest.raises(milepost.Error, match="torch"):
        run.run.watch(object())


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"log": "weights"}, "gradients"), ({"log_freq": 0}, "log_freq"), ({"log_freq": 1.5}, "log_freq")],
)
def test_a_wrong_argument_of_watch_is_a_value_error_that_names_it(arguments: dict[str, Any], named: str) -> None:
    with recorded(), pytest.raises(ValueError, match=named):
        milepost.watch(object(), **arguments)


class FakeModule:
    """Stands for `torch.nn.Module`: parameters that take hooks, and a forward pass that calls them."""

    def __init__(self, **weights: Any) -> None:
        self.training = True
        self.weights = {name: FakeParameter(value) for name, value in weights.items()}
        self.hooks: list[Any] = []

    def named_parameters(self) -> list[tuple[str, Any]]:
        return list(self.weights.items())

    def register_forward_hook(self, hook: Any) -> Any:
        self.hooks.append(hook)
        return types.SimpleNamespace(remove=self.hooks.clear)

    def forward(self) -> None:
        for hook in self.hooks:
            hook(self, (), None)


class FakeParameter:
    """Stands for `torch.nn.Parameter`."""

    def __init__(self, values: list[float]) -> None:
        self._values = values
        self.requires_grad, self.is_sparse = True, False
        self.hooks: list[Any] = []

    def register_hook(self, hook: Any) -> Any:
        self.hooks.append(hook)
        return types.SimpleNamespace(remove=self.hooks.clear)

    def detach(self) -> Any:
        return self

    float = cpu = detach

    def numpy(self) -> Any:
        return self._values


def test_watch_logs_into_the_open_row_every_nth_batch_and_stops_with_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = types.SimpleNamespace(nn=types.SimpleNamespace(Module=FakeModule))
    monkeypatch.setitem(sys.modules, "torch", torch)
    model = FakeModule(weight=[1.0, float("nan"), 3.0])
    with recorded() as run:
        milepost.watch(model, log="all", log_freq=2)
        for batch in range(4):
            model.forward()
            for hook in model.weights["weight"].hooks:
                hook(FakeParameter([0.5]))
            run.log({"batch": batch})

        rows = run.values()
        assert [sorted(row) for row in rows] == [["batch"], ["batch", "gradients/weight", "parameters/weight"]] * 2
        assert (sum(rows[1]["parameters/weight"]["values"]), rows[1]["parameters/weight"]["nonfinite"]) == (2, 1)
    assert model.hooks == model.weights["weight"].hooks == []


def test_an_alert_level_is_a_text_or_one_of_the_enum() -> None:
    assert [level.value for level in milepost.AlertLevel] == ["INFO", "WARN", "ERROR"]


def test_the_docs_of_the_page_for_switching_name_everything_that_is_said_to_have_no_effect(repository: Path) -> None:
    page = (repository / "docs" / "coming-from-wandb.md").read_text()

    assert [name for name in migration._WITHOUT_EFFECT if f"`{name}`" not in page] == []


def test_warnings_go_to_the_logger_of_milepost(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="milepost")
    with recorded() as run:
        run.log({"a": 1}, step=5)
        run.log({"a": 1}, step=1)

    assert {record.name for record in caplog.records} == {"milepost"}
