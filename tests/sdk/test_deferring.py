"""`device_values: defer`: values on an accelerator are copied and not waited for. The arrays of these tests have the methods of
JAX's; the real JAX and PyTorch are tried in test_values_jax.py and test_values_torch.py, where they are installed."""

import copy
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import milepost
from milepost.exporters.memory import MemoryExporter
from milepost.sdk.run import FINISH_TIMEOUT_S

DEFER = {"capture": False, "device_values": "defer", "media": {"encode_in": "thread"}}
RNG = np.random.default_rng(1)


class OnDevice:
    """An array that is there once `done` is set, as one that an accelerator still computes."""

    def __init__(self, value: Any, done: threading.Event | None = None, error: str = "") -> None:
        self.value = np.asarray(value)
        self.nbytes = self.value.nbytes
        self.done = threading.Event() if done is None else done
        self.error = error
        self.asked = False

    def copy_to_host_async(self) -> None:
        self.asked = True

    def is_ready(self) -> bool:
        return self.done.is_set()

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        assert self.done.wait(30)
        if self.error:
            raise RuntimeError(self.error)
        return self.value


def values_of(memory: MemoryExporter) -> list[Any]:
    return [event.values for event in memory.events if event.kind == "row"]


@pytest.fixture
def memory() -> MemoryExporter:
    return MemoryExporter()


@pytest.fixture
def run(memory: MemoryExporter) -> Iterator[milepost.Run]:
    with milepost.init(project="p", exporters=[memory, "file"], settings=DEFER) as run:
        yield run


def test_log_returns_before_the_device_is_done_and_rows_keep_their_order(
    run: milepost.Run, memory: MemoryExporter
) -> None:
    first, second = OnDevice(0.5), OnDevice([1, 2, 3])
    run.log({"loss": first, "n": 0})
    run.log({"n": 1})
    run.log({"inner": {"grad": second}, "both": [OnDevice(1, first.done), 2]}, step=5)
    assert first.asked
    assert second.asked
    assert not values_of(memory)

    first.done.set()
    second.done.set()
    assert run.step == 5
    run.finish()

    assert values_of(memory) == [{"loss": 0.5, "n": 0}, {"n": 1}, {"inner.grad": [1, 2, 3], "both": [1, 2]}]
    assert [event.step for event in memory.events if event.kind == "row"] == [0, 1, 5]


def test_a_row_has_the_time_of_its_call(run: milepost.Run, memory: MemoryExporter) -> None:
    value = OnDevice(1)
    before = time.time_ns()
    run.log({"a": value})
    after = time.time_ns()
    time.sleep(0.05)
    value.done.set()
    run.finish()

    (row,) = [event for event in memory.events if event.kind == "row"]
    assert before <= row.time_unix_nano <= after


def test_media_of_values_on_a_device_are_made_when_they_arrive(run: milepost.Run) -> None:
    picture = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    frames = RNG.integers(0, 256, (3, 1, 8, 8), dtype=np.uint8)
    tone = RNG.integers(-9999, 9999, 500, dtype=np.int16)
    numbers = RNG.normal(size=100)
    done = threading.Event()
    media = {
        "image": milepost.Image(OnDevice(picture, done), caption="late"),
        "video": milepost.Video(OnDevice(frames, done), fps=2),
        "audio": milepost.Audio(OnDevice(tone, done), sample_rate=8000),
        "histogram": milepost.Histogram(OnDevice(numbers, done), num_bins=7),
        "bare": OnDevice(numbers, done),
        "list": [milepost.Image(OnDevice(picture[:9], done)), milepost.Image(picture[:8])],
    }
    run.log(media)
    done.set()
    run.finish()

    (row,) = milepost.Api().run(run.path).scan_history()
    assert row["image"]["caption"] == "late"
    assert (row["image"].to_numpy() == picture).all()
    assert row["video"].to_numpy().shape[:3] == (3, 8, 8)
    assert (np.rint(row["audio"].to_numpy().ravel() * 32768) == tone).all()
    assert row["histogram"] == milepost.Histogram(numbers, num_bins=7).as_value()
    assert row["bare"] == milepost.Histogram(numbers, num_bins=32).as_value()
    assert [array.shape for array in row["list"].to_numpy()] == [(9, 30, 3), (8, 30, 3)]


