"""Run the reliability tests and write what they measured into docs/reliability.md, between the marks of the generated part.

python scripts/reliability.py                  the tests in their CI form
python scripts/reliability.py -m gate          the long form; arguments go to pytest
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN = "<!-- figures: written by scripts/reliability.py -->"
END = "<!-- end of the figures -->"


def table(figures: list[dict[str, str]]) -> str:
    """The figures as a table, by line of the scoreboard, each line's in the order in which they were measured."""
    rows = sorted(figures, key=lambda figure: (figure["line"][0], int(figure["line"][1:])))
    lines = [f"| {figure['line']} | {figure['text'].replace('|', '/')} |" for figure in rows]
    machine = (
        f"{os.cpu_count()} processors, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    )
    return "\n".join([f"Measured on {machine}.", "", "| line | what happened |", "| --- | --- |", *lines])


def main() -> int:
    """Run, and write the page when all passed; pytest's exit code."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "figures.jsonl"
        command = [sys.executable, "-m", "pytest", "tests/reliability", "-n", "2", "--dist", "worksteal", *sys.argv[1:]]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | {"RELIABILITY_FIGURES": str(kept)}, check=False)
        if done.returncode:
            return done.returncode
        figures = [json.loads(line) for line in kept.read_text().splitlines()]
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(figures)}\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
