"""The columns of a run directory hold what `scan_history` gives, whenever they are looked at."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import milepost
from milepost.sdk.reading.run import Run
from milepost.server.store.run_columns import KeySeries, RunColumns

NUMBERS = st.one_of(
    st.integers(-(2**62), 2**62),
    st.floats(),
    st.booleans(),
    st.none(),
    st.sampled_from([0, 127, 128, -32, -33, 255, 65536]),
)
VALUES = st.one_of(NUMBERS, NUMBERS, st.text(max_size=40), st.lists(st.integers(0, 9), max_size=3))
ROWS = st.lists(st.dictionaries(st.sampled_from(["a", "b", "long.name", "é"]), VALUES, min_size=1), max_size=12)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def check(run: Run, columns: RunColumns) -> None:
    columns.follow(run.reader())
    rows = list(run.scan_history())
    keys = {key for row in rows for key, value in row.items() if not key.startswith("_") and value is not None}
    assert {key.key for key in columns.key_records()} == keys
    for key in keys:
        wanted = [(row["_step"], float(row[key])) for row in rows if is_number(row.get(key))]
        found = columns.series(key, "_step")
        points = found.points if isinstance(found, KeySeries) else None
        steps = [] if points is None else points.step.tolist()
        values = [] if points is None else points.value.tolist()
        assert steps == [step for step, _ in wanted]
        assert all(same(a, b) for a, (_, b) in zip(values, wanted, strict=True))


@settings(max_examples=40, deadline=None)
@given(parts=st.lists(ROWS, min_size=1, max_size=3))
def test_columns_hold_what_the_rows_hold_while_the_run_goes_on(
    tmp_path_factory: Any, parts: list[list[dict[str, Any]]]
) -> None:
    runs = tmp_path_factory.mktemp("runs")
    run = milepost.init(project="p", dir=str(runs), exporters=[])
    columns = RunColumns()
    directory = runs / "p" / run.id
    for rows in parts:
        for row in rows:
            milepost.log(row)
        run.flush()
        check(Run(directory), columns)
    milepost.finish()
    check(Run(directory), columns)


def test_rows_that_a_resumed_run_took_back_are_gone() -> None:
    for first, steps in ((0, 100), (40, 80)):
        milepost.init(project="p", dir="runs", id="r", resume="allow", exporters=[])
        for step in range(first, steps):
            milepost.log({"x": step + first / 1000}, step=step)
        milepost.finish()
        check(Run(Path("runs/p/r")), RunColumns())
    columns = RunColumns()
    columns.follow(Run(Path("runs/p/r")).reader())
    series = columns.series("x", "_step")

    assert series is not None
    assert series.points.step.tolist() == list(range(80))
    assert series.points.value.tolist() == [*range(40), *(step + 0.04 for step in range(40, 80))]


KILLED = """
import os, signal, milepost
milepost.init(project="p", dir="runs", id="r", exporters=[])
for n in range(1000):
    milepost.log({"n": n})
milepost.log({"n": 1000, "open": 1}, commit=False)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_open_row_of_a_killed_program_is_there() -> None:
    columns = RunColumns()
    subprocess.run([sys.executable, "-c", KILLED], check=False)

    check(Run(Path("runs/p/r")), columns)

    series = columns.series("n", "_step")
    assert series is not None
    assert np.array_equal(series.points.value, np.arange(1001))
    assert columns.closed
