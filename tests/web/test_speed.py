"""The page is quick with much in it: long runs in many charts, and a table of 10,000 runs. `make bench-page` prints all figures.

What the page itself does is asserted by processor time; the time of a frame is also what the machine does beside it.
"""

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext

from bench import page


@pytest.mark.gate
@pytest.mark.timeout(1800)
def test_much_is_scrolled_without_a_stop_and_in_little_memory(chromium: BrowserContext, tmp_path: Path) -> None:
    data = tmp_path / "data"
    page.make(data, steps=1_000_000)

    found = dict(page.measured(chromium, data, tmp_path, ["charts", "table"], 8))

    print(found)
    charts, table = found["charts"], found["table"]
    assert charts["charts"] == page.KEYS
    assert charts["first_chart_ms"] <= 1000
    assert charts["cold_tasks_over_50_ms_cpu"] == charts["warm_tasks_over_50_ms_cpu"] == 0
    assert table["wheel_tasks_over_50_ms_cpu"] == table["fling_tasks_over_50_ms_cpu"] == 0
    assert max(charts["process_mb"], table["process_mb"]) < 400


@pytest.mark.gate
def test_a_point_is_in_the_chart_two_seconds_after_it_was_logged(chromium: BrowserContext, tmp_path: Path) -> None:
    waits = page.live(chromium, tmp_path / "runs")

    print(waits)
    assert waits["median_ms"] <= 2000
