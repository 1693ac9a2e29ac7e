"""Panels are placed and sized by hand and by keys, and stay so."""

from playwright.sync_api import Page, expect

from tests.web.conftest import Tab

GRIP = "Move or resize {}: arrows move, with Shift they resize"


def order(page: Page, section: str) -> list[str]:
    found = page.locator(f"section[aria-label='{section}'] figure")
    return [str(figure.get_attribute("aria-label")) for figure in found.all()]


def test_a_panel_is_dragged_to_its_place_and_stays_there(tab: Tab) -> None:
    page = tab.open("/p/curves")
    expect(page.locator("figure[aria-label='train/loss'] .u-over")).to_be_visible()
    assert order(page, "train") == ["train/accuracy", "train/loss"]

    page.locator("figure[aria-label='train/loss']").hover()
    page.get_by_label(GRIP.format("train/loss")).drag_to(page.locator("figure[aria-label='train/accuracy']"))

    assert order(page, "train") == ["train/loss", "train/accuracy"]
    assert "order=train/loss" in page.url
    tab.open("/p/curves")
    expect(page.locator("figure[aria-label='train/loss']")).to_be_visible()
    assert order(page, "train") == ["train/loss", "train/accuracy"]


def test_arrows_move_and_resize_a_panel_that_has_the_grip(tab: Tab) -> None:
    page = tab.open("/p/curves?fold=")
    chart = page.locator("figure[aria-label='train/accuracy']")
    expect(chart.locator(".u-over")).to_be_visible()
    before = chart.bounding_box()
    assert before
    grip = page.get_by_label(GRIP.format("train/accuracy"))
    grip.focus()
    place = order(page, "train").index("train/accuracy")
    grip.press("ArrowLeft" if place else "ArrowRight")
    assert order(page, "train").index("train/accuracy") != place
    expect(grip).to_be_focused()

    grip.press("Shift+ArrowRight")
    grip.press("Shift+ArrowDown")

    expect(chart).to_have_css("grid-column-start", "span 2")
    after = chart.bounding_box()
    assert after
    assert after["height"] > before["height"] * 1.9
    assert after["width"] > before["width"] * 1.9
    assert "span=train/accuracy:2x2" in page.url
    page.get_by_label("Pin train/accuracy to the top").click()
    expect(page.locator("section[aria-label='Pinned'] figure")).to_have_count(1)
