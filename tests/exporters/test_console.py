"""What a user sees: nothing while the run goes on, rows on request, one page at the end."""

import io
import json
import math
import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from milepost.exporters.console import SERIES_LIMIT, ConsoleExporter
from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event
from milepost.sdk.exporter import ExportResult
from milepost.sdk.terminal import width
from milepost.sdk.testing import make_event, make_run


def rows(count: int, more: Mapping[str, Any] | None = None, *, first: int = 0) -> list[Event]:
    return [
        make_event(
            values={"train.loss": 2.3 * math.exp(-step / 40), "accuracy": 1 - math.exp(-step / 40), **(more or {})},
            seq=step,
        )
        for step in range(first, first + count)
    ]


def ended(summary: Mapping[str, Any] | None = None, **values: Any) -> Event:
    told = {"state": "finished", "exit_code": 0, "summary": summary or {}}
    return make_event("run.finish", told | values, seq=12_345)


def printed(tmp_path: Path, *events: Event, primary: bool = True, **options: Any) -> str:
    stream = io.StringIO()
    exporter = ConsoleExporter(stream=stream, **options)
    exporter.start(make_run(tmp_path, primary=primary), None)
    assert exporter.export(events) == ExportResult.SUCCESS
    return stream.getvalue()


# While the run goes on


def test_it_is_quiet_while_the_run_goes_on(tmp_path: Path) -> None:
    assert printed(tmp_path, *rows(100)) == ""


def test_every_n_th_row_is_printed_across_batches(tmp_path: Path) -> None:
    stream = io.StringIO()
    exporter = ConsoleExporter(every=3, format="plain", stream=stream)
    exporter.start(make_run(tmp_path), None)
    for first, count in ((0, 4), (4, 1), (5, 3), (8, 3)):
        exporter.export(rows(count, first=first))
    assert [line.split()[1] for line in stream.getvalue().splitlines()] == ["0", "3", "6", "9"]


def test_a_plain_row_is_its_step_and_its_values(tmp_path: Path) -> None:
    row = make_event(values={"loss": 0.12345, "epoch": 3, "phase": "main\x1b[31m", "best": None}, step=12)
    assert (
        printed(tmp_path, row, every=1, format="plain")
        == "step 12  loss 0.1235  epoch 3  phase main\\x1b[31m  best None\n"
    )


def test_json_rows_are_one_object_a_line_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(tmp_path, *rows(3), ended(), every=2, format="json")
    assert [json.loads(line)["_step"] for line in text.splitlines()] == [0, 2]
    assert "calm-heron" in capsys.readouterr().err


def test_a_table_has_aligned_columns_and_says_what_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "48")
    more = {"a.very.long.name.of.a.metric": 1.5, "phase": "main", "lr": 0.001}
    text = printed(tmp_path, *rows(2, more), every=1)
    assert text == (
        "    step  train.loss  accuracy  +3\n       0         2.3         0\n       1       2.243   0.02469\n"
    )


def test_a_new_name_brings_a_new_header(tmp_path: Path) -> None:
    text = printed(tmp_path, *rows(2), *rows(1, {"val": 1}, first=2), *rows(1, first=3), every=1)
    assert [line.split()[0] for line in text.splitlines()] == ["step", "0", "1", "step", "2", "3"]
    assert text.splitlines()[3].split() == ["step", "train.loss", "accuracy", "val"]


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 300])
def test_no_line_is_wider_than_the_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    names = {f"損失.layer.{index}.weight.norm": 10.0**index for index in range(40)}
    awkward: dict[str, Any] = {"x" * 300: 1, "text": "y" * 500, "list": list(range(100)), "nan": math.nan}
    text = printed(tmp_path, *rows(50, {**names, **awkward}), ended({**names, **awkward}), every=10)
    assert [
        line
        for line in text.splitlines()
        if width(line) > columns and "milepost show" not in line and "runs" not in line
    ] == []


# The page at the end


