"""The step counter and rows that stay open: what `step` and `commit` of log() do."""

import logging
from typing import Any

import numpy as np
import pytest

import milepost
from tests.sdk.runs import label, read_back, recorded


def test_rows_count_from_step_0() -> None:
    with recorded() as run:
        run.log({"a": 1})
        run.log({"a": 2})

        assert run.run.step == 2
        assert run.rows() == [{"_step": 0, "a": 1}, {"_step": 1, "a": 2}]


def test_a_call_without_commit_waits_for_the_next_one_and_is_the_same_row() -> None:
    with recorded() as run:
        run.log({"a": 1}, commit=False)
        assert run.run.step == 0
        run.log({"b": 2})

        assert run.run.step == 1
        assert run.rows() == [{"_step": 0, "a": 1, "b": 2}]


def test_an_explicit_step_stays_open_until_a_larger_one_comes() -> None:
    with recorded() as run:
        run.log({"a": 1}, step=3)
        run.log({"b": 2}, step=3)
        assert run.run.step == 3
        run.log({"c": 3}, step=10)

        assert run.run.step == 10
        assert run.rows() == [{"_step": 3, "a": 1, "b": 2}, {"_step": 10, "c": 3}]


def test_a_call_without_data_closes_a_row_that_several_calls_made() -> None:
    with recorded() as run:
        for step in range(4):
            run.log({"a": 1.0}, step=step)
            run.log({"b": 2.0}, step=step)
        run.log({}, step=9)
        run.log({"a": 3.0}, step=10, commit=True)

        made = [{"_step": step, "a": 1.0, "b": 2.0} for step in range(4)]
        assert run.rows() == [*made, {"_step": 9}, {"_step": 10, "a": 3.0}]


def test_an_explicit_step_with_commit_closes_its_row_at_once() -> None:
    with recorded() as run:
        run.log({"a": 1}, step=5, commit=True)

        assert run.run.step == 6
        assert run.rows() == [{"_step": 5, "a": 1}]


def test_a_larger_step_closes_the_open_row_under_its_own_step_and_adds_no_filler_rows() -> None:
    with recorded() as run:
        run.log({"a": 1}, commit=False)
        run.log({"b": 2}, step=100, commit=True)

        assert run.rows() == [{"_step": 0, "a": 1}, {"_step": 100, "b": 2}]


@pytest.mark.parametrize("stale", [0, 4, -1, -(2**70)])
@pytest.mark.parametrize("commit", [None, True, False])
def test_a_smaller_step_drops_the_whole_call_and_says_which_keys(
    stale: int, commit: bool | None, caplog: pytest.LogCaptureFixture
) -> None:
    with recorded() as run:
        run.log({"kept": 1}, step=5)
        run.log({"lost": 2, "nested": {"too": 3}}, step=stale, commit=commit)

        assert run.run.step == 5
        assert run.summary() == {}
        said = caplog.text
        assert f"log(step={stale})" in said
        assert "step 5" in said
        assert "lost, nested.too" in said
        assert run.rows() == [{"_step": 5, "kept": 1}]


def test_the_warning_about_a_smaller_step_comes_once_per_pattern_of_keys(caplog: pytest.LogCaptureFixture) -> None:
    with recorded() as run:
        run.log({"a": 1}, step=50, commit=True)
        caplog.clear()
        for step in range(20):
            run.log({"a": 1}, step=step)
            run.log({"b": 1}, step=step)

        assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.WARNING]


def test_dropped_calls_are_counted_in_the_accounting_of_the_run_and_said_at_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with recorded() as run:
        run.log({"a": 1}, step=50, commit=True)
        for step in range(7):
            run.log({"a": 1}, step=step)
        caplog.clear()
        run.run.finish()

        assert "7 calls of log() made no row" in caplog.text
        assert milepost.Api().run(run.run.path).accounting()["dropped_calls"] == {"stale_step": 7}


def test_the_current_step_joins_the_open_row() -> None:
    with recorded() as run:
        run.log({"a": 1})
        run.log({"b": 2}, step=1)
        run.log({"c": 3}, step=1)
        run.log({"d": 4})

        assert run.rows() == [{"_step": 0, "a": 1}, {"_step": 1, "b": 2, "c": 3, "d": 4}]


def test_a_step_whose_row_is_closed_is_behind() -> None:
    with recorded() as run:
        run.log({"a": 1}, step=1, commit=True)
        run.log({"a": 2}, step=1, commit=True)

        assert run.rows() == [{"_step": 1, "a": 1}]


def test_a_call_without_step_joins_and_closes_an_open_explicit_row() -> None:
    with recorded() as run:
        run.log({"a": 1}, step=9)
        run.log({"b": 2})
        run.log({"c": 3})

        assert run.rows() == [{"_step": 9, "a": 1, "b": 2}, {"_step": 10, "c": 3}]


def test_finish_commits_the_open_row() -> None:
    with recorded() as run:
        run.log({"a": 1}, commit=False)

        assert run.rows() == [{"_step": 0, "a": 1}]


def test_the_end_of_a_with_block_commits_the_open_row() -> None:
    with milepost.init(project="tests") as run:
        run.log({"a": 1}, commit=False)

    assert read_back(run) == [{"_step": 0, "a": 1}]


