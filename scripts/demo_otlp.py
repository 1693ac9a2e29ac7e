"""make demo-otlp: train the digits example into a real collector and a real Prometheus, read both back, and compare.

The collector is rotel, out of the development environment; Prometheus is Debian's (apt-get install prometheus). Both run on
free ports of the loopback and end with the demo; with --keep they go on until Ctrl-C, so that one can look around. What they
got is held against the run's own record, which stays in ./milepost-runs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import milepost  # noqa: E402 - the checkout comes first
from milepost.sdk.cli.chart import Points, chart  # noqa: E402
from milepost.sdk.reading.run import Run  # noqa: E402
from milepost.sdk.terminal import Screen  # noqa: E402
from tests.exporters.otlp.processes import Backend, Collector, collector, missing, prometheus  # noqa: E402
from tests.exporters.otlp.querying import samples, series, wait_for  # noqa: E402
from tests.exporters.otlp.sink import Sink  # noqa: E402

CONFIG = """\
file_format: "1.0"
project: digits
exporters:
  - file:
  - otlp: {{endpoint: "{collector}"}}
  - prometheus_remote_write: {{endpoint: "{prometheus}/api/v1/write"}}
shipper: {{linger: 1000}}
"""


NEXT = """\
Next:
  {milepost} show {run}
                                      the same run, out of its own files
  {milepost} doctor {run}
                                      what each exporter has, row by row
  .venv/bin/python scripts/demo_otlp.py --keep
                                      leaves both running, to look around: Prometheus has a page, with graphs
  docs/stacks/                        the settings for your own Collector, Prometheus, Loki, ...
  examples/observability/             alert rules and a Grafana dashboard for what was sent
  docs/opentelemetry.md               what is sent, and what becomes of it in an outage"""


def main() -> int:
    """Run the demo; 1 where a program is missing, or where something logged was not found again."""
    options = _arguments()
    if text := missing():
        print(text, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="milepost-demo-") as name:
        folder = Path(name)
        with Sink() as sink, collector(folder, sink.address) as otlp, prometheus(folder / "prometheus") as queries:
            config = CONFIG.format(collector=otlp.http, prometheus=queries.http)
            (folder / "milepost.yaml").write_text(config, encoding="utf-8")
            print(f"A collector takes OTLP at {otlp.http}, Prometheus remote write at {queries.http}. milepost.yaml:\n")
            print("".join(f"    {line}\n" for line in config.splitlines()))
            print("Training the digits example (examples/digits.py) ...", flush=True)
            run = _train(options.epochs, folder / "milepost.yaml")
            faults = [*_received(sink, otlp, run), *_queried(queries, run)]
            for fault in faults:
                print(f"NOT AS LOGGED: {fault}")
            print(f"\n{NEXT.format(milepost='.venv/bin/milepost', run=run.path)}", flush=True)
            if options.keep:
                _wait(queries.http)
    return 1 if faults else 0


def _train(epochs: int, config: Path) -> Run:
    """Run the example; the run that it logged. The network is wide, so that a step takes milliseconds as real ones do."""
    runs = Path("milepost-runs").absolute()
    before = {run.path for run in milepost.Api(runs).runs("digits")} if runs.is_dir() else set()
    environment = {**os.environ, "MILEPOST_CONFIG_FILE": str(config), "MILEPOST_DIR": str(runs)}
    command = [sys.executable, str(ROOT / "examples" / "digits.py"), "--epochs", str(epochs), "--hidden", "1024"]
    subprocess.run(command, check=True, env=environment)
    return next(run for run in milepost.Api(runs).runs("digits") if run.path not in before)


def _received(sink: Sink, otlp: Collector, run: Run) -> Iterator[str]:
    """Show the rows that came out of the collector; what is not as it was logged."""
    logged = [
        {key: value for key, value in row.items() if key not in ("_timestamp", "_runtime")}
        for row in run.scan_history()
    ]
    sink.wait(
        lambda: (
            len(sink.rows()) >= len(logged)
            and any(record.event_name == "milepost.run.finish" for record in sink.records())
        )
    )
    # By the number that each carries: a collector may pass two batches on at once.
    received = sorted(sink.rows(), key=lambda row: int(row["_seq"]))
    rows = [{key: value for key, value in row.items() if key != "_seq"} for row in received]
    if rows != logged:
        at = next((at for at, pair in enumerate(zip(rows, logged, strict=False)) if pair[0] != pair[1]), -1)
        yield f"the collector got {len(rows)} rows, which are not the {len(logged)} of the run; the first is {rows[at]}"
    kinds = sorted({record.event_name for record in sink.records()} - {"milepost.row"})
    same = "every value as logged" if rows == logged else "NOT as logged"
    print(f"\nThe collector at {otlp.http} got {len(rows)} rows of {len(logged)}, each once, {same};")
    print(f"and {', '.join(kinds)}:\n")
    for row in [*rows[:2], None, *rows[-2:]]:
        print(
            "    ..."
            if row is None
            else f"    step {row['_step']:>4}  train.loss {row['train.loss']:.4f}  lr {row['lr']:.5f}"
        )


def _queried(queries: Backend, run: Run) -> Iterator[str]:
    """Draw the loss as Prometheus gives it back, over the steps of the companion metric; what is not as it was logged."""
    wait_for(queries, 'milepost_run_active{job="digits"}', 2)  # its end is the last thing that is sent
    losses = samples(queries, 'train_loss{job="digits"}')
    steps = dict(samples(queries, 'milepost_step{job="digits"}'))
    points = [(int(steps.get(when, -1)), value) for when, value in losses]
    rows = list(run.scan_history())
    logged = {row["_step"]: row["train.loss"] for row in rows}
    wrong = [step for step, value in points if logged.get(step) != value]
    found = {step for step, _ in points}
    shared = [row["_step"] for row, after in pairwise(rows) if after["_timestamp"] - row["_timestamp"] < 0.001]
    lost = sorted(logged.keys() - found - set(shared))
    if wrong or lost:
        yield f"Prometheus has other values at the steps {wrong}, and none at {lost}"
    same = "NOT as logged" if wrong or lost else "each with the value and the step that were logged"
    names = sorted({each["__name__"] for each in series(queries, '{job="digits"}')})
    print(f'\nPrometheus at {queries.http} has {len(points)} points of train_loss{{job="digits"}}, {same}')
    print(f"(of {len(rows)} rows the last in each millisecond, which is what it keeps). The loss over milepost_step:\n")
    drawn = Points(
        array("d", (step for step, _ in points)), array("d", (value for _, value in points)), "milepost_step"
    )
    for line in chart(drawn, Screen(sys.stdout), cells=76, lines=10):
        print(f"    {line}")
    print(f"\nIts {len(names)} metrics: {', '.join(names[:8])}, ...")


def _wait(address: str) -> None:
    print(f"\nLook around at {address}; Ctrl-C ends it.", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Train into a real collector and a real Prometheus, and read both back."
    )
    parser.add_argument("--epochs", type=int, default=10, help="how long to train (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="leave collector and Prometheus running until Ctrl-C")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
