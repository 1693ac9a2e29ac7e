"""The end of a run whose journal takes nothing: it comes soon, with its page, and says where the rows are."""

import logging
import time
from pathlib import Path

import pytest

import milepost
from milepost.sdk.journal import Journal


@pytest.mark.parametrize("by", ["limit", "full disk"])
def test_the_end_does_not_wait_for_what_waiting_cannot_change(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    by: str,
) -> None:
    journal = {"max_bytes": 20_000} if by == "limit" else {}
    run = milepost.init(
        project="p",
        id="r",
        dir=tmp_path,
        settings={"journal": journal, "capture": False, "finish": {"timeout": 600_000}},
    )
    if by == "full disk":

        def full(self: Journal, size: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Journal, "_check_room", full)
    for n in range(3000):
        run.log({"n": n})
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        run.finish()

    assert time.monotonic() - began < 300  # of the 600 that were allowed: on a busy machine, too
    monkeypatch.undo()
    assert "finished after" in capsys.readouterr().err
    said = [record.getMessage() for record in caplog.records if "not delivered to file" in record.getMessage()]
    assert len(said) == 1
    assert "in shared memory until this machine restarts" in said[0]
    assert ("beyond that limit" in said[0]) == (by == "limit")
    assert len(list(milepost.Api(tmp_path).run("p/r").scan_history())) == 3000
