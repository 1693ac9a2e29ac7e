"""Take the pictures of the web page for the documentation: python scripts/screenshots.py (make page-screenshots)

The runs are real: the digits example at several learning rates, and the gallery of media that the tests use. Each screen is
taken light and dark, and reduced to a palette, which keeps a picture at some 50 kB.
"""

import io
import itertools
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import PIL.Image
from playwright.sync_api import Page, sync_playwright

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from tests.server.conftest import Server  # noqa: E402 - found below the repository
from tests.server.gallery import log_gallery  # noqa: E402
from tests.web.conftest import browser  # noqa: E402

IMAGES = REPOSITORY / "docs" / "images"
SIZE = (1280, 800)
COLOURS = 256


def main() -> None:
    """Make the runs, take the pictures."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        runs = Path(folder) / "runs"
        for lr, hidden in itertools.product((0.02, 0.05, 0.1, 0.2), (32, 128)):
            options = ["--epochs", "20", "--lr", str(lr), "--hidden", str(hidden)]
            command = [sys.executable, str(REPOSITORY / "examples" / "digits.py"), *options]
            subprocess.run(command, check=True, capture_output=True, cwd=folder)
        (Path(folder) / "milepost-runs").rename(runs)
        for seed, name in enumerate(("baseline", "mixup")):
            log_gallery(runs, name, seed, caption="street, evening")
        server = Server(["--runs", str(runs)])
        try:
            with sync_playwright() as playwright:
                for theme in ("light", "dark"):
                    context = browser(playwright, str(Path(folder) / theme), theme)
                    page = context.new_page()
                    page.set_viewport_size({"width": SIZE[0], "height": SIZE[1]})
                    for name, picture in _pictures(page, server.url):
                        _save(IMAGES / f"web-{name}{'-dark' if theme == 'dark' else ''}.png", picture)
                    context.close()
        finally:
            server.stop()


def _pictures(page: Page, url: str) -> list[tuple[str, bytes]]:
    taken: list[tuple[str, bytes]] = []

    def take(name: str, path: str, ready: str, prepare: Any = None) -> None:
        page.goto(url + path)
        page.locator(ready).first.wait_for()
        if prepare:
            prepare()
        page.wait_for_timeout(1500)
        taken.append((name, page.screenshot()))

    def point() -> None:
        page.wait_for_timeout(1500)
        box = page.locator("figure.chart[aria-label='train.loss'] .u-over").bounding_box()
        assert box
        page.mouse.move(box["x"] + box["width"] * 0.45, box["y"] + box["height"] * 0.6)

    take("charts", "/p/digits?smooth=0.9&fold=system,process&k=/train|val/", "figure.chart .u-over", point)
    columns = (
        "config.lr,config.hidden,summary.val.accuracy.best,summary.val.loss,summary.train.loss,summary.test.accuracy"
    )
    take("table", f"/p/digits/table?cols={columns}&sort=-summary.val.accuracy.best", "[role=row] .name a")
    take("media", "/p/gallery?k=/val|weights|roc|confusion|mesh/", ".panel .box")
    page.goto(f"{url}/p/digits")
    page.locator("[role=row] .name a").first.wait_for()
    links = [link.get_attribute("href") or "" for link in page.locator("[role=row] .name a").all()][:4]
    take("compare", f"/p/digits/compare?runs={','.join(link.split('/')[-1] for link in links)}", "td .share")
    return taken


def _save(path: Path, picture: bytes) -> None:
    image = PIL.Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(COLOURS, method=PIL.Image.Quantize.MAXCOVERAGE, kmeans=4, dither=PIL.Image.Dither.NONE).save(
        path, optimize=True
    )
    print(f"wrote {path.relative_to(REPOSITORY)}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