def test_whoever_asks_a_media_object_waits_for_it(run: milepost.Run) -> None:
    done = threading.Event()
    image = milepost.Image(OnDevice(np.zeros((4, 6)), done))
    timer = threading.Timer(0.05, done.set)
    timer.start()

    assert (image.width, image.height) == (6, 4)
    with pytest.raises(AttributeError, match="colour"):
        _ = image.colour  # type: ignore[attr-defined]
    timer.join()


def test_what_cannot_be_read_when_it_arrives_leaves_the_rest_of_the_row(
    run: milepost.Run, memory: MemoryExporter, caplog: pytest.LogCaptureFixture
) -> None:
    done = threading.Event()
    run.log({"bad": OnDevice(1, done, "illegal memory access"), "n": 1})
    run.log({"nan": milepost.Image(OnDevice(np.full((2, 2), np.nan), done)), "n": 2})
    done.set()
    run.finish()

    first, second = values_of(memory)
    assert (first["n"], first["bad"]["_type"]) == (1, "placeholder")
    assert "illegal memory access" in first["bad"]["reason"]
    assert (second["n"], second["nan"]["_type"]) == (2, "placeholder")
    assert "illegal memory access" in caplog.text
    assert "4 of 4 values are NaN" in caplog.text


def test_data_that_cannot_be_logged_is_refused_at_the_call(run: milepost.Run, memory: MemoryExporter) -> None:
    value = OnDevice(1)
    run.log({"a": value})
    with pytest.raises(milepost.DataError, match='"bad"'):
        run.log({"bad": object()})
    with pytest.raises(milepost.DataError, match="step"):
        run.log({"a": 1}, step="x")  # type: ignore[arg-type]
    value.done.set()
    run.finish()

    assert values_of(memory) == [{"a": 1}]
    with pytest.raises(milepost.Error):
        run.log({"a": OnDevice(1)})


def test_the_summary_and_aggregates_hold_what_arrived(run: milepost.Run) -> None:
    run.define_metric("loss", summary="min,last")
    for n in (3.0, 1.0, 2.0):
        value = OnDevice(n)
        run.log({"loss": value})
        threading.Timer(0.01, value.done.set).start()

    assert run.summary["loss"] == {"min": 1.0, "last": 2.0}


def test_finish_waits_no_longer_than_it_may_and_keeps_the_row(
    run: milepost.Run, caplog: pytest.LogCaptureFixture
) -> None:
    run.log({"never": OnDevice(1), "n": 7})
    run.finish(timeout=0.3)

    assert [row["n"] for row in milepost.Api().run(run.path).scan_history()] == [7]
    assert "did not arrive from its device in time" in caplog.text


