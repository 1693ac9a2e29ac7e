"""A child process that logged leaves nothing behind when it ends, whichever way multiprocessing started it."""

import contextlib
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

import milepost
from milepost.sdk.ring import shared_memory


def log_once(run: Any) -> None:
    """What the child does."""
    run.log({"child": 1})


def rings_of(run_id: str) -> list[Path]:
    """The files in shared memory that belong to a run."""
    found = []
    for path in shared_memory().glob("*.ring"):
        with contextlib.suppress(FileNotFoundError):  # another program's, which ended in between
            if run_id.encode() in path.read_bytes()[:4096]:
                found.append(path)
    return found


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_that_logged_finishes_when_it_ends(method: str) -> None:
    with milepost.init(project="tests", exporters=["file"], settings={"capture": False}) as run:
        run.log({"parent": 1})
        child = multiprocessing.get_context(method).Process(target=log_once, args=(run,))  # type: ignore[attr-defined]
        child.start()
        child.join(60)

        assert child.exitcode == 0
        assert len({path.name.partition("-")[0] for path in rings_of(run.id)}) == 1  # the parent's

    writers = milepost.Api().run(run.path).reader().writers
    assert rings_of(run.id) == []
    assert [[event.kind for event in writer.events("run.finish")] for writer in writers] == [["run.finish"]] * 2
