"""define_metric: aggregates in the summary, x axes, globs."""

import math
from typing import Any

import pytest

import milepost
from tests.sdk.runs import recorded, without_clocks

VALUES = (1, 3.0, 2.3)


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        ("min", {"min": 1}),
        ("max", {"max": 3.0}),
        ("mean", {"mean": pytest.approx(2.1)}),
        ("first", {"first": 1}),
        ("last", {"last": 2.3}),
        ("best", {"best": 1}),
        ("min,max", {"min": 1, "max": 3.0}),
        (" last , first ", {"last": 2.3, "first": 1}),
        ("copy", 2.3),
        (None, 2.3),
        ("copy,max", {"copy": 2.3, "max": 3.0}),
    ],
)
def test_the_summary_holds_the_aggregates_asked_for(summary: str | None, expected: Any) -> None:
    with recorded() as run:
        run.run.define_metric("m", summary=summary)
        for value in VALUES:
            run.log({"m": value})

        assert run.summary() == {"m": expected}
        run.run.finish()
        assert milepost.Api().run(run.run.path).summary["m"] == expected


@pytest.mark.parametrize("summary", ["none", "none,max", "last,none"])
def test_none_keeps_the_name_out_of_the_summary(summary: str) -> None:
    with recorded() as run:
        run.run.define_metric("m", summary=summary)
        run.log({"m": 1, "other": 2})

        assert run.summary() == {"other": 2}
        run.run.finish()
        assert "m" not in milepost.Api().run(run.run.path).summary


@pytest.mark.parametrize(("goal", "expected"), [("minimize", 1), ("maximize", 3.0), (None, 1)])
def test_best_follows_the_goal(goal: str | None, expected: float) -> None:
    with recorded() as run:
        run.run.define_metric("m", summary="best", goal=goal)
        for value in VALUES:
            run.log({"m": value})

        assert run.summary() == {"m": {"best": expected}}


def test_aggregates_count_rows_of_every_kind() -> None:
    with recorded() as run:
        run.run.define_metric("m", summary="min,max,mean")
        for value in range(10):  # quick rows
            run.log({"m": value})
        run.log({"m": [1], "x": 1})  # a list does not aggregate
        run.log({"m": -5}, commit=False)
        run.log({"m": 100, "n": {"m": 1}})  # the last value of the row counts

        assert run.summary()["m"] == {"min": 0, "max": 100, "mean": 145 / 11}


def test_rows_logged_before_the_definition_count_too() -> None:
    with recorded() as run:
        for value in (5, 9, 2):
            run.log({"m": value})
        run.run.define_metric("m", summary="max,first")
        run.log({"m": 3})

        assert run.summary() == {"m": {"max": 9, "first": 5}}
        run.run.finish()
        assert milepost.Api().run(run.run.path).summary["m"] == {"max": 9, "first": 5}


def test_after_a_definition_quick_rows_go_on_to_count() -> None:
    with recorded() as run:
        for value in range(3):
            run.log({"m": value, "other": value})
        run.run.define_metric("m", summary="max")
        for value in range(3, 6):
            run.log({"m": value, "other": value})
        run.run.define_metric("unrelated", summary="max")
        for value in range(6, 9):
            run.log({"m": value, "other": value})

        assert run.summary() == {"m": {"max": 8}, "other": 8}


def test_nan_poisons_min_max_and_mean_but_not_last() -> None:
    with recorded() as run:
        run.run.define_metric("m", summary="min,max,mean,last,first")
        for value in (2.0, math.nan, 4.0):
            run.log({"m": value})

        summary = run.summary()["m"]
        assert {name for name, value in summary.items() if math.isnan(value)} == {"min", "max", "mean"}
        assert (summary["first"], summary["last"]) == (2.0, 4.0)


def test_text_and_booleans_do_not_aggregate_but_count_for_last_and_first() -> None:
    with recorded() as run:
        run.run.define_metric("m", summary="min,max,mean,last,first")
        for value in ("a", True, 5, None, "z"):
            run.log({"m": value})

        assert run.summary() == {"m": {"min": 5, "max": 5, "mean": 5.0, "last": "z", "first": "a"}}


def test_a_metric_that_is_only_text_has_no_maximum() -> None:
    with recorded() as run:
        run.run.define_metric("m", summary="max")
        run.log({"m": "text"})

        assert run.summary() == {}


def test_a_dotted_name_means_the_nested_metric() -> None:
    with recorded() as run:
        run.run.define_metric("a.b", summary="max")
        run.run.define_metric(r"c\.d", summary="max")
        run.log({"a": {"b": 5}, "c.d": 5})
        run.log({"a": {"b": 3}, "c": {"d": 3}})

        assert run.summary() == {"a": {"b": {"max": 5}}, "c": {"d": {"max": 5}}}


