"""The page of a server with keys: it asks for one, and then changes runs."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.server.conftest import Server
from tests.server.sending import row, send
from tests.web.conftest import Tab

KEY = "mp_first_0123456789abcdef0123456789"


@pytest.fixture
def keyed(tmp_path: Path) -> Iterator[Server]:
    """A server with its own data and one key."""
    server = Server(["--data", str(tmp_path / "data")], {**os.environ, "MILEPOST_ADMIN_KEY": KEY})
    yield server
    server.stop()


def test_a_key_opens_the_page_and_changes_runs(chromium: BrowserContext, keyed: Server) -> None:

    with keyed.client(KEY) as client:
        for number in range(3):
            run = [
                0,
                1790000000000000000 + number,
                0,
                None,
                "run.start",
                {"name": f"sent-{number}", "config": {"lr": 0.1}},
            ]
            rows = {
                "keys": ["loss"], "seq": 1, "time": [1790000000000000000, 1790000001000000000], "runtime": [0, 1000000],
                "step": [0, 1], "values": [[0.5, 0.25]],
            }  # fmt: skip
            batch = {"project": "sent", "writer": f"00000000000000a{number}", "first": 0, "last": 2, "groups": [rows]}
            answer = client.post(f"/api/v1/runs/r{number}/batches", json={**batch, "events": [run]})
            assert answer.is_success, answer.text

    page = chromium.new_page()
    tab = Tab(page, keyed.url)
    tab.open("/p/sent")
    page.locator("#key").fill("mp_wrong_key")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("not valid")
    page.locator("#key").fill(KEY)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("3 runs, 3 drawn")).to_be_visible()
    expect(page.locator("figure[aria-label='loss'] .u-over")).to_be_visible()

    page.get_by_role("button", name="Table", exact=True).click()
    page.get_by_label("Select sent-0").check()
    page.get_by_label("Select sent-1").check()
    page.get_by_role("button", name="Tags").click()
    page.get_by_role("textbox", name="Tag").fill("kept")
    page.get_by_role("button", name="Add").click()
    expect(page.locator("[role=row] .tag")).to_have_count(2)
    page.get_by_role("link", name="sent-2").click()
    page.get_by_role("button", name="Edit name, tags and notes").click()
    page.get_by_label("Name", exact=True).fill("best of all")
    page.get_by_role("textbox", name="Tags, parted by commas").fill("paper, kept")
    page.get_by_role("textbox", name="Notes").fill("read <b>this</b>")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="best of all")).to_be_visible()
    expect(page.locator("header .tag")).to_have_text(["paper", "kept"])
    expect(page.get_by_text("read <b>this</b>")).to_be_visible()
    page.go_back()
    page.get_by_label("Select sent-0").check()
    page.get_by_label("Select sent-1").check()
    page.get_by_label("Delete the selected runs").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("1 run, 1 drawn")).to_be_visible()
    stopped = tab.violations()
    page.get_by_role("button", name="Log out").click()
    expect(page.locator("#key")).to_be_visible()
    page.context.clear_cookies()
    page.close()

    assert tab.errors == []
    assert stopped == []


def test_the_page_says_whom_a_proxy_recognised_and_takes_their_changes(
    chromium: BrowserContext, tmp_path: Path
) -> None:
    arguments = ["--data", str(tmp_path / "data"), "--trust-proxy-user", "X-Forwarded-Email"]
    arguments += ["--trusted-proxies", "127.0.0.1", "--proxy-admins", "anna@example.org"]
    server = Server(arguments, {**os.environ, "MILEPOST_ADMIN_KEY": KEY})
    with server.client(KEY) as client:
        send(client, [row(1, {"loss": 0.5})], run="r1", project="sent")

    page = chromium.new_page()
    page.set_extra_http_headers({"X-Forwarded-Email": "anna@example.org"})
    tab = Tab(page, server.url)
    tab.open("/p/sent")
    expect(page.get_by_role("banner").get_by_text("anna@example.org")).to_be_visible()
    page.get_by_role("button", name="Table", exact=True).click()
    page.get_by_label("Select r1").check()
    page.get_by_role("button", name="Tags").click()
    page.get_by_role("textbox", name="Tag").fill("kept")
    page.get_by_role("button", name="Add").click()
    expect(page.locator("[role=row] .tag")).to_have_count(1)
    page.close()
    server.stop()

    assert tab.errors == []
