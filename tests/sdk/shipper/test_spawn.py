"""What a shipper is started with, whatever its program was started with."""

import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

import milepost

PROGRAM = """
import os
import sys
from pathlib import Path
from milepost.sdk.shipper.spawn import spawn

for descriptor in sys.argv[1:]:
    os.close(int(descriptor))
os.waitpid(spawn(Path("no-such-directory"), Path("shipper.log")), 0)
"""

FROM_ELSEWHERE = """
import os
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
sys.executable = sys.argv[3]
from milepost.sdk.shipper.spawn import spawn

os.chdir("a/b")
os.waitpid(spawn(Path("no-such-directory"), Path("shipper.log")), 0)
"""


@pytest.mark.parametrize("closed", [["0"], ["1"], ["0", "1", "2"]], ids=["input", "output", "all"])
def test_a_shipper_has_its_log_also_where_its_program_has_no_standard_streams(
    tmp_path: Path, closed: list[str]
) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, *closed], cwd=tmp_path, check=True)

    assert "No such file or directory: 'no-such-directory'" in end_of(tmp_path / "shipper.log")


def test_a_shipper_finds_milepost_where_its_program_found_it_and_left_the_directory_since(tmp_path: Path) -> None:
    bare = tmp_path / "python"  # which has not installed milepost, as this one has
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    found = os.path.relpath(Path(milepost.__file__).parent.parent, tmp_path)
    libraries = str(Path(msgspec.__file__).parent.parent)
    away = tmp_path / "a" / "b"
    away.mkdir(parents=True)

    command = [str(bare), "-c", FROM_ELSEWHERE, found, libraries, str(bare)]
    subprocess.run(command, cwd=tmp_path, env={"PATH": os.defpath}, check=True)

    assert "No such file or directory: 'no-such-directory'" in end_of(away / "shipper.log")


def end_of(log: Path) -> str:
    """The log of a shipper that could not begin, once it says why."""
    deadline = time.monotonic() + 30.0
    while "Error: " not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    return log.read_text()
