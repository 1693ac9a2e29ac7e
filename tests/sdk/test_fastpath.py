"""The fast path does what the pipeline, the loop over the processors, does: on any sequence of calls both leave the same events.

The one run has the standard pipeline, for which plans are made, in C and in Python; the other has a processor more that passes
everything on, and so takes the loop for every call.
"""

import math
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import milepost
from milepost.sdk import fastpath
from milepost.sdk.event import Event
from tests.sdk.both_ways import in_python, no_traces
from tests.sdk.runs import Recorded, recorded

__all__ = ["no_traces"]
pytestmark = pytest.mark.usefixtures("no_traces")

Call = tuple[dict[Any, Any], int | None, bool | None]


@pytest.fixture(params=["in C where it is compiled", "in Python"])
def each_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """The test is run with the fast path in C, and in Python."""
    with in_python() if request.param == "in Python" else nullcontext():
        yield


def passing(event: Event) -> Event:
    return event


LOOP: dict[str, Any] = {"processors": ["flatten", "merge", "summarize", passing]}


def exact(value: Any) -> Any:
    """A value in a form whose equality tells -0.0, NaN, 1, 1.0 and True apart."""
    if isinstance(value, float):
        return ("float", struct.pack("<d", value) if value == value else "nan")
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [exact(item) for item in value]
    return (type(value).__name__, value)


def told(run: Recorded) -> tuple[list[Any], Any, int]:
    """Events, live summary and step of a run after its calls, without clocks."""
    step = run.run.step
    summary = exact(
        {key: value for key, value in run.run.summary.as_dict().items() if key not in ("_timestamp", "_runtime")}
    )
    run.run.finish()
    events = [
        (event.kind, event.step, event.seq, exact(event.values)) for event in run.memory.events if event.kind == "row"
    ]
    stored = {key: value for key, value in run.memory.summary.items() if key not in ("_timestamp", "_runtime")}
    return [*events, exact(stored)], summary, step


def both(calls: list[Any], before: Callable[[milepost.Run], object] = lambda run: None) -> None:
    """Make the calls in both runs and compare what became of them."""
    outcomes = []
    for arguments in ({}, LOOP):
        with recorded(settings={"on_invalid": "raise"}, **arguments) as run:
            before(run.run)
            raised = []
            for call in calls:
                try:
                    call(run.run) if callable(call) else run.log(call[0], step=call[1], commit=call[2])
                    raised.append("")
                except milepost.Error as error:
                    raised.append(f"{type(error).__name__}: {error}")
            outcomes.append((raised, told(run)))

    assert outcomes[0] == outcomes[1]


NAMES = st.sampled_from(["a", "b", "c", "a.b", "n", "n.x", "x", "", "_step", "_mine", "é", "s\ud800"])
SCALARS = st.one_of(
    st.floats(allow_subnormal=True),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, 1, -1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 127, 128, 255, 65535, 65536, 2**32]),
    st.booleans(),
    st.none(),
    st.text(st.characters(), max_size=8),
    st.sampled_from(
        [np.float32(0.1), np.float64("nan"), np.int64(5), np.bool_(True), np.array([1, 2]), np.arange(40.0)]
    ),
)
VALUES = st.recursive(
    st.one_of(
        SCALARS, SCALARS, SCALARS, st.lists(SCALARS, max_size=3), st.just({"_type": "own", "x": 1}), st.just(object)
    ),
    lambda inner: st.dictionaries(st.one_of(NAMES, st.integers(0, 2)), inner, max_size=3),
    max_leaves=8,
)
DATA = st.one_of(
    st.dictionaries(NAMES, st.floats(), max_size=4),  # the rows that plans are made for
    st.dictionaries(NAMES, SCALARS, max_size=4),
    st.dictionaries(NAMES, VALUES, max_size=4),
)
STEPS = st.one_of(st.none(), st.none(), st.none(), st.integers(-1, 12))
COMMITS = st.sampled_from([None, None, None, True, False])


