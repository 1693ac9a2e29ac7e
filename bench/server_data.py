"""python -m bench.server_data DIR: a data directory to look at: long runs with many keys, and a table of many runs.

    python -m bench.server_data data                            # 10 runs x 50 keys x 1 M steps, 10,000 runs of 50 columns
    python -m bench.server_data data --steps 100000 --table 1000
    milepost server --data data

Project `long` has the long runs, project `table` the many. 500 million points take two to three minutes and 2 GB.
"""

import argparse
import sys
import time
from pathlib import Path

from bench.measuring import directory_bytes
from bench.server import datasets


def main(arguments: list[str] | None = None) -> int:
    """Fill the directory; 1 when there is a database in it already."""
    parser = argparse.ArgumentParser(prog="python -m bench.server_data", description="Fill a data directory.")
    parser.add_argument("directory", type=Path, help="the --data of a server that is not running")
    parser.add_argument("--runs", type=int, default=10, help="long runs (default: 10)")
    parser.add_argument("--keys", type=int, default=50, help="their keys (default: 50)")
    parser.add_argument("--steps", type=int, default=1_000_000, help="their steps (default: 1,000,000)")
    parser.add_argument(
        "--table", type=int, default=10_000, help="runs of the table, 50 columns each (default: 10,000)"
    )
    options = parser.parse_args(arguments)
    if (options.directory / "milepost.db").exists():
        print(f"{options.directory} has a database already; name a directory that is new", file=sys.stderr)
        return 1
    began = time.perf_counter()
    datasets.long_runs(options.directory, options.runs, options.steps, options.keys)
    datasets.table(options.directory, options.table)
    points = options.runs * options.keys * options.steps
    size = directory_bytes(options.directory)
    print(
        f"{points:,} points and {options.table:,} runs in {time.perf_counter() - began:.0f} s, {size / 1e6:,.0f} MB: "
        f"milepost server --data {options.directory}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
