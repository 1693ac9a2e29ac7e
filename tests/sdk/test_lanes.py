"""How the exporters of a run share a thread, and when they do not."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import milepost
from milepost import ExportResult
from milepost.exporters.memory import MemoryExporter
from milepost.sdk.event import Event
from milepost.sdk.exporter import Position, RunInfo

PATIENCE_S = 30.0


def wait_for(condition: Callable[[], bool]) -> None:
    """Until it holds, or the test fails."""
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.01)


class Threads(MemoryExporter):
    """Keeps the events, and the threads that brought them. before: called first in each export."""

    def __init__(self, before: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.threads: list[str] = []
        self._before = before

    def export(self, batch: Sequence[Event]) -> ExportResult:
        """Note the thread, wait as told, keep."""
        self.threads.append(threading.current_thread().name)
        self._before()
        return super().export(batch)


def test_exporters_that_keep_pace_share_a_thread(tmp_path: Path) -> None:
    one, other = Threads(), Threads()

    with milepost.init(project="p", dir=tmp_path, exporters=[one, other]) as run:
        for n in range(1000):
            run.log({"n": n})

    assert [row["n"] for row in one.rows] == [row["n"] for row in other.rows] == list(range(1000))
    assert set(one.threads) & set(other.threads)


def test_an_exporter_that_hangs_keeps_its_thread_and_the_others_go_on_on_another(tmp_path: Path) -> None:
    let_go = threading.Event()
    hanging, other = Threads(let_go.wait), Threads()
    run = milepost.init(project="p", dir=tmp_path, exporters=[hanging, other])

    run.log({"n": 0})
    wait_for(lambda: len(other.rows) == 1)
    run.log({"n": 1})
    wait_for(lambda: len(other.rows) == 2)
    assert not hanging.rows
    let_go.set()
    run.finish()

    assert [row["n"] for row in hanging.rows] == [row["n"] for row in other.rows] == [0, 1]


def test_an_exporter_that_is_slow_gets_a_thread_of_its_own(tmp_path: Path) -> None:
    slow, other = Threads(lambda: time.sleep(0.1)), Threads()

    with milepost.init(project="p", dir=tmp_path, exporters=[slow, other]) as run:
        for n in range(6):
            run.log({"n": n})
            wait_for(lambda n=n: len(slow.rows) > n)  # type: ignore[misc]  # of a lambda's default

    assert [row["n"] for row in slow.rows] == [row["n"] for row in other.rows] == list(range(6))
    assert len(set(slow.threads)) == 2


def test_an_exporter_that_cannot_deliver_loses_only_its_own_turns(tmp_path: Path) -> None:
    down = MemoryExporter(results=[ExportResult.retry("down", after_s=0.2)] * 3)
    other = MemoryExporter()

    with milepost.init(project="p", dir=tmp_path, exporters=[down, other]) as run:
        run.log({"n": 0})
        wait_for(lambda: len(other.rows) == 1)
        run.log({"n": 1})
        wait_for(lambda: len(other.rows) == 2)

    assert [row["n"] for row in down.rows] == [0, 1]
    accounts = milepost.Api(tmp_path).run(run.path).accounting()["exporters"]
    assert [each["delivered"] for each in accounts.values()] == [2, 2]


def test_an_exporter_that_cannot_start_says_why_in_its_account(tmp_path: Path) -> None:
    class Broken(MemoryExporter):
        name = "broken"

        def start(self, run: RunInfo, position: Position | None) -> None:
            """Refuse."""
            raise RuntimeError("no licence")

    other = MemoryExporter()

    with milepost.init(project="p", dir=tmp_path, exporters=[Broken(), other]) as run:
        run.log({"n": 0})

    assert [row["n"] for row in other.rows] == [0]
    accounts = milepost.Api(tmp_path).run(run.path).accounting()["exporters"]
    assert "no licence" in accounts["broken"]["last_error"]
    assert (accounts["broken"]["pending"], accounts["memory"]["delivered"]) == (1, 1)
