"""Write the measured figures into README.md and the pages of figures in docs: python -m scripts.figures bench/results/FILE.json

`make bench` writes such a file, and then does this. On each page the figures stand between two comments, with the machine that
they were taken on.
"""

import re
import statistics
import sys
from pathlib import Path
from typing import Any

from bench import report
from bench.measuring import Figures
from bench.workloads import BENCHMARKS

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGE = ROOT / "docs" / "performance.md"
SERVER_PAGE = ROOT / "docs" / "server-performance.md"
TEXT = """
Medians, defaults of each, on {processors} cores of a virtual machine ({processor}), {system},
Python {python}, {day}. {busy}

| a row of 10 floats | `log()` p50 | p99 | rows a second, until `finish()` is done | training loop of 1 ms steps, slower by |
| --- | --- | --- | --- | --- |
{subjects}

Of milepost:

- other kinds of rows, p50: mixed types <side_by_side/mixed/p50_us> us, nested <side_by_side/nested/p50_us> us, numpy scalars
  <side_by_side/numpy/p50_us> us, `step=k` <side_by_side/step/p50_us> us, 1,000 nested keys <side_by_side/thousand/p50_us> us
- after 1 ms of numpy work, with cold caches: p50 <side_by_side/floats, cold/p50_us> us (the floor:
  <side_by_side/floats, cold/floor_p50_us> us); beside a thread that spins in Python: p50 <contention//p50_us> us,
  p99 <contention//p99_us> us
- on a disk that takes 10 and 50 ms for every write: worst call <slow_disk/10 ms/own_worst_call_ms> and
  <slow_disk/50 ms/own_worst_call_ms> ms (<slow_disk/0 ms/own_worst_call_ms> ms without the delay), less the time in which other
  programs had the processor
- a row takes <million//journal_bytes_per_row> bytes in the journal, and <million//cpu_us_per_row> us of CPU over all threads,
  console and file exporters included
- `import milepost` takes <startup//import_ms> ms, a disabled call <startup//disabled_call_us> us;
  `scan_history` reads <reading//scan_rows_per_s> rows a second
"""
BUSY = "Other programs kept {others} of the cores busy meanwhile, so the ratios say more than the figures."
QUIET = "Nothing else of weight ran meanwhile."
QUIET_BELOW = 0.3
"""Cores in use by others, up to which the machine counts as quiet."""
SUBJECTS = {
    "floor": "the floor: encode, copy into shared memory, nothing else",
    "readable_floor": "the same with number, time, length and checksum, so that it can be read back",
    "milepost": "**milepost {version}**",
    "wandb": "wandb {version}, offline",
    "trackio": "trackio {version}",
    "tensorboardx": "tensorboardX {version}",
    "opentelemetry": "OpenTelemetry log SDK {version}, to a file",
}
COLUMNS = (
    ("calls", "p50_us", " us"),
    ("calls", "p99_us", " us"),
    ("calls", "rows_per_s", ""),
    ("training", "slower_percent", " %"),
)
_PLACE = re.compile(r"(<!-- figures: .*? -->\n).*?(<!-- end of the figures -->)", re.DOTALL)
_FIGURE = re.compile(r"<(?P<benchmark>\w+)/(?P<case>[^/>]*)/(?P<name>\w+)>")

Results = dict[str, dict[tuple[str, str], report.Repeats]]


def section(about: dict[str, Any], results: Results) -> str:
    """Markdown: who was measured on what, a table of all subjects, and what else there is of milepost."""
    others = [figures["others"] for found in results.values() for each in found.values() for figures in each if figures]
    busy = statistics.median(others)
    lines = TEXT.format(
        **about,
        day=about["date"][:10],
        busy=QUIET if busy < QUIET_BELOW else BUSY.format(others=f"{busy:.1f}"),
        subjects="\n".join(
            _line(subject, name.format(version=about["versions"][subject]), results)
            for subject, name in SUBJECTS.items()
            if subject in about["versions"]
        ),
    )
    return _FIGURE.sub(
        lambda found: _told(_of(results, found["benchmark"], "milepost", found["case"]), found["name"]), lines
    )


def _line(subject: str, name: str, results: Results) -> str:
    cells = [_told(_of(results, benchmark, subject), figure) + unit for benchmark, figure, unit in COLUMNS]
    return f"| {name} | {' | '.join(cells)} |"


def _of(results: Results, benchmark: str, subject: str, case: str = "") -> Figures:
    """The medians of one subject in a benchmark; without a case, in its first one."""
    for (found, who), repeats in results.get(benchmark, {}).items():
        if who == subject and case in ("", found):
            return report.medians(repeats)
    return {}


def _told(figures: Figures, name: str) -> str:
    return report.number(figures[name]) if name in figures else "?"


def publish(path: Path) -> None:
    """Put the figures of a results file into their places."""
    about, results = report.load(path)
    text = README.read_text(encoding="utf-8")
    fresh, count = _PLACE.subn(lambda found: found[1] + section(about, results) + found[2], text)
    if count != 1:
        sys.exit("README.md has lost the two comments that the figures stand between")
    README.write_text(fresh, encoding="utf-8")
    servers = {name: found for name, found in results.items() if name.startswith("server")}
    others = {name: found for name, found in results.items() if name not in servers}
    report.put_into(PAGE, report.page(about, others, BENCHMARKS))
    if servers:
        report.put_into(SERVER_PAGE, report.page(about, servers, BENCHMARKS))
    print(f"README.md and the pages of figures in docs/ have those of {path}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Name the results: python -m scripts.figures bench/results/FILE.json")
    publish(Path(sys.argv[1]))