def test_the_page_tells_what_came_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    summary = {
        "train": {"loss": 0.19},
        "accuracy": 0.92,
        "phase": "main",
        "_step": 99,
        "val.f1": {"max": 0.9, "min": 0.1},
    }
    text = printed(tmp_path, *rows(100), ended(summary))
    assert text == (
        "\n"
        "  ● calm-heron · demo/run1 · finished after 12.3 s · 100 rows\n"
        "\n"
        "  metric      last     min     max\n"
        "  train.loss  0.19  0.1936     2.3  ██▇▇▆▆▆▅▅▅▅▄▄▄▄▃▃▃▃▃▃▂▂▂▂▂▂▂▂▂▂▁▁▁▁▁▁▁▁▁\n"
        "  accuracy    0.92       0  0.9158  ▁▁▂▂▃▃▃▄▄▄▄▅▅▅▅▆▆▆▆▆▆▇▇▇▇▇▇▇▇▇▇█████████\n"
        "  phase       main\n"
        "  val.f1      max 0.9, min 0.1\n"
        "\n"
        "  files  runs/demo/run1\n"
        "  look   milepost show demo/run1 --dir runs\n"
        "\n"
    )


def test_the_page_has_the_name_that_the_run_was_given_last(tmp_path: Path) -> None:
    text = printed(
        tmp_path, *rows(2), make_event("meta", {"name": "renamed"}), make_event("meta", {"tags": ["x"]}), ended()
    )

    assert "● renamed · " in text


def test_short_names_stand_under_their_header(tmp_path: Path) -> None:
    text = printed(tmp_path, make_event(values={"a": 1}), ended())
    assert "  metric  last\n  a          1\n" in text


def test_a_long_list_is_cut_and_counted(tmp_path: Path) -> None:
    text = printed(tmp_path, *rows(3, {f"m{index}": index for index in range(65)}), ended())
    assert "  … and 37 more\n" in text
    assert "m27" in text
    assert "m28" not in text


def test_one_metric_too_many_is_shown_instead_of_counted(tmp_path: Path) -> None:
    text = printed(tmp_path, *rows(3, {f"m{index}": index for index in range(29)}), ended())
    assert "more" not in text
    assert "m28" in text


def test_a_failed_run_shows_its_exit_code(tmp_path: Path) -> None:
    assert "failed with exit code 3 after 12.3 s · 0 rows" in printed(tmp_path, ended(state="failed", exit_code=3))


def test_values_that_are_not_finite_are_counted_beside_the_course(tmp_path: Path) -> None:
    values = [1.0, math.nan, 3.0, math.inf, 2.0]
    text = printed(
        tmp_path, *[make_event(values={"loss": value}, seq=seq) for seq, value in enumerate(values)], ended()
    )
    line = next(line for line in text.splitlines() if "loss" in line)
    assert line == "  loss       2     1     3  ▁ █ ▅ 2 NaN/inf"


def test_what_is_not_delivered_is_told_with_its_reason(tmp_path: Path) -> None:
    accounting = {
        "otlp": {"pending": 1200, "rejected": {"bad point": 2}, "dropped": {}},
        "file": {"pending": 0, "delivered": 5},
    }
    text = printed(tmp_path, ended(accounting=accounting))
    assert "  !      otlp: 1,200 rows not sent yet, 2 rows rejected (bad point)\n" in text
    assert "file:" not in text


def test_names_and_values_cannot_command_the_terminal(tmp_path: Path) -> None:
    event = make_event(values={"\x1b]0;title\x07": 1.0, "text": "\x1b[2J\r\n", "\u202e": 2})
    exporter_run = make_run(tmp_path, name="\x1b[31mred", id="\x9b2J")
    stream = io.StringIO()
    exporter = ConsoleExporter(every=1, stream=stream)
    exporter.start(exporter_run, None)
    exporter.export([event, ended({"text": "\x1b[2J"})])
    assert [character for character in stream.getvalue() if not character.isprintable() and character != "\n"] == []


def test_only_the_writer_that_speaks_for_the_run_prints(tmp_path: Path) -> None:
    assert printed(tmp_path, *rows(3), ended(), primary=False, every=1) == ""


