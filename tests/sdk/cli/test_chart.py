"""Charts keep their width and show the extremes, whatever the numbers."""

import io
import math
from array import array
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from milepost.sdk.cli.chart import Points, chart, round_numbers
from milepost.sdk.terminal import Screen, width

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def points(x: list[float], y: list[float], name: str = "_step") -> Points:
    return Points(array("d", x), array("d", y), name)


def drawn(x: list[float], y: list[float], cells: int = 40, lines: int = 6, encoding: str = "utf-8") -> list[str]:
    screen = Screen(io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    return chart(points(x, y), screen, cells, lines)


@example([(0.0, -1.1984620899082105e308)], 24, 2)
@given(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=50), st.integers(24, 90), st.integers(2, 20))
def test_every_line_is_as_wide_as_it_was_asked_for(data: list[tuple[float, float]], cells: int, lines: int) -> None:
    out = drawn([x for x, _ in data], [y for _, y in data], cells, lines)

    assert [width(line) for line in out] == [cells] * (lines + 2)


@given(FINITE, FINITE, st.integers(2, 12))
def test_round_numbers_rise_and_stay_within_the_range(one: float, other: float, count: int) -> None:
    low, high = sorted((one, other))
    if low == high:
        return

    found = round_numbers(low, high, count)

    assert 2 <= len(found) <= count + 2
    assert all(a < b for a, b in pairwise(found))
    margin = (high / 2 - low / 2) * 1e-6
    assert all(low - margin <= value <= high + margin for value in found)


def test_round_numbers_are_round() -> None:
    assert round_numbers(0, 2.37, 5) == [0, 0.5, 1, 1.5, 2]
    assert round_numbers(3, 101, 4) == [50, 100]


def test_a_line_is_drawn_with_its_axes() -> None:
    assert drawn([0, 1, 2, 3], [0, 1, 2, 3], cells=24, lines=4) == [
        "3┤                 ⣀⣠⠴⠒⠋",
        "2┤           ⣀⣠⠤⠖⠚⠉⠁    ",
        "1┤     ⣀⣠⠤⠖⠚⠉⠁          ",
        "0┤⣀⡤⠴⠒⠋⠁                ",
        " └┬─────────────┬───────",
        "  0             2  _step",
    ]


def test_a_spike_among_a_hundred_thousand_points_is_seen() -> None:
    y = [0.0] * 100_000
    y[43_210] = 9.0

    top = drawn([float(i) for i in range(len(y))], y)[0]

    assert top.strip("0123456789 ┤│")


def test_a_metric_that_never_changes_is_a_level_line_at_its_value() -> None:
    lines = drawn([0, 1, 2], [7, 7, 7], lines=5)

    assert [line[0] for line in lines[:5]] == [" ", " ", "7", " ", " "]
    assert set(lines[2][2:]) != {" "}


def test_a_terminal_without_braille_gets_points_and_quotes() -> None:
    lines = drawn([0, 1, 2, 3], [0, 1, 2, 3], encoding="ascii")

    assert all(line.isascii() for line in lines)
    assert set("".join(lines)) & set(".':") == set(".':")


def test_nothing_is_drawn_without_points() -> None:
    assert drawn([], []) == []


def test_numbers_near_the_ends_of_what_floats_hold_are_drawn() -> None:
    for y in ([1.7e308, -1.7e308], [0.0, 5e-324], [1e300, 1.0000001e300], [math.nextafter(1, 2), 1.0]):
        assert len(drawn([0, 1], y)) == 8
