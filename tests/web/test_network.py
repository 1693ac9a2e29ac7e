"""On a slow network the page comes in pieces; without one it keeps what it has, says so, and catches up."""

import json
import re
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import expect

from tests.web.conftest import Tab
from tests.web.test_runs import LIVE


def test_on_a_slow_network_runs_are_there_before_their_curves(tab: Tab) -> None:
    session = tab.page.context.new_cdp_session(tab.page)
    session.send("Network.enable")
    slow = {"offline": False, "latency": 300, "downloadThroughput": 60_000, "uploadThroughput": 30_000}
    session.send("Network.emulateNetworkConditions", slow)
    tab.page.goto(f"{tab.url}/p/curves")

    expect(tab.page.locator("[role=grid] [role=row] .name a").first).to_be_visible()
    plot = tab.page.locator("figure[aria-label='train/loss'] .plot[role=img]")
    expect(plot).to_have_attribute("aria-label", re.compile("10 lines: "))
    tab.page.get_by_label("Filter runs").fill("run-1")
    tab.page.get_by_label("Filter runs").press("Enter")
    expect(plot).to_have_attribute("aria-label", re.compile("3 lines: "))


def test_without_a_network_what_is_known_stays_and_the_rest_is_caught_up_with(tab: Tab, runs_dir: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", LIVE.replace("live", "away"), str(runs_dir)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    assert program.stdin
    assert program.stdout
    try:
        while "begun" not in program.stdout.readline():
            pass
        program.stdin.write("30\n29\n")
        tab.open("/").get_by_role("link", name="away").click()
        page = tab.page
        plot = page.locator("figure[aria-label='loss'] .plot[role=img]")
        expect(plot).to_have_attribute("aria-label", re.compile("falls from 30 to 29"))
        notice = page.get_by_text("what is shown may be old")

        page.context.set_offline(True)
        expect(notice).to_be_visible()
        asked: list[dict[str, object]] = []
        page.on(
            "request",
            lambda request: asked.append(json.loads(request.post_data or "{}")) if "/history" in request.url else None,
        )
        for value in range(28, 8, -1):
            program.stdin.write(f"{value}\n")
        expect(plot).to_have_attribute("aria-label", re.compile("falls from 30 to 29"))

        page.context.set_offline(False)
        expect(notice).to_have_count(0)
        expect(plot).to_have_attribute("aria-label", re.compile("falls from 30 to 9"))
        program.stdin.write("8\n")
        expect(plot).to_have_attribute("aria-label", re.compile("falls from 30 to 8"))
        program.stdin.close()
        page.get_by_role("button", name="Options of loss").click()
        with page.expect_download() as download:
            page.get_by_role("button", name="CSV of these points").click()
        points = Path(download.value.path()).read_text(encoding="utf-8").splitlines()[1:]
    finally:
        tab.page.context.set_offline(False)
        program.kill()
        program.wait()
        program.stdout.close()

    assert [float(point.split(",")[1]) for point in points] == [float(value) for value in range(30, 7, -1)]
    assert asked
    assert all(request["after"] for request in asked)
