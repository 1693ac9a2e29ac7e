"""The runs of a project beside their charts, as somebody uses them in a browser."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

import milepost
from tests.web.conftest import Tab


def rows(page: Page) -> list[str]:
    """Names of the runs in the table, top to bottom."""
    found = page.locator("[role=grid] [role=row] .name a")
    expect(found.first).to_be_visible()
    names: list[str] = found.all_inner_texts()
    return names


def drawn(page: Page, key: str) -> None:
    """Wait until a chart has drawn at least one line: its words then say what it shows."""
    expect(page.locator(f"figure[aria-label='{key}'] .plot[role=img]")).to_have_attribute(
        "aria-label", re.compile(r"\d+ lines?: ")
    )


def test_the_first_screen_leads_to_runs_and_curves(tab: Tab) -> None:
    page = tab.open("/")
    page.get_by_role("link", name="curves").click()

    assert rows(page) == [f"run-{number}" for number in reversed(range(12))]
    expect(page.get_by_text("12 runs, 10 drawn")).to_be_visible()
    drawn(page, "train/loss")
    expect(page.locator("figure[aria-label='train/loss'] canvas").first).to_be_visible()
    assert page.title() == "curves · milepost"


def test_a_filter_narrows_the_runs_and_stands_in_the_address(tab: Tab) -> None:
    page = tab.open("/p/curves")
    field = page.get_by_label("Filter runs")
    field.fill('config.model.arch == "vit" and config.seed < 5')
    field.press("Enter")
    expect(page.get_by_text("3 runs, 3 drawn")).to_be_visible()

    assert sorted(rows(page)) == ["run-0", "run-2", "run-4"]
    assert "q=config.model.arch" in page.url
    page.reload()
    expect(page.get_by_text("3 runs, 3 drawn")).to_be_visible()
    field.fill("config.lr >")
    field.press("Enter")
    expect(page.locator("#filter-error")).to_contain_text("expected a number")


def test_a_run_has_one_colour_everywhere_and_after_a_reload(tab: Tab) -> None:
    colour = "e => getComputedStyle(e).getPropertyValue('--c') || getComputedStyle(e).backgroundColor"
    page = tab.open("/p/curves")
    rows(page)
    drawn_dots = page.locator("[role=row] .dot:not(.off)")
    expect(drawn_dots).to_have_count(10)
    colours = dict(zip(rows(page), (dot.evaluate(colour) for dot in drawn_dots.all()), strict=False))
    assert len(set(colours.values())) == 10

    page.get_by_label("Hide run-11").click()
    page.get_by_label("Show run-0", exact=True).click()
    page.reload()
    expect(page.get_by_text("12 runs, 10 drawn")).to_be_visible()
    kept = dict(zip(rows(page), (dot.evaluate(colour) for dot in page.locator("[role=row] .dot").all()), strict=True))
    assert {name: kept[name] for name in colours if name != "run-11"} == {
        name: one for name, one in colours.items() if name != "run-11"
    }
    page.get_by_role("link", name="run-5").click()
    expect(page.locator("header .title .dot")).to_be_visible()
    own = page.locator("header .title .dot").evaluate("e => getComputedStyle(e).backgroundColor")
    assert own.replace(" ", "") == colours["run-5"].replace(" ", "")


def test_a_filter_completes_names(tab: Tab) -> None:
    page = tab.open("/p/curves")
    field = page.get_by_label("Filter runs")
    field.press_sequentially("model")
    page.get_by_role("option", name="config.model.arch").wait_for()
    field.press("Tab")

    expect(field).to_have_value("config.model.arch ")


def test_groups_draw_one_mean_each(tab: Tab) -> None:
    page = tab.open("/p/curves?group=config.model.arch")

    plot = page.locator("figure[aria-label='train/loss'] .plot[role=img]")
    expect(plot).to_have_attribute("aria-label", re.compile("2 lines: resnet"))
    expect(page.locator("[role=grid] .group")).to_have_count(2)
    expect(page.locator("figure[aria-label='train/loss'] .foot")).to_contain_text("mean of groups")
    page.locator(".group .fold").last.click()
    expect(page.locator("[role=grid] [role=row] .name a")).to_have_count(6)
    page.get_by_role("button", name="Hide the runs of vit").click()
    expect(page.get_by_text("12 runs, 6 drawn")).to_be_visible()
    expect(plot).to_have_attribute("aria-label", re.compile("1 line: resnet"))


def test_the_keyboard_moves_draws_and_opens(tab: Tab) -> None:
    page = tab.open("/p/curves")
    rows(page)
    page.keyboard.press("j")
    page.keyboard.press("o")
    expect(page.get_by_text("12 runs, 1 drawn")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("Space")
    expect(page.get_by_text("12 runs, 2 drawn")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_contain_text("Draw only this run")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="run-10")).to_be_visible()
    page.go_back()
    expect(page.get_by_text("12 runs, 2 drawn")).to_be_visible()


def test_the_menu_of_a_run_is_used_with_the_keyboard(tab: Tab) -> None:
    page = tab.open("/p/curves?k=loss")
    page.locator("[role=row] .name a").first.wait_for()
    page.keyboard.press("j")
    page.keyboard.press("m")
    expect(page.get_by_role("menuitem", name="Show only this run")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("menuitem", name="Pin: always drawn")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("menu")).to_have_count(0)
    page.keyboard.press("m")
    page.keyboard.press("Enter")
    expect(page.get_by_text("12 runs, 1 drawn")).to_be_visible()

    # A button that has the focus takes Enter for itself.
    page.get_by_role("button", name="log y").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="log y")).to_have_attribute("aria-pressed", "true")
    assert "/runs/" not in page.url


def test_the_table_sorts_and_takes_columns_by_search(tab: Tab) -> None:
    page = tab.open("/p/curves/table?cols=config.seed")
    page.get_by_role("columnheader", name="seed").get_by_role("button").click()
    expect(page.get_by_role("columnheader", name="seed")).to_have_attribute("aria-sort", "descending")
    assert rows(page)[0] == "run-11"
    page.get_by_role("columnheader", name="seed").get_by_role("button").click()
    expect(page.locator("[role=row] .name a").first).to_have_text("run-0")

    head = page.get_by_role("columnheader", name="seed")
    before = head.bounding_box()
    page.get_by_role("columnheader", name="name").get_by_role("button").focus()
    page.keyboard.press("End")
    expect(head.get_by_role("button")).to_be_focused()
    page.keyboard.press("Shift+ArrowRight")
    after = head.bounding_box()
    assert before
    assert after
    assert after["width"] == before["width"] + 16
    page.keyboard.press("Shift+ArrowLeft")

    page.get_by_role("button", name="Columns").click()
    page.get_by_label("Search config and summary").fill("val/loss")
    page.get_by_role("button", name="summary.val/loss").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("columnheader", name="val/loss")).to_be_visible()
    assert "summary.val/loss" in page.url


def test_selected_runs_are_compared_by_what_differs(tab: Tab) -> None:
    page = tab.open("/p/curves/table")
    rows(page)
    page.get_by_label("Select run-11").check()
    page.get_by_label("Select run-10").check()
    page.keyboard.press("c")

    expect(page.get_by_role("heading", name="Compare 2 runs")).to_be_visible()
    config = page.locator("tbody").filter(has=page.get_by_role("rowheader", name="Config"))
    expect(config).to_contain_text("model.arch")
    expect(config).to_contain_text("seed")
    page.get_by_role("button", name="Differences only").click()
    expect(page.get_by_role("rowheader", name="epoch")).to_be_visible()


def test_a_chart_says_values_where_the_pointer_is_and_zooms_by_dragging(tab: Tab) -> None:
    page = tab.open("/p/curves?k=train/loss")
    drawn(page, "train/loss")
    chart = page.locator("figure[aria-label='train/loss'] .u-over")
    box = chart.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator("figure[aria-label='train/loss'] .tip")).to_contain_text("run-")

    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 20, steps=4)
    page.mouse.up()
    expect(page.get_by_title("Zoom out (0)")).to_be_visible()
    assert "zoom=" in page.url
    page.keyboard.press("0")
    expect(page.get_by_title("Zoom out (0)")).to_have_count(0)


def test_menus_stand_at_what_they_belong_to(tab: Tab) -> None:
    page = tab.open("/p/curves?k=/loss/")
    drawn(page, "val/loss")
    button = page.get_by_role("button", name="Options of val/loss")
    button.click()
    below, menu = button.bounding_box(), page.get_by_role("dialog", name="Options of val/loss").bounding_box()
    assert below
    assert menu
    assert abs(menu["x"] + menu["width"] - below["x"] - below["width"]) < 2
    assert abs(menu["y"] - below["y"] - below["height"]) < 8
    page.keyboard.press("Escape")

    page.mouse.move(600, 5)  # no row is pointed at: the button of its menu is not there
    page.keyboard.press("j")
    page.keyboard.press("m")
    row, menu = page.locator("[role=row].active").bounding_box(), page.get_by_role("menu").bounding_box()
    assert row
    assert menu
    assert abs(menu["y"] - row["y"] - row["height"]) < 8


def test_a_chart_marks_nan_and_is_read_as_a_table(tab: Tab) -> None:
    page = tab.open("/p/curves?q=run-0&k=train/loss")
    drawn(page, "train/loss")
    expect(page.locator("figure[aria-label='train/loss'] .foot")).to_contain_text("1 × NaN")

    page.get_by_role("button", name="Options of train/loss").click()
    page.get_by_role("button", name="View as table").click()
    dialog = page.get_by_role("dialog", name="train/loss as a table")
    expect(dialog.get_by_role("row")).to_have_count(2)
    expect(dialog).to_contain_text("run-0")


def test_charts_are_saved_as_csv_and_svg(tab: Tab, tmp_path: Path) -> None:
    page = tab.open("/p/curves?q=config.seed in [1, 2]&k=val/loss")
    drawn(page, "val/loss")
    saved: dict[str, str] = {}
    for name in ("CSV of these points", "SVG"):
        page.get_by_role("button", name="Options of val/loss").click()
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        saved[path.name] = path.read_text(encoding="utf-8")

    lines = saved["val-loss.csv"].splitlines()
    assert lines[0] == "step,run-2,run-1"
    assert len(lines) == 31
    assert saved["val-loss.svg"].startswith("<svg ")
    assert saved["val-loss.svg"].count("<path") > 2


LIVE = """
import sys, milepost
run = milepost.init(project="live", dir=sys.argv[1], name="going", settings={"capture": False})
print("begun", flush=True)
for line in sys.stdin:
    milepost.log({"loss": float(line)})
    run.flush()
