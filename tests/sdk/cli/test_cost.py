"""`milepost doctor --cost`: what the rows of a run come to in a metrics and a log back end."""

import json

import milepost
from tests.sdk.cli.conftest import Command, log_run


def test_series_and_samples_are_counted_from_the_rows(command: Command) -> None:
    histogram = milepost.Histogram(np_histogram=([1, 2], [0.0, 1.0, 2.0]))
    log_run([{"loss": 1.0, "text": "x", "weights": histogram} if n % 2 else {"loss": 1.0} for n in range(10)])

    (found,) = json.loads(command("doctor", "--cost", "--json", "runs").out)["runs"]

    # One series each for the step and the loss; four buckets, count and sum of the histogram.
    assert (found["series"], found["gauges"], found["histograms"], found["other_keys"]) == (8, 1, 1, 1)
    assert found["samples"] == 10 + 10 + 5 * 6
    assert (found["log_streams"], found["rows"], found["writers"]) == (1, 10, 1)
    assert found["samples_per_day"] > 0


def test_a_hidden_metric_makes_no_series(command: Command) -> None:
    log_run([{"loss": 1.0, "debug": {"a": 1, "b": 2}}], define={"debug.*": {"hidden": True}})

    (found,) = json.loads(command("doctor", "--cost", "--json", "runs").out)["runs"]

    assert found["series"] == 2
    assert found["samples_per_day"] is None  # one row tells no rate


def test_many_series_are_named_with_what_makes_them_fewer(command: Command) -> None:
    log_run([{f"layer{n}": 0.5 for n in range(1_200)}])

    told = command("doctor", "--cost", "runs")

    assert told.code == 0
    assert "1,201 series" in told.out
    assert "max_series" in told.out
