"""finish(), log() and flush() where a signal handler or `__del__` may stand: in the middle of another call of the same thread.

A processor, or the journal's own `write`, plays the handler, so that it comes at the same place each time.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import milepost
from milepost.sdk.journal import Journal


class Once:
    """Does something the first time that it is called."""

    def __init__(self) -> None:
        self.action: Callable[[], Any] = lambda: None

    def __call__(self) -> None:
        action, self.action = self.action, lambda: None
        action()


class Interrupted:
    """A processor inside of which a signal comes: when it gets an event, and when it is flushed."""

    def __init__(self) -> None:
        self.in_call, self.in_flush = Once(), Once()

    def __call__(self, event: milepost.Event) -> milepost.Event:
        self.in_call()
        return event

    def flush(self) -> None:
        self.in_flush()


@pytest.fixture(params=["shared memory", "none"])
def no_matter_where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if request.param == "none":
        monkeypatch.setenv("MILEPOST_SHM", str(tmp_path / "none"))


def begun(tmp_path: Path, *processors: Any) -> milepost.Run:
    return milepost.init(
        project="p",
        id="r",
        dir=tmp_path,
        exporters=["file"],
        processors=["flatten", "merge", *processors, "summarize"],
        settings={"capture": False},
    )


def stored(tmp_path: Path, key: str) -> list[Any]:
    """The values of a name, in a run that is over."""
    run = milepost.Api(tmp_path).run("p/r")
    assert run.state == "finished"
    return [row[key] for row in run.scan_history(keys=[key])]


@pytest.mark.usefixtures("no_matter_where")
def test_finish_inside_a_call_ends_the_run_when_the_call_is_done(tmp_path: Path) -> None:
    signal = Interrupted()
    run = begun(tmp_path, signal)
    run.log({"before": 1}, commit=False)
    signal.in_call.action = run.finish

    run.log({"n": 0})

    assert stored(tmp_path, "before") == [1]
    assert stored(tmp_path, "n") == [0]
    with pytest.raises(milepost.Error, match="after finish"):
        run.log({"n": 1})


@pytest.mark.usefixtures("no_matter_where")
def test_finish_in_a_handler_that_leaves_the_call_ends_the_run_as_well(tmp_path: Path) -> None:
    signal = Interrupted()
    run = begun(tmp_path, signal)
    run.log({"before": 1}, commit=False)

    def handler() -> None:
        run.finish()
        raise KeyboardInterrupt

    signal.in_call.action = handler
    with pytest.raises(KeyboardInterrupt):
        run.log({"n": 0})

    assert stored(tmp_path, "before") == [1]


@pytest.mark.usefixtures("no_matter_where")
@pytest.mark.parametrize("outer", ["log", "flush", "summary"])
def test_finish_and_flush_inside_a_write_of_the_journal_do_not_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outer: str
) -> None:
    signal, write, answers = Once(), Journal.write, []

    def interrupted(self: Journal, *arguments: Any, **keywords: Any) -> int:
        if threading.current_thread() is threading.main_thread():
            signal()
        return write(self, *arguments, **keywords)

    run = begun(tmp_path)
    run.log({"n": 0})
    run.flush()
    monkeypatch.setattr(Journal, "write", interrupted)

    def handler() -> None:
        answers.append(run.flush())
        run.finish()

    run.log({"n": 1}, commit=False)
    signal.action = handler
    if outer == "log":
        run.log({"n": 2})
    elif outer == "summary":
        run.summary["by hand"] = 3
    run.flush()
    run.finish()

    assert answers in ([], [False])  # none where the drain's own thread wrote it all
    assert stored(tmp_path, "n") == [0, 2 if outer == "log" else 1]


@pytest.mark.usefixtures("no_matter_where")
def test_log_inside_finish_is_stored_before_the_end_or_refused(tmp_path: Path) -> None:
    signal = Interrupted()
    run = begun(tmp_path, signal)
    run.log({"n": 0})
    signal.in_flush.action = lambda: run.log({"n": 1})

    run.finish()

    assert stored(tmp_path, "n") == [0, 1]
    assert milepost.Api(tmp_path).run("p/r").summary["n"] == 1
    assert (tmp_path / "p" / "r" / "history.jsonl").read_text().count('"n":') == 2


def test_a_processor_that_logs_whenever_it_is_flushed_does_not_keep_the_run_from_its_end(tmp_path: Path) -> None:
    signal = Interrupted()
    run = begun(tmp_path, signal)

    def again() -> None:
        signal.in_flush.action = again
        run.log({"n": 0})

    signal.in_flush.action = again
    run.finish()

    assert set(stored(tmp_path, "n")) == {0}
