"""sample keeps every N-th row."""

from typing import Any

import pytest

from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event
from milepost.sdk.processors.sample import Sample


def test_the_first_row_and_every_third_after_it_are_kept() -> None:
    sample = Sample(every=3)
    rows = [Event(kind="row", step=step, values={"loss": 0.5}) for step in range(7)]
    assert [event.step for event in map(sample, rows) if event is not None] == [0, 3, 6]


def test_a_part_shares_the_fate_of_its_row() -> None:
    sample = Sample(every=2)
    part, row = Event(kind="part", values={"a": 1}), Event(kind="row", values={"a": 1})
    assert [sample(event) is not None for event in (part, part, row, part, row, part, row)] == [
        True,
        True,
        True,
        False,
        False,
        True,
        True,
    ]


def test_events_of_other_kinds_are_neither_dropped_nor_counted() -> None:
    sample = Sample(every=2)
    system = Event(kind="system", values={})
    row = Event(kind="row", values={})
    assert [sample(event) for event in (system, row, system, row, system, row)] == [
        system,
        row,
        system,
        None,
        system,
        row,
    ]


@pytest.mark.parametrize("every", [0, -1, 2.0, "2", True, None])
def test_every_must_be_a_whole_number_of_rows(every: Any) -> None:
    with pytest.raises(ConfigurationError, match="every must be a whole number of rows >= 1"):
        Sample(every=every)
