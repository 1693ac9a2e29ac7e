"""Tables: what they hold, what they refuse, and what their file says."""

import datetime
import hashlib
import json
import math
from decimal import Decimal
from enum import Enum
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.media import table_file
from milepost.media.histogram import Histogram
from milepost.media.table import MAX_INCREMENTS, Table
from milepost.sdk.errors import DataError
from tests.media.properties import CHECKED

UTC = datetime.UTC


class Colour(Enum):
    RED = "red"


class Tensor:
    """Stands for a PyTorch tensor."""

    shape, dtype = (2,), "torch.float32"

    def detach(self) -> "Tensor":
        return self

    def cpu(self) -> Any:
        return np.array([1.0, 2.0], dtype=np.float32)


class Raising:
    """An object whose properties raise."""

    @property
    def dtype(self) -> Any:
        raise RuntimeError("no")


def file_of(table: Table) -> bytes:
    """The bytes of a table's file, its media left out."""
    return bytes(payload_of(table).data)


def payload_of(table: Table) -> Any:
    return table.as_value()["_payload"]


def content(table: Table) -> Any:
    return json.loads(file_of(table))


# what tables are made of


@pytest.mark.parametrize(
    "table",
    [
        Table(columns=["a", "b"], data=[[1, "x"], [2, "y"]]),
        Table(columns=("a", "b"), data=((1, "x"), (2, "y"))),
        Table(columns=["a", "b"], rows=[[1, "x"], [2, "y"]]),
        Table(columns=["a", "b"], data=np.array([[1, "x"], [2, "y"]], dtype=object)),
        Table(columns=["a", "b"], data=iter([[1, "x"], [2, "y"]])),
        Table(data=[{"a": 1, "b": "x"}, {"b": "y", "a": 2}]),
        Table(data={"a": np.array([1, 2]), "b": ["x", "y"]}),
        Table(columns=["a", "b"], data={"b": ["x", "y"], "a": [1, 2]}),
        Table(dataframe=pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}, index=[5, 6])),
        Table(data=pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})),
        Table(columns=["ignored"], dataframe=pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})),
    ],
)
def test_rows_are_read_from_what_programs_hold_them_in(table: Table) -> None:
    assert (table.columns, table.data) == (["a", "b"], [[1, "x"], [2, "y"]])
    assert content(table) == {"columns": ["a", "b"], "data": [[1, "x"], [2, "y"]]}


def test_without_columns_they_are_named_as_in_wandb() -> None:
    assert Table().columns == ["Input", "Output", "Expected"]


def test_rows_and_columns_are_added_and_read() -> None:
    table = Table(columns=["a"])
    table.add_data(1)
    table.add_row(2.5)
    table.add_column("b", np.array([3, 4]))
    table.add_computed_columns(lambda index, row: {"sum": row["a"] + row["b"], "index": index})

    assert table.columns == ["a", "b", "sum", "index"]
    assert list(table.iterrows()) == [(0, [1, 3, 4, 0]), (1, [2.5, 4, 6.5, 1])]
    assert table.get_index() == [0, 1]
    assert table.get_column("a") == [1, 2.5]
    assert table.get_column("a", convert_to="numpy").tolist() == [1.0, 2.5]
    assert table.get_dataframe()["sum"].tolist() == [4, 6.5]
    assert len(table) == 2


def test_a_first_column_gives_an_empty_table_its_rows() -> None:
    table = Table(columns=[])
    table.add_column("a", [1, 2])

    assert table.data == [[1], [2]]


def test_columns_of_a_frame_have_distinct_names_of_text() -> None:
    frame = pd.DataFrame([[1, 2, 3]], columns=["a", "a", "b"])
    levels = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("x", "mean"), ("x", "std")]))

    assert Table(dataframe=frame).columns == ["a", "a.1", "b"]
    assert Table(dataframe=levels).columns == ["x.mean", "x.std"]
    assert Table(dataframe=pd.DataFrame([[1, 2]])).columns == [0, 1]


def test_what_a_frame_lacks_is_none_and_a_float_stays_nan() -> None:
    frame = pd.DataFrame(
        {
            "float": [1.5, math.nan],
            "text": ["a", None],
            "whole": pd.array([2**62 + 1, None], dtype="Int64"),
            "time": pd.to_datetime(pd.Series(["2024-05-06 07:08:09.123456789", None])),
            "category": pd.Categorical(["u", None]),
            "bool": pd.array([True, None], dtype="boolean"),
        }
    )

    table = Table(dataframe=frame)

    assert str(table.data[1]) == "[nan, None, None, None, None, None]"
    assert table.data[0][2] == 2**62 + 1


