"""axe-core finds nothing on the main screens, in both themes; and nothing is loaded from elsewhere."""

import fcntl
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.web.conftest import Tab

SCREENS = {
    "projects": "/",
    "charts": "/p/curves?k=loss",
    "table": "/p/curves/table",
    "groups": "/p/curves?group=config.model.arch&k=loss",
    "media": "/p/gallery?k=/val|eval|weights/",
    "compare": "/p/curves/compare",
    "nothing": "/p/curves?q=nothing-is-called-this",
}


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
        page.evaluate(f"() => {{ {axe} }}")
        told = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        for violation in told["violations"]:
            found[f"{name}: {violation['id']}"] = [node["html"][:200] for node in violation["nodes"][:3]]

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
