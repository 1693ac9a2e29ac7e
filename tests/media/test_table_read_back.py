"""Tables and charts, read back through the Api: every value as it was, with pandas and without, from finished and killed runs."""

import datetime
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import milepost
from tests.sdk.runs import QUIET

UTC = datetime.UTC
OFFLINE: dict[str, Any] = {"project": "tests", "exporters": [], "settings": QUIET | {"media": {"encode_in": "thread"}}}


def read(run: milepost.Run) -> list[dict[str, Any]]:
    """The rows of a run."""
    return list(milepost.Api().run(run.path).scan_history())


def logged(value: Any) -> Any:
    """A value, logged and read back."""
    with milepost.init(**OFFLINE) as run:
        run.log({"value": value})
    return read(run)[0]["value"]


KINDS: list[st.SearchStrategy[Any]] = [
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=10),
    st.datetimes().map(lambda time: time.replace(fold=0)),  # ISO 8601 has no fold
    st.timedeltas(datetime.timedelta(-(10**5)), datetime.timedelta(10**5)),
    st.lists(st.floats(), max_size=3),
]
COLUMN = st.sampled_from(KINDS).flatmap(lambda kind: st.lists(st.none() | kind, min_size=5, max_size=5))


@settings(
    max_examples=3,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.lists(COLUMN, min_size=1, max_size=6), min_size=10, max_size=20))
def test_every_value_of_every_column_reads_back_as_it_was(tables: list[list[list[Any]]]) -> None:
    content = [{f"c{at}": column for at, column in enumerate(columns)} for columns in tables]
    with milepost.init(**OFFLINE) as run:
        for data in content:
            run.log({"table": milepost.Table(data=data)})

    for data, row in zip(content, read(run), strict=True):
        read_back = {name: [cells[name] for cells in row["table"].to_dicts()] for name in data}
        assert repr(read_back) == repr(data)


def test_a_data_frame_reads_back_as_a_frame() -> None:
    frame = pd.DataFrame(
        {
            "float": [1.5, math.nan, math.inf],
            "whole": [2**60 + 1, -1, 0],
            "perhaps": pd.array([2**60 + 1, None, 3], dtype="Int64"),
            "text": ["a", "\u00e4", None],
            "flag": [True, False, True],
            "time": pd.to_datetime(pd.Series(["2024-05-06 07:08:09.123456", None, "2024-01-01 00:00:00.000001"])),
            "zone": pd.to_datetime(pd.Series(["2024-05-06T07:08:09+02:00", None, None])),
            "duration": pd.to_timedelta(pd.Series(["1 days", None, "3us"])).astype("timedelta64[ns]"),
            "array": [[1.0, 2.0], [], [3.0]],
        }
    )
    frame.index = pd.Index([7, 8, 9])

    read_back = logged(frame).to_pandas()

    pd.testing.assert_frame_equal(read_back, frame.reset_index(drop=True), check_dtype=False)
    assert read_back["perhaps"].tolist() == [2**60 + 1, pd.NA, 3]
    assert [str(read_back.dtypes[name]) for name in ("float", "whole", "perhaps", "flag")] == [
        "float64",
        "int64",
        "Int64",
        "bool",
    ]


def test_media_in_cells_open() -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    table = milepost.Table(columns=["id", "picture", "several", "counts"])
    table.add_data(1, milepost.Image(pixels), [milepost.Image(pixels)], milepost.Histogram([1, 2], num_bins=2))
    table.add_data(2, None, [], None)

    value = logged(table)

    for row in (value.to_dicts()[0], value.to_pandas().iloc[0]):
        assert (row["picture"].to_numpy() == pixels).all()
        assert (row["several"][0].to_numpy() == pixels).all()
        assert row["counts"]["values"] == [1, 1]
    assert value.to_dicts()[1] == {"id": 2, "picture": None, "several": [], "counts": None}


def test_a_chart_reads_back_as_its_table() -> None:
    value = logged(milepost.plot.confusion_matrix(y_true=["a", "b"], preds=["a", "a"]))

    assert value.to_pandas().values.tolist() == [["a", "a", 1], ["a", "b", 0], ["b", "a", 1], ["b", "b", 0]]
    assert value.load()[0] == {"Actual": "a", "Predicted": "a", "nPredictions": 1}
    assert value["kind"] == "confusion_matrix"


