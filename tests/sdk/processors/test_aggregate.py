"""aggregate turns a window of rows into one row, and shows at any moment what the window holds."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event
from milepost.sdk.processors.aggregate import Aggregate


def row(step: int, values: dict[str, Any], runtime_s: float = 0.0) -> Event:
    return Event(kind="row", step=step, values=values, runtime_s=runtime_s, time_unix_nano=step)


def windowed(aggregate: Aggregate, *values: dict[str, Any]) -> dict[str, Any]:
    """What one window over these rows gives."""
    for step, one in enumerate(values):
        assert aggregate(row(step, one)) is None
    closed = aggregate.flush()
    assert closed is not None
    return closed.values


def test_aggregate_holds_rows_until_the_window_is_full() -> None:
    aggregate = Aggregate(every=3)
    assert aggregate(row(0, {"loss": 3.0, "phase": "warm"})) is None
    assert aggregate(row(1, {"loss": 2.0})) is None
    assert aggregate(row(2, {"loss": 1.0, "phase": "main"})) == row(2, {"loss": 2.0, "phase": "main"})
    assert aggregate(row(3, {"loss": 9.0})) is None


def test_a_window_of_one_row_holds_nothing() -> None:
    aggregate = Aggregate(every=1, interval=1)
    assert aggregate(row(0, {"loss": 3})) == row(0, {"loss": 3.0})
    assert aggregate(row(1, {"loss": 4}, runtime_s=9.0)) == row(1, {"loss": 4.0}, runtime_s=9.0)
    assert aggregate.held() is None


def test_the_first_row_after_the_interval_closes_the_window_and_opens_the_next() -> None:
    aggregate = Aggregate(interval=1000)
    assert aggregate(row(0, {"loss": 1.0}, runtime_s=5.0)) is None
    assert aggregate(row(1, {"loss": 3.0}, runtime_s=5.999)) is None
    assert aggregate(row(2, {"loss": 8.0}, runtime_s=6.0)) == row(1, {"loss": 2.0}, runtime_s=5.999)
    assert aggregate.held() == row(2, {"loss": 8.0}, runtime_s=6.0)


def test_rows_slower_than_the_interval_are_never_mixed() -> None:
    aggregate = Aggregate(interval=1000)
    out = [aggregate(row(step, {"loss": float(step)}, runtime_s=step * 10.0)) for step in range(3)]
    assert [event and event.values for event in out] == [None, {"loss": 0.0}, {"loss": 1.0}]


def test_with_both_limits_whichever_comes_first_closes_the_window() -> None:
    aggregate = Aggregate(every=2, interval=1000)
    assert aggregate(row(0, {"a": 1.0}, runtime_s=0.0)) is None
    assert aggregate(row(1, {"a": 3.0}, runtime_s=0.1)) == row(1, {"a": 2.0}, runtime_s=0.1)
    assert aggregate(row(2, {"a": 5.0}, runtime_s=0.2)) is None
    assert aggregate(row(3, {"a": 7.0}, runtime_s=1.2)) == row(2, {"a": 5.0}, runtime_s=0.2)
    assert aggregate(row(4, {"a": 9.0}, runtime_s=1.3)) == row(4, {"a": 8.0}, runtime_s=1.3)


@pytest.mark.parametrize(
    ("using", "expected"), [("mean", 2.0), ("min", 1), ("max", 3), ("last", 1), ("sum", 6), ("count", 3)]
)
def test_every_function_does_what_it_is_called_and_keeps_whole_numbers_whole(using: Any, expected: object) -> None:
    result = windowed(Aggregate(every=9, using=using), {"n": 2}, {"n": 3}, {"n": 1})["n"]
    assert result == expected
    assert type(result) is type(expected)


def test_a_key_is_aggregated_over_the_rows_that_hold_it() -> None:
    assert windowed(Aggregate(every=9), {"a": 1.0}, {"b": 5.0}, {"a": 3.0}) == {"a": 2.0, "b": 5.0}


def test_globs_choose_the_function_and_the_longest_literal_prefix_wins() -> None:
    aggregate = Aggregate(every=9, using={"*": "last", "train/*": "min", "train/acc*": "max"})
    values = windowed(
        aggregate,
        {"train/loss": 1.0, "train/accuracy": 0.1, "lr": 3.0},
        {"train/loss": 2.0, "train/accuracy": 0.9, "lr": 1.0},
        {"train/loss": 3.0, "train/accuracy": 0.5, "lr": 2.0},
    )
    assert values == {"train/loss": 1.0, "train/accuracy": 0.9, "lr": 2.0}


def test_a_key_that_no_glob_fits_has_the_mean() -> None:
    assert windowed(Aggregate(every=9, using={"lr": "last"}), {"loss": 1.0}, {"loss": 2.0}) == {"loss": 1.5}


@pytest.mark.parametrize("using", ["mean", "min", "max", "sum"])
@pytest.mark.parametrize("numbers", [[math.nan, 1.0, 2.0], [1.0, math.nan, 2.0], [2.0, 1.0, math.nan]])
def test_nan_poisons_the_aggregate_wherever_it_stands(using: Any, numbers: list[float]) -> None:
    assert math.isnan(windowed(Aggregate(every=9, using=using), *({"a": number} for number in numbers))["a"])


def test_nan_is_counted_and_can_be_the_last_value() -> None:
    rows: list[dict[str, Any]] = [{"a": 1.0}, {"a": math.nan}]
    assert windowed(Aggregate(every=9, using="count"), *rows) == {"a": 2}
    assert math.isnan(windowed(Aggregate(every=9, using="last"), *rows)["a"])


def test_infinities_take_part_as_numbers() -> None:
    rows: list[dict[str, Any]] = [{"a": 1.0}, {"a": math.inf}]
    assert windowed(Aggregate(every=9), *rows) == {"a": math.inf}
    assert windowed(Aggregate(every=9, using="min"), *rows) == {"a": 1.0}


def test_text_bool_lists_and_media_keep_their_last_value() -> None:
    values = windowed(
        Aggregate(every=9, using="sum"),
        {"text": "a", "flag": True, "list": [1], "image": {"_type": "image-file", "path": "a"}},
        {"text": "b", "flag": True, "list": [2, 3], "image": {"_type": "image-file", "path": "b"}},
    )
    assert values == {"text": "b", "flag": True, "list": [2, 3], "image": {"_type": "image-file", "path": "b"}}


def test_keys_that_start_with_an_underscore_keep_their_last_value() -> None:
    assert windowed(Aggregate(every=9), {"_timestamp": 1.0}, {"_timestamp": 3.0}) == {"_timestamp": 3.0}


def test_the_last_value_decides_whether_a_mixed_key_is_a_number() -> None:
    assert windowed(Aggregate(every=9), {"a": 1.0}, {"a": "broken"}) == {"a": "broken"}
    assert windowed(Aggregate(every=9), {"a": 1.0}, {"a": "broken"}, {"a": 3.0}) == {"a": 2.0}


def test_none_counts_only_for_a_key_that_held_nothing_else() -> None:
    assert windowed(Aggregate(every=9), {"a": 1.0, "b": None}, {"a": None, "b": None}) == {"a": 1.0, "b": None}


def test_a_sum_beyond_64_bits_becomes_a_float() -> None:
    total = windowed(Aggregate(every=9, using="sum"), {"n": 2**63 - 1}, {"n": 2**63 - 1})["n"]
    assert total == float(2**64)
    assert type(total) is float


def test_the_row_carries_step_time_and_trace_of_the_last_row() -> None:
    aggregate = Aggregate(every=2)
    aggregate(Event(kind="row", step=4, values={"a": 1.0}, time_unix_nano=10, runtime_s=1.0, trace_id="aa"))
    last = Event(kind="row", step=9, values={"a": 2.0}, time_unix_nano=20, runtime_s=2.0, trace_id="bb")
    assert aggregate(last) == last.with_values({"a": 1.5})


def test_an_empty_row_counts_and_a_window_of_empty_rows_is_an_empty_row() -> None:
    aggregate = Aggregate(every=2)
    assert aggregate(row(0, {})) is None
    assert aggregate(row(1, {})) == row(1, {})


def test_flush_gives_what_is_held_once() -> None:
    aggregate = Aggregate(every=9)
    assert aggregate.flush() is None
    aggregate(row(0, {"a": 1.0}))
    assert aggregate.flush() == row(0, {"a": 1.0})
    assert aggregate.flush() is None


def test_held_shows_the_window_and_closes_nothing() -> None:
    aggregate = Aggregate(every=9)
    aggregate(row(0, {"a": 1.0}))
    aggregate(row(1, {"a": 2.0}))
    assert aggregate.held() == aggregate.held() == row(1, {"a": 1.5})
    assert aggregate.flush() == row(1, {"a": 1.5})


def test_an_open_row_comes_back_as_the_window_with_it_and_changes_nothing() -> None:
    aggregate = Aggregate(every=9)
    aggregate(row(0, {"a": 1.0, "b": 7.0}))
    part = Event(kind="part", step=1, values={"a": 2.0, "c": 5.0})
    assert aggregate(part) == part.with_values({"a": 1.5, "c": 5.0})
    assert aggregate.held() == row(0, {"a": 1.0, "b": 7.0})


def test_events_of_other_kinds_pass_an_open_window() -> None:
    aggregate = Aggregate(every=9)
    aggregate(row(0, {"a": 1.0}))
    system = Event(kind="system", values={"a": 100.0})
    assert aggregate(system) is system
    assert aggregate.flush() == row(0, {"a": 1.0})


LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.sampled_from(["", "x"]))
ROWS = st.lists(
    st.lists(st.dictionaries(st.sampled_from("abc"), LEAVES), min_size=1, max_size=3), min_size=1, max_size=6
)


@given(rows=ROWS, using=st.sampled_from(["mean", "min", "max", "last", "sum", "count"]))
def test_the_parts_of_a_killed_run_are_the_row_that_finish_would_have_written(
    rows: list[list[dict[str, Any]]], using: Any
) -> None:
    """Each row is a few calls; all but the last call reach aggregate as parts. Killed before the last row commits."""
    killed, finished = Aggregate(every=99, using=using), Aggregate(every=99, using=using)
    recovered: dict[str, Any] = {}
    for step, calls in enumerate(rows):
        merged: dict[str, Any] = {}
        for call in calls:
            merged |= call
            part = killed(Event(kind="part", step=step, values=call))
            assert part is not None
            recovered |= part.values
        finished(row(step, merged))
        if step < len(rows) - 1:
            killed(row(step, merged))
            held = killed.held()
            assert held is not None
            recovered |= held.values
    expected = finished.flush()
    assert expected is not None
    assert repr(recovered) == repr({key: expected.values[key] for key in recovered})
    assert recovered.keys() == expected.values.keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"give every \(rows\) or interval \(milliseconds\), or both"),
        ({"every": 0}, "every must be a whole number of rows >= 1, not 0"),
        ({"every": True}, "every must be a whole number of rows >= 1, not True"),
        ({"interval": 0.5}, "interval must be a whole number of milliseconds >= 1, not 0.5"),
        ({"every": 2, "using": "median"}, "using must be one of mean, min, max, last, sum, count, .* not 'median'"),
        ({"every": 2, "using": {"a": "avg"}}, "not 'avg'"),
        ({"every": 2, "using": {3: "min"}}, "3 is no glob"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Aggregate(**options)
