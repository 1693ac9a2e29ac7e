"""What becomes of names and values within one row: merging, nesting, names of milepost's own."""

import collections
import types
from typing import Any

import pytest

import milepost
from tests.sdk.runs import recorded


def row_of(*calls: Any) -> dict[str, Any]:
    """The values of the one row that these calls make, the last of which commits."""
    with recorded() as run:
        for call in calls[:-1]:
            run.log(call, commit=False)
        run.log(calls[-1])
        (values,) = run.values()
        return values


def test_the_last_value_of_a_name_wins() -> None:
    assert row_of({"a": 1, "b": 1}, {"a": 2}) == {"a": 2, "b": 1}


def test_nested_dicts_merge_leaf_by_leaf_at_every_depth() -> None:
    first = {"n": {"x": 1, "deep": {"p": 1, "q": 1}}}
    second = {"n": {"y": 2, "deep": {"q": 2}}}

    assert row_of(first, second) == {"n.x": 1, "n.y": 2, "n.deep.p": 1, "n.deep.q": 2}


def test_a_value_replaces_the_dict_of_its_name() -> None:
    assert row_of({"n": {"x": 1, "y": {"z": 2}}, "m": 1}, {"n": 5}) == {"n": 5, "m": 1}


def test_a_dict_replaces_the_value_of_its_name() -> None:
    assert row_of({"n": 5}, {"n": {"x": 1}}) == {"n.x": 1}


def test_a_value_replaces_a_dict_that_holds_a_histogram() -> None:
    assert row_of({"n": {"h": milepost.Histogram([1, 2, 3]), "x": 1}}, {"n": 5}) == {"n": 5}


def test_a_dotted_name_that_never_was_a_dict_stays_beside_a_value() -> None:
    assert row_of({"n.x": 1}, {"n": 5}) == {"n.x": 1, "n": 5}


def test_lists_are_replaced_as_a_whole_and_dicts_in_them_never_merged() -> None:
    assert row_of({"l": [1, 2, 3], "d": [{"a": 1}]}, {"l": [4], "d": [{"b": 2}]}) == {"l": [4], "d": [{"b": 2}]}


def test_none_overwrites_a_pending_value() -> None:
    assert row_of({"a": 1}, {"a": None}) == {"a": None}


def test_a_value_with_a_type_of_its_own_is_one_leaf_and_leaves_no_field_of_the_older_one() -> None:
    older = {"_type": "image-file", "path": "a.png", "caption": "old"}
    newer = {"_type": "image-file", "path": "b.png"}

    assert row_of({"im": older, "n": {"im": older}}, {"im": newer, "n": {"im": newer}}) == {"im": newer, "n.im": newer}


def test_an_empty_inner_dict_leaves_no_trace() -> None:
    assert row_of({"a": 1, "n": {"x": 1}, "e": {}}, {"a": {}, "n": {}}) == {"a": 1, "n.x": 1}


def test_nested_names_read_back_joined_with_dots() -> None:
    assert row_of({"a": {"b": {"c": 1}}, "a.d": 2}) == {"a.b.c": 1, "a.d": 2}


def test_a_dotted_name_and_a_nested_one_are_the_same_metric() -> None:
    assert row_of({"a.b": 1}, {"a": {"b": 2}}) == {"a.b": 2}
    assert row_of({"a": {"b": 2}}, {"a.b": 3}) == {"a.b": 3}


@pytest.mark.parametrize(
    "data",
    [
        collections.OrderedDict(b=1, a=2),
        collections.UserDict(b=1, a=2),
        types.MappingProxyType({"b": 1, "a": 2}),
        collections.defaultdict(int, b=1, a=2),
        collections.Counter(b=1, a=2),
        collections.ChainMap({"b": 1, "a": 2}),
    ],
    ids=lambda data: type(data).__name__,
)
def test_every_mapping_can_be_logged(data: Any) -> None:
    assert row_of(data) == {"a": 2, "b": 1}


