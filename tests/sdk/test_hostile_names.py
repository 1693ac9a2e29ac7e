"""Names made to lead elsewhere: nothing is ever written outside the runs directory."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import milepost
from milepost.exporters.memory import MemoryExporter
from tests.sdk.runs import QUIET, recorded

NAMES = [
    "../../etc/x", "..", ".", "/", "/etc/passwd", "//x", "a/b", "a/../../b", "a\\b", "..\\..\\x", "C:\\x", "C:x",
    "%2e%2e", "%2e%2e%2fx", "..%2f", "a\0b", "\0", "~", "~root", "~/x", "$HOME", "${HOME}", "`id`", "$(id)", "; rm -rf x",
    "-rf", "--help", "a b", " ", "\t", "\n", "x" * 300, "é" * 200, "CON", "nul", "com1.txt", ".hidden", ".gitignore",
    "run.json", "journal", "quarantine", "files", "…", "․․", "‥/x", "．．／x", "∕etc∕x", "a\u202eb", "a\u200bb", "\ud800",
    "😀", "<script>", "'quoted'", '"quoted"', "a:b", "a,b", "a;b", "a#b", "a?b", "*", "[a]", "a|b", "x.", "x ", "",
]  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """A runs directory; when the test is over, nothing else below the test's directory or `/` has come into being."""
    runs = tmp_path / "work" / "here" / "runs"
    places = [tmp_path, Path("/"), Path("/etc"), Path.cwd(), Path.home()]
    before = {place: set(os.listdir(place)) for place in places}
    yield runs
    (tmp_path / "work" / "here").mkdir(exist_ok=True)
    after = {place: set(os.listdir(place)) - {"here"} for place in places}
    assert {place: after[place] - before[place] for place in places if after[place] - before[place]} == {}
    assert set(os.listdir(tmp_path / "work" / "here")) <= {"runs"}


def run_with(tree: Path, **arguments: Any) -> None:
    """Start a run, log, finish; refused arguments start nothing."""
    memory = MemoryExporter()
    defaults: dict[str, Any] = {"project": "p", "dir": tree, "exporters": ["file", memory], "settings": QUIET}
    try:
        run = milepost.init(**defaults | arguments)
    except (milepost.Error, ValueError):
        assert milepost.run is None
        return
    run.log({"a": 1})
    run.finish()
    assert Path(run.dir).resolve().is_relative_to(tree.resolve())
    assert Path(run.dir).resolve() != tree.resolve()
    assert [row["a"] for row in memory.rows] == [1]
    assert [row["a"] for row in milepost.Api(tree).run(f"{run.project}/{run.id}").scan_history()] == [1]


@pytest.mark.parametrize("argument", ["project", "id"])
def test_no_project_and_no_id_leads_outside(argument: str, tree: Path) -> None:
    for name in NAMES:
        run_with(tree, **{argument: name})


def test_no_other_argument_of_init_leads_outside(tree: Path) -> None:
    for name in NAMES:
        tags = [name] if 1 <= len(name) <= 64 else None
        run_with(tree, name=name, group=name, job_type=name, notes=name, tags=tags)


@pytest.mark.parametrize(
    "variable", ["MILEPOST_PROJECT", "MILEPOST_RUN_ID", "MILEPOST_NAME", "TORCHELASTIC_RUN_ID", "SLURM_JOB_ID"]
)
@pytest.mark.parametrize("value", ["../../etc/x", "/etc/x", "..", "a\\b", "x" * 300, "~/x", ".gitignore", "a\nb"])
def test_no_variable_leads_outside(variable: str, value: str, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, given_value in {
        "RANK": "0",
        "WORLD_SIZE": "2",
        "SLURM_PROCID": "0",
        "SLURM_NTASKS": "2",
        variable: value,
    }.items():
        monkeypatch.setenv(name, given_value)

    run_with(tree, **({"project": None} if variable == "MILEPOST_PROJECT" else {}))


def test_no_name_of_a_metric_a_config_or_summary_value_leads_outside(tree: Path) -> None:
    with recorded(dir=tree, exporters=["file", "console"], config=dict.fromkeys(NAMES, 1)) as run:
        run.log(dict.fromkeys(NAMES, 1))
        run.log({"nested": {name: [1.0] for name in NAMES}})
        for name in NAMES:
            run.log({name: milepost.Histogram([1, 2])}, commit=False)
            run.run.summary[name] = name
            run.run.alert(name, name)
            if name and "*" not in name:
                run.run.define_metric(name, summary="max")
        run.run.finish()

        assert len(list(milepost.Api(tree).run(run.run.path).scan_history())) == 3


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/b", "..", "a\0b", "x" * 300, ""])
def test_no_name_of_an_exporter_leads_outside(name: str, tree: Path) -> None:
    exporter, other = MemoryExporter(), MemoryExporter()
    exporter.name = other.name = name
    run = milepost.init(project="p", dir=tree, exporters=[exporter, other, "file"], settings=QUIET)
    run.log({"a": 1})
    run.finish()

    assert len(exporter.rows) == len(other.rows) == 1
    assert len(list(Path(run.dir).glob("journal/*/cursor-*.json"))) == 3


@pytest.mark.parametrize(
    "path", ["../x", "../../p/r", "p/../p/r", "p/..", "/etc/passwd", "p/r/journal", "p/r/../r", "..", "p/\0"]
)
def test_no_path_of_a_run_reads_outside(path: str, tree: Path) -> None:
    run_with(tree, id="r")
    (tree.parent / "x").mkdir(exist_ok=True)
    (tree.parent / "x" / "run.json").write_text("{}")
    try:
        with pytest.raises(milepost.RunNotFoundError):
            milepost.Api(tree).run(path)
    finally:
        (tree.parent / "x" / "run.json").unlink()
        (tree.parent / "x").rmdir()


def test_a_link_in_the_place_of_a_run_or_its_parts_is_not_written_through(tree: Path, tmp_path: Path) -> None:
    outside = tmp_path / "work" / "here" / "runs" / "outside"
    outside.mkdir(parents=True)
    (outside / "victim").write_text("untouched")
    run_with(tree, id="r")
    summary = tree / "p" / "r" / "summary.json"
    summary.unlink()
    summary.symlink_to(outside / "victim")
    (tree / "p" / "r" / "run.json").unlink()
    (tree / "p" / "r" / "run.json").symlink_to(outside / "victim")

    with milepost.init(project="p", id="r", resume="must", dir=tree, exporters=["file"], settings=QUIET) as run:
        run.log({"a": 2})

    assert not summary.is_symlink()
    assert (outside / "victim").read_text() == "untouched"


_example = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@_example
@example("..", "..")
@example("a", "../b")
@given(st.text(max_size=12), st.text(st.sampled_from("./\\~%2e:\0 ab-…．"), max_size=12))
def test_any_project_and_id_are_refused_or_a_directory_of_that_name(tree: Path, project: str, run_id: str) -> None:
    run_with(tree, project=project, id=run_id)


def test_what_init_says_holds_nothing_that_a_terminal_obeys(tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run_with(tree, name="\x1b]0;title\x07 first\nmilepost: second line \ud800")

    said = capfd.readouterr().err
    assert "\x1b" not in said
    assert r"run \x1b]0;title\x07 first\nmilepost: second line" in said
