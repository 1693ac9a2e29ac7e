"""What is built is what stands in the folders, and it works once installed."""

import configparser
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from scripts.native import FLAGS, SOURCE, compile_module
from tests.sdk.both_ways import CAN_COMPILE

FOLDERS = ("sdk", "exporters", "media", "server")


@pytest.fixture(scope="module")
def built(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that the real build back end made from it."""
    folder = tmp_path_factory.mktemp("dist")
    # Without arguments build makes the sdist and then the wheel from the sdist: what a packager gets.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(repository)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def source_names(built: Path) -> set[str]:
    """Paths in the source distribution, below its top folder."""
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def sources(repository: Path, folder: str) -> set[str]:
    """Every file of the folder that git would keep, relative to the repository."""
    ignored = {"__pycache__", "node_modules"}
    paths = (path for path in (repository / folder).rglob("*") if path.is_file() and path.suffix != ".so")
    return {path.relative_to(repository).as_posix() for path in paths if not ignored.intersection(path.parts)}


def test_the_wheel_holds_exactly_the_folders(repository: Path, wheel: Path) -> None:
    expected = {f"milepost/{path.name}" for path in (repository / "milepost").iterdir() if path.is_file()}
    for folder in FOLDERS:
        # What is built is in the wheel, server/static and the compiled module; the sources of that are not.
        source = ("server/web/", "sdk/_native.c")
        expected |= {f"milepost/{path}" for path in sources(repository, folder) if not path.startswith(source)}
    if CAN_COMPILE:
        expected.add("milepost/sdk/_native.abi3.so")

    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert names == expected


def test_the_wheel_is_for_one_kind_of_machine_when_it_holds_compiled_code(wheel: Path, tmp_path: Path) -> None:
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    assert wheel.name.endswith(f"-cp311-abi3-{platform}.whl" if CAN_COMPILE else "-py3-none-any.whl")


def test_without_a_compiler_the_wheel_is_pure_python_and_a_line_says_why(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(tmp_path), str(repository)]
    done = subprocess.run(
        command, env=os.environ | {"MILEPOST_NATIVE": "0"}, check=True, capture_output=True, text=True
    )

    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert [name for name in archive.namelist() if "_native" in name] == []
    said = "milepost: log() is pure Python here, which is slower and otherwise the same: MILEPOST_NATIVE=0 asks for it"
    assert said in done.stdout + done.stderr


@pytest.mark.parametrize("compiler", ["false", "true", 'cc "-D', "no-such-compiler", "printf '\\377'"])
def test_a_compiler_that_does_not_work_is_left_alone(
    compiler: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", compiler)
    (tmp_path / "built").mkdir()

    built = compile_module(repository, tmp_path / "built" / "module.so")

    assert [path.name for path in (tmp_path / "built").iterdir()] == ["module.so"] * built


@pytest.mark.skipif(not CAN_COMPILE, reason="there is no C compiler")
def test_the_c_code_compiles_without_a_warning(repository: Path, tmp_path: Path) -> None:
    command = ["cc", *FLAGS, "-Werror", f"-I{sysconfig.get_paths()['include']}", "-o", str(tmp_path / "module.so")]
    done = subprocess.run([*command, str(repository / SOURCE)], check=False, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")


def test_every_link_of_the_package_names_a_real_folder(repository: Path) -> None:
    links = {path.name: path for path in (repository / "milepost").iterdir() if path.is_symlink()}

    assert set(links) == set(FOLDERS)
    assert all(path.readlink() == Path("..") / name for name, path in links.items())


def test_the_wheel_registers_the_command_and_no_built_in_plugin(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(next(name for name in archive.namelist() if name.endswith("entry_points.txt"))).decode()
    entry_points = configparser.ConfigParser()
    entry_points.read_string(text)

    assert {section: dict(entry_points[section]) for section in entry_points.sections()} == {
        "console_scripts": {"milepost": "milepost.sdk.cli:main"}
    }


def test_the_source_distribution_holds_tests_docs_and_the_license(repository: Path, source_names: set[str]) -> None:
    wanted = {
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Makefile",
        "mkdocs.yml",
        "requirements-dev.txt",
    }
    wanted |= {"tests/conftest.py", "docs/index.md", "scripts/setup", "milepost/__init__.py", "milepost/py.typed"}
    for folder in FOLDERS:
        wanted |= sources(repository, folder)

    assert wanted - source_names == set()


def test_the_source_distribution_holds_each_module_once(source_names: set[str]) -> None:
    doubled = [name for name in source_names if name.startswith(tuple(f"milepost/{folder}/" for folder in FOLDERS))]

    assert doubled == []


def test_the_installed_wheel_logs_a_run(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=False, symlinks=True)
    python = environment / "bin" / "python"
    site_packages = next(environment.glob("lib/python*/site-packages"))
    # The dependencies come from the environment of the tests, below the installed wheel on the path.
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(site_packages),
    ]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    dependencies = next(path for path in map(Path, sys.path) if path.name == "site-packages")
    script = f"""
import sys
sys.path.append({str(dependencies)!r})
import milepost
from pathlib import Path
assert Path(milepost.__file__).is_relative_to({str(environment)!r}), milepost.__file__
run = milepost.init(project="installed", dir={str(tmp_path / "runs")!r})
milepost.log({{"loss": 0.5}})
milepost.finish()
from milepost.sdk import native
assert native.compiled == {CAN_COMPILE}, native.why_not
print([row["loss"] for row in milepost.Api({str(tmp_path / "runs")!r}).run("installed/" + run.id).scan_history()])
"""

    outcome = subprocess.run([str(python), "-I", "-c", script], capture_output=True, text=True, check=False)

    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.splitlines()[-1] == "[0.5]"


def test_the_lock_pins_every_dependency_and_names_no_host_or_path(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    wanted += [line for name, lines in extras.items() if name != "all" for line in lines]
    lock = (repository / "requirements-dev.txt").read_text(encoding="utf-8")
    lines = [line for line in lock.splitlines() if not line.startswith("#")]

    pinned = {normalised(line.partition("==")[0]) for line in lines}

    assert {normalised(line) for line in wanted} - pinned == set()
    assert all("==" in line and "/" not in line and "@" not in line for line in lines)


def normalised(requirement: str) -> str:
    """The name in a requirement, as package indexes compare names."""
    name = re.split(r"[\[><=;~! ]", requirement, maxsplit=1)[0]
    return name.lower().replace("_", "-").replace(".", "-")
