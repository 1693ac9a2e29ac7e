"""Views that are saved: on a server for everybody, over a runs directory in the browser."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.server.conftest import Server
from tests.server.sending import event, row, send
from tests.web.conftest import Tab

KEY = "mp_first_0123456789abcdef0123456789"


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[Server]:
    """A server with its own data, a key, and two runs."""
    server = Server(["--data", str(tmp_path / "data")], {**os.environ, "MILEPOST_ADMIN_KEY": KEY})
    with server.client(KEY) as client:
        for number in range(2):
            start = event(0, "run.start", {"name": f"run-{number}", "config": {"lr": 0.1 * number}})
            send(client, [start, *(row(n, {"loss": 1 / n}) for n in range(1, 9))], run=f"r{number}", project="shared")
    yield server
    server.stop()


def test_a_view_is_saved_linked_changed_and_opened_with(chromium: BrowserContext, keyed: Server) -> None:
    page = chromium.new_page()
    tab = Tab(page, keyed.url)
    page.request.post(f"{keyed.url}/api/v1/login", data={"key": KEY})
    tab.open("/p/shared?q=run-1&smooth=0.5")
    page.get_by_role("button", name="Views").click()
    page.get_by_label("Name of this view").fill("paper")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved the view “paper” for everybody")).to_be_visible()
    expect(page.get_by_role("list", name="Saved views")).to_contain_text("paper")
    page.get_by_role("button", name="Open the project with paper").click()
    expect(page.get_by_role("button", name="Open the project with paper")).to_have_attribute("aria-pressed", "true")

    tab.open("/p/shared")
    expect(page.get_by_text("1 run, 1 drawn")).to_be_visible()
    assert "q=run-1" in page.url
    assert "smooth=0.5" in page.url
    page.keyboard.press("l")
    page.get_by_role("button", name="Views").click()
    page.get_by_role("button", name="Save the changes of “paper”").click()
    expect(page.get_by_text("as it is seen now")).to_be_visible()

    number = page.request.get(f"{keyed.url}/api/v1/projects/shared/views").json()["views"][0]["id"]
    tab.open(f"/p/shared?view={number}")
    expect(page.get_by_role("button", name="log y")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Views").click()
    page.get_by_role("button", name="Without a view").click()
    expect(page.get_by_text("2 runs, 2 drawn")).to_be_visible()
    stopped = tab.violations()
    page.context.clear_cookies()
    page.close()

    assert tab.errors == []
    assert stopped == []


def test_over_a_runs_directory_views_are_kept_in_the_browser(tab: Tab) -> None:
    page = tab.open("/p/curves?q=run-1")
    page.get_by_role("button", name="Views").click()
    expect(page.get_by_text("kept in this browser")).to_be_visible()
    page.get_by_label("Name of this view").fill("mine")
    page.get_by_role("button", name="Save", exact=True).click()

    tab.open("/p/curves")
    expect(page.get_by_text("12 runs, 10 drawn")).to_be_visible()
    page.get_by_role("button", name="Views").click()
    page.get_by_role("button", name="mine in this browser").click()
    expect(page.get_by_text("3 runs, 3 drawn")).to_be_visible()
