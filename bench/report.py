"""Results: medians over the repeats, ratios to the floor within a repeat, a table for people and JSON for programs."""

import json
import os
import platform
import re
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.benchmark import Benchmark
from bench.measuring import Figures
from bench.peers import version
from bench.subjects import FLOORS, OWN

Repeats = list[Figures]
"""The figures of one subject and case, one entry per repeat; a repeat that failed is an empty one."""


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "optimized_python": "--enable-optimizations" in (_config("CONFIG_ARGS") or ""),
        "system": f"{platform.system()} {platform.release()}",
        "processor": model,
        "processors": os.cpu_count(),
        "load_average": os.getloadavg(),
    }


def versions(subjects: Iterable[str]) -> dict[str, str]:
    """The measured version of each."""
    return {subject: version(subject) for subject in subjects}


def medians(repeats: Repeats) -> Figures:
    """The median of each figure over the repeats that have it."""
    names = dict.fromkeys(name for figures in repeats for name in figures)
    return {name: statistics.median(figures[name] for figures in repeats if name in figures) for name in names}


def ratios(repeats: Repeats, others: Repeats, names: Sequence[str]) -> Figures:
    """How many times the others' a figure is: the median of the ratios, each of two figures of the same repeat."""
    out: Figures = {}
    for name in names:
        pairs = zip(repeats, others, strict=True)
        found = [own[name] / base[name] for own, base in pairs if name in own and base.get(name)]
        if found:
            out[name] = statistics.median(found)
    return out


def table(benchmark: Benchmark, results: Mapping[tuple[str, str], Repeats]) -> str:
    """The results of one benchmark as a table in Markdown, one line per case and subject."""
    rows: list[dict[str, str]] = []
    for (case, subject), repeats in results.items():
        middle = medians(repeats)
        line = {"case": case, "subject": subject}
        line |= {name: number(middle[name]) if name in middle else "" for name in benchmark.fields}
        for other in OWN if subject not in FLOORS else FLOORS[: FLOORS.index(subject)]:
            if other == subject:
                continue
            found = ratios(repeats, results.get((case, other), [{} for _ in repeats]), benchmark.ratios)
            line |= {f"{name.removesuffix('_us')} / {other}": times(value) for name, value in found.items()}
        line["others"] = f"{middle['others']:.1f}" if "others" in middle else ""
        rows.append(line)
    columns = list(dict.fromkeys(name for row in rows for name in row if name != "others"))
    if len({row["case"] for row in rows}) == 1:
        columns.remove("case")
    columns.append("others")
    head = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    body = ["| " + " | ".join(row.get(name, "") for name in columns) + " |" for row in rows]
    return "\n".join([f"### {benchmark.title}", "", *head, *body, ""])


def page(
    about: Mapping[str, Any],
    results: Mapping[str, Mapping[tuple[str, str], Repeats]],
    benchmarks: Mapping[str, Benchmark],
) -> str:
    """All tables, under a line that says what was measured, when, on what, and how busy that was."""
    measured = ", ".join(f"{name} {number}" for name, number in about["versions"].items() if name not in FLOORS)
    others = [
        each["others"]
        for found in results.values()
        for repeats in found.values()
        for each in repeats
        if "others" in each
    ]
    built = "" if about["optimized_python"] else ", built without profile-guided optimization"
    head = (
        f"{about['date'][:10]}; {measured}; Python {about['python']}{built}; {about['processors']} virtual cores "
        f"({about['processor']}), {about['system']}. Other programs kept {statistics.median(others):.1f} of the cores busy "
        f"(median; {max(others):.1f} at worst)."
    )
    return "\n".join([head, "", *(table(benchmarks[name], found) for name, found in results.items())])


_BETWEEN = re.compile(r"(<!-- figures: [^\n]*-->\n).*?(<!-- end of the figures -->)", re.DOTALL)


def put_into(path: Path, text: str) -> None:
    """Replace what stands between the two comments of a page. Raises ValueError when they are not there."""
    old = path.read_text()
    fresh, count = _BETWEEN.subn(lambda found: f"{found[1]}\n{text}\n{found[2]}", old)
    if count != 1:
        raise ValueError(
            f"{path} has no place for the figures: a line <!-- figures: ... --> and one <!-- end of the figures -->"
        )
    path.write_text(fresh)


def times(ratio: float) -> str:
    """A ratio with the digits that mean something."""
    return f"{ratio:,.0f} x" if ratio >= 10 else f"{ratio:.2g} x"


def number(value: float) -> str:
    """Three digits, with commas in large numbers."""
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def store(path: Path, about: Mapping[str, Any], results: Mapping[str, Mapping[tuple[str, str], Repeats]]) -> None:
    """Every figure of every repeat, as JSON."""
    listed = {
        name: [{"case": case, "subject": subject, "repeats": repeats} for (case, subject), repeats in found.items()]
        for name, found in results.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**about, "results": listed}, indent=1) + "\n")


def load(path: Path) -> tuple[dict[str, Any], dict[str, dict[tuple[str, str], Repeats]]]:
    """What `store` wrote."""
    about = json.loads(path.read_text())
    listed = about.pop("results")
    return about, {
        name: {(each["case"], each["subject"]): each["repeats"] for each in found} for name, found in listed.items()
    }


def _config(name: str) -> str:
    import sysconfig

    return str(sysconfig.get_config_var(name) or "") if sys.platform != "win32" else ""
