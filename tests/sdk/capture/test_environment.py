"""The environment record, against real repositories, a real git and the real packages of this interpreter."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from milepost.sdk.capture import git
from milepost.sdk.capture.environment import gather, installed_packages

REMOTE = "https://me:hunter2@git.example.org/team/model.git"


def run_git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One commit on branch `trial`, a remote with credentials, a clean tree."""
    folder = tmp_path / "repository"
    folder.mkdir()
    run_git(folder, "init", "-q", "-b", "trial")
    (folder / "train.py").write_text("print(1)\n")
    run_git(folder, "add", ".")
    run_git(folder, "commit", "-q", "-m", "one")
    run_git(folder, "remote", "add", "origin", REMOTE)
    return folder


def described(folder: Path) -> dict[str, Any]:
    answer = git.describe(str(folder))
    assert answer is not None
    return answer


def test_a_clean_repository_gives_commit_branch_and_remote_without_credentials(repository: Path) -> None:
    assert described(repository) == {
        "commit": run_git(repository, "rev-parse", "HEAD"),
        "branch": "trial",
        "remote": "https://***@git.example.org/team/model.git",
        "dirty": False,
        "diff_bytes": 0,
    }


def test_a_changed_file_makes_the_repository_dirty_by_the_size_of_its_diff(repository: Path) -> None:
    (repository / "train.py").write_text("print(2)\n")
    (repository / "staged.py").write_text("x = 1\n")
    run_git(repository, "add", "staged.py")

    answer = described(repository)

    expected = subprocess.run(["git", "diff", "HEAD"], cwd=repository, check=True, capture_output=True).stdout
    assert answer["dirty"] is True
    assert answer["diff_bytes"] == len(expected) > 0


def test_an_untracked_file_does_not_make_it_dirty(repository: Path) -> None:
    (repository / "notes.txt").write_text("x")

    assert described(repository)["dirty"] is False


def test_a_subfolder_tells_of_its_repository(repository: Path) -> None:
    (repository / "a" / "b").mkdir(parents=True)

    assert described(repository / "a" / "b")["branch"] == "trial"


def test_a_detached_head_has_no_branch(repository: Path) -> None:
    run_git(repository, "checkout", "-q", "--detach")

    assert described(repository)["branch"] is None


def test_a_repository_without_commits_is_told_without_an_error(tmp_path: Path) -> None:
    run_git(tmp_path, "init", "-q", "-b", "empty")
    (tmp_path / "train.py").write_text("print(1)\n")
    run_git(tmp_path, "add", "train.py")

    answer = described(tmp_path)

    assert "error" not in answer
    assert (answer["commit"], answer["branch"], answer["dirty"]) == (None, "empty", True)


def test_the_remote_of_the_branch_comes_before_origin(repository: Path) -> None:
    run_git(repository, "remote", "add", "fork", "ssh://git@example.org/fork.git")
    run_git(repository, "config", "branch.trial.remote", "fork")

    assert described(repository)["remote"] == "ssh://git@example.org/fork.git"


def test_a_rewriting_rule_does_not_bring_its_token_into_the_remote(repository: Path) -> None:
    run_git(repository, "config", "url.https://secrettoken@git.example.org/.insteadOf", "https://git.example.org/")
    run_git(repository, "remote", "set-url", "origin", "https://git.example.org/x.git")

    assert described(repository)["remote"] == "https://git.example.org/x.git"


def test_asking_changes_nothing_in_the_repository(repository: Path) -> None:
    os.utime(repository / "train.py", (1, 1))  # a stale entry, which `git status` would refresh in the index
    index = (repository / ".git" / "index").read_bytes()

    described(repository)

    assert (repository / ".git" / "index").read_bytes() == index


