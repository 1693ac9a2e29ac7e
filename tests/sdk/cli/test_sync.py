"""`milepost sync` delivers what is left, once."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import milepost
from milepost.sdk.event import Event
from milepost.sdk.exporter import ExportResult
from milepost.sdk.syncing import complete, sync
from tests.sdk.cli.conftest import QUIET, Command, console_script, kill_a_run, log_run, script


def steps(run_dir: Path) -> list[int]:
    lines = (run_dir / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["_step"] for line in lines]


def files(run_dir: Path) -> dict[str, tuple[int, bytes]]:
    """Every file of a run with its time and contents."""
    found = sorted(path for path in run_dir.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within a minute"
        time.sleep(0.05)


def test_the_files_of_a_killed_run_become_complete_and_twice_changes_nothing() -> None:
    directory = kill_a_run()

    first = console_script("sync", "runs")
    after_first = files(directory)
    second = console_script("sync", "runs")

    assert (first.returncode, second.returncode) == (0, 0)
    assert "1 killed writer recovered from shared memory" in first.stderr
    assert first.stdout.splitlines()[1].split()[:4] == ["demo/killed", "crashed", "file", "delivered"]
    assert "nothing is left to deliver" in second.stderr
    assert "crashed, that is gone without finish(): demo/killed" in second.stderr
    assert second.stdout == ""
    assert steps(directory) == list(range(201))
    summary = json.loads((directory / "summary.json").read_bytes())
    assert (summary["loss"], summary["open"], summary["nested"]) == (0.0, True, {"i": 199})
    assert files(directory) == after_first
    assert command_of(directory)["settled"] is True


def command_of(directory: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(console_script("sync", str(directory), "--json").stdout)
    return told


PARTLY = """
import os, signal, time, pathlib, milepost
run = milepost.init(project="demo", id="partly", dir="runs", exporters=["file"], settings={"capture": False})
run.define_metric("loss", summary="min,mean")
for i in range(10):
    milepost.log({"loss": float(i)})
cursor = pathlib.Path(run.dir, "journal", run.writer, "cursor-file.json")
deadline = time.monotonic() + 60
while '"delivered":10' not in (cursor.read_text() if cursor.exists() else "") and time.monotonic() < deadline:
    time.sleep(0.05)
for i in range(10, 20):
    milepost.log({"loss": float(i), f"late{i}": i})
run.flush()
time.sleep(0.3)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_run_that_had_delivered_a_part_goes_on_behind_it() -> None:
    script(PARTLY)
    directory = Path("runs/demo/partly")

    assert console_script("sync", "runs").returncode == 0

    assert steps(directory) == list(range(20))
    summary = json.loads((directory / "summary.json").read_bytes())
    assert summary["loss"] == {"min": 0.0, "mean": 9.5}
    assert summary["late19"] == 19


def test_complete_does_it_for_the_files_alone() -> None:
    from milepost.sdk.recovery import recover

    directory = kill_a_run()
    recover(directory, settled_s=0)

    assert complete(directory) > 0
    assert complete(directory) == 0
    assert steps(directory) == list(range(201))


def test_a_living_program_delivers_by_itself(command: Command) -> None:
    run = milepost.init(project="demo", id="alive", dir="runs", exporters=["file"], settings=QUIET)
    run.log({"x": 1})

    code, out, _ = command("sync", "runs")

    assert code == 0
    assert out.splitlines()[1].split()[:4] == ["demo/alive", "running", "file", "running"]
    run.finish()
    assert steps(Path(run.dir)) == [0]


def test_an_exporter_that_a_living_program_has_not_gets_its_rows(command: Command) -> None:
    run = milepost.init(project="demo", id="alive", dir="runs", exporters=["console"], settings=QUIET)
    run.log({"x": 1})
    run.flush()

    code, out, _ = command("sync", "runs", "--to", "file")

    assert code == 0
    assert "delivered" in out
    assert steps(Path(run.dir)) == [0]
    run.finish()
    assert command("sync", "runs", "--to", "file").code == 0
    assert steps(Path(run.dir)) == [0]


class _Refusing:
    """Takes nothing."""

    name = "refusing"

    def export(self, batch: Sequence[Event]) -> ExportResult:
        return ExportResult.retry("the back end is away")

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True

    def shutdown(self, timeout_millis: int = 0) -> None:
        """Nothing to release."""


def test_rows_for_an_exporter_given_as_an_object_are_told_and_left(command: Command) -> None:
    run = milepost.init(project="demo", id="one", dir="runs", exporters=["file", _Refusing()], settings=QUIET)
    run.log({"x": 1})
    run.finish(timeout=0.1)

    code, out, _ = command("sync", "runs")

    assert code == 1
    assert "was given to init() as an object" in out
    (refused,) = [each for each in json.loads(command("sync", "runs", "--json").out)["exporters"] if each["pending"]]
    assert (refused["exporter"], refused["state"], refused["pending"]) == ("refusing", "refused", 1)