def test_subclasses_of_dict_nest_like_dicts() -> None:
    ordered = collections.OrderedDict(x=1, y=2)
    ordered.move_to_end("x")

    assert list(row_of({"n": ordered, "d": collections.defaultdict(int, z=3)}).items()) == [
        ("n.y", 2),
        ("n.x", 1),
        ("d.z", 3),
    ]


def test_a_nested_mapping_that_is_no_dict_is_refused_with_the_way_out() -> None:
    with recorded() as run, pytest.raises(milepost.DataError, match=r'"n".*dict\('):
        run.log({"n": types.MappingProxyType({"x": 1})})


def test_the_callers_dict_is_left_as_it_was() -> None:
    inner: dict[Any, Any] = {1: [1, {"deep": (2,)}]}
    data = {"n": inner, "t": (1, 2)}
    with recorded() as run:
        run.log(data)

    assert data == {"n": {1: [1, {"deep": (2,)}]}, "t": (1, 2)}
    assert data["n"] is inner


def test_what_is_changed_after_the_call_does_not_change_the_row() -> None:
    with recorded() as run:
        items, inner = [1, 2], {"x": 1}
        data = {"l": items, "n": inner}
        run.log(data, commit=False)
        items.append(3)
        inner["x"] = 2
        data["new"] = [1]
        run.log({})

        assert run.values() == [{"l": [1, 2], "n.x": 1}]


def test_nested_keys_become_text() -> None:
    assert row_of({"n": {1: "int", 2.5: "float", True: "bool", None: "none", (1, 2): "tuple"}}) == {  # noqa: F601
        "n.1": "bool",  # to Python, 1 and True are one key, and the last value counts
        "n.2.5": "float",
        "n.None": "none",
        "n.(1, 2)": "tuple",
    }
    assert row_of({"n": {True: 1, False: 0}}) == {"n.true": 1, "n.false": 0}


def test_an_empty_key_is_left_out_at_the_top_and_kept_below() -> None:
    assert row_of({"": 1, "a": 2, "n": {"": 3}}) == {"a": 2, "n.": 3}


@pytest.mark.parametrize(
    "key", ["  spaced ", "train/loss", "損失", "précision", "🚀", "a\nb", "a\x00b", ".", "..", "a..b", "x" * 5000]
)
def test_names_are_kept_as_they_are(key: str) -> None:
    assert row_of({key: 1}) == {key: 1}


def test_the_step_and_the_runtime_are_milepost_s_own() -> None:
    with recorded() as run:
        run.log({"_step": 77, "_runtime": -5, "a": 1})
        run.run.finish()

        (row,) = run.memory.rows
        assert row["_step"] == 0
        assert row["_runtime"] >= 0
        assert row["a"] == 1


def test_a_timestamp_of_the_user_is_kept() -> None:
    with recorded() as run:
        run.log({"_timestamp": 12.5, "a": 1})
        run.run.finish()

        assert run.memory.rows[0]["_timestamp"] == 12.5
        assert next(iter(milepost.Api().run(run.run.path).scan_history()))["_timestamp"] == 12.5
        assert run.run.summary["_timestamp"] == 12.5


def test_other_names_with_an_underscore_are_stored() -> None:
    assert row_of({"_mine": 1}) == {"_mine": 1}


def test_timestamps_are_finer_than_a_second_rise_and_lie_within_the_run() -> None:
    import time

    before = time.time()
    with recorded() as run:
        for number in range(10):
            run.log({"a": number})
            time.sleep(0.001)
        run.run.finish()
        times = [row["_timestamp"] for row in run.memory.rows]
        runtimes = [row["_runtime"] for row in run.memory.rows]

    assert times == sorted(set(times))
    assert runtimes == sorted(set(runtimes))
    assert any(moment % 1 for moment in times)
    assert before <= times[0]
    assert times[-1] <= time.time()


def test_the_time_of_a_row_of_several_calls_is_that_of_the_call_that_closed_it() -> None:
    import time

    with recorded() as run:
        run.log({"a": 1}, commit=False)
        between = time.time()
        run.log({"b": 2})
        run.run.finish()

        assert run.memory.rows[0]["_timestamp"] >= between
