"""What a shipper is started with, whatever its program was started with."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import os
import sys
from pathlib import Path
from milepost.sdk.shipper.spawn import spawn

for descriptor in sys.argv[1:]:
    os.close(int(descriptor))
os.waitpid(spawn(Path("no-such-directory"), Path("shipper.log")), 0)
"""


@pytest.mark.parametrize("closed", [["0"], ["1"], ["0", "1", "2"]], ids=["input", "output", "all"])
def test_a_shipper_has_its_log_also_where_its_program_has_no_standard_streams(
    tmp_path: Path, closed: list[str]
) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, *closed], cwd=tmp_path, check=True)

    log = tmp_path / "shipper.log"
    deadline = time.monotonic() + 30.0
    while "FileNotFoundError" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "FileNotFoundError: [Errno 2] No such file or directory: 'no-such-directory'" in log.read_text()