def test_calls_that_wait_are_bounded(
    run: milepost.Run, memory: MemoryExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("milepost.sdk.deferring.MAX_CALLS", 3)
    arrays = [OnDevice(n) for n in range(8)]

    def compute() -> None:
        for array in arrays:
            time.sleep(0.01)
            array.done.set()

    device = threading.Thread(target=compute)
    device.start()
    for n, array in enumerate(arrays):
        run.log({"n": array})
        assert sum(not other.done.is_set() for other in arrays[: n + 1]) <= 4
    device.join()
    run.finish()

    assert values_of(memory) == [{"n": n} for n in range(8)]


def test_without_the_setting_a_value_is_read_at_the_call(memory: MemoryExporter) -> None:
    with milepost.init(project="p", exporters=[memory], settings={"capture": False}) as run:
        value = OnDevice(4)
        threading.Timer(0.02, value.done.set).start()
        run.log({"a": value, "h": milepost.Histogram(value)})
        assert value.done.is_set()

    assert values_of(memory)[0]["a"] == 4


def test_the_promise_says_that_it_is_weaker(run: milepost.Run) -> None:
    assert "whose values had not arrived from the device" in run.promise


def test_a_kill_loses_the_rows_that_wait_and_no_others(tmp_path: Path) -> None:
    program = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
import milepost
from tests.sdk.test_deferring import DEFER, OnDevice
run = milepost.init(project="p", id="kill", dir={str(tmp_path)!r}, exporters=["file"], settings=DEFER)
for n in range(5):
    value = OnDevice(n)
    value.done.set()
    run.log({{"n": value}})
run.flush()
run.log({{"n": OnDevice(5)}})
run.log({{"n": 6}})
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", program], check=False, stderr=subprocess.DEVNULL, timeout=60)

    rows = milepost.Api(tmp_path).run("p/kill").scan_history()
    assert [row["n"] for row in rows] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("spelling", ["milepost.log", "run.log"])
def test_both_spellings_of_log_queue_up(run: milepost.Run, memory: MemoryExporter, spelling: str) -> None:
    log = milepost.log if spelling == "milepost.log" else run.log
    for n in range(4):  # from the second on with a plan
        log({"n": n})
    value = OnDevice(0.5)
    run.log({"loss": value})
    log({"loss": value})
    log({"n": 4})
    assert len(values_of(memory)) <= 4

    value.done.set()
    run.finish()
    assert values_of(memory) == [*({"n": n} for n in range(4)), {"loss": 0.5}, {"loss": 0.5}, {"n": 4}]


class Soon(OnDevice):
    """An array that is there some milliseconds after it was made."""

    def __init__(self, value: Any, seconds: float = 0.005) -> None:
        super().__init__(value)
        self.at = time.monotonic() + seconds

    def is_ready(self) -> bool:
        return time.monotonic() >= self.at

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        while not self.is_ready():
            time.sleep(0.0005)
        return self.value


class Loop:
    """A thread that logs until the run is over, and how many calls returned."""

    def __init__(self, run: milepost.Run) -> None:
        self.run = run
        self.calls = 0
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self) -> None:
        while True:
            try:
                self.run.log({"loss": Soon(self.calls)})
            except milepost.Error:
                return
            self.calls += 1
            time.sleep(0.0005)

    def joined(self) -> int:
        self.thread.join(10)
        assert not self.thread.is_alive()
        return self.calls


@pytest.mark.parametrize("_", range(20))
def test_a_thread_that_logs_through_finish_loses_nothing(_: int) -> None:
    run = milepost.init(project="p", exporters=["file"], settings=DEFER)
    run.closers.append(lambda: time.sleep(0.02))
    loop = Loop(run)
    time.sleep(0.03)
    finishing = threading.Thread(target=run.finish, daemon=True)
    finishing.start()
    finishing.join(10)
    assert not finishing.is_alive()

    calls = loop.joined()
    assert [row["loss"] for row in milepost.Api().run(run.path).scan_history()] == list(range(calls))


def test_the_end_by_a_signal_beside_a_thread_that_logs_is_quick_and_loses_no_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = milepost.init(project="p", exporters=["file"], settings=DEFER)
    loop = Loop(run)
    time.sleep(0.1)
    began = time.monotonic()
    run._preempt()
    took = time.monotonic() - began
    run._lock.release()  # it keeps it, as the program ends
    run._finished = True
    calls = loop.joined()

    assert took < 1.5
    losses = [row["loss"] for row in milepost.Api().run(run.path).scan_history()]
    assert losses == [float(n) for n in range(len(losses))]
    assert calls - len(losses) <= 1
    run._release()


