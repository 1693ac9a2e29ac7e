"""Every kind of media is drawn, and none of it can do more than be looked at."""

import contextlib
import json
import re

import pytest
from playwright.sync_api import FloatRect, Locator, Page, expect

from tests.web.conftest import Tab


def panel(page: Page, key: str) -> Locator:
    """A panel, brought into sight."""
    found = page.locator(f"figure.panel[aria-label='{key}']")
    found.scroll_into_view_if_needed()
    return found


def seen(page: Page, key: str, selector: str) -> None:
    """Wait until something of a panel is to be seen; panels that load above it push it out of sight, so look again."""
    wanted = panel(page, key).locator(selector)
    for _ in range(20):
        panel(page, key)
        with contextlib.suppress(AssertionError):
            expect(wanted).to_be_visible(timeout=2_000)
            return
    expect(wanted).to_be_visible()


SELECTORS = {
    "val/digits": ".cell img >> nth=15",
    "val/street": ".box >> nth=1",
    "weights/layer1": "canvas >> nth=1",
    "eval/roc": "svg path[stroke-width] >> nth=5",
    "eval/confusion": ".matrix tbody tr >> nth=5",
    "eval/bars": "rect >> nth=5",
    "eval/points": "circle >> nth=300",
    "eval/series": "svg path[stroke-width] >> nth=5",
    "eval/lengths": "rect >> nth=15",
    "eval/table": "tbody img >> nth=3",
    "media/clip": ".cell > img >> nth=1",
    "media/tone": "audio >> nth=1",
    "media/cloud": ".scene canvas >> nth=1",
    "media/solid": ".scene canvas >> nth=1",
    "media/mesh": ".scene canvas >> nth=1",
    "media/graph": "svg rect >> nth=5",
    "media/drawing": "img >> nth=1",
}


@pytest.mark.parametrize("keys", ["val|weights", "eval", "media"])
def test_each_kind_is_drawn_for_each_run(tab: Tab, keys: str) -> None:
    page = tab.open(f"/p/gallery?k=/^({keys})/")
    for key, selector in SELECTORS.items():
        if key.split("/")[0] not in keys.split("|"):
            continue
        seen(page, key, selector)


def test_pictures_are_really_loaded_and_sharp_when_small(tab: Tab) -> None:
    page = tab.open("/p/gallery?k=digits")
    image = page.locator("figure.panel img").first
    expect(image).to_be_visible()
    page.wait_for_function("() => document.querySelector('figure.panel img').naturalWidth === 28")

    assert image.evaluate("image => getComputedStyle(image).imageRendering") == "pixelated"


def test_a_single_picture_takes_its_card(tab: Tab) -> None:
    page = tab.open("/p/real")
    panel(page, "picture")
    image = page.locator("figure.panel[aria-label='picture'] img")
    expect(image).to_be_visible()
    page.wait_for_function("() => document.querySelector('figure.panel[aria-label=picture] img').clientWidth > 240")
    overflow = "e => e.scrollHeight - e.clientHeight"
    assert page.locator("figure.panel[aria-label='picture'] .cells").evaluate(overflow) <= 0


def test_a_picture_is_looked_at_closely_with_its_boxes(tab: Tab) -> None:
    page = tab.open("/p/gallery?k=street&q=baseline")
    page.get_by_role("button", name="Enlarge <b>street</b>").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".box")).to_have_count(2)
    before = dialog.locator("img").bounding_box()
    dialog.get_by_role("region").press("+")
    page.wait_for_function(
        f"() => document.querySelector('dialog img').clientWidth > {before and before['width'] * 1.4}"
    )
    dialog.get_by_role("button", name="predictions: car").click()
    expect(dialog.locator(".box")).to_have_count(1)
    dialog.get_by_role("button", name="Fit").click()

    expect(dialog.get_by_role("button", name="Fit")).to_be_disabled()


def test_media_that_log_stored_are_shown(tab: Tab) -> None:
    page = tab.open("/p/real")
    for key, pictures in {"picture": 1, "several": 2, "table": 2}.items():
        panel(page, key)
        expect(page.locator(f"figure.panel[aria-label='{key}'] img")).to_have_count(pictures)
    panel(page, "report")
    report = page.frame_locator("iframe[title='HTML document']")
    expect(report.locator("#a")).to_have_text("read me")

    page.wait_for_function(
        "() => [...document.querySelectorAll('figure.panel img')].every(image => image.naturalWidth === 40)"
    )


def test_one_slider_moves_all_media(tab: Tab) -> None:
    page = tab.open("/p/gallery?k=val")
    slider = page.get_by_label("Step of val/digits")
    expect(slider).to_have_attribute("aria-valuetext", "step 19")
    slider.press("Home")

    expect(page.get_by_label("Step of val/street")).to_have_attribute("aria-valuetext", "step 3")
    expect(page.locator("figure.panel[aria-label='val/street'] img[src*='street_3.png']")).to_have_count(2)


@pytest.mark.parametrize(("key", "kind"), [("tone", "audio"), ("clip", "video")])
def test_sound_and_video_are_played_at_the_step_that_is_shown(tab: Tab, key: str, kind: str) -> None:
    page = tab.open(f"/p/real?k={key}")
    player = page.locator(f"figure.panel[aria-label='{key}'] {kind}")
    sources: list[str] = []
    for move in ("End", "Home"):
        page.get_by_label(f"Step of {key}").press(move)
        page.wait_for_function(
            f"old => document.querySelector('{kind}').getAttribute('src') !== old", arg=[*sources, ""][0]
        )
        sources.append(str(player.get_attribute("src")))
        player.evaluate("player => { player.muted = true; return player.play() }")
        page.wait_for_function(f"() => document.querySelector('{kind}').currentTime > 0.1")

    assert len(set(sources)) == 2
    expect(player).to_have_js_property("controls", value=True)