def test_frames_of_polars_and_arrow_are_read_as_those_of_pandas() -> None:
    when = datetime.datetime(2024, 1, 1, tzinfo=UTC)
    columns: dict[str, list[Any]] = {"a": [2**60, None], "t": [when, None], "s": ["x", None], "l": [[1, 2], None]}

    for frame in (pl.DataFrame(columns), pa.table(columns)):
        table = Table(dataframe=frame)
        assert table.columns == list(columns)
        assert table.data == [[2**60, when, "x", [1, 2]], [None] * 4]


# the file


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(),
    st.lists(st.one_of(st.floats(), st.integers(), st.text()), max_size=3),
    st.dictionaries(st.text(), st.floats(), max_size=2),
)


@CHECKED
@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=8))
def test_every_value_reads_back_as_it_was(rows: list[list[Any]]) -> None:
    table = Table(columns=["a", "b"], data=rows, allow_mixed_types=True)

    columns, read = table_file.decode([file_of(table)], {})

    assert columns == ["a", "b"]
    assert repr(read) == repr(rows)  # of a NaN, and of 1 and 1.0, too


@pytest.mark.parametrize(
    ("cell", "stored"),
    [
        (math.nan, math.nan),
        (-math.inf, -math.inf),
        (1.0, 1.0),
        (10**30, 10**30),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array([1, 2]), [1, 2]),
        (np.array([[1.5], [math.inf]]), [[1.5], [math.inf]]),
        (np.arange(100), list(range(100))),
        (Tensor(), [1.0, 2.0]),
        ((1, (2, 3)), [1, [2, 3]]),
        ({3, 1, 2}, [1, 2, 3]),
        ({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
        (b"text", "text"),
        (Decimal("1.10"), "1.10"),
        (1 + 2j, "1+2j"),
        (PurePosixPath("/a/b"), "/a/b"),
        (Colour.RED, "red"),
        (datetime.date(2024, 1, 2), "2024-01-02"),
        (datetime.datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "2024-01-02T03:04:05.000006+00:00"),
        (np.datetime64("2024-01-02T03:04:05.123456789"), "2024-01-02T03:04:05.123456789"),
        (datetime.timedelta(days=1, seconds=2), "P1DT2S"),
        (np.timedelta64(-1500, "ms"), "-PT1.5S"),
        ("\ud800 half", "\ufffd half"),
        (pd.NA, None),
        (pd.NaT, None),
        (pd.Timestamp("2024-01-02 03:04:05.000000001"), "2024-01-02T03:04:05.000000001"),
    ],
)
def test_a_cell_is_stored_as_json_says_it(cell: Any, stored: Any) -> None:
    table = Table(columns=["a", "b"], data=[[cell, math.nan]])

    assert repr(content(table)["data"]) == repr([[stored, math.nan]])


def test_the_file_is_byte_for_byte_that_of_wandb() -> None:
    """The digest is that of the file that wandb 0.31.0 wrote of the same calls."""
    table = Table(columns=["i", "f", "s", "b", "arr", "lst", "d", "n"])
    table.add_data(1, 1.5, "x", True, np.array([1, 2]), [1, 2], {"a": 1}, None)
    table.add_data(2, math.nan, "\u00e9", False, np.array([3, 4]), [3], {"a": 2}, None)

    assert hashlib.sha256(file_of(table)).hexdigest().startswith("2b6690d78598353258f8")


def test_a_changed_table_stores_what_it_holds_now_and_an_unchanged_one_its_file_again() -> None:
    table = Table(columns=["a"], data=[[1]])
    first = payload_of(table)
    table.add_data(2)
    second = payload_of(table)

    assert (bytes(first.data), bytes(second.data)) == (
        b'{"columns":["a"],"data":[[1]]}',
        b'{"columns":["a"],"data":[[1],[2]]}',
    )
    assert payload_of(table) is second
    assert table.as_value()["nrows"] == 2


def test_what_the_program_does_to_a_cell_later_changes_no_file() -> None:
    array = np.array([1, 2])
    table = Table(columns=["a"], data=[[array]])
    payload = payload_of(table)
    array[:] = 0

    assert json.loads(payload.data)["data"] == [[[1, 2]]]


def test_media_stand_beside_the_file_until_they_are_stored() -> None:
    table = Table(columns=["a", "picture"])
    table.add_data("x", Histogram([1, 2]))
    payload = payload_of(table)

    assert json.loads(payload.data)["data"] == [["x", None]]
    assert [child["_type"] for child in payload.children] == ["histogram"]
    assert payload.options == {"places": [[0, 1]]}


def test_an_incremental_table_stores_new_rows_only_and_names_the_files_before() -> None:
    table = Table(columns=["a"], log_mode="INCREMENTAL")
    table.add_data(1)
    first = table.as_value()
    table.add_data(2)
    table.add_data(3)
    second, again = table.as_value(), table.as_value()

    assert json.loads(first["_payload"].data)["data"] == [[1]]
    assert json.loads(second["_payload"].data)["data"] == [[2], [3]]
    assert second["previous_increments_paths"] == [first["_payload"].path()]
    assert [value["_type"] for value in (first, second)] == ["incremental-table-file"] * 2
    assert [(value["increment_num"], value["nrows"]) for value in (first, second, again)] == [(0, 1), (1, 3), (1, 3)]
    assert again == second


def test_an_incremental_table_never_names_more_than_a_few_files() -> None:
    table = Table(columns=["a"], log_mode="INCREMENTAL")
    for number in range(3 * MAX_INCREMENTS):
        table.add_data(number)
        value = table.as_value()
        rows = sum(len(json.loads(mark["_payload_path"].data)["data"]) for mark in value["previous_increments_paths"])
        assert rows + len(json.loads(value["_payload"].data)["data"]) == number + 1
        assert len(value["previous_increments_paths"]) < MAX_INCREMENTS
        assert value["increment_num"] == number


def test_a_new_column_of_an_incremental_table_is_stored_for_all_rows() -> None:
    table = Table(columns=["a"], data=[[1]], log_mode="INCREMENTAL")
    table.as_value()
    table.add_column("b", [2])

    value = table.as_value()
    assert value["previous_increments_paths"] == []
    assert json.loads(value["_payload"].data) == {"columns": ["a", "b"], "data": [[1, 2]]}


# mistakes


def numbers() -> Table:
    return Table(columns=["a", "b"], data=[[1, "x"]])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: numbers().add_data(1),
            ValueError,
            r"row 1 has 1 values for 2 columns \(a, b\); give one value per column",
        ),
        (lambda: Table(columns=["a"], data=[[1], [1, 2]]), ValueError, "row 1 has 2 values for 1 columns"),
        (
            lambda: numbers().add_data("z", "z"),
            TypeError,
            r"row 1, column 'a': .*str \(string\) in a column that holds numbers",
        ),
        (lambda: numbers().add_data(True, "z"), TypeError, "row 1, column 'a': .*boolean"),
        (lambda: numbers().add_data(1, 2), TypeError, "column 'b': .*int.*allow_mixed_types=True"),
        (lambda: numbers().add_data(object(), "a"), TypeError, "row 1, column 'a': object has no form in a table"),
        (
            lambda: Table(columns=["a"], optional=False, data=[[None]]),
            TypeError,
            "column 'a' is None, and .*optional=True",
        ),
        (lambda: Table(columns=["a"], dtype=int, data=[["x"]]), TypeError, "a column that holds numbers"),
        (lambda: Table(columns=["a"], dtype="nonsense"), AssertionError, "dtype 'nonsense' is not known"),
        (lambda: Table(columns=["a"], dtype=[int, str]), AssertionError, "dtype has 2 values for 1 columns"),
        (lambda: Table(columns="ab"), AssertionError, "columns must be a list of names, got str"),
        (lambda: Table(columns=[1.5]), AssertionError, r"columns\[0\] is a float"),  # type: ignore[list-item]
        (lambda: Table(columns=["a", "a"]), AssertionError, "name 'a' twice"),
        (lambda: Table(log_mode="APPEND"), AssertionError, "log_mode='APPEND' is not one of IMMUTABLE"),
        (lambda: Table(data=3), AssertionError, "data must be rows.*got int"),
        (lambda: Table(data=[1, 2]), ValueError, "row 0 is a int; each row is a list"),
        (lambda: Table(data="ab"), AssertionError, "got str"),
        (lambda: Table(dataframe=[[1]]), AssertionError, "dataframe is a list"),
        (lambda: Table(columns=["a"], data=[{"b": 1}]), ValueError, "row 0 has 'b', which is no column; columns are a"),
        (lambda: Table(data={"a": [1], "b": [1, 2]}), ValueError, "'a' has 1 values, 'b' 2"),
        (lambda: numbers().add_column("c", [1, 2]), AssertionError, r"add_column\('c'\): 2 values for 1 rows"),
        (lambda: numbers().add_column("a", [1]), AssertionError, "there is a column 'a' already"),
        (lambda: numbers().add_column(1.5, [1]), AssertionError, "name must be text"),  # type: ignore[arg-type]
        (lambda: numbers().add_column("c", "x"), AssertionError, "data must be a list or array, got str"),
        (lambda: numbers().add_column("c", [object()]), TypeError, "row 0, column 'c': object has no form"),
        (
            lambda: numbers().add_data(Raising(), "x"),
            TypeError,
            "row 1, column 'a': reading a Raising raised RuntimeError: no",
        ),
        (lambda: numbers().add_column("c", [Raising()]), TypeError, "row 0, column 'c': reading a Raising raised"),
        (lambda: numbers().get_column("c"), AssertionError, "no column 'c'; there are a, b"),
        (lambda: numbers().cast("a", str), TypeError, "row 0, column 'a': .*holds strings"),
    ],
)
def test_a_mistake_names_row_column_type_and_the_next_step(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        make()

    assert isinstance(raised.value, DataError)


def test_a_refused_row_leaves_the_table_as_it_was() -> None:
    table = Table(columns=["a", "b"])
    with pytest.raises(DataError):
        table.add_data(1, object())
    table.add_data("text", "b")

    assert table.data == [["text", "b"]]


def test_mixed_types_are_kept_when_they_are_allowed() -> None:
    table = Table(columns=["a"], allow_mixed_types=True, data=[[1], ["x"], [None], [[1]], [True]])

    assert content(table)["data"] == [[1], ["x"], [None], [[1]], [True]]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ([[object()]], "row 0, column 'a': object has no form"),
        (10**5000, "integer of more than 4,000 digits"),
        (b"\xff", "byte 0 is not"),
        (np.zeros(2, dtype=[("x", "f4")]), "array of records"),
    ],
    ids=["object", "integer", "bytes", "records"],
)
def test_what_cannot_be_stored_is_an_error_when_it_is_logged(cell: Any, message: str) -> None:
    table = Table(columns=["a"], data=[[cell]])

    with pytest.raises(DataError, match=message):
        table.as_value()