milepost.finish()
"""


def test_a_run_that_logs_shows_while_it_happens(tab: Tab, runs_dir: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", LIVE, str(runs_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert program.stdin
    assert program.stdout
    try:
        while "begun" not in program.stdout.readline():
            pass
        program.stdin.write("3\n2\n")
        page = tab.open("/")
        page.get_by_role("link", name="live").click()
        plot = page.locator("figure[aria-label='loss'] .plot[role=img]")
        expect(plot).to_have_attribute("aria-label", re.compile("falls from 3 to 2"))
        asked: list[dict[str, object]] = []
        page.on(
            "request",
            lambda request: asked.append(json.loads(request.post_data or "{}")) if "/history" in request.url else None,
        )
        program.stdin.write("1\n")
        expect(plot).to_have_attribute("aria-label", re.compile("falls from 3 to 1"))
        program.stdin.close()
        expect(page.locator("[role=row] .state.finished")).to_have_count(1)
    finally:
        program.kill()
        program.wait()
        program.stdout.close()

    # What is known is not asked for again: only what came after the watermark.
    assert asked
    assert all(request["after"] for request in asked)


def test_what_is_shown_stays_while_the_network_is_away(tab: Tab) -> None:
    page = tab.open("/p/curves")
    rows(page)
    page.context.set_offline(True)
    try:
        page.get_by_label("Filter runs").fill("run-1")
        page.get_by_label("Filter runs").press("Enter")
        assert rows(page)  # what is there stays
    finally:
        page.context.set_offline(False)
    expect(page.get_by_text("3 runs, 3 drawn")).to_be_visible()


RESUMED = """
import sys, milepost
run = milepost.init(project="rewound", dir=sys.argv[1], id="r", name="resumed", resume="allow", settings={"capture": False})
for step in range(int(sys.argv[2]), int(sys.argv[3])):
    milepost.log({"loss": float(sys.argv[4]) - step}, step=step)
