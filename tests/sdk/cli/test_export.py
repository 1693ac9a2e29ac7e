"""`milepost export` writes every row, exactly."""

import csv
import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import pandas
import pytest

import milepost
from tests.sdk.cli.conftest import Command, console_script, kill_a_run, log_run

ROWS: list[dict[str, Any]] = [
    {"loss": 0.1, "n": 1, "flag": True, "text": 'a, "b"\nc', "list": [1, [2, math.nan]]},
    {"loss": math.nan, "n": 2**53 + 1, "mixed": 1},
    {"loss": -math.inf, "n": None, "flag": False, "mixed": "one"},
    {"late": 5e-324, "n": -7, "größe": "ß"},
]


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_has_every_row_and_the_union_of_the_keys(command: Command) -> None:
    log_run(ROWS, id="one")

    code, out, err = command("export", "demo/one", "--dir", "runs")

    assert (code, err) == (0, "")
    first, second, third, fourth = read_csv(out)
    assert list(first) == [
        "_step", "_timestamp", "_runtime", "loss", "n", "flag", "text", "list", "mixed", "late", "größe",
    ]  # fmt: skip
    assert (first["loss"], first["flag"], first["text"]) == ("0.1", "true", 'a, "b"\nc')
    assert json.loads(first["list"]) == [1, [2, "NaN"]]
    assert (second["loss"], second["n"], second["flag"]) == ("NaN", "9007199254740993", "")
    assert (third["loss"], third["n"], third["flag"], third["mixed"]) == ("-Infinity", "", "false", "one")
    assert (fourth["late"], fourth["größe"], fourth["_step"]) == ("5e-324", "ß", "3")


def test_the_numbers_of_a_csv_are_those_that_were_logged(command: Command) -> None:
    log_run([{"x": 1 / (i + 3)} for i in range(100)], id="one")
    rows = milepost.Api("runs").run("one").scan_history()

    assert [float(row["x"]) for row in read_csv(command("export", "one", "--dir", "runs").out)] == [
        r["x"] for r in rows
    ]


def test_jsonl_is_what_the_file_exporter_writes() -> None:
    directory = log_run(ROWS * 300, id="one")

    told = console_script("export", "one", "--dir", "runs", "--format", "jsonl").stdout

    assert told == (directory / "history.jsonl").read_text(encoding="utf-8")


def test_parquet_holds_types_and_nan(command: Command) -> None:
    log_run(ROWS, id="one")

    code, out, err = command("export", "one", "--dir", "runs", "-o", "history.parquet")

    assert (code, out, err) == (0, "", "4 rows of demo/one in history.parquet\n")
    table = pandas.read_parquet("history.parquet", dtype_backend="pyarrow")
    assert [str(kind) for kind in table.dtypes[["_step", "loss", "n", "flag", "text", "late"]]] == [
        "int64[pyarrow]", "double[pyarrow]", "int64[pyarrow]", "bool[pyarrow]", "string[pyarrow]", "double[pyarrow]",
    ]  # fmt: skip
    assert list(table["n"].dropna()) == [1, 2**53 + 1, -7]
    assert list(table["mixed"].dropna()) == ["1", "one"]
    assert json.loads(str(table["list"][0])) == [1, [2, "NaN"]]
    assert math.isinf(table["loss"][2])


def test_whole_numbers_that_no_float_holds_stay_what_they_are_beside_floats(command: Command) -> None:
    log_run([{"a": 2**53 + 1, "b": 1, "in.a": None}, {"a": 0.5, "b": 0.5, "in.a": "x"}], id="one")

    assert command("export", "one", "--dir", "runs", "-o", "history.parquet").code == 0
    table = pandas.read_parquet("history.parquet", dtype_backend="pyarrow")
    assert (list(table["a"]), list(table["b"])) == (["9007199254740993", "0.5"], [1.0, 0.5])
    assert list(table["in.a"].dropna()) == ["x"]


