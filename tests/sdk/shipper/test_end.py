"""How a shipper ends: what stands in the runs that it served is true when it is gone."""

import contextlib
import threading
from pathlib import Path

import pytest

from milepost.sdk.shipper.listening import listen, receive
from milepost.sdk.shipper.meeting import Meeting, connect, send
from milepost.sdk.shipper.plan import Plan
from milepost.sdk.shipper.process import Shipper
from milepost.sdk.shipper.release import NOTE
from milepost.sdk.shipper.serving import Served


def test_the_note_of_a_run_that_has_all_goes_also_where_the_shipper_ends_while_it_lets_go_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "runs" / "p" / "r"
    (run_dir / "journal").mkdir(parents=True)
    (run_dir / NOTE).write_text("of an earlier shipper")
    over, stop = threading.Event(), Served.stop

    def slow(served: Served, timeout_s: float) -> bool:
        """Let go of a run, but on the thread that looks around no sooner than the shipper has ended."""
        if threading.current_thread() is not threading.main_thread():
            over.wait(30)
        return stop(served, timeout_s)

    monkeypatch.setattr(Served, "stop", slow)
    place = Meeting(tmp_path / "s.sock", tmp_path / "s.lock", tmp_path / "s.log")
    listener = listen(place.socket)
    program = connect(place.socket)
    send(program, {"op": "serve", "plan": Plan(run_dir=str(run_dir), exporters=(), linger_s=2.5)})

    def leave() -> None:
        with contextlib.closing(program):
            receive(program)

    threading.Thread(target=leave).start()
    Shipper(tmp_path / "runs", place).run(listener)

    assert not (run_dir / NOTE).exists()
    over.set()