@st.composite
def sequences(draw: st.DrawFn) -> list[Call]:
    """Calls, of which many have the names of one before, as a loop's calls do."""
    calls: list[Call] = []
    for _ in range(draw(st.integers(1, 12))):
        again = bool(calls) and draw(st.booleans())
        data = {name: draw(SCALARS) for name in draw(st.sampled_from(calls))[0]} if again else draw(DATA)
        calls.append((data, draw(STEPS), draw(COMMITS)))
        if draw(st.integers(0, 3)) == 0:
            calls += [calls[-1]] * draw(st.integers(1, 4))
    return calls


@pytest.mark.usefixtures("each_way")
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@example([({"a": 1.0}, None, None)] * 3 + [({"a": 2**70}, None, None), ({"a": -0.0}, None, None)])
@example([({"a": {"b": 1.0}, "a.b": 2.0}, None, None), ({"a.b": 2.0, "a": {"b": 1.0}}, None, False), ({}, None, None)])
@example([({"n": {"h": np.arange(40.0)}}, None, False), ({"n": 5}, None, None)])
@example([({"s\ud800": 1.0}, None, None)] * 3)
@example([({"a": {"a": 0.0}}, None, None), ({"a": 0.0}, None, None)])
@given(sequences())
def test_plans_and_loop_leave_the_same_events_and_summaries(calls: list[Call]) -> None:
    both(calls)


@pytest.mark.usefixtures("each_way")
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(sequences(), st.sampled_from(["max", "min,mean", "last,first", "none", "copy"]))
def test_they_do_so_with_aggregates_and_step_metrics_too(calls: list[Call], summary: str) -> None:
    def before(run: milepost.Run) -> None:
        run.define_metric("a", summary=summary)
        run.define_metric("n*", summary="max", step_metric="b")

    both(calls, before)


def setting(name: str, value: Any) -> Callable[[milepost.Run], object]:
    return lambda run: run.summary.update({name: value})


def deleting(name: str) -> Callable[[milepost.Run], object]:
    return lambda run: run.summary.pop(name, None)


def defining(name: str, summary: str) -> Callable[[milepost.Run], object]:
    return lambda run: run.define_metric(name, summary=summary)


OTHERS = st.sampled_from(
    [setting("a", 9), setting("n", {"x": 1}), deleting("a"), deleting("n"), defining("a", "max"), defining("b", "mean")]
)


@pytest.mark.usefixtures("each_way")
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    st.lists(
        st.one_of(sequences().map(lambda calls: calls[0]), sequences().map(lambda calls: calls[-1]), OTHERS),
        max_size=20,
    )
)
def test_they_do_so_with_definitions_and_summary_values_in_between(calls: list[Any]) -> None:
    both(calls)


@pytest.mark.usefixtures("each_way")
def test_rows_of_every_plain_type_come_back_exactly_on_the_quick_way() -> None:
    values: list[Any] = [
        0.0,
        -0.0,
        math.nan,
        math.inf,
        -math.inf,
        5e-324,
        0,
        1,
        -1,
        127,
        128,
        2**31,
        2**63 - 1,
        -(2**63),
        True,
        False,
    ]
    values += ["", "text", "é🚀", "x" * 40, "x" * 70_000]
    with recorded() as run:
        for _ in range(3):
            for value in values:
                run.log({"v": value, "w": 1.0})
        stored = [exact(row["v"]) for row in run.values()]

    assert stored == [exact(value) for value in values] * 3


@pytest.mark.parametrize("keys", [1, 10, 99, 100, 101, 300])
def test_rows_of_any_width_are_the_same_on_both_ways(keys: int) -> None:
    mixed: list[Any] = [1.5, 2, "x", True]
    calls: list[Call] = []
    for turn in range(4):
        calls.append(({f"k{number}": mixed[(number + turn) % 4] for number in range(keys)}, None, None))
        calls.append(({f"k{number}": float(number) for number in range(keys)}, None, None))

    both(calls)


def test_more_sets_of_names_than_plans_are_kept_are_the_same_on_both_ways() -> None:
    calls: list[Call] = [({f"name {number}": float(number), "always": number}, None, None) for number in range(700)]

    both([*calls, *calls])


