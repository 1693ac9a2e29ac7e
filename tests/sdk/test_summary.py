"""run.summary: last values, values set by hand, and what is stored of it."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import milepost
from milepost.sdk import plugins
from tests.sdk.runs import QUIET, recorded, without_clocks


def stored(run: milepost.Run) -> dict[str, Any]:
    """The summary as `Api` reads it back, without step and clocks."""
    return without_clocks(dict(milepost.Api().run(run.path).summary), "_step")


def test_it_holds_the_last_value_of_each_name() -> None:
    with recorded() as run:
        for number in range(5):
            run.log({"a": number, "text": str(number), "flag": number % 2 == 0})
        run.log({"b": [1, 2]})

        assert run.summary() == {"a": 4, "text": "4", "flag": True, "b": [1, 2]}


def test_nested_names_are_nested() -> None:
    with recorded() as run:
        run.log({"a": {"b": 1, "c": {"d": 2}}})

        assert run.summary() == {"a": {"b": 1, "c": {"d": 2}}}
        assert run.run.summary["a"]["c"]["d"] == run.run.summary["a.c.d"] == run.run.summary.a.c.d == 2


def test_a_row_counts_once_it_is_committed() -> None:
    with recorded() as run:
        run.log({"a": 1})
        run.log({"a": 2, "b": 2}, commit=False)
        assert run.summary() == {"a": 1}
        run.log({})
        assert run.summary() == {"a": 2, "b": 2}


def test_live_and_stored_summary_agree_and_file_and_exporter_have_the_same() -> None:
    memory = plugins.build("exporter", "memory")
    with milepost.init(project="tests", exporters=["file", memory], settings=QUIET) as run:
        run.define_metric("acc", summary="max,mean")
        for number in range(4):
            run.log({"acc": float(number), "n": {"x": number}, "gone": 1, "null": None})
        run.summary["best"] = {"epoch": 3}
        del run.summary["gone"]
        live = run.summary.as_dict()
        assert live == milepost.Api().run(run.path).summary

    assert live == milepost.Api().run(run.path).summary == json.loads((Path(run.dir) / "summary.json").read_text())
    assert without_clocks(live, "_step") == {
        "acc": {"max": 3.0, "mean": 1.5},
        "n": {"x": 3},
        "best": {"epoch": 3},
    }
    assert memory.summary["n.x"] == 3


def test_a_value_set_by_hand_makes_no_row() -> None:
    with recorded() as run:
        run.run.summary["a"] = 1
        run.run.summary.b = 2
        run.run.summary.update({"c": 3, "d": {"e": 4}})

        assert run.summary() == {"a": 1, "b": 2, "c": 3, "d": {"e": 4}}
        assert run.run.step == 0
        assert run.rows() == []
        assert stored(run.run) == {"a": 1, "b": 2, "c": 3, "d": {"e": 4}}


def test_a_missing_name_raises_and_get_gives_the_default() -> None:
    with recorded() as run:
        summary = run.run.summary
        with pytest.raises(KeyError, match="nothing"):
            summary["nothing"]
        with pytest.raises(AttributeError, match="nothing"):
            _ = summary.nothing
        assert summary.get("nothing", 7) == 7
        assert "nothing" not in summary
        assert list(summary) == []


SETS = ["before the first log", "after a log", "while a row is pending", "over an aggregate"]


@pytest.mark.parametrize("when", SETS)
def test_log_never_changes_a_value_that_was_set_by_hand(when: str) -> None:
    with recorded() as run:
        if when == "over an aggregate":
            run.run.define_metric("best", summary="max")
        if when in ("after a log", "over an aggregate"):
            run.log({"best": 0.5, "other": 0})
        if when == "while a row is pending":
            run.log({"best": 0.5}, commit=False)
        run.run.summary["best"] = 99
        for number in range(3):
            run.log({"best": number, "other": number})

        assert run.summary() == {"best": 99, "other": 2}
        run.run.summary["best"] = 100
        run.log({"best": -1})
        assert run.run.summary["best"] == 100
        run.run.finish()
        assert stored(run.run) == {"best": 100, "other": 2}


def test_setting_one_leaf_leaves_its_siblings_to_log() -> None:
    with recorded() as run:
        run.log({"n": {"x": 1, "y": 1}})
        run.run.summary["n"]["x"] = 50
        run.log({"n": {"x": 2, "y": 2}})

        assert run.summary() == {"n": {"x": 50, "y": 2}}


def test_setting_a_dict_replaces_what_stood_there() -> None:
    with recorded() as run:
        run.log({"n": {"x": 1, "y": 1}})
        run.run.summary["n"] = {"z": 3}
        assert run.summary() == {"n": {"z": 3}}
        run.log({"n": {"y": 2}})
        assert run.summary() == {"n": {"z": 3, "y": 2}}
        run.run.summary["n"] = 5
        assert run.summary() == {"n": 5}
        run.run.finish()

        assert stored(run.run) == {"n": 5}


def test_del_removes_a_leaf_or_all_below_and_a_later_log_brings_it_back() -> None:
    with recorded() as run:
        run.log({"a": 1, "n": {"x": 1, "y": 1}, "m": {"z": 1}})
        del run.run.summary["a"]
        del run.run.summary["n"]["x"]
        del run.run.summary["m"]
        del run.run.summary["never there"]
        assert run.summary() == {"n": {"y": 1}}
        run.log({"a": 2, "n": {"x": 2}})

        assert run.summary() == {"a": 2, "n": {"x": 2, "y": 1}}
        run.run.finish()
        assert stored(run.run) == {"a": 2, "n": {"x": 2, "y": 1}}


def test_del_unlocks_a_value_that_was_set_by_hand() -> None:
    with recorded() as run:
        run.run.summary["a"] = 99
        del run.run.summary["a"]
        run.log({"a": 1})

        assert run.summary() == {"a": 1}


def test_none_neither_overwrites_nor_makes_an_entry() -> None:
    with recorded() as run:
        run.log({"a": 5})
        run.log({"a": None, "b": None})

        assert run.summary() == {"a": 5}
        run.run.finish()
        assert stored(run.run) == {"a": 5}


def test_a_row_with_none_between_quick_rows_does_not_stop_the_summary() -> None:
    with recorded() as run:
        for number in range(3):
            run.log({"a": number})
        run.log({"b": None, "c": 1})
        for number in range(3, 6):
            run.log({"a": number})

        assert run.summary() == {"a": 5, "c": 1}


def test_many_sets_of_names_between_quick_rows_do_not_stop_the_summary() -> None:
    with recorded() as run:
        for number in range(300):
            run.log({"always": number})
            run.log({f"name {number}": [number]})

        assert run.summary() == {"always": 299, **{f"name {number}": [number] for number in range(300)}}


def test_of_several_rows_the_later_one_counts_whatever_way_it_took() -> None:
    with recorded() as run:
        run.log({"a": 1, "b": 1})
        run.log({"a": 2, "b": 2})
        run.log({"a": 3})
        run.log({"a": 4, "c": [1]})
        run.log({"b": 5, "a": 5})
        run.log({"a": 6, "b": 6})
        run.log({"a": np.float64(7)})

        assert run.summary() == {"a": 7.0, "b": 6, "c": [1]}


def test_a_large_array_set_by_hand_becomes_its_statistics_and_a_small_one_a_list() -> None:
    with recorded() as run:
        run.run.summary["large"] = np.arange(101.0)
        run.run.summary["small"] = np.arange(3)

        large = run.run.summary["large"]
        assert {key: large[key] for key in ("_type", "mean", "min", "max", "10%", "25%", "75%", "90%", "size")} == {
            "_type": "numpy.ndarray", "mean": 50.0, "min": 0.0, "max": 100.0,
            "10%": 10.0, "25%": 25.0, "75%": 75.0, "90%": 90.0, "size": 101,
        }  # fmt: skip
        assert large["var"] == pytest.approx(np.arange(101.0).var())
        assert run.run.summary["small"] == [0, 1, 2]


def test_nan_and_infinities_stay_what_they_are() -> None:
    with recorded() as run:
        run.log({"logged": math.nan, "up": math.inf})
        run.run.summary["by hand"] = math.nan
        run.run.finish()

        for summary in (run.run.summary, milepost.Api().run(run.run.path).summary):
            assert math.isnan(summary["logged"])
            assert math.isnan(summary["by hand"])
            assert summary["up"] == math.inf


def test_a_histogram_in_the_summary_is_that_of_the_row() -> None:
    with recorded() as run:
        run.log({"h": milepost.Histogram([1.0, 2.0], num_bins=2)})
        run.run.summary["best"] = milepost.Histogram([1.0, 2.0], num_bins=2)

        expected = {"_type": "histogram", "values": [1, 1], "bins": [1.0, 1.5, 2.0]}
        assert run.summary() == {"h": expected, "best": expected}


def test_step_timestamp_and_runtime_are_those_of_the_last_row() -> None:
    with recorded() as run:
        run.log({"a": 1})
        run.log({"a": 2}, step=7, commit=True)
        run.run.finish()

        last = run.memory.rows[-1]
        clocks = {key: run.run.summary[key] for key in ("_step", "_timestamp", "_runtime")}
        assert clocks == {key: last[key] for key in clocks}
        assert {key: milepost.Api().run(run.run.path).summary[key] for key in clocks} == clocks


@pytest.mark.parametrize("value", [object(), {"deep": object()}, range(3)], ids=["object", "nested", "range"])
def test_a_value_without_a_form_is_refused_and_the_summary_stays_as_it_was(value: Any) -> None:
    with recorded() as run:
        run.run.summary["a"] = 1
        with pytest.raises(milepost.DataError, match='"a'):
            run.run.summary["a"] = value

        assert run.summary() == {"a": 1}


def test_a_name_that_is_no_text_is_refused_and_never_there() -> None:
    with recorded() as run:
        summary: Any = run.run.summary
        with pytest.raises(milepost.DataError, match=r"got 5 of type int.*str\(key\)"):
            summary[5] = 1
        assert 5 not in summary
        assert summary.get(5) is None
        del summary[5]  # as a name that is missing
        assert run.summary() == {}


def test_the_module_gives_the_summary_of_the_current_run() -> None:
    with recorded() as run:
        run.log({"a": 1})
        milepost.summary["b"] = 2
        assert milepost.run is run.run

        assert without_clocks(milepost.summary.as_dict(), "_step") == {"a": 1, "b": 2}
