"""Text for a terminal."""

import io
import math
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from milepost.sdk.terminal import Screen, duration, number, pad, plain, printable, sparkline, width

CHECKED = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (12, "12"),
        (-3, "-3"),
        (123_456_789, "123456789"),
        (10**30, "1e+30"),
        (-(10**400), "-1e+400"),
        (0.1, "0.1"),
        (2.0, "2"),
        (0.98765432, "0.9877"),
        (12_345.678, "12346"),
        (999_999.9, "1000000"),
        (12_345_678.9, "1.235e+7"),
        (1e-5, "1e-5"),
        (5e-324, "4.941e-324"),
        (math.nan, "NaN"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
    ],
)
def test_a_number_takes_few_characters(value: float, text: str) -> None:
    assert number(value) == text


@CHECKED
@given(st.floats() | st.integers())
def test_any_number_fits_a_column_of_ten(value: float) -> None:
    assert 0 < len(number(value)) <= 11


def test_what_a_terminal_could_take_for_a_command_is_written_out() -> None:
    assert printable("ok é 数字") == "ok é 数字"
    assert printable("\x1b[2J\x07 a\nb\tc") == "\\x1b[2J\\x07 a\\nb\\tc"
    assert printable("user\u202etxt.exe \x9b31m \ud800") == "user\\u202etxt.exe \\x9b31m \\ud800"


@CHECKED
@given(st.text(), st.integers(min_value=4, max_value=40))
def test_text_and_names_are_cut_to_the_cells_there_are(text: str, cells: int) -> None:
    screen = Screen(io.StringIO())
    assert width(screen.fit(printable(text), cells)) <= cells
    assert width(screen.fit_name(text, cells)) <= cells
    assert printable(screen.fit_name(text, cells)).isprintable()


def test_a_long_name_keeps_both_ends() -> None:
    assert Screen(io.StringIO()).fit_name("encoder.layers.11.attention.weight", 16) == "encoder.….weight"


def test_wide_characters_take_two_cells_and_combining_marks_none() -> None:
    assert (width("数字"), width("e\u0301"), width("abc")) == (4, 1, 3)
    assert pad("数", 4) == "数  "
    assert pad("数", 4, "right") == "  数"


def test_a_sparkline_rises_from_the_smallest_to_the_largest_value() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 4) == "▁▃▆█"
    assert sparkline([1, math.nan, 3], 8) == "▁ █"


def test_a_sparkline_of_equal_values_is_flat_also_when_rounding_makes_them_differ() -> None:
    assert sparkline([0.001, 0.0010000000000000002, 0.001], 8) == "▁▁▁"
    assert sparkline([0.0, 0.0], 8) == "▁▁"


def test_a_sparkline_of_extreme_or_no_values_does_not_fail() -> None:
    assert sparkline([-1.7e308, 1.7e308, 0], 8) == "▁█▅"
    assert sparkline([math.nan, math.inf], 8) == ""
    assert sparkline([], 8) == ""


@CHECKED
@given(st.lists(st.floats()), st.integers(min_value=1, max_value=50))
def test_a_sparkline_is_never_longer_than_asked(values: list[float], cells: int) -> None:
    assert len(sparkline(values, cells)) <= cells


def test_colours_are_for_terminals_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert Screen(io.StringIO()).paint("a", "bold") == "a"
    assert Screen(Terminal()).paint("a", "bold") == "\x1b[1ma\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert Screen(Terminal()).paint("a", "bold") == "a"
    monkeypatch.setenv("NO_COLOR", "")
    monkeypatch.setenv("TERM", "dumb")
    assert Screen(Terminal()).paint("a", "bold") == "a"


def test_a_stream_that_cannot_encode_bars_gets_ascii() -> None:
    content = io.BytesIO()
    screen = Screen(io.TextIOWrapper(content, encoding="ascii"))
    assert not screen.unicode
    assert screen.spark([0, 1, 2], 3) == "_=#"
    assert screen.fit("a long text", 6) == "a l..."
    assert screen.show("数\n")
    assert content.getvalue() == b"\\u6570\n"


def test_columns_decides_the_width_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Screen(io.StringIO()).width == 80
    monkeypatch.setenv("COLUMNS", "132")
    assert Screen(io.StringIO()).width == 132


def test_a_stream_that_is_closed_or_gone_is_no_error() -> None:
    closed = io.StringIO()
    closed.close()
    assert not Screen(closed).show("text\n")
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as gone:
        assert not Screen(gone).show("text\n")
        assert not Screen(gone).show("more\n")
        # Nothing is left in the stream's buffer, so that closing it, as the interpreter does in the end, is silent too.


def test_values_of_every_type_fit_on_one_line() -> None:
    assert plain(True) == "True"
    assert plain(None) == "None"
    assert plain("two\nlines") == "two\\nlines"
    assert plain([1, "a"]) == '[1, "a"]'
    assert plain({"_type": "image-file", "width": 28, "height": 14, "caption": "a 7"}) == "image-file 28 x 14 a 7"
    assert plain({"_type": "table-file", "ncols": 3, "nrows": 14}) == "table-file 14 x 3"
    assert plain({"_type": "chart-file", "ncols": 3, "nrows": 9, "title": "ROC"}) == "chart-file 9 x 3 ROC"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 s"),
        (9.994, "9.99 s"),
        (59.4, "59.4 s"),
        (185, "3 min 5 s"),
        (7_800, "2 h 10 min"),
        (200_000, "2 days 7 h"),
    ],
)
def test_a_duration_reads_as_a_person_says_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text
