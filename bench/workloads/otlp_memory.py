"""What a network exporter takes of a program's memory: fresh programs that log, with and without one, in turn."""

import json
import statistics
import subprocess
import sys

from bench.benchmark import Benchmark, Task
from bench.measuring import Figures

CASES = {
    "without": [],
    "otlp": [{"otlp": {"endpoint": "http://127.0.0.1:9"}}],
    "remote_write": [{"prometheus_remote_write": {"endpoint": "http://127.0.0.1:9/api/v1/write"}}],
}
PROGRAM = """
import json, sys, time
import milepost
exporters, directory, rows, wait_s = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
exec(sys.argv[5])
settings = {"capture": False, "shipper": {"linger": 0}}
run = milepost.init(project="bench", dir=directory, exporters=["console", "file", *exporters], settings=settings)
for at in range(rows):
    run.log({"a": at * 0.5, "b": at})
    time.sleep(0.0005)
time.sleep(wait_s)  # the shipper is started, and took over
told = dict(line.split(":") for line in open("/proc/self/smaps_rollup").read().splitlines()[1:])
print("\\n" + told["Rss"].split()[0], told["Anonymous"].split()[0], flush=True)
run.finish(timeout=0)
"""
TRAINS = "import numpy, multiprocessing, subprocess, queue"
"""What every program that trains has loaded."""


def memory(task: Task) -> Figures:
    """KiB that a program has more with the exporter than without: resident, and of its own; medians of pairs.

    spread: by how much programs without one differ among themselves, which is what zero looks like.
    bare: a program that imports nothing but milepost.    training: one that has numpy and the processes of a data loader.
    """
    figures: Figures = {}
    for name, imports in (("bare", ""), ("training", TRAINS)):
        found: dict[str, list[tuple[int, int]]] = {case: [] for case in CASES}
        for turn in range(task.size):
            for case, exporters in CASES.items():
                where = str(task.directory / f"{name}{turn}{case}")
                rows, wait_s = (1_000, 1.5) if task.size > 1 else (10, 0.05)
                command = [sys.executable, "-c", PROGRAM, json.dumps(exporters), where, str(rows), str(wait_s), imports]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                line = next(line for line in reversed(done.stdout.splitlines()) if line[:1].isdigit())
                resident, own = line.split()
                found[case].append((int(resident), int(own)))
        for at, kind in enumerate(("rss", "own")):
            sizes = [each[at] for each in found["without"]]
            figures[f"{name}_spread_{kind}_kb"] = max(sizes) - min(sizes)
        for case in list(CASES)[1:]:
            pairs = list(zip(found[case], found["without"], strict=True))
            figures[f"{name}_{case}_rss_kb"] = statistics.median(more[0] - less[0] for more, less in pairs)
            figures[f"{name}_{case}_own_kb"] = statistics.median(more[1] - less[1] for more, less in pairs)
    return figures


MEMORY = Benchmark(
    title="Memory that a network exporter takes of a program, KiB more than without",
    measure=memory,
    fields=(
        "bare_spread_rss_kb",
        "bare_spread_own_kb",
        "bare_otlp_rss_kb",
        "bare_otlp_own_kb",
        "bare_remote_write_rss_kb",
        "training_spread_rss_kb",
        "training_spread_own_kb",
        "training_otlp_rss_kb",
        "training_otlp_own_kb",
        "training_remote_write_rss_kb",
    ),
    cases={"program": ("milepost",)},
    sizes={"tiny": 1, "quick": 3, "full": 9},
)