def test_an_exporter_that_cannot_deliver_leaves_rows_pending_and_exit_code_1(command: Command) -> None:
    directory = kill_a_run()
    (directory / "history.jsonl").unlink(missing_ok=True)
    (directory / "history.jsonl").mkdir()

    code, out, _ = command("sync", "runs", "--timeout", "0")

    assert code == 1
    assert "pending" in out
    assert "cannot write " in out
    (directory / "history.jsonl").rmdir()
    assert command("sync", "runs").code == 0
    assert steps(directory) == list(range(201))


def test_a_name_that_nothing_has_is_an_error(command: Command) -> None:
    log_run([{"x": 1}])

    code, _, err = command("sync", "runs", "--to", "fil")

    assert code == 2
    assert "no exporter is called 'fil'; did you mean 'file'?" in err


PLUGIN = """
import json
from milepost.sdk.exporter import ExportResult

class Lines:
    name = "lines"
    def __init__(self, path, token=""):
        self.path, self.token = path, token
    def export(self, batch):
        with open(self.path, "a") as file:
            for event in batch:
                if event.kind == "row":
                    file.write(json.dumps([self.token, event.run, event.step]) + "\\n")
        return ExportResult.SUCCESS
    def force_flush(self, timeout_millis=0):
        return True
    def shutdown(self, timeout_millis=0):
        pass
"""


def install_plugin() -> None:
    """An exporter named lines, as a distribution that is on the path."""
    Path("lines_plugin.py").write_text(PLUGIN, encoding="utf-8")
    metadata = Path("lines_plugin-1.0.dist-info")
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: lines-plugin\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text("[milepost_exporter]\nlines = lines_plugin:Lines\n", encoding="utf-8")


def lines_written() -> list[list[Any]]:
    return [json.loads(line) for line in Path("out.jsonl").read_text(encoding="utf-8").splitlines()]


def test_an_exporter_of_the_config_file_gets_every_run_once() -> None:
    install_plugin()
    log_run([{"x": 1}, {"x": 2}], id="one")
    log_run([{"x": 1}], id="two")
    Path("milepost.yaml").write_text(
        'file_format: "1.0"\nexporters:\n  - lines: {path: out.jsonl, token: "${LINES_TOKEN}"}\n', encoding="utf-8"
    )

    for _ in range(2):
        outcome = console_script("sync", "runs", "--to", "lines", PYTHONPATH=".", LINES_TOKEN="s3cret")
        assert (outcome.returncode, "s3cret" in outcome.stdout + outcome.stderr) == (0, False)

    assert sorted(lines_written()) == [
        ["s3cret", "demo/one", 0],
        ["s3cret", "demo/one", 1],
        ["s3cret", "demo/two", 0],
    ]


SECRETIVE = """
import os, signal, milepost
milepost.init(project="demo", id="secretive", dir="runs", config_file="there.yaml", settings={"capture": False})
milepost.log({"x": 1})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_run_whose_exporter_has_secrets_needs_the_config_file() -> None:
    install_plugin()
    config = 'file_format: "1.0"\nexporters:\n  - lines: {path: out.jsonl, token: "${LINES_TOKEN}"}\n'
    Path("there.yaml").write_text(config, encoding="utf-8")
    script(SECRETIVE, PYTHONPATH=".", LINES_TOKEN="s3cret")
    assert b"s3cret" not in b"".join(data for _, data in files(Path("runs")).values())

    without = console_script("sync", "runs", PYTHONPATH=".")
    Path("milepost.yaml").write_text(config, encoding="utf-8")
    with_it = console_script("sync", "runs", PYTHONPATH=".", LINES_TOKEN="s3cret")

    assert (without.returncode, with_it.returncode) == (1, 0)
    assert "has secrets, which are not stored with a run" in without.stdout
    assert lines_written() == [["s3cret", "demo/secretive", 0]]


def test_watch_delivers_what_comes_until_it_is_interrupted() -> None:
    Path("runs").mkdir()
    watching = subprocess.Popen(
        [sys.executable, "-m", "milepost", "sync", "runs", "--watch", "--interval", "0.2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    directory = kill_a_run()

    until(lambda: (directory / "history.jsonl").exists() and len(steps(directory)) == 201)
    assert watching.stdout is not None
    assert watching.stdout.readline().split()[:3] == ["run", "program", "exporter"]
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=60)

    assert watching.returncode == 0
    assert steps(directory) == list(range(201))


def test_watch_says_that_a_program_died() -> None:
    watching = subprocess.Popen(
        [sys.executable, "-m", "milepost", "sync", "runs", "--watch", "--interval", "0.2"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    text = 'import milepost, time; milepost.init(project="demo", id="dies", dir="runs"); time.sleep(100)'
    program = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert watching.stderr is not None
    assert any(line == "demo/dies: running\n" for line in watching.stderr)

    program.kill()
    program.communicate(timeout=60)

    assert any("demo/dies: crashed: its program is gone without finish()" in line for line in watching.stderr)
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=60)


def test_two_syncs_at_once_deliver_each_row_once() -> None:
    directory = kill_a_run()

    both = [
        subprocess.Popen(
            [sys.executable, "-m", "milepost", "sync", "runs"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(2)
    ]
    assert {process.wait(timeout=60) for process in both} <= {0, 1}

    assert {outcome.state for outcome in sync(directory)} == {"delivered"}
    assert steps(directory) == list(range(201))
