"""How to test a processor: call it. No run, no files, no fixtures."""

import math

import pytest
from milepost_smooth import Smooth

from milepost.sdk import plugins
from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event


def row(**values: object) -> Event:
    return Event(kind="row", step=0, values=values)


def test_the_average_starts_at_the_first_value_and_follows() -> None:
    smooth = Smooth(keys=["loss"], weight=0.5)
    assert smooth(row(loss=1.0)) == row(loss=1.0, loss_smooth=1.0)
    assert smooth(row(loss=0.0)) == row(loss=0.0, loss_smooth=pytest.approx(1 / 3))


def test_a_nan_leaves_the_average_as_it_was() -> None:
    smooth = Smooth(keys=["loss"], weight=0.5)
    smooth(row(loss=1.0))
    broken = row(loss=math.nan)
    assert smooth(broken) is broken
    assert smooth(row(loss=1.0)) == row(loss=1.0, loss_smooth=1.0)


def test_what_is_no_committed_row_passes_as_it_came() -> None:
    smooth = Smooth(keys=["loss"])
    for event in (
        Event(kind="part", values={"loss": 1.0}),
        Event(kind="system", values={"loss": 1.0}),
        row(accuracy=0.9),
    ):
        assert smooth(event) is event


def test_a_wrong_weight_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="weight must be a number >= 0 and below 1, not 1"):
        Smooth(keys=["loss"], weight=1)


def test_the_config_file_finds_it_by_name() -> None:
    assert "smooth" in plugins.names("processor")
    assert isinstance(plugins.build("processor", "smooth", {"keys": ["loss"]}), Smooth)
