"""How fast the web page is: python -m bench.page (make bench-page), in headless Chromium on a server of its own, over loopback.

    python -m bench.page [charts] [table] [live] [--steps 1000000] [--data DIR] [--seconds 8] [--profile FILE]

charts  the time to the first chart of a project of 200 runs; then 50 charts of 10 long runs are scrolled, down and up again:
        the time between frames, memory of the JavaScript heap and of the process
table   the same for a table of 10,000 runs: by a wheel that is turned as fast as a hand can, 40 notches a second or 160 rows, and
        flung from its first row to its last and back, 2,500 rows a second, faster than anybody could read
live    a program logs: the time until the point is in the chart

Frames are counted by requestAnimationFrame in the page, which is late when the page is busy, and also when the machine is. The
processor time of each task of the page's thread, which Chromium traces, tells the two apart: a task of over 50 ms of it is
the page's own doing, and a frame over 50 ms without one is another program's.
--data keeps the runs, which take a minute or two to make, for the next time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import BrowserContext, CDPSession, Page, sync_playwright

from bench.measuring import Figures

ROOT: Final = Path(__file__).resolve().parent.parent
CHROMIUM: Final = "/usr/bin/chromium"
ARGUMENTS: Final = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
KEY: Final = "mp_bench_0123456789abcdef0123456789"
RUNS, KEYS, SHORT, TABLE = 10, 50, 190, 10_000
NOTCH_PX, NOTCHES_PER_S = 120, 40
LIMIT_MS: Final = 50.0
"""What nobody should wait for a frame."""

WATCH: Final = """
window.frames_ms = []; window.recording = false; window.first_chart_ms = null;
let before = performance.now();
requestAnimationFrame(function frame(now) {
  if (window.recording) window.frames_ms.push(now - before);
  before = now;
  if (window.first_chart_ms === null && !window.recording) {
    for (const plot of document.querySelectorAll(".plot[role=img]")) {
      if (/\\d+ lines?: /.test(plot.ariaLabel) && plot.querySelector("canvas")) window.first_chart_ms ??= performance.now();
    }
  }
  requestAnimationFrame(frame);
});
"""
LIVE: Final = """
import sys, milepost
run = milepost.init(project="live", dir=sys.argv[1], name="going", settings={"capture": False})
print("begun", flush=True)
for line in sys.stdin:
    milepost.log({"loss": float(line)})
