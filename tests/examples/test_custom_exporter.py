"""examples/custom_exporter, really installed: pip puts it into a folder of its own, milepost finds it by entry point."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import blocks


@pytest.fixture(scope="module")
def installed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example as pip installs it. Nothing is downloaded: the build back end is a development tool here."""
    target = tmp_path_factory.mktemp("installed")
    source = repository / "examples" / "custom_exporter"
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
    assert (installed / "milepost_sqlite.py").is_file()
    (entry_points,) = installed.glob("milepost_sqlite-*.dist-info/entry_points.txt")
    assert "[milepost_exporter]\nsqlite = milepost_sqlite:SqliteExporter" in entry_points.read_text()


def test_the_examples_own_tests_pass_once_it_is_installed(installed: Path, repository: Path, tmp_path: Path) -> None:
    tests = tmp_path / "test_sqlite.py"  # away from the sources, so that only the installed module can be found
    tests.write_text((repository / "examples" / "custom_exporter" / "test_sqlite.py").read_text())
    out = run_beside(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests)
    assert " passed" in out
    assert "skipped" not in out


def test_the_config_file_of_the_example_runs_it_by_name(installed: Path, repository: Path) -> None:
    example = repository / "examples" / "custom_exporter"
    out = run_beside(installed, example / "train.py", MILEPOST_CONFIG_FILE=str(example / "milepost.yaml"))
    first, second = out.splitlines()[-2:]
    assert first.startswith("sqlite-example/")
    assert first.endswith(": loss 0.007 within 100 steps")
    assert second.endswith(": loss 0.372 within 100 steps")


def test_the_page_about_exporters_shows_the_example_as_it_is(repository: Path) -> None:
    page = repository / "docs" / "writing-an-exporter.md"
    shown = [block.code for block in blocks(page) if block.title == "milepost_sqlite.py"]
    assert shown == [(repository / "examples" / "custom_exporter" / "milepost_sqlite.py").read_text(encoding="utf-8")]
