"""Rows by the column become the same points and records as the same rows one by one."""

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from milepost.exporters.otlp.metrics import MetricsEncoder
from milepost.exporters.otlp.records import RecordsEncoder
from milepost.exporters.otlp.selection import Selection
from milepost.sdk.batch import Batch, Rows

KEYS = ("loss", "n", "done", "mixed", "text", 'a "quoted" name', "milepost.step")
numbers = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([math.nan, math.inf, 0.0, -0.0])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "loss": numbers,
    "n": st.integers(-(2**63), 2**63 - 1) | st.booleans() | numbers,
    "done": st.booleans(),
    "mixed": numbers | st.none() | st.just("text") | st.just({"_type": "histogram", "values": [1], "bins": [0.0, 1.0]}),
    "text": st.text(max_size=5) | st.none(),
    'a "quoted" name': numbers,
    "milepost.step": numbers,
}


@st.composite
def batches(draw: st.DrawFn) -> list[Rows]:
    """Some batches of rows; times in which some rows share their millisecond, and a clock that may go back."""
    time, seq = 1_700_000_000_000_000_000, 0
    found: list[Rows] = []
    for _ in range(draw(st.integers(1, 3))):
        keys = tuple(draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=4, unique=True)))
        size = draw(st.integers(1, 12))
        gaps = draw(
            st.lists(
                st.sampled_from([1_000, 400_000, 1_000_000, 30_000_000_000, -5_000_000]), min_size=size, max_size=size
            )
        )
        times: list[int] = []
        for gap in gaps:
            time += gap
            times.append(time)
        columns = [draw(st.lists(VALUES[key], min_size=size, max_size=size)) for key in keys]
        seqs = list(range(seq, seq + size))
        seq += size
        found.append(Rows(keys, [seqs, times, [at * 1000 for at in seqs], seqs, *columns], "demo/run1", "a" * 16))
    return found


@settings(deadline=None, max_examples=120)
@given(batches())
def test_points_are_the_same_by_the_column(found: list[Rows]) -> None:
    by_column, by_row = Selection(), Selection()
    encoder = MetricsEncoder(b"", b"")
    for rows in found:
        one, other = by_column.select(Batch([rows])), by_row.select(list(rows))
        assert by_series(one) == by_series(other)
        assert {*one.row_ids()} == {*other.row_ids()}
        assert len(encoder.encode(one)) == len(encoder.encode(other))
        by_column.settled()
        by_row.settled()
    assert by_column.coalesced == by_row.coalesced


def by_series(points: Any) -> dict[str, str]:
    """Every series as text, so that NaN equals NaN."""
    return {str(each.key): f"{each.times} {list(each.values)}" for each in points.series}


@settings(deadline=None, max_examples=120)
@given(batches())
def test_records_are_the_same_by_the_column(found: list[Rows]) -> None:
    encoder = RecordsEncoder(b"", b"")
    for rows in found:
        one, other = encoder.select(Batch([rows])), encoder.select(list(rows))
        assert (one.records, one.seqs) == (other.records, other.seqs)
