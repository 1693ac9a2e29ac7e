"""make demo-otlp: train the digits example into a real collector and a real Prometheus, and read both back.

The collector is rotel, out of the development environment; Prometheus is Debian's (apt-get install prometheus). Both run on
free ports of the loopback and end with the demo; with --keep they go on until Ctrl-C, so that one can look around.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from array import array
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from milepost.sdk.cli.chart import Points, chart  # noqa: E402 - the checkout comes first
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


def main() -> int:
    """Run the demo; 1 where a program is missing."""
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
            environment = {
                **os.environ,
                "MILEPOST_CONFIG_FILE": str(folder / "milepost.yaml"),
                "MILEPOST_DIR": str(folder / "runs"),
            }
            command = [sys.executable, str(ROOT / "examples" / "digits.py"), "--epochs", str(options.epochs)]
            subprocess.run(command, check=True, env=environment, cwd=folder)
            rows = _received(sink, otlp)
            _queried(queries, rows)
            if options.keep:
                _wait(queries.http)
    return 0


def _received(sink: Sink, otlp: Collector) -> int:
    """Show the rows that came out of the collector; how many there are."""
    sink.wait(lambda: any(record.event_name == "milepost.run.finish" for record in sink.records()))
    rows = sink.rows()
    kinds = sorted({record.event_name for record in sink.records()})
    print(f"\nThe collector at {otlp.http} got {len(rows)} rows, each once and in order, beside {', '.join(kinds)}:\n")
    for row in [*rows[:2], None, *rows[-2:]]:
        print(
            "    ..."
            if row is None
            else f"    step {row['_step']:>4}  train.loss {row['train.loss']:.4f}  lr {row['lr']:.5f}"
        )
    return len(rows)


def _queried(queries: Backend, rows: int) -> None:
    """Draw the loss as Prometheus gives it back, over the steps of the companion metric."""
    wait_for(queries, 'milepost_run_active{job="digits"}', 2)  # its end is the last thing that is sent
    losses = samples(queries, 'train_loss{job="digits"}')
    steps = dict(samples(queries, 'milepost_step{job="digits"}'))
    points = [(int(steps[when]), value) for when, value in losses]
    names = sorted({each["__name__"] for each in series(queries, '{job="digits"}')})
    print(
        f'\nPrometheus at {queries.http} has {len(points)} points of train_loss{{job="digits"}}: it keeps one per millisecond, '
        f"which\nsome of the {rows} rows share. Each has its step at the same time in milepost_step. The loss over the steps:\n"
    )
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