def test_an_exception_in_a_with_block_commits_the_open_row_and_marks_the_run_failed() -> None:
    run = milepost.init(project="tests")

    def fail() -> None:
        with run:
            run.log({"a": 1}, commit=False)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert run.state == milepost.Api().run(run.path).state == "failed"
    assert read_back(run) == [{"_step": 0, "a": 1}]


def test_an_open_row_is_not_read_before_it_is_closed() -> None:
    with recorded() as run:
        run.log({"a": 1}, commit=False)

        assert list(milepost.Api().run(run.run.path).scan_history()) == []


def test_step_is_the_one_that_the_next_value_lands_in() -> None:
    with recorded() as run:
        run.log({"a": 1}, step=9)
        assert run.run.step == 9
        run.log({"a": 1}, step=3)
        assert run.run.step == 9
        run.log({})
        assert run.run.step == 10


@pytest.mark.parametrize("step", [np.int64(4), np.uint8(4), np.array(4), np.array(4, dtype=np.int16)])
def test_whole_numbers_of_numpy_are_steps(step: Any) -> None:
    with recorded() as run:
        run.log({"a": 1}, step=step, commit=True)

        assert run.rows() == [{"_step": 4, "a": 1}]


class _BadIndex:
    def __index__(self) -> int:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "step",
    [
        2.0,
        2.5,
        "2",
        True,
        False,
        np.float64(2),
        np.bool_(True),
        np.array([1, 2]),
        [1],
        2**63,
        b"1",
        object(),
        1j,
        _BadIndex(),
    ],
    ids=label,
)
def test_anything_but_a_whole_number_of_64_bits_is_refused_as_a_step_and_nothing_is_stored(step: Any) -> None:
    with recorded() as run:
        run.log({"a": 1}, commit=False)
        with pytest.raises(milepost.DataError, match="step"):
            run.log({"b": 2}, step=step)
        assert run.run.step == 0

        assert run.rows() == [{"_step": 0, "a": 1}]


@pytest.mark.parametrize(("commit", "closes"), [(1, True), (0, False), (np.True_, True), (np.False_, False)])
def test_commit_may_be_0_or_1(commit: Any, closes: bool) -> None:
    with recorded() as run:
        run.log({"a": 1}, commit=commit)

        assert run.run.step == int(closes)


class _BadEquality:
    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError

    __hash__ = object.__hash__


@pytest.mark.parametrize(
    "commit",
    ["yes", 2, 1.0, 0.0, [], np.array([True, False]), object(), _BadEquality()],
    ids=label,
)
def test_commit_of_another_type_is_refused_and_nothing_is_stored(commit: Any) -> None:
    with recorded() as run:
        with pytest.raises(milepost.DataError, match="commit"):
            run.log({"a": 1}, commit=commit)
        assert run.run.step == 0

        assert run.rows() == []


def test_an_empty_call_closes_the_open_row() -> None:
    with recorded() as run:
        run.log({"a": 1}, commit=False)
        run.log({})

        assert run.rows() == [{"_step": 0, "a": 1}]


def test_an_empty_call_alone_stores_a_row_and_uses_up_a_step() -> None:
    with recorded() as run:
        run.log({})
        run.log({"a": 1})

        assert run.rows() == [{"_step": 0}, {"_step": 1, "a": 1}]


def test_an_empty_call_with_a_step_opens_that_row() -> None:
    with recorded() as run:
        run.log({}, step=5)
        run.log({"a": 1})

        assert run.rows() == [{"_step": 5, "a": 1}]


def test_sync_is_accepted_without_effect() -> None:
    with recorded() as run:
        run.log({"a": 1}, sync=True)
        run.log({"a": 2}, None, None, False)

        assert run.rows() == [{"_step": 0, "a": 1}, {"_step": 1, "a": 2}]


def test_the_positional_order_is_data_step_commit() -> None:
    with recorded() as run:
        run.log({"a": 1}, 7, True)

        assert run.rows() == [{"_step": 7, "a": 1}]


def test_unordered_steps_are_all_stored_and_read_back_in_order() -> None:
    with recorded(settings={"steps": "unordered"}) as run:
        for step in (5, 2, 9, 2, 0):
            run.log({"a": step}, step=step)
        run.run.finish()

        assert read_back(run.run) == [{"_step": step, "a": step} for step in (0, 2, 2, 5, 9)]


def test_the_quick_way_and_the_long_way_count_the_same_steps() -> None:
    with recorded() as run:
        for number in range(5):
            run.log({"a": number})
        run.log({"a": 5}, step=7)
        run.log({"a": 6}, commit=False)
        run.log({"a": 7})
        run.log({"a": 8})
        run.log({"a": 9}, step=3)
        run.log({"a": 10})

        steps = [(row["_step"], row["a"]) for row in run.rows()]
        assert steps == [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (7, 7), (8, 8), (9, 10)]


def test_half_of_a_surrogate_pair_in_a_text_is_replaced_with_a_step_too() -> None:
    with recorded() as run:
        run.log({"a": "text"}, step=0)
        run.log({"a": "\ud800"}, step=1)
        run.log({"a": "text"}, step=2)
        run.log({"a": "\ud800"}, commit=False)
        run.log({"a": "\ud800"})

        assert run.values() == [{"a": "text"}, {"a": "\\ud800"}, {"a": "\\ud800"}]
