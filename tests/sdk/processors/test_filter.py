"""filter keeps and leaves out keys, and never drops what still has to be committed."""

import pytest

from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event
from milepost.sdk.processors.filter import Filter


def row(**values: object) -> Event:
    return Event(kind="row", step=3, values=values)


def test_filter_keeps_only_what_include_names() -> None:
    event = Event(kind="row", values={"train/loss": 0.5, "val/loss": 0.7})
    assert Filter(include=["train/*"])(event) == Event(kind="row", values={"train/loss": 0.5})


def test_filter_leaves_out_what_exclude_names_even_when_include_names_it_too() -> None:
    event = Event(kind="row", values={"train/loss": 0.5, "train/grad.norm": 2.0})
    kept = Filter(include=["train/*"], exclude=["*grad*"])(event)
    assert kept is not None
    assert kept.values == {"train/loss": 0.5}


def test_a_star_spans_slashes_and_dots_and_case_counts() -> None:
    event = Event(kind="row", values={"a/b.c/d": 1, "A/b": 2, "aXd": 3})
    kept = Filter(include=["a*d"])(event)
    assert kept is not None
    assert list(kept.values) == ["a/b.c/d", "aXd"]


def test_a_row_that_loses_nothing_is_the_same_object() -> None:
    event = row(loss=0.5)
    assert Filter(include=["loss"])(event) is event


def test_a_row_left_without_values_is_dropped() -> None:
    assert Filter(exclude=["*"])(row(loss=0.5)) is None


def test_a_row_left_with_nothing_but_its_timestamp_is_dropped() -> None:
    assert Filter(exclude=["loss"])(row(loss=0.5, _timestamp=1.0)) is None


def test_a_row_that_never_had_values_passes() -> None:
    event = row()
    assert Filter(include=["train/*"])(event) is event


def test_keys_that_start_with_an_underscore_are_always_kept() -> None:
    kept = Filter(include=["nothing"], exclude=["*"])(row(_note="kept", loss=0.5))
    assert kept is not None
    assert kept.values == {"_note": "kept"}


def test_an_open_row_is_never_dropped() -> None:
    leave_out_all = Filter(exclude=["*"])
    part = Event(kind="part", step=7, values={"loss": 0.5})
    assert leave_out_all(part) == part.with_values({})
    uncommitted = Event(kind="row", commit=False, step=7, values={"loss": 0.5})
    assert leave_out_all(uncommitted) == uncommitted.with_values({})


def test_events_of_other_kinds_pass_untouched() -> None:
    event = Event(kind="system", values={"system.cpu.utilization": 0.5})
    assert Filter(include=["train/*"])(event) is event


def test_the_event_that_came_in_is_not_changed() -> None:
    event = row(a=1, b=2)
    Filter(exclude=["a"])(event)
    assert event.values == {"a": 1, "b": 2}


def test_a_million_different_keys_do_not_fill_the_memory() -> None:
    leave_out = Filter(exclude=["key1*"])
    for first in range(0, 30_000, 1_000):
        leave_out(Event(kind="row", values={f"key{number}": 0 for number in range(first, first + 1_000)}))
    assert len(leave_out._keep) <= 10_000


def test_a_filter_without_globs_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="give include or exclude"):
        Filter()


def test_a_lone_string_is_refused_with_the_list_to_write() -> None:
    with pytest.raises(ConfigurationError, match=r"include must be a list of strings.*write include: \['train/\*'\]"):
        Filter(include="train/*")
