"""Rows by the column and rows as events are written alike."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from milepost.exporters.jsonl import lines
from milepost.sdk.batch import Rows

VALUES = st.one_of(
    st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=5), st.just("null"), st.lists(st.floats())
)
NAMES = st.lists(st.one_of(st.text(max_size=5), st.just("_timestamp")), unique=True, max_size=6)


@st.composite
def some_rows(draw: st.DrawFn) -> Rows:
    """Some rows of the same names."""
    names = draw(NAMES)
    count = draw(st.integers(1, 12))
    kinds = [draw(st.sampled_from([VALUES, st.floats(), st.floats(0, 1), st.integers()])) for _ in names]
    values: list[list[Any]] = [draw(st.lists(kind, min_size=count, max_size=count)) for kind in kinds]
    clock = [1_700_000_000_000_000_000 + 1_234_567 * at for at in range(count)]
    columns = [list(range(count)), clock, [at * 1001 for at in range(count)], list(range(count)), *values]
    return Rows(tuple(names), columns, "p/r", "00000000000000aa")


@given(some_rows())
def test_rows_by_the_column_become_the_lines_of_their_events(rows: Rows) -> None:
    assert bytes(lines(rows)) == bytes(lines(list(rows)))
