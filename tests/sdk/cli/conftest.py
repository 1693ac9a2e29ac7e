"""Runs to look at, and the command as a function."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import milepost
from milepost.sdk.cli import main

QUIET: dict[str, Any] = {"capture": False}


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """The command in this process: `command("ls", "runs")`."""

    def run(*arguments: str | Path) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        assert "Traceback" not in err
        return Outcome(code, out, err)

    return run


def script(code: str, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """A program that logs, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def console_script(*arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """The installed `milepost`, as a shell would start it."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("milepost")), *arguments],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def log_run(
    rows: list[dict[str, Any]],
    *,
    define: Mapping[str, Mapping[str, Any]] | None = None,
    exit_code: int = 0,
    **init: Any,
) -> Path:
    """A finished run of these rows; its directory."""
    arguments: dict[str, Any] = {"project": "demo", "dir": "runs", "exporters": ["file"], "settings": QUIET} | init
    run = milepost.init(**arguments)
    for name, definition in (define or {}).items():
        run.define_metric(name, **definition)
    for row in rows:
        run.log(row)
    run.finish(exit_code=exit_code)
    return Path(run.dir)


KILLED = """
import os, signal, milepost
milepost.init(project="demo", id="killed", dir="runs", exporters=["console", "file"], settings={"capture": False})
for i in range(200):
    milepost.log({"loss": 1 / (i + 1), "nested": {"i": i}})
milepost.log({"loss": 0.0, "open": True}, commit=False)
os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_a_run() -> Path:
    """A run whose program got SIGKILL: 200 rows and an open one; its directory."""
    script(KILLED)
    directory = Path("runs/demo/killed").absolute()
    assert (directory / "journal").is_dir()
    return directory
