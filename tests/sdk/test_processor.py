"""The order of processors is checked before anything runs."""

import pytest

from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event
from milepost.sdk.processor import HoldingProcessor, check_exporter_processors, check_order, is_open
from milepost.sdk.processors.aggregate import Aggregate
from milepost.sdk.processors.filter import Filter
from milepost.sdk.processors.flatten import Flatten
from milepost.sdk.processors.merge import Merge
from milepost.sdk.processors.redact import Redact


def same(event: Event) -> Event:
    return event


class Late:
    """Somebody's own processor that works on rows."""

    must_follow = "merge"

    def __call__(self, event: Event) -> Event | None:
        return event


def test_any_callable_may_stand_anywhere() -> None:
    check_order([same, Flatten(), lambda event: event, Merge(), same])


def test_processors_behind_those_they_must_follow_are_in_order() -> None:
    check_order([Flatten(), Redact(keys=["a"]), Merge(), Aggregate(every=2), Filter(include=["a"]), Late()])


def test_a_processor_before_the_one_it_must_follow_is_an_error() -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_order([Redact(keys=["a"]), Flatten(), Aggregate(every=2), Late(), Merge()])
    assert caught.value.errors == [
        "processors: redact stands at place 1 and must stand behind flatten",
        "processors: aggregate stands at place 3 and must stand behind merge",
        "processors: Late stands at place 4 and must stand behind merge",
    ]


def test_flatten_behind_merge_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="flatten stands at place 2 and must stand before merge"):
        check_order([Merge(), Flatten()])


def test_a_processor_that_holds_rows_back_is_refused_under_an_exporter() -> None:
    check_exporter_processors("console", [Filter(include=["a"]), same])
    with pytest.raises(ConfigurationError, match="exporter console: the processor aggregate holds rows back"):
        check_exporter_processors("console", [Aggregate(every=2)])


def test_merge_and_aggregate_meet_the_contract_of_processors_that_hold() -> None:
    assert isinstance(Aggregate(every=2), HoldingProcessor)
    assert isinstance(Merge(), HoldingProcessor)


def test_a_part_and_an_uncommitted_call_are_open_rows() -> None:
    assert is_open(Event(kind="part", values={}))
    assert is_open(Event(kind="row", commit=False, values={}))
    assert not is_open(Event(kind="row", values={}))
