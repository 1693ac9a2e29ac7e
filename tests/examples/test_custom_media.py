"""examples/custom_media, really installed: pip puts it into a folder of its own, milepost finds it by entry point."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def installed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example as pip installs it. Nothing is downloaded: the build back end is a development tool here."""
    target = tmp_path_factory.mktemp("installed")
    source = repository / "examples" / "custom_media"
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--no-cache-dir"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", *offline]
    done = subprocess.run([*pip, "--target", target, source], capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    return target


def run_beside(installed: Path, *arguments: str | Path, **variables: str) -> str:
    """Standard output of this Python, with the installed distribution on its path."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(installed), **variables},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_pip_installs_the_module_and_its_entry_point(installed: Path) -> None:
    assert (installed / "milepost_spectrogram.py").is_file()
    (entry_points,) = installed.glob("milepost_spectrogram-*.dist-info/entry_points.txt")
    assert "[milepost_media]\nSpectrogram = milepost_spectrogram:Spectrogram" in entry_points.read_text()


def test_the_examples_own_tests_pass_once_it_is_installed(installed: Path, repository: Path, tmp_path: Path) -> None:
    tests = tmp_path / "test_spectrogram.py"  # away from the sources, so that only the installed module can be found
    tests.write_text((repository / "examples" / "custom_media" / "test_spectrogram.py").read_text())
    assert "4 passed" in run_beside(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests)


def test_the_name_of_the_entry_point_is_a_name_of_milepost(installed: Path) -> None:
    code = "import milepost, milepost_spectrogram; print(milepost.Spectrogram is milepost_spectrogram.Spectrogram)"
    assert run_beside(installed, "-c", code).split()[-1] == "True"


def test_the_example_logs_and_reads_back(installed: Path, repository: Path) -> None:
    out = run_beside(installed, repository / "examples" / "custom_media" / "train.py")
    *caption, path, width, height = out.splitlines()[-1].split()
    assert (caption, width, height) == (["step", "2"], "(31,", "129)")
    (file,) = Path("milepost-runs", "spectrogram-example").glob(f"*/{path}")
    assert file.read_bytes().startswith(b"\x89PNG")
