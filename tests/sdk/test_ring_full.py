"""Rows that come faster than the disk takes them: the ring is at its largest, and full."""

import logging
import threading
import time

import pytest

import milepost

SMALL = {"ring": {"bytes": 131_072, "max_bytes": 262_144}}
BIG_ROW = "x" * 20_000


def test_a_loop_that_is_faster_than_the_disk_loses_no_row(caplog: pytest.LogCaptureFixture) -> None:
    run = milepost.init(project="p", settings=SMALL)
    with caplog.at_level(logging.WARNING, "milepost"):
        for number in range(3000):
            run.log({"number": number, "text": BIG_ROW})
    run.finish()

    rows = list(milepost.Api().run(run.path).scan_history(keys=["number"]))
    assert [row["number"] for row in rows] == list(range(3000))
    assert sum("log() now and then waits for the disk" in line for line in caplog.messages) <= 1


def test_a_disk_that_hangs_is_waited_for_once_then_rows_are_dropped_and_counted_until_it_moves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = milepost.init(project="p", settings=SMALL)
    writer = run._writer
    with caplog.at_level(logging.WARNING, "milepost"):
        with writer._drain_lock:  # what a write that does not return keeps
            began = time.monotonic()
            for number in range(200):
                run.log({"number": number, "text": BIG_ROW})
            waited_s = time.monotonic() - began
        assert run.flush()
        dropped = sum(writer.dropped.values())
        run.log({"number": 200, "text": BIG_ROW})
    run.finish()

    assert waited_s < 100, "each of the calls waited"  # about 190 s then; 1 s when only the first does
    assert list(writer.dropped) == ["memory_full"]
    assert sum(writer.dropped.values()) == dropped > 100
    rows = [row["number"] for row in milepost.Api().run(run.path).scan_history(keys=["number"])]
    assert rows == [*range(200 - dropped), 200]
    assert sum("rows are being dropped (memory_full)" in line for line in caplog.messages) == 1


def test_threads_that_wait_for_room_lose_no_row() -> None:
    run = milepost.init(project="p", settings=SMALL)

    def work(lane: int) -> None:
        for number in range(300):
            run.log({f"lane{lane}": number, "text": BIG_ROW})

    threads = [threading.Thread(target=work, args=(lane,)) for lane in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.finish()

    for lane in range(4):
        rows = milepost.Api().run(run.path).scan_history(keys=[f"lane{lane}"])
        assert [row[f"lane{lane}"] for row in rows] == list(range(300))