@pytest.mark.parametrize(
    "ask",
    [
        lambda run: run.define_metric("loss", summary="max"),
        lambda run: run.step,
        lambda run: run.summary["loss"],
        lambda run: run.flush(),
    ],
    ids=["define_metric", "step", "summary", "flush"],
)
def test_who_asks_waits_for_the_calls_before_and_not_for_those_after(
    run: milepost.Run, ask: Callable[[milepost.Run], Any]
) -> None:
    before, after, asked = OnDevice(1), OnDevice(2), threading.Event()
    look = run._look  # type: ignore[attr-defined]

    def looking() -> None:
        asked.set()
        look()

    object.__setattr__(run, "_look", looking)
    run.log({"loss": before})
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(ask(run)), daemon=True)
    asking.start()
    assert asked.wait(60)
    run.log({"loss": after})
    assert not answers
    before.done.set()
    asking.join(FINISH_TIMEOUT_S / 2)  # who waits for the call after, too, does so for twice as long
    returned = not asking.is_alive()
    after.done.set()

    assert returned
    assert answers


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_reads_its_values(run: milepost.Run) -> None:
    run.log({"a": 0})
    child = os.fork()
    if child == 0:
        try:
            run.log({"loss": Soon(1)})
            run.log({"a": 1})
            run.log({"image": milepost.Image(Soon(np.zeros((4, 4))))})
            run.finish()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    run.finish()

    rows = list(milepost.Api().run(run.path).scan_history(writer="all"))
    assert sorted(name for row in rows for name in row if name[0] != "_") == ["a", "a", "image", "loss"]


def test_finish_has_one_deadline(run: milepost.Run) -> None:
    run.log({"never": OnDevice(1)})
    began = time.monotonic()
    run.finish(timeout=1)
    assert time.monotonic() - began < 1.5


def test_ctrl_c_while_a_call_is_stored_stores_it_once(run: milepost.Run, memory: MemoryExporter) -> None:
    value = OnDevice(1)
    settle, interrupts = run._settle, [KeyboardInterrupt]

    def interrupted() -> None:
        settle()
        if interrupts and run._queue and run._queue[0].handed_on:  # type: ignore[attr-defined]
            raise interrupts.pop()

    run.log({"n": value})
    object.__setattr__(run, "_settle", interrupted)
    with run._lock:
        value.done.set()
        with pytest.raises(KeyboardInterrupt):
            run._store_first()  # type: ignore[attr-defined]
    run.finish()
    assert values_of(memory) == [{"n": 1}]


@pytest.mark.parametrize("place", ["reading the value", "before it is stored", "after it is stored"])
def test_finish_by_a_signal_handler_inside_of_finish_loses_nothing(
    run: milepost.Run, memory: MemoryExporter, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    values = [OnDevice(n) for n in range(5)]
    for n, value in enumerate(values):
        run.log({"n": value, "at": n})
    handler = [run.finish]
    settle, arrived = run._settle, run._arrived  # type: ignore[attr-defined]

    def reading(given: Any, path: str) -> Any:
        found = arrived(given, path)
        if place == "reading the value" and handler:
            handler.pop()()
        return found

    def settling() -> None:
        if place == "before it is stored" and handler:
            handler.pop()()
        settle()
        if place == "after it is stored" and handler:
            handler.pop()()

    object.__setattr__(run, "_arrived", reading)
    object.__setattr__(run, "_settle", settling)
    with run._lock:
        for value in values:
            value.done.set()
        run._empty(time.monotonic() + 30)  # type: ignore[attr-defined]
    run.finish()

    assert not handler
    assert values_of(memory) == [{"n": n, "at": n} for n in range(5)]


@pytest.mark.usefixtures("run")
def test_a_copy_of_media_on_its_way_is_made_apart() -> None:
    done = threading.Event()
    image = milepost.Image(OnDevice(np.zeros((4, 6)), done))
    other = copy.copy(image)
    done.set()

    assert (other.width, image.width) == (6, 6)
