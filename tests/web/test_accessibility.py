"""axe-core finds nothing on the main screens, in both themes; and nothing is loaded from elsewhere."""

import fcntl
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.server.conftest import ADMIN_KEY, Server
from tests.server.sending import row, send
from tests.web.conftest import Tab

THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SCREENS = {
    "projects": "/",
    "charts": "/p/curves?k=loss",
    "table": "/p/curves/table",
    "groups": "/p/curves?group=config.model.arch&k=loss",
    "media": "/p/gallery?k=/val|eval|weights/",
    "compare": "/p/curves/compare",
    "nothing": "/p/curves?q=nothing-is-called-this",
}


STATES: dict[str, tuple[str, list[str]]] = {
    "sheet of keys": ("/p/curves?k=loss", ["key ?"]),
    "menu of a run": ("/p/curves?k=loss", ["key j", "key m"]),
    "groups": ("/p/curves?k=loss", ["click Group by"]),
    "columns": ("/p/curves/table", ["click Columns"]),
    "x axis": ("/p/curves?k=loss", ["click X axis"]),
    "options of all charts": ("/p/curves?k=loss", ["click More options of charts"]),
    "options of a chart": ("/p/curves?k=train/loss", ["key f", "click Options of train/loss"]),
    "views": ("/p/curves?k=loss", ["click Views"]),
    "selected runs": ("/p/curves?k=loss", ["key j", "key x"]),
    "completion": ("/p/curves?k=loss", ["key /", "type config.l"]),
    "a chart, large": ("/p/curves?k=train/loss", ["click Enlarge train/loss"]),
    "a picture, enlarged": ("/p/gallery?k=street&q=baseline", ["click Enlarge <b>street</b>"]),
    "3D": ("/p/gallery?k=media/mesh&q=baseline", ["click Enlarge media/mesh"]),
    "text": ("/p/real?k=note", []),
    "media, large": ("/p/gallery?k=street", ["click Enlarge val/street"]),
    "filter that cannot be read": ("/p/curves?q=config.lr+>+>", []),
    "no such project": ("/p/not-there", []),
    "no such run": ("/p/curves/runs/not-there", []),
    "no such page": ("/not/there", []),
}
"""Screens that something has to be done for: an address, and keys or buttons pressed one after the other."""


def check(page: Page, axe: str) -> dict[str, list[str]]:
    """What axe-core finds on the screen that is shown."""
    page.evaluate(f"() => {{ {axe} }}")
    told = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return {one["id"]: [node["html"][:200] for node in one["nodes"][:3]] for one in told["violations"]}


def in_both_themes(page: Page, axe: str) -> dict[str, list[str]]:
    """What it finds in light and in dark."""
    found: dict[str, list[str]] = {}
    for theme in THEMES:
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        found |= {f"{theme}: {rule}": nodes for rule, nodes in check(page, axe).items()}
    return found


def test_axe_finds_nothing_in_menus_dialogs_and_errors(tab: Tab, axe: str) -> None:
    page = tab.page
    found: dict[str, Any] = {}
    for name, (address, steps) in STATES.items():
        tab.open(address)
        page.locator("[role=row] .name a, .empty").first.wait_for()
        page.wait_for_timeout(200)
        for step in steps:
            kind, _, what = step.partition(" ")
            if kind == "key":
                page.keyboard.press(what)
            elif kind == "type":
                page.keyboard.type(what)
            else:
                page.locator(f"[aria-label='{what}'], button:has-text('{what}'), button[title='{what}']").first.click()
        page.wait_for_timeout(200)
        found |= {f"{name}, {rule}": nodes for rule, nodes in in_both_themes(page, axe).items()}

    assert found == {}, json.dumps(found, indent=1)


def test_axe_finds_nothing_where_a_key_is_asked_for_and_runs_are_changed(
    chromium: BrowserContext, axe: str, tmp_path: Path
) -> None:
    server = Server(["--data", str(tmp_path / "data")], {**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY})
    with server.client(ADMIN_KEY) as client:
        send(client, [row(1, {"loss": 0.5})], run="r1", project="sent")
    page = chromium.new_page()
    page.goto(server.url)
    page.locator("#key").wait_for()
    found = {"key": in_both_themes(page, axe)}
    page.locator("#key").fill(ADMIN_KEY)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name="r1").hover()
    page.get_by_label("Select r1").check()
    for name, opened in {"Tags": "Tags", "Notes": "Notes", "Delete the selected runs": "Delete 1 run?"}.items():
        page.get_by_role("button", name=name).click()
        page.get_by_role("dialog", name=opened).wait_for()
        found[name] = in_both_themes(page, axe)
        page.keyboard.press("Escape")
    page.goto(f"{server.url}/p/sent/runs/r1")
    page.get_by_role("button", name="Edit name, tags and notes").click()
    page.get_by_role("dialog").wait_for()
    found["edit"] = in_both_themes(page, axe)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Log out").click()
    page.locator("#key").wait_for()
    page.context.clear_cookies()
    page.close()
    server.stop()

    assert {name: rules for name, rules in found.items() if rules} == {}


@pytest.fixture(scope="module")
def axe(repository: Path) -> str:
    """The code of axe-core, which is among the tools of the page; they are installed when nobody has done it yet."""
    file = repository / "server" / "web" / "node_modules" / "axe-core" / "axe.min.js"
    with (Path(tempfile.gettempdir()) / f"milepost-page-tools-{os.getuid()}").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker of the tests may install them right now
        if not file.exists():
            subprocess.run([repository / "scripts" / "page", "tools"], check=True, capture_output=True)
    return file.read_text(encoding="utf-8")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(tab: Tab, axe: str, theme: str) -> None:
    page = tab.page
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light", reduced_motion="reduce")
    found: dict[str, Any] = {}
    screens = dict(SCREENS)
    tab.open("/p/curves/table")
    run = page.locator("[role=row] .name a").first.get_attribute("href")
    for part in ("", "/charts", "/console", "/files"):
        screens[f"run{part}"] = f"{run}{part}"
    for name, address in screens.items():
        tab.open(address)
        page.wait_for_timeout(400)
        found |= {f"{name}: {rule}": nodes for rule, nodes in check(page, axe).items()}

    assert found == {}, json.dumps(found, indent=1)


def test_nothing_is_asked_of_another_host(tab: Tab) -> None:
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    for address in SCREENS.values():
        tab.open(address)
        tab.page.wait_for_timeout(300)

    assert asked
    assert [url for url in asked if not url.startswith((tab.url, "blob:", "data:"))] == []


def test_the_help_sheet_and_theme_are_a_key_away(tab: Tab) -> None:
    page = tab.open("/")
    page.locator("body").press("d")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.locator("body").press("d")
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