milepost.finish()
"""


def test_rows_that_a_resumed_run_took_back_are_drawn_when_asked_for(tab: Tab, runs_dir: Path) -> None:
    for first, last, height in ((0, 20, 100), (10, 30, 200)):
        command = [sys.executable, "-c", RESUMED, str(runs_dir), str(first), str(last), str(height)]
        subprocess.run(command, check=True, capture_output=True)
    page = tab.open("/p/rewound")
    plot = page.locator("figure[aria-label='loss'] .plot[role=img]")
    expect(plot).to_have_attribute("aria-label", re.compile("1 line: resumed"))

    page.get_by_label("More options of charts").click()
    page.get_by_label("Rewound rows, dotted").check()

    expect(plot).to_have_attribute("aria-label", re.compile("2 lines: .*resumed, rewound falls from 90 to 81"))
    expect(page.locator("figure[aria-label='loss'] .foot")).to_contain_text("rewound rows dotted")


def test_a_run_shows_what_the_machine_did(tab: Tab, runs_dir: Path) -> None:
    capture = {"environment": False, "system_metrics": {"enabled": True, "interval": 100}}
    run = milepost.init(project="machine", dir=str(runs_dir), settings={"capture": capture})
    milepost.log({"loss": 1.0})
    seen = milepost.Api(runs_dir).run(f"machine/{run.id}")
    until = time.monotonic() + 60
    while len(list(seen.system)) < 2 and time.monotonic() < until:
        time.sleep(0.1)
    milepost.finish()
    page = tab.open(f"/p/machine/runs/{run.id}/resources")

    memory = page.locator("figure[aria-label='process.memory.usage']")
    expect(memory.locator(".plot[role=img]")).to_have_attribute("aria-label", re.compile("in [MG]B over relative time"))
    expect(memory.locator("canvas").first).to_be_visible()
    page.get_by_role("link", name="Overview").click()
    page.keyboard.press("3")
    expect(memory).to_be_visible()


def test_a_page_says_that_its_run_was_deleted_and_keeps_what_was_known(tab: Tab, runs_dir: Path) -> None:
    run = milepost.init(project="short-lived", dir=str(runs_dir), config={"depth": 18}, settings={"capture": False})
    milepost.finish()
    page = tab.open(f"/p/short-lived/runs/{run.id}")
    expect(page.get_by_role("heading", level=1)).to_have_text(run.name)
    expect(page.get_by_role("alert")).to_have_count(0)

    shutil.rmtree(run.dir)

    expect(page.get_by_role("alert")).to_contain_text("has been deleted")
    expect(page.get_by_text("depth")).to_be_visible()


@pytest.fixture(scope="module")
def many(runs_dir: Path) -> str:
    """The address of a table of fifty runs."""
    for number in range(50):
        milepost.init(project="many", dir=str(runs_dir), name=f"run-{number}", settings={"capture": False})
        milepost.finish()
    return "/p/many/table"


def test_the_rows_of_a_long_table_are_the_same_elements_wherever_it_is_scrolled_to(tab: Tab, many: str) -> None:
    tab.page.set_viewport_size({"width": 1000, "height": 300})
    try:
        page = tab.open(many)
        expect(page.get_by_text("50 runs")).to_be_visible()
        rows(page)
        last = page.get_by_role("link", name="run-0", exact=True)
        expect(last).to_have_count(0)
        made = page.locator(".scroller").evaluate(SCROLLED)
        expect(last).to_have_count(1)
    finally:
        tab.page.set_viewport_size({"width": 1440, "height": 900})

    assert made == 0


SCROLLED = """async (scroller) => {
  const rows = scroller.querySelector("[role=rowgroup]");
  const known = new Set(rows.children);
  let made = 0;
  new MutationObserver((all) => all.forEach((one) => one.addedNodes.forEach((node) => {
    if (node.role === "row" && !known.has(node)) made++;
    known.add(node);
  }))).observe(rows, { childList: true });
  for (let top = 0; top < scroller.scrollHeight; top += 17) {
    scroller.scrollTop = top;
    await new Promise((done) => requestAnimationFrame(done));
  }
  return made;
}"""
"""Scroll to the end in small steps; how many rows were made on the way."""


def test_a_row_that_comes_to_show_another_run_gives_the_focus_to_the_table(tab: Tab, many: str) -> None:
    tab.page.set_viewport_size({"width": 1000, "height": 300})
    page = tab.open(many)
    eye = page.get_by_role("button", name="run-49", exact=False).first
    eye.click()
    expect(eye).to_be_focused()
    page.mouse.wheel(0, 15)
    expect(eye).to_be_focused()
    page.mouse.wheel(0, 5000)
    expect(page.get_by_role("grid", name="Runs")).to_be_focused()


def test_rows_stand_in_the_document_in_their_order_once_nothing_moves(tab: Tab, many: str) -> None:
    tab.page.set_viewport_size({"width": 1000, "height": 300})
    page = tab.open(many)
    rows(page)
    for top in (20 * 30, 5000, 0):
        page.locator(".scroller").evaluate("(scroller, top) => { scroller.scrollTop = top; }", top)
        page.wait_for_function(IN_ORDER)
        assert page.locator("[role=row][id^=run-row-]").count() < 50


IN_ORDER = """() => {
  const { scrollTop, clientHeight } = document.querySelector(".scroller");
  const found = [...document.querySelectorAll("[role=row][id^=run-row-]")].map((row) => Number(row.id.slice(8)));
  const last = Math.min(49, Math.floor((scrollTop + clientHeight) / 30));
  return found.every((one, i) => one === found[0] + i) && found.includes(Math.floor(scrollTop / 30)) && found.includes(last);
}"""
"""Whether those that are in sight are there, and the elements follow each other as the rows do."""


def test_a_row_that_waits_for_its_run_tells_no_other(tab: Tab, many: str) -> None:
    def more(route: Route) -> None:
        """Say that there are 300 runs, of which those from the 100th on never come."""
        if "offset=0" in route.request.url:
            answer = route.fetch()
            route.fulfill(response=answer, json={**answer.json(), "total": 300})

    tab.page.route("**/runs?**", more)
    tab.page.set_viewport_size({"width": 1000, "height": 300})
    page = tab.open(many)
    rows(page)
    page.locator(".scroller").evaluate("(scroller) => { scroller.scrollTop = 200 * 30; }")
    waiting = page.get_by_role("row", name="loading")
    expect(waiting.first).to_have_attribute("aria-busy", "true")
    expect(page.get_by_role("row").filter(has=page.get_by_role("link"))).to_have_count(0)
    assert "run-" not in page.get_by_role("grid", name="Runs").aria_snapshot()
