"""A run's files never make a reader call what they name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from milepost.sdk.encoding.trust import EncoderRefused, check

LEFT_BEHIND = """
import os, signal
import milepost
from milepost.media.base import FileMedia, Payload

class Odd(FileMedia):
    type_name = "odd-file"
    def __init__(self, encoder):
        self._keep(Payload(b"bytes", "odd", "bin", encoder), {})

run = milepost.init(project="odd", id="odd", exporters=[], settings={"capture": False, "media": {"encode_in": "thread"}})
run.log({"slow": Odd("time:sleep_of_no_length"), "odd": Odd("beside:encode"), "kept": milepost.Table(["x"], [[1]])})
os.kill(os.getpid(), signal.SIGKILL)
"""
BESIDE = """
import os
if os.environ.get("READER"):
    open("touched", "w").close()
def encode(data, options, target):
    if os.environ.get("OWNER"):
        target.write(data)
        return
    import time
    time.sleep(5)
"""
READER = """
import milepost
from milepost.sdk.encoding.orphans import finish_media
from milepost.sdk.recovery import recover
run = milepost.Api().run("odd/odd")
recover(run.dir, settled_s=0)
row = next(iter(run.scan_history()))
print(row["odd"].get("error"))
print(row["kept"].to_dicts())
finish_media(run.dir)
"""


def test_a_reader_imports_no_module_that_a_run_s_files_name() -> None:
    Path("beside.py").write_text(BESIDE)
    subprocess.run([sys.executable, "-c", LEFT_BEHIND], check=False, capture_output=True, timeout=60)

    outcome = subprocess.run(
        [sys.executable, "-c", READER], env=os.environ | {"READER": "1"}, check=True, capture_output=True, text=True
    )

    assert "'beside:encode' belongs to no installed media type" in outcome.stdout
    assert "[{'x': 1}]" in outcome.stdout
    assert not Path("touched").exists()


OWNER = """
import beside
import milepost
from milepost.sdk.encoding.orphans import finish_media
run = milepost.Api().run("odd/odd")
print(finish_media(run.dir), "file")
print(next(iter(run.scan_history()))["odd"].open().read())
"""


def test_what_no_encoder_is_at_hand_for_waits_for_whoever_has_it() -> None:
    Path("beside.py").write_text(BESIDE)
    subprocess.run([sys.executable, "-c", LEFT_BEHIND], check=False, capture_output=True, timeout=60)
    first, again = (
        subprocess.run([sys.executable, "-c", READER], check=True, capture_output=True, text=True) for _ in range(2)
    )
    assert "'beside:encode' belongs to no installed media type" in first.stderr
    assert again.stderr == ""

    outcome = subprocess.run(
        [sys.executable, "-c", OWNER], env=os.environ | {"OWNER": "1"}, check=True, capture_output=True, text=True
    )

    assert outcome.stdout.splitlines() == ["1 file", "b'bytes'"]


@pytest.mark.parametrize(
    "encoder",
    ["os:system", "subprocess:Popen", "builtins:exec", "milepost.sdk.saving:save", "absent_module:encode", ""],
)
def test_encoders_that_a_file_may_not_name(encoder: str) -> None:
    with pytest.raises(EncoderRefused, match="belongs to no installed media type"):
        check(encoder)


def test_encoders_of_milepost_and_of_modules_that_the_program_has_may_be_called() -> None:
    check("milepost.media.image:encode")
    check(f"{__name__}:encode")