def test_more_types_of_one_name_than_a_plan_takes_are_the_same_on_both_ways() -> None:
    mixed: list[Any] = [1.5, 2, "x", True, None]
    calls: list[Call] = [
        ({"a": mixed[number % 5], "b": mixed[number // 5 % 5], "c": mixed[number // 25]}, None, None)
        for number in range(125)
    ]

    both([*calls, *calls])


def test_data_whose_keys_come_in_another_order_is_the_same_on_both_ways() -> None:
    forward = {"a": 1.0, "b": 2.0, "c": {"d": 3.0, "e": 4.0}}
    calls: list[Call] = [(forward, None, None)] * 3
    calls += [
        ({"c": {"d": 5.0, "e": 6.0}, "b": 7.0, "a": 8.0}, None, None),
        ({"a": 1.0, "b": 2.0, "d": 3.0}, None, None),
    ]

    both(calls * 2)


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize(
    "other", [float, lambda number: {"x": float(number)}, lambda number: (number, "text")[number % 2]]
)
def test_threads_that_log_other_keys_do_not_store_each_other_s_rows(other: Callable[[int], Any]) -> None:
    """Both log as many values, in frames of the same length or not; each gets its turn every few instructions."""
    calls = 25_000
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with recorded() as run:

            def work(name: str, value: Callable[[int], Any]) -> None:
                for number in range(calls):
                    run.log({f"{name}{at}": float(number) for at in range(7)} | {f"{name}7": value(number)})

            threads = [
                threading.Thread(target=work, args=("p", float)),
                threading.Thread(target=work, args=("q", other)),
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            rows = run.values()
    finally:
        sys.setswitchinterval(before)

    for name in "pq":
        mine = [row for row in rows if f"{name}0" in row]
        assert [row[f"{name}0"] for row in mine] == [float(number) for number in range(calls)]
        assert all({row[f"{name}{at}"] for at in range(7)} == {row[f"{name}0"]} for row in mine)
        assert all(len([key for key in row if key[0] in "pq"]) == 8 for row in mine)
    assert len(rows) == 2 * calls


@pytest.mark.usefixtures("each_way")
def test_a_step_s_row_is_stored_when_the_next_step_comes_and_its_call_before_that() -> None:
    with recorded() as run:
        for step in range(0, 40, 2):
            run.log({"a": float(step), "b": step}, step=step)
            assert run.run.step == step
        assert run.run.summary["_step"] == 36  # of the last whole row
        run.run.finish()

        assert run.rows() == [{"_step": step, "a": float(step), "b": step} for step in range(0, 40, 2)]


@pytest.mark.usefixtures("each_way")
def test_what_a_call_makes_in_a_value_s_own_method_comes_after_it() -> None:
    with recorded() as run:

        class Logging:
            def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
                run.log({"inner": 1})
                return np.array(2.0)

        run.log({"outer": Logging()})
        run.log({"after": 1})

        assert run.rows() == [{"_step": 0, "outer": 2.0}, {"_step": 1, "inner": 1}, {"_step": 2, "after": 1}]


def test_a_call_that_another_came_into_as_rows_got_longer_is_stored_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """From 65.536 ms on a row's clock takes two bytes more. 0.215 has the byte that floats begin with as its second."""
    clock = time.monotonic_ns
    waiting = False

    def interrupted() -> int:
        nonlocal waiting
        now = clock()
        if waiting:
            waiting = False
            time.sleep(0.02)
            for _ in range(2):
                log()
        return now

    with recorded() as run:
        logged = 0

        def log() -> None:
            nonlocal logged
            logged += 1
            run.log({"a": 0.215})

        monkeypatch.setattr(fastpath.Fast, "log", fastpath.Fast.plain)  # in C nothing can come in between
        monkeypatch.setattr(fastpath, "monotonic_ns", interrupted)
        began = time.monotonic()
        while time.monotonic() - began < 0.2:
            log()
            waiting = True
            time.sleep(0.001)
        waiting = False

        assert run.values() == [{"a": 0.215}] * logged
