"""Tables, charts and figures on their whole way: logged, stored, delivered."""

import json
import math
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import milepost
from tests.sdk import runs
from tests.sdk.runs import Recorded


def recorded(**settings: Any) -> AbstractContextManager[Recorded]:
    """A run whose files are made by a thread: a process takes a quarter of a second to start."""
    return runs.recorded(settings={"media": {"encode_in": "thread"}, **settings})


def file_of(run: Recorded, value: Any) -> Any:
    """The JSON of a value's file."""
    return json.loads((Path(run.run.dir) / value["path"]).read_bytes())


def picture() -> milepost.Image:
    return milepost.Image(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))


def test_a_table_is_a_file_named_for_its_key_and_step() -> None:
    with recorded() as run:
        run.log({"a": {"results": milepost.Table(columns=["x"], data=[[1], [2]])}}, step=7)
        (row,) = run.rows()

        value = row["a.results"]
        assert {name: value[name] for name in ("_type", "nrows", "ncols", "log_mode")} == {
            "_type": "table-file",
            "nrows": 2,
            "ncols": 1,
            "log_mode": "IMMUTABLE",
        }
        assert value["path"].startswith("media/table/results_7_")
        assert value["path"].endswith(".table.json")
        assert file_of(run, value) == {"columns": ["x"], "data": [[1], [2]]}


def test_media_in_cells_are_files_of_their_own() -> None:
    table = milepost.Table(columns=["id", "picture", "several"])
    table.add_data(1, picture(), [picture(), picture()])
    table.add_data(2, None, None)
    with recorded() as run:
        run.log({"results": table})
        (row,) = run.rows()

        (_, first, several), second = file_of(run, row["results"])["data"]
        assert second == [2, None, None]
        assert [one["_type"] for one in (first, *several)] == ["image-file"] * 3
        assert all((Path(run.run.dir) / one["path"]).is_file() for one in (first, *several))


def test_a_figure_of_matplotlib_in_a_cell_is_a_picture_of_then() -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    figure, axes = plt.subplots()
    axes.imshow(np.zeros((2, 2)))
    table = milepost.Table(columns=["figure"], data=[[figure]])
    plt.close(figure)
    with recorded() as run:
        run.log({"results": table})
        (row,) = run.rows()

        assert file_of(run, row["results"])["data"][0][0]["_type"] == "image-file"


@pytest.mark.parametrize("frame", [pd.DataFrame({"x": [1.5, math.nan]}), pl.DataFrame({"x": [1.5, math.nan]})])
def test_a_data_frame_is_logged_as_a_table_at_any_depth(frame: Any) -> None:
    with recorded() as run:
        run.log({"a": {"b": frame}})
        (row,) = run.rows()

        assert row["a.b"]["_type"] == "table-file"
        assert str(file_of(run, row["a.b"])) == str({"columns": ["x"], "data": [[1.5], [math.nan]]})


def test_a_changed_table_that_is_logged_again_stores_what_it_holds_now() -> None:
    table = milepost.Table(columns=["x"])
    with recorded() as run:
        for number in range(3):
            table.add_data(number)
            run.log({"results": table})
        run.log({"results": table})
        rows = run.rows()

        contents = [file_of(run, row["results"])["data"] for row in rows]
        assert contents == [[[0]], [[0], [1]], [[0], [1], [2]], [[0], [1], [2]]]
        assert rows[2]["results"]["path"] == rows[3]["results"]["path"]


def test_an_incremental_table_writes_its_new_rows_and_names_the_files_before() -> None:
    table = milepost.Table(columns=["x"], log_mode="INCREMENTAL")
    with recorded() as run:
        for number in range(3):
            table.add_data(number)
            run.log({"results": table})
        values = [row["results"] for row in run.rows()]

        assert [file_of(run, value)["data"] for value in values] == [[[0]], [[1]], [[2]]]
        paths = [value["path"] for value in values]
        assert [value["previous_increments_paths"] for value in values] == [[], paths[:1], paths[:2]]