milepost.finish()
"""


def main() -> int:
    """Measure what the command line names, and print it."""
    options = _parser().parse_args()
    wanted = options.what or ["charts", "table", "live"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        data = options.data or Path(folder) / "data"
        if wanted != ["live"] and not (data / "milepost.db").exists():
            print("making the runs ...", file=sys.stderr, flush=True)
            make(data, options.steps)
        with browser(Path(folder) / "profile") as context:
            for name, figures in measured(context, data, Path(folder), wanted, options.seconds, options.profile):
                print(f"{name}: " + json.dumps({key: round(value, 1) for key, value in figures.items()}), flush=True)
    return 0


def make(data: Path, steps: int) -> None:
    """The runs that `measured` looks at. In a process of its own: with it the lock of the data ends."""
    arguments = f"runs={RUNS}, steps={steps}, count={KEYS}, short={SHORT}, table={TABLE}"
    script = f"import pathlib, sys; from bench import page_data; page_data.make(pathlib.Path(sys.argv[1]), {arguments})"
    subprocess.run([sys.executable, "-c", script, str(data)], check=True, cwd=ROOT)


def measured(
    context: BrowserContext, data: Path, folder: Path, wanted: list[str], seconds: float, profile: Path | None = None
) -> Iterator[tuple[str, Figures]]:
    """The figures of each thing that is wanted: "charts", "table", "live"."""
    if "charts" in wanted or "table" in wanted:
        with server(["--data", str(data)]) as url:
            page = _opened(context)
            page.request.post(f"{url}/api/v1/login", data={"key": KEY})
            if "charts" in wanted:
                yield "charts", charts(page, url, seconds, profile)
            if "table" in wanted:
                yield "table", table(page, url, seconds)
            page.close()
    if "live" in wanted:
        yield "live", live(context, folder / "runs")


def charts(page: Page, url: str, seconds: float, profile: Path | None = None) -> Figures:
    """The first chart of 200 runs, then all charts of the long ones while they are scrolled for so many seconds."""
    first = []
    for _ in range(3):
        page.goto("about:blank")
        page.goto(f"{url}/p/long")
        _until(page, "window.first_chart_ms !== null")
        first.append(float(page.evaluate("window.first_chart_ms")))
    shown = ",".join(f"long-{number:03}" for number in range(RUNS))
    page.goto(f"{url}/p/long?show={shown}")
    _until(page, "window.first_chart_ms !== null")
    cold = _scrolled(page, ".charts-scroll", seconds, profile)
    warm = _scrolled(page, ".charts-scroll", seconds)
    return {
        "first_chart_ms": statistics.median(first),
        "charts": page.locator("figure.chart").count(),
        **{f"cold_{name}": value for name, value in cold.items()},
        **{f"warm_{name}": value for name, value in warm.items()},
        **_memory(page),
    }


def table(page: Page, url: str, seconds: float) -> Figures:
    """The table of 10,000 runs, scrolled for so many seconds."""
    page.goto("about:blank")
    page.goto(f"{url}/p/many/table")
    page.locator("[role=row] .name a").first.wait_for()
    began = page.evaluate("performance.now()")
    wheel = _scrolled(page, ".scroller", seconds, by=_wheel)
    fling = _scrolled(page, ".scroller", seconds)
    return {
        "first_rows_ms": began,
        **{f"wheel_{name}": value for name, value in wheel.items()},
        **{f"fling_{name}": value for name, value in fling.items()},
        **_memory(page),
    }


def live(context: BrowserContext, runs: Path) -> Figures:
    """Seconds from a `log()` of a program to the point in the chart, of ten points."""
    runs.mkdir(parents=True)
    command = [sys.executable, "-c", LIVE, str(runs)]
    environment = {**os.environ, "MILEPOST_SILENT": "true"}
    waits: list[float] = []
    with (
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment
        ) as program,
        server(["--runs", str(runs)]) as url,
    ):
        assert program.stdin
        assert program.stdout
        while "begun" not in program.stdout.readline():
            pass
        program.stdin.write("100\n99\n")
        page = _opened(context)
        page.goto(f"{url}/p/live")
        seen = (
            "document.querySelector('figure[aria-label=loss] .plot')?.ariaLabel.match(/ to ([\\d.]+),/)?.[1] === '{}'"
        )
        _until(page, seen.format(99))
        for value in range(98, 88, -1):
            time.sleep(0.37)
            began = time.monotonic()
            program.stdin.write(f"{value}\n")
            _until(page, seen.format(value))
            waits.append(time.monotonic() - began)
        program.stdin.close()
        page.close()
    return {"median_ms": statistics.median(waits) * 1e3, "worst_ms": max(waits) * 1e3}


def _until(page: Page, condition: str) -> None:
    """Wait for a condition of the page, which forbids the evaluation of text within it."""
    deadline = time.monotonic() + 120
    while not page.evaluate(condition):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the page did not get to: {condition}")
        time.sleep(0.01)


def _opened(context: BrowserContext) -> Page:
    page = context.new_page()
    page.add_init_script(WATCH)
    page.set_viewport_size({"width": 1440, "height": 900})
    return page


def _fling(page: Page, session: CDPSession, selector: str, at: tuple[float, float], seconds: float) -> None:
    """All the way down and up again, evenly, in so many seconds."""
    height = page.locator(selector).evaluate("e => e.scrollHeight - e.clientHeight")
    for direction in (-1, 1):
        session.send(
            "Input.synthesizeScrollGesture",
            {
                "x": at[0],
                "y": at[1],
                "yDistance": direction * height,
                "speed": max(100, int(height / (seconds / 2))),
                "gestureSourceType": "mouse",
            },
        )


def _wheel(_page: Page, session: CDPSession, _selector: str, at: tuple[float, float], seconds: float) -> None:
    """Down, and up again, notch by notch, as a fast hand turns a wheel."""
    notches = int(seconds * NOTCHES_PER_S)
    began = time.monotonic()
    for notch in range(notches):
        by = NOTCH_PX if notch < notches / 2 else -NOTCH_PX
        session.send(
            "Input.dispatchMouseEvent", {"type": "mouseWheel", "x": at[0], "y": at[1], "deltaX": 0, "deltaY": by}
        )
        time.sleep(max(0.0, began + (notch + 1) / NOTCHES_PER_S - time.monotonic()))


Hand = Callable[[Page, CDPSession, str, tuple[float, float], float], None]


def _scrolled(page: Page, selector: str, seconds: float, profile: Path | None = None, by: Hand = _fling) -> Figures:
    """What frames took while something is scrolled."""
    box = page.locator(selector).bounding_box()
    assert box
    session = page.context.new_cdp_session(page)
    trace = _Trace(session)
    if profile is not None:
        session.send("Profiler.enable")
        session.send("Profiler.start")
    page.evaluate("window.frames_ms = []; window.recording = true")
    by(page, session, selector, (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2), seconds)
    page.evaluate("window.recording = false")
    frames: list[float] = page.evaluate("window.frames_ms")
    tasks = trace.stop(page)
    if profile is not None:
        profile.write_text(json.dumps(session.send("Profiler.stop")["profile"]))
    session.detach()
    return {
        "frames": len(frames),
        "frame_p50_ms": statistics.median(frames),
        "frame_worst_ms": max(frames),
        "frames_over_50_ms": sum(each > LIMIT_MS for each in frames),
        "task_cpu_worst_ms": max(tasks, default=0.0),
        "tasks_over_50_ms_cpu": sum(each > LIMIT_MS for each in tasks),
        "thread_cpu_ms": sum(tasks),
    }


class _Trace:
    """What the page's main thread did from now on, task by task."""

    def __init__(self, session: CDPSession) -> None:
        self._session = session
        self._events: list[dict[str, Any]] = []
        self._done = False
        session.on("Tracing.dataCollected", lambda told: self._events.extend(told["value"]))
        session.on("Tracing.tracingComplete", lambda _: setattr(self, "_done", True))
        categories = {"includedCategories": ["toplevel"], "excludedCategories": ["*"]}
        session.send("Tracing.start", {"transferMode": "ReportEvents", "traceConfig": categories})

    def stop(self, page: Page) -> list[float]:
        """Milliseconds of processor time of each task."""
        self._session.send("Tracing.end")
        while not self._done:
            page.wait_for_timeout(20)
        threads: dict[tuple[int, int], str] = {
            (each["pid"], each["tid"]): each["args"]["name"] for each in self._events if each["name"] == "thread_name"
        }
        tasks = [each for each in self._events if each["name"].endswith("RunTask") and each["ph"] == "X"]
        names = {each["name"] for each in tasks if threads.get((each["pid"], each["tid"])) == "CrRendererMain"}
        chosen = "ThreadControllerImpl::RunTask" if "ThreadControllerImpl::RunTask" in names else "RunTask"
        by_process: dict[int, list[float]] = {}
        for each in tasks:
            if each["name"] == chosen and threads.get((each["pid"], each["tid"])) == "CrRendererMain":
                by_process.setdefault(each["pid"], []).append(each.get("tdur", 0) / 1e3)
        return max(by_process.values(), key=sum, default=[])  # there may be an idle spare page


