"""rename gives keys other names and says when two end up with one."""

import logging
from typing import Any

import pytest

from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event
from milepost.sdk.processors.rename import Rename


def renamed(processor: Rename, values: dict[str, Any]) -> dict[str, Any]:
    event = processor(Event(kind="row", values=values))
    assert event is not None
    return event.values


def test_listed_keys_get_their_new_names_in_place() -> None:
    values = renamed(Rename(keys={"acc": "accuracy"}), {"loss": 0.5, "acc": 0.9, "lr": 0.1})
    assert list(values.items()) == [("loss", 0.5), ("accuracy", 0.9), ("lr", 0.1)]


def test_two_keys_can_swap_names() -> None:
    assert renamed(Rename(keys={"a": "b", "b": "a"}), {"a": 1, "b": 2}) == {"b": 1, "a": 2}


def test_a_pattern_rewrites_every_key_it_is_found_in() -> None:
    rename = Rename(pattern=r"^(train|val)\.", replacement=r"\1/")
    assert renamed(rename, {"train.loss": 1, "val.loss": 2, "epoch": 3}) == {"train/loss": 1, "val/loss": 2, "epoch": 3}


def test_a_listed_key_is_not_tried_against_the_pattern() -> None:
    rename = Rename(keys={"a.x": "a.y"}, pattern=r"\.", replacement="/")
    assert renamed(rename, {"a.x": 1, "b.x": 2}) == {"a.y": 1, "b/x": 2}


def test_a_row_without_such_keys_is_the_same_object() -> None:
    event = Event(kind="row", values={"loss": 0.5})
    assert Rename(keys={"acc": "accuracy"})(event) is event


def test_the_later_of_two_keys_with_one_name_wins_and_one_warning_says_so(caplog: pytest.LogCaptureFixture) -> None:
    rename = Rename(keys={"acc": "accuracy"})
    with caplog.at_level(logging.WARNING, logger="milepost"):
        assert renamed(rename, {"acc": 0.1, "accuracy": 0.2}) == {"accuracy": 0.2}
        assert renamed(rename, {"accuracy": 0.2, "acc": 0.1}) == {"accuracy": 0.1}
    assert [record.getMessage() for record in caplog.records] == [
        (
            "rename: 'acc', 'accuracy' all become 'accuracy'; the value of 'accuracy', the last in the row, is kept. "
            "Give them different names, or leave one out with the filter processor."
        )
    ]


def test_keys_with_an_underscore_keep_their_names_unless_listed() -> None:
    rename = Rename(keys={"_own": "own"}, pattern="^", replacement="x/")
    assert renamed(rename, {"_timestamp": 1.0, "_own": 2, "_other": 3, "a": 4}) == {
        "_timestamp": 1.0,
        "own": 2,
        "_other": 3,
        "x/a": 4,
    }


def test_a_pattern_never_leaves_a_key_without_a_name() -> None:
    assert renamed(Rename(pattern="loss", replacement=""), {"loss": 1, "loss_a": 2}) == {"loss": 1, "_a": 2}


def test_parts_are_renamed_and_other_kinds_pass_untouched() -> None:
    rename = Rename(keys={"a": "b"})
    assert rename(Event(kind="part", values={"a": 1})) == Event(kind="part", values={"b": 1})
    summary = Event(kind="summary", values={"a": 1})
    assert rename(summary) is summary


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give keys, a mapping of old to new names, or pattern and replacement"),
        ({"pattern": "a"}, "pattern and replacement go together; replacement is missing"),
        ({"keys": {"a": "b"}, "replacement": "x"}, "pattern and replacement go together; pattern is missing"),
        ({"pattern": "(a", "replacement": "x"}, r"pattern '\(a' is not a regular expression: missing \)"),
        ({"pattern": "(a)", "replacement": r"\2"}, r"does not fit the pattern '\(a\)': invalid group reference 2"),
        ({"pattern": "(a)", "replacement": r"\g<name>"}, r"does not fit the pattern '\(a\)': unknown group name"),
        ({"pattern": "a", "replacement": 3}, "replacement must be text, not 3"),
        ({"keys": ["a", "b"]}, r"keys must be a mapping of old to new names, not \['a', 'b'\]"),
        ({"keys": {"a": ""}}, "must map a name to a name, not 'a' to ''"),
        ({"keys": {"loss": "_step"}}, "cannot rename 'loss' to '_step': _step, _timestamp, _runtime are reserved"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Rename(**options)