def test_keys_step_all_media_and_a_picture_that_is_enlarged(tab: Tab) -> None:
    page = tab.open("/p/gallery?k=val&q=baseline")
    digits = page.get_by_label("Step of val/digits")
    expect(digits).to_have_attribute("aria-valuetext", "step 19")
    page.keyboard.press(",")
    expect(digits).to_have_attribute("aria-valuetext", "step 15")
    expect(page.get_by_label("Step of val/street")).to_have_attribute("aria-valuetext", "step 15")
    page.get_by_role("group", name="val/digits of 1 run").press("ArrowLeft")
    expect(digits).to_have_attribute("aria-valuetext", "step 11")

    page.get_by_role("button", name="Enlarge <b>street</b>").click()
    picture = page.get_by_role("dialog").locator("img")
    expect(picture).to_have_attribute("src", re.compile("street_11"))
    expect(page.get_by_role("dialog").get_by_role("region")).to_be_focused()
    page.keyboard.press(".")

    expect(picture).to_have_attribute("src", re.compile("street_15"))


def test_texts_are_read_step_by_step(tab: Tab) -> None:
    page = tab.open("/p/real?k=note")
    note = page.locator("figure.panel[aria-label='note']")
    expect(note.get_by_text("the last words")).to_be_visible()
    page.keyboard.press(",")

    expect(note.get_by_text("the first words")).to_be_visible()


def test_an_object_is_turned_with_keys_and_drawn_as_wires(tab: Tab) -> None:
    page = tab.open("/p/gallery?k=mesh&q=baseline")
    view = page.get_by_role("img", name="3D object mesh.obj")
    expect(page.get_by_role("button", name="Wireframe")).to_be_visible()
    box = view.bounding_box()
    assert box
    # Without the button, which says by itself that it is on.
    part: FloatRect = {"x": box["x"], "y": box["y"], "width": box["width"], "height": box["height"] * 0.8}
    seen = [page.screenshot(clip=part)]
    for key in ("ArrowRight", "w", "+", "0"):
        view.press(key)
        seen.append(page.screenshot(clip=part))

    assert len(set(seen)) == 5
    expect(page.get_by_role("button", name="Wireframe")).to_have_attribute("aria-pressed", "true")


def test_a_molecule_is_a_file_that_says_what_opens_it(tab: Tab) -> None:
    page = tab.open("/p/real?k=molecule")
    expect(page.get_by_text("Not drawn on this page")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Molecule, XYZ").click()

    assert download.value.path().read_text().startswith("3\nwater")


def test_html_runs_in_a_box_that_reaches_nothing(tab: Tab) -> None:
    page = tab.open("/p/gallery?k=report")
    frames = page.locator("iframe")
    expect(frames).to_have_count(2)
    leaks = page.evaluate_handle(
        "() => { const got = []; addEventListener('message', e => got.push(e.data)); return got }"
    )
    expect(page.frame_locator("iframe >> nth=0").locator("#a")).to_have_text("the script ran in its box")

    assert frames.first.get_attribute("sandbox") == "allow-scripts"
    assert "HACKED" not in page.title()
    assert "LEAK" not in leaks.json_value()


def test_a_plotly_figure_is_drawn_in_a_box_too(tab: Tab) -> None:
    page = tab.open("/p/gallery?k=figure")

    expect(page.frame_locator("iframe >> nth=0").locator(".plot-container .trace").first).to_be_visible()
    expect(page.frame_locator("iframe >> nth=0").locator(".gtitle")).to_have_text("A figure")


def test_a_figure_that_cannot_be_drawn_is_offered_as_a_file(tab: Tab) -> None:
    page = tab.open("/p/real?k=surface")
    panel(page, "surface")
    expect(page.get_by_text("this figure has surface, mesh3d")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the figure").click()

    assert json.loads(download.value.path().read_text())["data"][0]["type"] == "surface"


def test_a_heatmap_of_plotly_has_its_colours(tab: Tab) -> None:
    page = tab.open("/p/real?k=heat")
    frame = page.frame_locator("iframe >> nth=0")
    expect(frame.locator(".heatmaplayer image")).to_have_count(1)


def test_a_logged_table_is_searched_and_sorted(tab: Tab) -> None:
    page = tab.open("/p/gallery?k=eval/table&q=baseline")
    table = page.locator("figure.panel[aria-label='eval/table']")
    expect(table.get_by_role("columnheader", name="<b>note</b>")).to_be_visible()
    table.get_by_role("columnheader", name="id").get_by_role("button").click()
    table.get_by_role("columnheader", name="id").get_by_role("button").click()
    expect(table.locator("tbody tr[aria-rowindex='2'] td").first).to_have_text("39")
    table.get_by_label("Search the rows").fill("dog")

    expect(table.locator("table")).to_have_attribute("aria-rowcount", "14")


@pytest.mark.parametrize("screen", ["", "/table", "/runs", "/runs/charts", "/compare"])
def test_names_that_are_scripts_are_shown_as_they_are(tab: Tab, screen: str) -> None:
    page = tab.open("/p/harm/table?cols=config.plain")
    page.locator("[role=row] .name a").wait_for()
    run = page.locator("[role=row] .name a").get_attribute("href")
    assert run
    address = {
        "/runs": run,
        "/runs/charts": f"{run}/charts",
        "/compare": f"/p/harm/compare?all=1&runs={run.split('/')[-1]}",
    }
    tab.open(address.get(screen, f"/p/harm{screen}"))
    expect(page.get_by_text("<img src=x").first).to_be_visible()

    assert "HACKED" not in page.title()
    assert page.locator("img[src='x']").count() == 0