def test_a_program_that_the_repository_configures_for_diffs_is_not_run(repository: Path, tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    for setting in ("diff.external", "core.fsmonitor", "diff.spy.textconv"):
        run_git(repository, "config", setting, f"touch {trace};")
    (repository / ".gitattributes").write_text("*.py diff=spy\n")
    (repository / "train.py").write_text("print(2)\n")

    assert described(repository)["dirty"] is True
    assert not trace.exists()


def test_outside_of_a_repository_there_is_no_git_part(tmp_path: Path) -> None:
    assert git.describe(str(tmp_path)) is None


def test_a_git_that_hangs_is_ended_and_named(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nsleep 60 & sleep 60\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(git, "TIMEOUT_S", 0.3)

    began = time.monotonic()
    answer = described(repository)

    assert answer["error"] == "git rev-parse took longer than 0.3 s"
    assert time.monotonic() - began < 30


def test_without_a_git_command_the_other_parts_stand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    record = gather(["train.py"])

    assert "git" not in record
    assert "not installed" in record["errors"]["git"]
    assert record["python"]["version"]


def test_the_record_is_json_and_has_every_part(repository: Path) -> None:
    record = gather([str(repository / "train.py"), "--lr", "0.1"])

    assert json.loads(json.dumps(record)) == record
    assert {"command", "program", "host", "os", "python", "cpu", "memory", "git", "packages"} <= set(record)
    assert "errors" not in record
    assert record["command"].endswith("repository/train.py --lr 0.1")
    assert record["git"]["branch"] == "trial"
    assert record["cpu"]["usable_count"] >= 1
    assert record["memory"]["total_bytes"] > 100_000_000
    assert record["python"]["version"] == sys.version.split()[0]


def test_secrets_of_the_command_line_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_API_KEY", "valueofthevariable")

    record = gather(["train.py", "--api-key", "abc", "--note", "is valueofthevariable", "--url=https://u:p@h/x"])

    assert record["command"] == "train.py --api-key '***' --note 'is ***' '--url=https://***@h/x'"


def test_the_home_folder_is_not_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "alice"))

    record = gather([str(tmp_path / "alice" / "train.py"), f"--data={tmp_path}/alice/data"], git=False, packages=False)

    assert record["program"] == "~/train.py"
    assert "alice" not in record["command"]


def test_each_switch_leaves_its_part_out(repository: Path) -> None:
    record = gather(["train.py"], git=False, packages=False)

    assert "git" not in record
    assert "packages" not in record
    assert set(gather([str(repository / "train.py")], environment=False)) == {"git"}


def test_an_installed_program_is_looked_up_by_its_working_directory(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)

    record = gather([str(Path(sys.prefix) / "bin" / "python")], packages=False)

    assert record["git"]["branch"] == "trial"


def test_job_variables_are_recorded_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_JOB_USER", "alice")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")

    job = gather(["train.py"], git=False, packages=False)["job"]

    assert job == {"SLURM_JOB_ID": "17", "TORCHELASTIC_RESTART_COUNT": "1", "CUDA_VISIBLE_DEVICES": "0,1"}


def test_the_packages_are_those_that_importlib_finds() -> None:
    found = installed_packages(sys.path)

    expected: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.name).lower()
        expected.setdefault(name, distribution.version)
    assert found == dict(sorted(expected.items()))


def test_a_command_line_as_the_interpreter_got_it_is_the_default(tmp_path: Path) -> None:
    code = "import json; from milepost.sdk.capture.environment import gather; print(json.dumps(gather(packages=False)))"

    output = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code, "--password=x"],
        check=True, capture_output=True, text=True, cwd=tmp_path,
    ).stdout  # fmt: skip

    command = json.loads(output)["command"]
    assert "-X utf8 -c" in command
    assert command.endswith("'--password=***'")


@pytest.mark.parametrize("module", ["environment", "ranks", "sampler", "console_output", "redact", "gpus", "git"])
def test_importing_a_capture_module_imports_nothing_of_third_parties(module: str) -> None:
    code = (
        f"import sys; import milepost.sdk.capture as c; before = set(sys.modules); import milepost.sdk.capture.{module};"
        "print(*{n.split('.')[0] for n in set(sys.modules) - before} - set(sys.stdlib_module_names) - {'milepost'})"
    )

    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout

    assert output.strip() == ""