def _memory(page: Page) -> Figures:
    """Megabytes: the JavaScript heap after a collection, and the process of the page."""
    import psutil

    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    told = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    session.detach()
    renderers = [
        process.memory_full_info().pss
        for process in psutil.Process().children(recursive=True)
        if "--type=renderer" in process.cmdline()
    ]
    return {"heap_mb": float(told["JSHeapUsedSize"]) / 1e6, "process_mb": max(renderers, default=0) / 1e6}


@contextmanager
def browser(profile: Path) -> Iterator[BrowserContext]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(profile), executable_path=CHROMIUM, headless=True, args=list(ARGUMENTS), reduced_motion="reduce"
        )
        yield context
        context.close()


@contextmanager
def server(arguments: list[str]) -> Iterator[str]:
    """A server on a free port; its address."""
    command = [sys.executable, "-m", "milepost", "server", "--port", "0", *arguments]
    environment = {**os.environ, "MILEPOST_ADMIN_KEY": KEY} if "--data" in arguments else None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as process:
        assert process.stdout
        try:
            yield next(line.split(" at ")[1].strip() for line in process.stdout if " at http" in line)
        finally:
            process.terminate()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.page", description="Measure the web page in headless Chromium."
    )
    parser.add_argument(
        "what",
        nargs="*",
        choices=["charts", "table", "live", []],
        metavar="WHAT",
        help="charts, table, live (default: all)",
    )
    parser.add_argument("--steps", type=int, default=1_000_000, help="of each long run (default: 1,000,000)")
    parser.add_argument("--seconds", type=float, default=8, help="how long each is scrolled (default: 8)")
    parser.add_argument(
        "--data", type=lambda text: Path(text).absolute(), help="where the runs are, or are made and kept"
    )
    parser.add_argument(
        "--profile", type=Path, help="store a processor profile of the first scrolling, for the DevTools"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