def test_an_incremental_table_reads_back_whole_at_every_row() -> None:
    table = milepost.Table(columns=["x", "y"], log_mode="INCREMENTAL")
    with milepost.init(**OFFLINE) as run:
        for number in range(5):
            table.add_data(number, None if number % 2 else number / 2)
            run.log({"table": table})

    values = [row["table"] for row in read(run)]
    assert [value.to_pandas()["x"].tolist() for value in values] == [list(range(n + 1)) for n in range(5)]
    assert [row["y"] for row in values[-1].to_dicts()] == [0.0, None, 1.0, None, 2.0]


def test_the_files_of_tables_are_files_of_the_run() -> None:
    with milepost.init(**OFFLINE) as run:
        run.log({"table": milepost.Table(columns=["x"], data=[[1]])})

    names = [file.name for file in milepost.Api().run(run.path).files()]
    assert [name for name in names if name.startswith("media/table/table_0_") and name.endswith(".table.json")]


def test_a_table_of_the_summary_reads_back() -> None:
    with milepost.init(**OFFLINE) as run:
        run.log({"a": milepost.Table(columns=["x"], data=[[1]])})
        run.summary["b"] = milepost.Table(columns=["x"], data=[[2]])

    summary = milepost.Api().run(run.path).summary
    assert [summary[key].to_dicts() for key in ("a", "b")] == [[{"x": 1}], [{"x": 2}]]


def test_a_value_that_is_no_table_says_so() -> None:
    value = logged(milepost.Image(np.zeros((2, 2))))

    with pytest.raises(milepost.UsageError, match=r"image-file.*to_dicts"):
        value.to_dicts()


def test_without_pandas_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    value = logged(milepost.Table(columns=["x"], data=[[1]]))
    monkeypatch.setitem(sys.modules, "pandas", None)

    with pytest.raises(milepost.MissingDependencyError, match=r"pip install .*pandas.*load\(\)"):
        value.to_pandas()
    assert value.load() == [{"x": 1}]


KILLED = """
import os, signal
import numpy as np
import milepost

run = milepost.init(project="killed", id="killed", exporters=[], settings={"capture": {"enabled": False}})
growing = milepost.Table(columns=["n"], log_mode="INCREMENTAL")
for number in range(3):
    growing.add_data(number)
    table = milepost.Table(columns=["n", "picture", "text"])
    table.add_data(number, milepost.Image(np.full((64, 64, 3), 50 + number, dtype=np.uint8)), "x" * 5000)
    run.log({"table": table, "growing": growing, "roc": milepost.plot.roc_curve([0, 1], [0.1, 0.9])})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_a_kill_every_table_that_was_logged_is_there() -> None:
    subprocess.run([sys.executable, "-c", KILLED], check=False, capture_output=True, timeout=60)

    rows = list(milepost.Api().run("killed/killed").scan_history())
    assert len(rows) == 3
    for number, row in enumerate(rows):
        (cells,) = row["table"].to_dicts()
        assert (cells["n"], cells["text"]) == (number, "x" * 5000)
        assert (cells["picture"].to_numpy() == np.full((64, 64, 3), 50 + number)).all()
        assert [cell["n"] for cell in row["growing"].to_dicts()] == list(range(number + 1))
        assert row["roc_table"].to_dicts() == row["roc"].to_dicts()


def test_an_export_has_the_media_in_cells_and_the_files_of_earlier_rows() -> None:
    growing = milepost.Table(columns=["picture"], log_mode="INCREMENTAL")
    with milepost.init(**OFFLINE) as run:
        for number in range(2):
            growing.add_data(milepost.Image(np.full((2, 2), 50 + number, dtype=np.uint8)))
            run.log({"growing": growing})
    command = [sys.executable, "-m", "milepost", "export", run.path, "-o", "rows.csv", "--media", "out"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    files = sorted(path.relative_to(run.dir).as_posix() for path in Path(run.dir).glob("media/**/*.*"))
    assert len(files) == 4
    assert sorted(path.relative_to("out").as_posix() for path in Path("out").glob("**/*.*")) == files
