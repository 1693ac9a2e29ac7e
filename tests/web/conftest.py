"""A real browser (Debian's chromium) on a real server, over runs that the SDK logged; both are started once for all tests."""

import io
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import BrowserContext, Page, Playwright, expect, sync_playwright

import milepost
from tests.server.conftest import Server
from tests.server.gallery import log_gallery

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
expect.set_options(timeout=30_000)
PAYLOAD = "<img src=x onerror=\"document.title='HACKED'\"><script>document.title='HACKED'</script>"
"""What a name may hold when somebody means harm; the title of the page tells whether it ran."""


def browser(playwright: Playwright, profile: str, theme: str = "light") -> BrowserContext:
    """A headless Chromium with an empty profile."""
    assert Path(CHROMIUM).exists(), f"{CHROMIUM} is not there; install it with: apt-get install chromium"
    context = playwright.chromium.launch_persistent_context(
        profile,
        executable_path=CHROMIUM,
        headless=True,
        args=ARGUMENTS,
        color_scheme="dark" if theme == "dark" else "light",
        viewport={"width": 1440, "height": 900},
        reduced_motion="reduce",
    )
    context.set_default_timeout(30_000)
    return context


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[BrowserContext]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        context = browser(playwright, profile)
        yield context
        context.close()


@pytest.fixture(scope="session")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three projects: curves of twelve runs, media of two, and names that mean harm."""
    directory = tmp_path_factory.mktemp("runs")
    for number in range(12):
        log_curves(directory, number)
    for number, name in enumerate(("baseline", "mixup")):
        log_gallery(directory, name, number)
    log_harm(directory)
    log_real(directory)
    return directory


def log_curves(directory: Path, number: int) -> str:
    config = {"lr": 0.1 / (1 + number % 3), "model": {"arch": ["vit", "resnet"][number % 2]}, "seed": number}
    run = milepost.init(
        project="curves",
        dir=str(directory),
        name=f"run-{number}",
        config=config,
        tags=["paper"] if number % 4 == 0 else [],
        settings={"capture": False},
    )
    for step in range(300):
        loss = (1 + number / 10) * math.exp(-step / 80) + 0.05 * math.sin(step)
        row = {
            "train/loss": math.nan if step == 150 and number == 0 else loss,
            "train/accuracy": 1 - loss / 3,
            "epoch": step // 10,
        }
        if step % 10 == 9:
            row["val/loss"] = loss * 1.1
        milepost.log(row)
    milepost.finish(exit_code=1 if number == 5 else 0)
    return run.id


def log_harm(directory: Path) -> None:
    milepost.init(
        project="harm",
        dir=str(directory),
        name=PAYLOAD,
        notes=PAYLOAD,
        tags=[PAYLOAD[:60]],
        group=PAYLOAD,
        config={PAYLOAD: PAYLOAD, "plain": "javascript:alert(1)"},
        settings={"capture": False},
    )
    for step in range(5):
        milepost.log({f"train/{PAYLOAD}": step, "text": PAYLOAD})
    milepost.finish()


def log_real(directory: Path) -> None:
    """Media through log(), encoded and stored by the SDK."""
    milepost.init(project="real", dir=str(directory), name="real", settings={"capture": False})
    shades = np.add.outer(np.linspace(0, 1, 24), np.linspace(0, 1, 40)) / 2
    table = milepost.Table(
        columns=["word", "picture"], data=[["a", milepost.Image(shades)], ["b", milepost.Image(1 - shades)]]
    )
    picture = milepost.Image(shades, caption="shades")
    several = [milepost.Image(shades), milepost.Image(1 - shades)]
    milepost.log(
        {"picture": picture, "several": several, "table": table, "report": milepost.Html("<p id=a>read me</p>")}
    )
    heat = {"data": [{"type": "heatmap", "z": [[1, 2], [3, 4]]}], "layout": {}}
    solid = {"data": [{"type": "surface", "z": [[1, 2], [3, 4]]}, {"type": "mesh3d"}], "layout": {}}
    milepost.log({"heat": milepost.Plotly(heat), "surface": milepost.Plotly(solid)})
    water = io.StringIO("3\nwater\nO 0 0 0.1\nH 0 0.7 -0.4\nH 0 -0.7 -0.4\n")
    milepost.log({"molecule": milepost.Molecule(water, file_type="xyz")})
    wave = np.sin(np.arange(16_000) * 0.2) * 0.4
    frames = np.random.default_rng(0).integers(0, 255, (12, 3, 32, 48), dtype=np.uint8)
    for note in ("the first words", "the last words"):
        tone = milepost.Audio(wave[: 8_000 if note == "the first words" else None], 8_000)
        milepost.log({"tone": tone, "clip": milepost.Video(frames, fps=6, format="mp4"), "note": note})
        frames = 255 - frames
    milepost.finish()


@pytest.fixture(scope="session")
def server(runs_dir: Path) -> Iterator[Server]:
    started = Server(["--runs", str(runs_dir)])
    yield started
    started.stop()


class Tab:
    """A page of the browser, with what it complained about. url: of the server."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.add_init_script(
            "window.violations = []; addEventListener('securitypolicyviolation', "
            "event => violations.push(event.violatedDirective + ' ' + event.blockedURI))"
        )

    def open(self, path: str) -> Page:
        """Show an address of the page."""
        self.page.goto(self.url + path)
        self.page.locator("main").wait_for()
        return self.page

    def violations(self) -> list[str]:
        """What the content security policy stopped."""
        found: list[str] = self.page.evaluate("window.violations")
        return found


@pytest.fixture
def tab(chromium: BrowserContext, server: Server) -> Iterator[Tab]:
    """A new tab; a test that leaves an error in it fails."""
    page = chromium.new_page()
    opened = Tab(page, server.url)
    yield opened
    errors, stopped = opened.errors, opened.violations() if not page.is_closed() else []
    page.close()
    assert errors == []
    assert stopped == []