def test_a_glob_holds_for_every_name_it_fits_and_an_exact_name_beats_it() -> None:
    with recorded() as run:
        run.run.define_metric("train/*", summary="max")
        run.run.define_metric("train/loss", summary="min")
        for value in (1, 3, 2):
            run.log({"train/acc": value, "train/loss": value, "val/acc": value})

        assert run.summary() == {"train/acc": {"max": 3}, "train/loss": {"min": 1}, "val/acc": 2}


def test_of_several_globs_the_most_specific_one_wins() -> None:
    with recorded() as run:
        run.run.define_metric("*", summary="min")
        run.run.define_metric("train/acc*", summary="max")
        run.run.define_metric("train/*", summary="mean")
        for value in (1.0, 3.0):
            run.log({"train/acc/top5": value, "train/loss": value, "x": value, "_mine": value})

        assert run.summary() == {
            "train/acc/top5": {"max": 3.0},
            "train/loss": {"mean": 2.0},
            "x": {"min": 1.0},
            "_mine": 3.0,
        }


def test_definitions_of_one_name_are_merged_and_overwrite_replaces() -> None:
    with recorded() as run:
        merged = run.run.define_metric("m", summary="max")
        merged = run.run.define_metric("m", step_metric="epoch")
        assert (merged.summary, merged.step_metric) == (("max",), "epoch")
        replaced = run.run.define_metric("m", summary="min", overwrite=True)

        assert (replaced.summary, replaced.step_metric) == (("min",), None)


def test_rows_that_lack_the_step_metric_get_its_last_value() -> None:
    with recorded() as run:
        run.run.define_metric("epoch")
        run.run.define_metric("val/*", step_metric="epoch")
        run.log({"val/loss": 1.0})
        run.log({"epoch": 3})
        run.log({"val/loss": 2.0})
        run.log({"val/loss": 3.0, "epoch": 4})
        run.log({"val/loss": 4.0})
        run.log({"other": 1})

        assert run.values() == [
            {"val/loss": 1.0, "epoch": 0},
            {"epoch": 3},
            {"val/loss": 2.0, "epoch": 3},
            {"val/loss": 3.0, "epoch": 4},
            {"val/loss": 4.0, "epoch": 4},
            {"other": 1},
        ]


def test_step_sync_false_leaves_rows_as_they_are() -> None:
    with recorded() as run:
        run.run.define_metric("loss", step_metric="epoch", step_sync=False)
        run.log({"epoch": 3})
        run.log({"loss": 1.0})

        assert run.values() == [{"epoch": 3}, {"loss": 1.0}]


def test_a_step_metric_can_be_given_as_the_definition_of_one() -> None:
    with recorded() as run:
        epoch = run.run.define_metric("epoch")
        run.run.define_metric("loss", step_metric=epoch)
        run.log({"loss": 1.0})

        assert run.values() == [{"loss": 1.0, "epoch": 0}]


def test_hidden_changes_no_data() -> None:
    with recorded() as run:
        run.run.define_metric("m", hidden=True)
        run.log({"m": 1})

        assert run.values() == [{"m": 1}]
        assert without_clocks(milepost.Api().run(run.run.path).summary, "_step") == {"m": 1}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"name": "a*b"}, r"a\*b"),
        ({"name": "*/loss"}, r"\*/loss"),
        ({"name": "m", "summary": "median"}, "median.*valid: min, max"),
        ({"name": "m", "summary": ["max"]}, "summary"),
        ({"name": "m", "summary": 5}, "summary"),
        ({"name": "m", "step_metric": 5}, "step_metric"),
        ({"name": "m", "step_metric": "epoch*"}, "step_metric"),
        ({"name": "m", "step_sync": "yes"}, "step_sync"),
        ({"name": "m", "overwrite": 1.5}, "overwrite"),
        ({"name": "m", "hidden": 1}, "hidden"),
        ({"name": "m", "goal": "up"}, "goal"),
    ],
)
def test_a_wrong_argument_is_an_error_that_names_it(arguments: dict[str, Any], named: str) -> None:
    with recorded() as run, pytest.raises(milepost.Error, match=named):
        run.run.define_metric(**arguments)


def test_an_escaped_dot_is_unescaped_once_live_and_read_back_alike() -> None:
    with recorded(dir="runs") as recording:
        run = recording.run
        run.define_metric(
            "a" + chr(92) * 2 + ".b", summary="max"
        )  # a backslash, then an escaped dot: not the metric a.b
        for value in (1, 3, 2):
            run.log({"a.b": value})
        run.flush()
        assert run.summary["a"]["b"] == 2
        assert milepost.Api("runs").run(run.path).summary["a"]["b"] == 2  # put together from the journal