@pytest.mark.parametrize("variable", ["MILEPOST_SILENT", "WANDB_SILENT"])
def test_silence_can_be_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "true")
    assert printed(tmp_path, *rows(3), ended(), every=1) == ""


def test_the_stream_is_the_one_of_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = ConsoleExporter(every=1, format="plain")
    exporter.start(make_run(tmp_path), None)
    replaced = io.StringIO()
    monkeypatch.setattr(sys, "stdout", replaced)
    exporter.export(rows(1))
    assert replaced.getvalue().startswith("step 0")


def test_a_stream_that_is_gone_is_no_error_and_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    exporter = ConsoleExporter(every=1, stream=stream)
    exporter.start(make_run(tmp_path), None)
    stream.close()
    assert exporter.export(rows(1)) == ExportResult.SUCCESS
    assert exporter.export([ended()]) == ExportResult.SUCCESS
    monkeypatch.setattr(sys, "stdout", None)
    without = ConsoleExporter(every=1)
    without.start(make_run(tmp_path), None)
    assert without.export(rows(1)) == ExportResult.SUCCESS


def test_a_broken_pipe_leaves_the_exit_code_alone(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from milepost.exporters.console import ConsoleExporter\n"
        "from milepost.sdk.testing import *\n"
        "e = ConsoleExporter(every=1); e.start(make_run(Path(sys.argv[1])), None)\n"
        "sys.stdin.readline(); [e.export(make_rows(100)) for _ in range(20)]\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        process.stdout.close()
        _, errors = process.communicate(b"go\n")
    assert (process.returncode, errors) == (0, b"")


def test_a_terminal_gets_colours_and_its_own_width(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl
    import struct
    import termios

    monkeypatch.setenv("TERM", "xterm")
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 50, 0, 0))
    with os.fdopen(terminal, "w", encoding="utf-8") as stream:
        exporter = ConsoleExporter(stream=stream)
        exporter.start(make_run(tmp_path), None)
        exporter.export([*rows(20, {f"m{index}": index for index in range(30)}), ended()])
        text = os.read(controller, 1 << 16).decode()
    os.close(controller)
    assert "\x1b[32mfinished" in text
    assert "… and 22 more" in text  # as many as fit the height of the terminal


def test_a_page_on_a_stream_without_unicode_is_ascii(tmp_path: Path) -> None:
    content = io.BytesIO()
    exporter = ConsoleExporter(stream=io.TextIOWrapper(content, encoding="ascii"))
    exporter.start(make_run(tmp_path), None)
    exporter.export([*rows(30, {"größe": 1}), ended()])
    text = content.getvalue().decode("ascii")
    assert "  * calm-heron - demo/run1 - finished" in text
    assert "gr\\xf6\\xdfe" in text
    assert "#*" in text


def test_memory_does_not_grow_with_the_names(tmp_path: Path) -> None:
    exporter = ConsoleExporter(stream=io.StringIO())
    exporter.start(make_run(tmp_path), None)
    for index in range(SERIES_LIMIT * 3):
        exporter.export([make_event(values={f"name{index}": 1.0})])
    assert len(exporter._series) == SERIES_LIMIT


@pytest.mark.parametrize("every", [0, -1, True, "5", 2.0])
def test_a_wrong_every_is_named_with_its_rule(every: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"every is .*; it can be a whole number >= 1"):
        ConsoleExporter(every=every)


def test_a_wrong_format_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="format is 'xml'; it can be"):
        ConsoleExporter(format="xml")  # type: ignore[arg-type]


@pytest.mark.parametrize("format", ["table", "json"])
def test_where_nobody_looks_one_line_on_standard_error_says_how_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], format: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    exporter = ConsoleExporter(format=format)
    exporter.start(make_run(tmp_path), None)
    exporter.export([*rows(3), ended(state="failed", exit_code=2)])
    said = capsys.readouterr()

    assert said.out == ""
    assert said.err == (
        "milepost: run calm-heron (demo/run1) failed with exit code 2 after 12.3 s, 3 rows; "
        "look: milepost show demo/run1 --dir runs\n"
    )
