"""Nothing that a run logs is ever run: scripts in every text that a run has, on every screen that shows it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import BrowserContext, Dialog, Page

import milepost
from tests.server.conftest import Server
from tests.server.gallery import stored
from tests.web.conftest import Tab
from tests.web.payloads import HACK, PAYLOADS

SCROLL = """() => [...document.querySelectorAll('.charts-scroll, .scroll, .scroller')].map(e => {
    const before = e.scrollTop;
    e.scrollTop += 900;
    return e.scrollTop !== before;
}).includes(true)"""
"""Scroll everything a screen further; whether there was more."""
PROJECT = PAYLOADS[5].replace("/", "")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over runs that are named, tagged, configured and filled with scripts."""
    directory = tmp_path_factory.mktemp("hostile")
    for number, text in enumerate(PAYLOADS):
        config = {text: text, "plain": text, "nested": {text: [text]}}
        run = milepost.init(
            project=PROJECT,
            dir=str(directory),
            name=text,
            group=text,
            job_type=text,
            notes=text,
            tags=[text[:64]],
            config=config,
            settings={"capture": False},
        )
        milepost.log({"loss": number, text: number, "text": text})
        if number < 2:
            log_everything(run)
        milepost.finish()
    server = Server(["--runs", str(directory)])
    yield server
    server.stop()


def log_everything(run: "milepost.Run") -> None:
    """Every payload as a key, a caption, a cell, a label, a file's name, a document and a drawing."""
    shade = np.zeros((4, 4))
    for text in PAYLOADS:
        milepost.log({f"key/{text}": 1.0})
    with tempfile.TemporaryDirectory() as folder:
        for text in PAYLOADS:
            name = Path(folder) / text.replace("/", "")
            name.write_text("x", encoding="utf-8")
            run.save(str(name), policy="now")
    box = {"position": {"minX": 0.1, "maxX": 0.9, "minY": 0.1, "maxY": 0.9}, "class_id": 1, "box_caption": PAYLOADS[6]}
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9" onload="{HACK}"><script>parent.{HACK}</script></svg>'
    drawing = stored(Path(run.dir), "images", "drawing.svg", svg.encode())
    cells = [[text, number] for number, text in enumerate(PAYLOADS)]
    figure = {"data": [{"y": [1, 2], "name": PAYLOADS[5]}], "layout": {"title": {"text": PAYLOADS[1]}}}
    graph = milepost.Graph(nodes=[{"id": text, "name": text} for text in PAYLOADS[:3]])
    milepost.log(
        {
            "pictures": [milepost.Image(shade, caption=text) for text in PAYLOADS],
            "boxes": milepost.Image(shade, boxes={PAYLOADS[7]: {"box_data": [box], "class_labels": {1: PAYLOADS[8]}}}),
            "table": milepost.Table(columns=[PAYLOADS[0], "n"], data=cells),
            "bars": milepost.plot.bar(milepost.Table(columns=["label", "n"], data=cells), "label", "n", PAYLOADS[5]),
            "document": milepost.Html("".join(f"<p>{text}</p>" for text in PAYLOADS), inject=False),
            "drawing": {"_type": "image-file", "format": "svg", "width": 9, "height": 9, **drawing},
            "figure": milepost.Plotly(figure),
            "graph": graph,
        }
    )


def look(page: Page) -> None:
    """Scroll through all there is, so that every panel is mounted once; what is mounted may be longer than it was."""
    ends = 0
    for _ in range(12):
        ends = 0 if page.evaluate(SCROLL) else ends + 1
        page.wait_for_timeout(150)
        if ends == 2:
            return


def test_no_text_of_a_run_is_run(chromium: BrowserContext, hostile: Server) -> None:
    page = chromium.new_page()
    tab = Tab(page, hostile.url)
    dialogs: list[str] = []

    def dialog(shown: Dialog) -> None:
        dialogs.append(shown.message)
        shown.dismiss()

    page.on("dialog", dialog)
    tab.open("/")
    page.wait_for_url("**/p/**")
    project = page.url.split("?")[0].removeprefix(tab.url)
    page.locator("[role=row] .name a").first.wait_for()
    oldest = tab.open(f"{project}/table?sort=created&cols=config.plain,summary.text")
    run = oldest.locator("[role=row] .name a").first.get_attribute("href")
    assert run
    links = [link.get_attribute("href") or "" for link in oldest.locator("[role=row] .name a").all()[:8]]
    ids = ",".join(link.split("/")[-1] for link in links)
    hacked = {}
    for address in (
        f"{project}?sort=created",
        f"{project}?sort=created&group=group",
        f"{project}/table?sort=created&cols=config.plain,summary.text",
        f"{project}/compare?all=1&runs={ids}",
        run,
        f"{run}/charts",
        f"{run}/files",
        f"{project}?sort=created&k=loss",
    ):
        tab.open(address)
        page.get_by_text(HACK).first.wait_for(state="attached")
        look(page)
        hacked[address] = page.evaluate("window.hacked")
    page.locator("figure.chart .u-over").first.hover()
    page.keyboard.press("j")
    page.keyboard.press("m")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Enlarge loss").click()
    page.wait_for_timeout(300)
    hacked["enlarged"] = page.evaluate("window.hacked")

    assert {address for address, value in hacked.items() if value is not None} == set()
    assert dialogs == []
    assert "HACKED" not in page.title()
    stopped, errors = tab.violations(), tab.errors
    page.close()
    assert stopped == []  # not even tried: what the policy had to stop would have run without it
    assert errors == []