def test_an_incremental_table_goes_whole_into_the_next_run() -> None:
    table = milepost.Table(columns=["x"], log_mode="INCREMENTAL", data=[[0]])
    for _ in range(2):
        with recorded() as run:
            run.log({"results": table})
            table.add_data(1)
            run.log({"results": table})
            value = run.rows()[-1]["results"]

            files = [*value["previous_increments_paths"], value["path"]]
            rows = [row for path in files for row in file_of(run, {"path": path})["data"]]
            assert rows == table.data


def test_a_chart_stands_under_its_key_and_its_table_beside_it() -> None:
    with recorded() as run:
        run.log({"eval": {"pr": milepost.plots.precision_recall([0, 1], [[0.9, 0.1], [0.2, 0.8]])}, "x": 1})
        (row,) = run.rows()

        chart, table = row["eval.pr"], row["eval.pr_table"]
        assert (chart["_type"], chart["kind"], chart["title"]) == ("chart-file", "curve", "Precision v. Recall")
        assert chart["fields"] == {"x": "recall", "y": "precision", "class": "class"}
        assert (table["_type"], table["path"]) == ("table-file", chart["path"])
        assert "fields" not in table
        assert file_of(run, chart)["columns"] == ["class", "precision", "recall"]


def test_two_charts_of_one_call_keep_apart() -> None:
    data = milepost.Table(columns=["x", "y"], data=[[1, 2]])
    with recorded() as run:
        run.log({"a": milepost.plot.line(data, "x", "y"), "b": milepost.plot.scatter(data, "y", "x")})
        (row,) = run.rows()

        assert [row[key]["kind"] for key in ("a", "b")] == ["line", "scatter"]
        assert file_of(run, row["a"]) == file_of(run, row["b"])


def test_a_value_that_the_program_logs_under_the_name_of_the_table_is_kept() -> None:
    with recorded() as run:
        run.log({"c": milepost.plot.bar(milepost.Table(["a", "b"], [["x", 1]]), "a", "b"), "c_table": 5})

        assert run.rows()[0]["c_table"] == 5


def test_a_mistake_in_a_table_costs_the_call_and_names_row_and_column() -> None:
    table = milepost.Table(columns=["x"], data=[[[object()]]])
    with recorded() as run:
        with pytest.raises(milepost.DataError, match=r'cannot log "t".*Table row 0, column \'x\''):
            run.log({"t": table, "loss": 1})
        run.log({"loss": 2})

        assert [row["loss"] for row in run.rows()] == [2]


def test_a_mistake_in_a_table_leaves_a_placeholder_when_log_must_not_raise() -> None:
    table = milepost.Table(columns=["x"], data=[[[object()]]])
    with recorded(on_invalid="placeholder") as run:
        run.log({"t": table, "loss": 1})
        (row,) = run.rows()

        assert (row["t"]["_type"], row["loss"]) == ("placeholder", 1)


def test_figures_are_logged_as_they_are() -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    go = pytest.importorskip("plotly.graph_objects")
    figure, axes = plt.subplots()
    axes.plot([1, 2])
    with recorded() as run:
        run.log({"figure": figure, "axes": axes, "module": plt, "plotly": go.Figure(go.Bar(y=[1, 2]))})
        plt.close(figure)
        (row,) = run.rows()

        assert [row[key]["_type"] for key in ("figure", "axes", "module", "plotly")] == ["plotly-file"] * 4
        assert file_of(run, row["plotly"])["data"] == [{"y": [1, 2], "type": "bar"}]


def test_a_table_in_the_summary_is_its_last_one() -> None:
    with recorded() as run:
        run.log({"results": milepost.Table(columns=["x"], data=[[1]])})
        run.run.summary["best"] = milepost.Table(columns=["x"], data=[[2]])

        live = run.run.summary
        assert [live[key]["nrows"] for key in ("results", "best")] == [1, 1]
        assert {live[key]["_type"] for key in ("results", "best")} == {"table-file"}