def test_steps_behind_the_last_of_64_bits_are_text(command: Command) -> None:
    with milepost.init(project="demo", id="one", dir="runs", exporters=[]) as run:
        run.log({"a": 1}, step=2**63 - 1, commit=True)
        run.log({"a": 2})

    assert command("export", "one", "--dir", "runs", "-o", "history.parquet").code == 0
    table = pandas.read_parquet("history.parquet", dtype_backend="pyarrow")
    assert list(table["_step"]) == [str(2**63 - 1), str(2**63)]
    assert list(table["a"]) == [1, 2]


def test_parquet_without_pyarrow_names_the_command_that_installs_it(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_run(ROWS, id="one")
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    code, _, err = command("export", "one", "--dir", "runs", "-o", "x.parquet")

    assert (code, err) == (2, 'error: parquet needs pyarrow; install it with: pip install "milepost[parquet]"\n')
    assert not Path("x.parquet").exists()


def test_keys_choose_columns_and_the_rows_that_hold_one_of_them(command: Command) -> None:
    log_run(
        [{"train": {"loss": float(i)}} | ({"val": {"loss": 1.0}} if i % 5 == 4 else {}) for i in range(20)], id="one"
    )

    rows = read_csv(command("export", "one", "--dir", "runs", "--keys", "val.*").out)

    assert list(rows[0]) == ["_step", "_timestamp", "_runtime", "val.loss"]
    assert [row["_step"] for row in rows] == ["4", "9", "14", "19"]


def test_a_key_that_was_never_logged_is_an_error(command: Command) -> None:
    log_run([{"loss": 1.0}], id="one")

    code, out, err = command("export", "one", "--dir", "runs", "--keys", "lose")

    assert (code, out) == (2, "")
    assert err == "error: no row of demo/one: 'lose' was never logged (near it: 'loss')\n"


def test_rows_with_keys_of_their_own_are_in_every_format(command: Command) -> None:
    log_run([{f"key{i}": i} for i in range(1100)], id="wide")  # more sets of keys than a journal announces

    rows = read_csv(command("export", "wide", "--dir", "runs").out)

    assert len(rows) == 1100
    assert len(rows[0]) == 3 + 1100
    assert rows[1099]["key1099"] == "1099"


def test_a_killed_run_is_exported_whole(command: Command) -> None:
    kill_a_run()

    rows = read_csv(command("export", "killed", "--dir", "runs").out)

    assert [int(row["_step"]) for row in rows] == list(range(201))
    assert rows[-1]["open"] == "true"


def test_a_file_is_replaced_only_by_a_complete_one(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from milepost.sdk.cli import export

    log_run([{"x": i} for i in range(2000)], id="one")
    Path("x.jsonl").write_text("before", encoding="utf-8")

    def disk_is_full(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(export, "json_lines", disk_is_full)
        code, _, err = command("export", "one", "--dir", "runs", "-o", "x.jsonl")
    assert (code, err) == (1, "error: No space left on device\n")
    assert Path("x.jsonl").read_text(encoding="utf-8") == "before"

    assert command("export", "one", "--dir", "runs", "-o", "x.jsonl").code == 0
    assert len(Path("x.jsonl").read_text(encoding="utf-8").splitlines()) == 2000
    assert sorted(path.name for path in Path().iterdir()) == ["runs", "x.jsonl"]


def test_a_directory_that_is_not_there_is_named(command: Command) -> None:
    log_run([{"x": 1}], id="one")

    code, _, err = command("export", "one", "--dir", "runs", "-o", "nowhere/x.csv")

    assert (code, err) == (1, "error: nowhere/x.csv: No such file or directory\n")


def test_everybody_s_rows_come_with_their_writer_and_rank(command: Command) -> None:
    log_run([{"x": 1}], id="one")

    (row,) = read_csv(command("export", "one", "--dir", "runs", "--writer", "all").out)

    assert list(row) == ["_step", "_timestamp", "_runtime", "_writer", "_rank", "x"]
    assert len(row["_writer"]) == 16
    code, _, err = command("export", "one", "--dir", "runs", "--writer", "7")
    assert code == 2
    assert err.startswith("error: the run demo/one has no writer 7; ")
