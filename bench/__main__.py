"""python -m bench [BENCHMARK ...]: measure, print a table for each, store every figure in bench/results/.

    python -m bench --publish                       all of it, and the figures into README.md and docs/performance.md
    python -m bench calls cold --repeats 5 --peers trackio,wandb
    python -m bench --report bench/results/FILE.json [--into docs/performance.md]

Each subject is measured in a fresh process, the subjects interleaved within a repeat, one at a time.
"""

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from bench import report
from bench.benchmark import BUDGET_S
from bench.peers import PeerMissing, interpreter
from bench.processes import TaskFailed, run
from bench.report import Repeats
from bench.subjects import OWN, PEERS
from bench.workloads import BENCHMARKS


def main(arguments: list[str] | None = None) -> int:
    """Measure what the command line names; 1 when something could not be measured."""
    options = _parser().parse_args(arguments)
    if options.report:
        text = report.page(*report.load(options.report), BENCHMARKS)
        if options.into:
            report.put_into(options.into, text)
        else:
            print(text)
        return 0
    subjects, missing = _available([name for name in options.peers.split(",") if name and name != "none"])
    results: dict[str, dict[tuple[str, str], Repeats]] = {}
    seconds: dict[str, float] = {}
    about = {**report.machine(), "size": options.size, "versions": report.versions(subjects), "seconds": seconds}
    path = options.json or Path("bench/results") / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.json"
    failed = list(missing)
    for name in options.benchmarks or BENCHMARKS:
        began = time.monotonic()
        results[name] = measure(name, subjects, options.size, options.repeats, failed)
        seconds[name] = round(time.monotonic() - began, 1)
        print(f"{report.table(BENCHMARKS[name], results[name])}\nmeasured in {seconds[name]:.0f} s\n", flush=True)
        report.store(path, about, results)
    print(f"every figure, {sum(seconds.values()) / 60:.1f} minutes in all: {path}")
    if options.publish:
        from scripts.figures import publish

        publish(path)
    for text in failed:
        print(f"not measured: {text}", file=sys.stderr)
    return 1 if failed else 0


def measure(
    name: str, subjects: list[str], size: str, repeats: int, failed: list[str]
) -> dict[tuple[str, str], Repeats]:
    """All repeats of one benchmark. What cannot be measured is added to `failed` and tried no more."""
    benchmark = BENCHMARKS[name]
    if size == "quick" and not benchmark.repeated:
        repeats = 1
    tasks = [(case, subject) for case, takers in benchmark.cases.items() for subject in takers if subject in subjects]
    results: dict[tuple[str, str], Repeats] = {task: [] for task in tasks}
    for repeat in range(repeats):
        for case, subject in tasks:
            if len(results[case, subject]) < repeat:
                continue  # it failed
            _progress(f"{name} {repeat + 1}/{repeats}: {case}, {subject}")
            try:
                slow_disk_ms = benchmark.slow_disk.get(case, 0)
                figures = run(name, subject, case, benchmark.sizes[size], BUDGET_S[size], slow_disk_ms)
            except TaskFailed as error:
                failed.append(str(error))
            else:
                results[case, subject].append(figures)
    _progress("")
    return {task: found + [{}] * (repeats - len(found)) for task, found in results.items() if found}


def _progress(text: str) -> None:
    """One line that is overwritten, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r{text:<78}\r{text}", end="", file=sys.stderr, flush=True)


def _available(peers: list[str]) -> tuple[list[str], list[str]]:
    """The subjects that can be measured here, and why others cannot."""
    subjects, missing = list(OWN), list[str]()
    for peer in peers:
        try:
            interpreter(peer)
        except PeerMissing as error:
            missing.append(str(error))
        else:
            subjects.append(peer)
    return subjects, missing


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure milepost beside its floor and its peers."
    )
    parser.add_argument(
        "benchmarks", nargs="*", choices=[*BENCHMARKS, []], metavar="BENCHMARK", help=f"of {', '.join(BENCHMARKS)}"
    )
    parser.add_argument(
        "--size", choices=list(BUDGET_S), default="quick", help="how many calls per measurement (default: quick)"
    )
    parser.add_argument(
        "--repeats", type=int, default=3, help="how often it is done; at size quick some once (default: 3)"
    )
    parser.add_argument(
        "--peers", default=",".join(PEERS), help="comma list, or none; environments that are missing are made"
    )
    parser.add_argument("--json", type=Path, help="where to store the figures (default: bench/results/DATE.json)")
    parser.add_argument(
        "--publish", action="store_true", help="write the figures into README.md and docs/performance.md"
    )
    parser.add_argument("--report", type=Path, help="print the tables of a stored file and measure nothing")
    parser.add_argument(
        "--into", type=Path, help="with --report: write the tables into this page, between its two comments"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