def test_a_list_that_holds_itself_is_an_error() -> None:
    cell: list[Any] = []
    cell.append(cell)

    with pytest.raises(DataError, match="row 0, column 'a': it is nested deeper"):
        Table(columns=["a"], data=[[cell]]).as_value()


def test_rows_that_were_changed_behind_the_tables_back_are_checked() -> None:
    table = numbers()
    table.data.append([1, 2, 3])

    with pytest.raises(DataError, match="row 1 has 3 values for 2 columns"):
        table.as_value()


# frames of files


@CHECKED
@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=8))
def test_whole_numbers_of_a_frame_are_exact_also_beside_none(values: list[int | None]) -> None:
    table = Table(columns=["a"], data=[[value] for value in values])

    frame = table_file.frame([file_of(table)], {})

    assert [None if value is pd.NA else value for value in frame["a"].tolist()] == values


def test_dates_and_durations_of_a_frame_are_those_of_pandas() -> None:
    frame = pd.DataFrame(
        {
            "time": pd.to_datetime(pd.Series(["2024-05-06 07:08:09.123456789", None])),
            "zone": pd.to_datetime(pd.Series(["2024-05-06T07:08:09+02:00", None])),
            "duration": pd.to_timedelta(pd.Series(["1 days 00:00:00.000000001", None])),
            "span": pd.to_timedelta(pd.Series(["-90s", "2h"])),
            "number": [1.5, math.nan],
            "text": ["a", None],
            "flag": [True, False],
        }
    )
    value = Table(dataframe=frame).as_value()

    read = table_file.frame([value["_payload"].data], value["column_types"])

    pd.testing.assert_frame_equal(read, frame, check_dtype=False)
    assert read["time"][0] == frame["time"][0]
    assert read["duration"].dtype == "timedelta64[ns]"


def test_an_empty_table_is_an_empty_frame_with_its_columns() -> None:
    frame = table_file.frame([file_of(Table(columns=["a", "b"]))], {})

    assert (list(frame.columns), len(frame)) == (["a", "b"], 0)
