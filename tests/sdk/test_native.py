"""The fast path in C stores what the one in Python stores, byte for byte; it is there wherever it can be."""

import gc
import itertools
import math
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import milepost
from milepost.sdk import frame, native
from milepost.sdk.cli.machine import examine
from milepost.sdk.ring import shared_memory
from tests.sdk.both_ways import CAN_COMPILE, in_python, no_traces
from tests.sdk.journals import segment_files
from tests.sdk.runs import QUIET

__all__ = ["no_traces"]
pytestmark = pytest.mark.usefixtures("no_traces")

Call = tuple[dict[Any, Any], int | None]
Frame = tuple[int, int, bytes]
"""Kind, schema, and the payload without what differs between two runs: the times."""


def test_the_c_code_is_in_use_where_it_can_be_compiled() -> None:
    assert native.compiled == CAN_COMPILE, native.why_not


def test_doctor_says_whether_it_is_in_use(tmp_path: Path) -> None:
    told = examine(tmp_path).facts["fast_path"]

    assert told == ("in C" if native.compiled else f"in Python alone, which is slower: {native.why_not}")


def test_a_variable_switches_it_off() -> None:
    script = (
        "import milepost; from milepost.sdk import native; run = milepost.init(project='off'); milepost.log({'a': 1.0})\n"
        "milepost.log({'a': 2.0}); print(native.told(), run.summary['a'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"MILEPOST_NATIVE": "0", "MILEPOST_SILENT": "true"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines()[0] == ("in Python alone, which is slower: switched off by MILEPOST_NATIVE 2.0")
    assert "MILEPOST_NATIVE" not in done.stderr


needs_c = pytest.mark.skipif(not CAN_COMPILE, reason="there is no C compiler")


@needs_c
@given(st.binary(max_size=300), st.integers(0, 2**32 - 1), st.booleans())
def test_its_checksum_is_that_of_zlib(data: bytes, seed: int, by_table: bool) -> None:
    crc32 = import_module("milepost.sdk._native").crc32

    assert crc32(data, seed, by_table) == zlib.crc32(data, seed)


# -- the same bytes ----------------------------------------------------------------------------------------------------------


def frames(run: milepost.Run) -> list[Frame]:
    """What a finished run's journal holds."""
    found: list[Frame] = []
    for path in segment_files(Path(run.dir)):
        data = path.read_bytes()
        seed = frame.writer_seed(path.parent.name)
        for each in frame.scan(data, seed, start=frame.SEGMENT_HEADER_SIZE):
            assert isinstance(each, frame.Frame)
            payload = data[each.start : each.end]
            if each.kind in (frame.ROW, frame.PART):
                found.append((each.kind, each.schema, without_times(payload, each.kind)))
    return found


def without_times(payload: bytes, kind: int) -> bytes:
    """The payload of a row or part without time and run time, which take more or fewer bytes as they are."""
    row = frame.decode_payload(payload)
    assert payload == frame.encode_payload(row)
    head = payload[: 1 if payload[0] < 0xDC else 3]
    times = 1 if kind == frame.ROW else 2
    numbers = [frame.encode_payload(number) for number in row[: times + 3]]
    kept = b"".join(numbers[:times] + numbers[times + 2 :])
    return head + kept + payload[len(head) + sum(map(len, numbers)) :]


def journal(calls: list[Call], *, in_c: bool) -> tuple[list[Frame], Any, list[str]]:
    """Frames, summary, and what was raised, of a run with these calls."""
    raised: list[str] = []
    with nullcontext() if in_c else in_python():
        run = milepost.init(project="bytes", exporters=[], settings=QUIET)
        for data, step in calls:
            try:
                milepost.log(data, step=step)
            except milepost.DataError as error:
                raised.append(str(error))
        summary = {
            key: repr(value) for key, value in run.summary.as_dict().items() if key not in ("_timestamp", "_runtime")
        }
        run.finish()
    return frames(run), summary, raised


def alike(calls: list[Call]) -> list[Frame]:
    """Make the calls on both ways and compare them; the rows."""
    compiled, plain = journal(calls, in_c=True), journal(calls, in_c=False)
    assert compiled == plain
    return compiled[0]


class Text(str):
    """A key or value that is no exact str; as a key it says of others that they are equal to it."""

    __slots__ = ()


SIZES = (
    0,
    31,
    32,
    127,
    128,
    255,
    256,
    2**15,
    2**15 + 1,
    2**16 - 1,
    2**16,
    2**31,
    2**32 - 1,
    2**32,
    2**63 - 1,
    2**63,
    2**63 + 1,
)
EDGES = [*SIZES, *(-size for size in SIZES), -33, -129]
FLOATS = [0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, -1.0]
TEXTS = ["", "x" * 31, "x" * 32, "x" * 255, "x" * 256, "x" * 5000, "x" * 70_000, "é" * 20, "🚀", "\ud800", "\0"]
OTHERS: list[Any] = [
    *(
        Text("own"),
        np.float32(0.1),
        np.float64(2.5),
        np.float16(1),
        np.int8(-5),
        np.uint32(2**32 - 1),
        np.int64(-(2**63)),
    ),
    *(np.uint64(2**64 - 1), np.bool_(True), np.bool_(False), [1, 2.0], True, False, None, 2**70, {}, {"x": 1.0}),
]
VALUES = st.one_of(
    st.floats(), st.floats(), st.sampled_from(FLOATS), st.integers(-(2**64), 2**64), st.sampled_from(EDGES),
    st.sampled_from(TEXTS), st.text(max_size=40), st.sampled_from(OTHERS),
)  # fmt: skip
KEYS = st.sampled_from(["a", "b", "c", "d", "é", "x.y", Text("t")])
DATA = st.dictionaries(KEYS, st.one_of(VALUES, VALUES, st.dictionaries(KEYS, VALUES, max_size=3)), max_size=5)


@st.composite
def loops(draw: st.DrawFn) -> list[Call]:
    """Calls as loops make them: some sets of data by turns, in any order of their keys, some values changed."""
    sets = draw(st.lists(DATA, min_size=1, max_size=3))
    calls: list[Call] = []
    step = 0
    steps = draw(st.sampled_from([False, False, True]))
    for data in draw(st.lists(st.sampled_from(sets), min_size=4, max_size=25)):
        items = list(data.items())
        if draw(st.integers(0, 3)) == 0:
            items = draw(st.permutations(items))
        if items and draw(st.integers(0, 2)) == 0:
            at = draw(st.integers(0, len(items) - 1))
            items[at] = (items[at][0], draw(VALUES))
        step += draw(st.integers(0, 2))
        calls.append((dict(items), step if steps else None))
    return calls


@needs_c
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@example([({"v": value, "w": 1.0}, None) for value in EDGES for _ in range(4)])
@example([({"v": value}, None) for value in [*FLOATS, *TEXTS, *OTHERS] for _ in range(4)])
@example([({"a": {"b": 1.0, "c": {"d": 1}}, "e": "x"}, None), ({"e": "x", "a": {"b": 1.0, "c": {"d": 2}}}, None)] * 3)
@example([({"a": {"b": 1.0, "c": 2.0}}, None)] * 3 + [({"a": {"c": 1.0, "b": 2.0}}, None)] * 3)
@example([({"a": at / 7, "b": {"c": at, "d": str(at)}, "e": np.float32(at)}, at) for at in range(0, 20, 2)])
@example([({"a": 1.0}, at) if at % 5 else ({"b": "x"}, None) for at in range(30)])
@example([({f"k{key}": 1.0 * at for key in range(20)}, at) for at in range(5)] + [({"k1": 2}, 7), ({"k1": 3}, None)])
@example([({Text("a"): 1.0}, None)] * 3 + [({"a": 1.0}, None)] * 3 + [({Text("a"): 1.0}, None)])
@example([({"b": 1.0, "a": 2.0}, None)] * 2 + [({"a": 1.0, "b": 2.0}, None)] * 3 + [({"b": 1.0, "a": 2.0}, None)] * 3)
@given(loops())
def test_the_same_calls_give_the_same_bytes_in_the_journal(calls: list[Call]) -> None:
    alike(calls)


@needs_c
@pytest.mark.parametrize("width", [1, 11, 12, 15, 16, 300, 2000, 2001, 6000])
def test_so_do_rows_of_any_width(width: int) -> None:
    floats: dict[Any, Any] = {f"k{at}": at / 7 for at in range(width)}
    mixed: dict[Any, Any] = {f"k{at}": (at, "text", None, True, 0.5)[at % 5] for at in range(width)}

    calls: list[Call] = [*[(floats, None)] * 5, *[(mixed, None)] * 5]

    assert len(alike(calls)) == 10
    assert len(alike([(data, step) for step, (data, _) in enumerate(calls)])) == 20


@needs_c
def test_so_do_rows_that_fill_many_blocks() -> None:
    data = {f"name {at}": f"{at}" * 100 for at in range(60)}

    calls: list[Call] = [(data, None)] * 700

    assert len(alike(calls)) == 700
    assert len(alike([(data, step) for step in range(400)])) == 800


@needs_c
def test_keys_that_are_made_anew_for_each_call_are_found() -> None:
    calls: list[Call] = [({f"loss/{at}": float(number) for at in range(8)}, None) for number in range(20)]

    assert len(alike(calls)) == 20


@needs_c
def test_a_key_of_a_class_of_its_own_is_compared_in_python_alone() -> None:
    class Nosy(str):
        """Logs when somebody compares it."""

        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            if milepost.run is not None:
                milepost.log({"seen": 1.0})
            return str.__eq__(self, other)

    run = milepost.init(project="bytes", exporters=[], settings=QUIET)
    for number in range(5):
        milepost.log({"a": float(number), "b": 1.0})
    for number in range(5, 10):
        milepost.log({Nosy("a"): float(number), "b": 1.0})
    run.finish()

    rows = list(milepost.Api().run(run.path).scan_history())
    assert [row["a"] for row in rows if "a" in row] == [float(number) for number in range(10)]
    assert [row["_step"] for row in rows] == list(range(len(rows)))


# -- one step to others ------------------------------------------------------------------------------------------------------


@needs_c
def test_nothing_that_was_logged_is_kept_or_lost() -> None:
    values: list[Any] = [1.5e300, 10**12, "text " * 3, np.float32(0.5), np.int64(10**12)]
    data: dict[Any, Any] = {f"key {at}": value for at, value in enumerate(values)} | {"inner": {"x": values[0]}}
    run = milepost.init(project="counted", exporters=[], settings=QUIET)
    for _ in range(5):
        milepost.log(data)
    gc.collect()
    tracemalloc.start()
    before = [sys.getrefcount(value) for value in [*values, *data, data, None, True]][:-2]
    memory = tracemalloc.get_traced_memory()[0]
    for step in range(60_000):
        milepost.log(data, step=None if step < 30_000 else step + 1000)
    grown = tracemalloc.get_traced_memory()[0] - memory
    after = [sys.getrefcount(value) for value in [*values, *data, data, None, True]][:-2]
    tracemalloc.stop()
    run.finish()

    assert after == before
    assert grown < 3_000_000, "a reference or a buffer lost in each call would be several times that"


@needs_c
def test_runs_that_are_over_leave_their_memory() -> None:
    caller = import_module("milepost.sdk._native").Caller

    def there() -> int:
        gc.collect()
        return sum(
            issubclass(type(each), caller) for each in gc.get_objects()
        )  # isinstance() asks objects for their class

    before = there()
    for _ in range(3):
        run = milepost.init(project="over", exporters=[], settings=QUIET)
        for _ in range(3):
            milepost.log({"a": 1.0})
            milepost.log({"a": 1.0}, commit=True)  # a long way, after which there is another object
        run.finish()

    assert there() <= before


@needs_c
def test_a_call_that_is_kept_does_not_keep_the_memory_of_its_run() -> None:
    def run_once() -> BaseException:
        run = milepost.init(project="over", exporters=[], settings=QUIET)
        for _ in range(3):
            milepost.log({"a": 1.0})
        with pytest.raises(milepost.DataError) as caught:
            milepost.log({"a": object()})
        run.finish()
        return caught.value

    kept = [run_once() for _ in range(3)]

    mapped = Path("/proc/self/maps").read_text().splitlines()
    assert len(kept) == 3
    assert [line for line in mapped if str(shared_memory()) in line] == []


def test_names_that_are_too_long_for_it_are_stored_all_the_same() -> None:
    deep: dict[str, Any] = {"v": 1.0}
    for _ in range(18):
        deep = {"k" * 4000: deep}
    run = milepost.init(project="long", exporters=[], settings=QUIET)
    for _ in range(4):
        milepost.log({"x" * 70_000: 2.0})
        milepost.log(deep)
    run.finish()

    rows = list(milepost.Api().run(f"long/{run.id}").scan_history())
    assert [row.get("x" * 70_000) for row in rows] == [2.0, None] * 4


@needs_c
def test_threads_and_a_signal_handler_that_log_lose_nothing() -> None:
    """Handlers run between two calls, threads change every ten microseconds."""
    run = milepost.init(project="threads", exporters=[], settings=QUIET)
    counts = [0] * 4
    handled: list[float] = []
    interval = sys.getswitchinterval()
    until = time.monotonic() + 0.5
    numbers = itertools.count()

    def handler(_signal: int, _frame: object) -> None:
        number = float(next(numbers))  # a handler may be interrupted by the next one
        milepost.log({"handler": number})
        handled.append(number)

    def work(own: int) -> None:
        while time.monotonic() < until:
            milepost.log({f"thread {own}": float(counts[own]), "same": 1})
            counts[own] += 1

    before = signal.signal(signal.SIGALRM, handler)
    sys.setswitchinterval(1e-5)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        threads = [threading.Thread(target=work, args=(own,)) for own in range(3)]
        for thread in threads:
            thread.start()
        work(3)
        for thread in threads:
            thread.join()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.setswitchinterval(interval)
        signal.signal(signal.SIGALRM, before)
    run.finish()

    rows = list(milepost.Api().run(run.path).scan_history())
    for own, count in enumerate(counts):
        mine = [row[f"thread {own}"] for row in rows if f"thread {own}" in row]
        assert mine == [float(number) for number in range(count)]
    assert sorted(row["handler"] for row in rows if "handler" in row) == sorted(handled)
    assert [row["_step"] for row in rows] == list(range(sum(counts) + len(handled)))


@needs_c
def test_finish_while_others_log_stores_what_returned_and_refuses_the_rest() -> None:
    for _ in range(3):
        run = milepost.init(project="ending", exporters=[], settings=QUIET)
        done = [0, 0, 0]

        def work(own: int, log: Any = run.log, done: list[int] = done) -> None:
            try:
                while True:
                    log({f"n{own}": float(done[own])})
                    done[own] += 1
            except milepost.Error:
                pass

        threads = [threading.Thread(target=work, args=(own,)) for own in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.02)
        run.finish()
        for thread in threads:
            thread.join()

        rows = list(milepost.Api().run(run.path).scan_history())
        for own in range(3):
            mine = [row[f"n{own}"] for row in rows if f"n{own}" in row]
            assert mine[: done[own]] == [float(number) for number in range(done[own])]
            assert len(mine) - done[own] in (0, 1)


@needs_c
def test_a_forked_child_never_writes_into_the_memory_of_its_parent() -> None:
    run = milepost.init(project="forked", exporters=[], settings=QUIET)
    for number in range(10):
        milepost.log({"a": float(number)})
    child = os.fork()
    if child == 0:
        try:
            for number in range(100, 110):
                milepost.log({"a": float(number)})
            milepost.finish()
        finally:
            os._exit(0)
    for number in range(10, 20):
        milepost.log({"a": float(number)})
    os.waitpid(child, 0)
    run.finish()

    read = milepost.Api().run(run.path)
    assert [row["a"] for row in read.scan_history()] == [float(number) for number in range(20)]
    both = sorted(row["a"] for row in read.scan_history(writer="all"))
    assert both == [float(number) for number in (*range(20), *range(100, 110))]


# -- wrong use, which nobody outside can make -----------------------------------------------------------------------------------


@needs_c
def test_objects_that_are_not_set_up_refuse_rather_than_crash() -> None:
    module = import_module("milepost.sdk._native")

    class Own(module.Caller):  # type: ignore[misc,name-defined]
        def plain(self, data: Any, step: Any) -> bool:
            return False

    caller: Any = Own()
    pattern: Any = module.Pattern()
    assert caller.log({"a": 1.0}, None) is False
    assert caller.plan is None
    caller.plan = pattern
    caller.bind(module.Clock(), module.Place(), bytearray(4096), sys.modules)
    caller.end = 2**40
    assert caller.log({"a": 1.0}, None) is False
    assert pattern.last is None
    pattern.lay_out(1, 2, [("a", "f", float, b"\xa1a")])
    assert caller.log({"a": 1.0}, None) is False, "it may say that there is more room than there is"
    caller.end = 4096
    assert caller.log({"a": 1.0}, None) is True
    last: Any = pattern.last
    assert (last[0], last[4:]) == (0, [1.0])

    class Stepper(module.Stepper):  # type: ignore[misc,name-defined]
        def plain(self, data: Any, step: Any) -> bool:
            return False

    stepper: Any = Stepper()
    assert (stepper.log({"a": 1.0}, 1), stepper.row) == (False, None)
    stepper.plan = pattern
    stepper.bind(module.Clock(), module.Place(), bytearray(4096), sys.modules)
    stepper.end = 4096
    assert (stepper.log({"a": 1.0}, 1), stepper.row) == (False, None)
    for row in (
        None,
        1,
        [],
        [0, 1, 2, 3],
        [0, 1, 2, 3, "text" * 100],
        [0, -1, 2, 3, 1.0],
        [0, 2**70, 2, 3, 1.0],
        [0, 1, 2, 3, object()],
    ):
        stepper.row = row
        assert stepper.log({"a": 1.0}, 1) is (row == [0, 1, 2, 3, "text" * 100])
        stepper.at = 0
    assert stepper.log({"a": 1.0}, 2**63) is False
    for wrong in (lambda: setattr(caller, "plan", 1), lambda: caller.log({}), lambda: caller.bind(1, 2, 3, 4)):
        with pytest.raises(TypeError):
            wrong()
    for items in (
        [],
        [("a", "x", float, b"")],
        [("a", "d", 2, b""), ("b", "f", float, b"")],
        [("a", "d", 0, b"")],
        [("a", "d", -1, b"")],
    ):
        with pytest.raises(ValueError):  # noqa: PT011 - of four texts
            module.Pattern().lay_out(1, 2, items)
    with pytest.raises(ValueError, match="given once"):
        pattern.lay_out(1, 2, [("a", "f", float, b"\xa1a")])
    with pytest.raises(ValueError, match="bound already"):
        caller.bind(module.Clock(), module.Place(), bytearray(10), sys.modules)
