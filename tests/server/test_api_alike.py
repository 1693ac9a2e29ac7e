"""`milepost.Api` says the same over a directory, over a server of that directory, and over a server the runs were sent to."""

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import milepost
from milepost.sdk.errors import UsageError
from tests.server.conftest import ADMIN_KEY, Server

SOURCES = ("directory", "runs", "data")

PROGRAM = """
import math, numpy, milepost
milepost.init(project="digits", dir="runs", id="one", name="first", config={"lr": 0.1, "net": {"depth": 3}}, tags=["a", "b"],
    notes="some", group="g", job_type="train")
milepost.define_metric("acc", summary="max,last")
for n in range(1234):
    row = {"loss": 1 / (n + 1), "acc": math.sin(n), "n": n, "flag": n % 2 == 0, "deep": {"x": n}}
    if n % 100 == 0:
        row |= {"text": f"t{n}", "none": None, "odd": [float("nan"), math.inf, -math.inf][n // 100 % 3], "big": 2**62 + n}
    if n == 700:
        row |= {"h": milepost.Histogram([1, 2, 2]), "picture": milepost.Image(numpy.zeros((4, 4, 3), numpy.uint8)), "l": [1, 2.5]}
        row |= {"huge": 2**80, "nested": {"list": [{"a": None}], "odd": float("nan")}, "page": milepost.Html("<b>x</b>")}
        row |= {"table": milepost.Table(columns=["a", "b"], data=[[1, "x"], [2, None]]), "odd name/\u00fc": 1}
        row |= {"several": [milepost.Image(numpy.full((2, 2), v, numpy.uint8), caption=f"c{v}") for v in (1, 2)]}
    milepost.log(row)
milepost.run.summary["by.hand"] = 7
open("weights #1?.bin", "wb").write(bytes(range(255)) * 5000)
milepost.save("weights *.bin")  # again at the end, with what is in it then
open("weights #1?.bin", "wb").write(bytes(range(256)) * 5000)
milepost.finish()
milepost.init(project="digits", dir="runs", id="two")
for n in range(10):
    milepost.log({"x": n})
milepost.finish()
milepost.init(project="digits", dir="runs", id="two", resume="allow")
for n in range(6, 9):
    milepost.log({"x": n * 100}, step=n)
milepost.finish()
milepost.init(project="digits", dir="runs", id="empty")
milepost.finish()
milepost.init(project="more", dir="runs", id="mixed", settings={"steps": "unordered"})
for n in range(500):
    milepost.log({"x": n} if n % 3 else {"x": n, "y": -n}, step=n * 37 % 101)
milepost.finish()
milepost.init(project="other", dir="runs", id="failed", config={"odd": float("nan")})
milepost.log({"y": 1})
milepost.finish(exit_code=3)
"""
RANK = """
import os, milepost
rank = int(os.environ["RANK"])
milepost.init(project="more", dir="runs")
for n in range(200):
    milepost.log({"x": n, "rank": rank} if n % (rank + 2) else {"z": n}, step=n * (rank + 1))
milepost.finish()
"""
TORCHRUN = {
    "WORLD_SIZE": "3",
    "LOCAL_WORLD_SIZE": "3",
    "TORCHELASTIC_RUN_ID": "ranks",
    "TORCHELASTIC_RESTART_COUNT": "0",
}


class Sources:
    """The same runs, by the name of where they are read."""

    def __init__(self, place: Path) -> None:
        self._servers = [
            Server(["--data", str(place / "data")], {**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY}),
        ]
        environment = {**os.environ, "MILEPOST_URL": self._servers[0].url, "MILEPOST_API_KEY": ADMIN_KEY}
        program = [sys.executable, "-c", PROGRAM]
        done = subprocess.run(program, cwd=place, env=environment, check=False, capture_output=True, text=True)
        assert done.returncode in (0, 3), done.stderr
        for rank in "012":
            told = {**environment, **TORCHRUN, "RANK": rank, "LOCAL_RANK": rank, "MILEPOST_RUN_ID": "ranks"}
            subprocess.run([sys.executable, "-c", RANK], cwd=place, env=told, check=True, capture_output=True)
        sync = [sys.executable, "-c", "from milepost.sdk.cli import main; main()", "sync", "runs"]
        subprocess.run(sync, cwd=place, env=environment, check=True, capture_output=True)
        self._servers.append(Server(["--runs", str(place / "runs")]))
        self.apis = {
            "directory": milepost.Api(place / "runs"),
            "runs": milepost.Api(self._servers[1].url),
            "data": milepost.Api(self._servers[0].url, api_key=ADMIN_KEY),
        }

    def stop(self) -> None:
        for server in self._servers:
            server.kill()


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sources]:
    found = Sources(tmp_path_factory.mktemp("alike"))
    yield found
    found.stop()


@pytest.fixture(params=SOURCES)
def api(request: pytest.FixtureRequest, sources: Sources) -> milepost.Api:
    return sources.apis[request.param]


@pytest.fixture
def local(sources: Sources) -> milepost.Api:
    return sources.apis["directory"]


def exactly(value: Any) -> Any:
    """A value as a text in which 1, 1.0 and True differ, and NaN is NaN."""
    if isinstance(value, dict):
        return sorted((key, exactly(item)) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return [exactly(item) for item in value]
    return f"{type(value).__name__} {value!r}"


def test_projects_and_runs(api: milepost.Api) -> None:
    assert api.projects() == ["digits", "more", "other"]
    assert [run.id for run in api.runs("digits")] == ["empty", "two", "one"]
    assert [run.path for run in api.runs()] == [
        "more/ranks", "other/failed", "more/mixed", "digits/empty", "digits/two", "digits/one"
    ]  # fmt: skip
    assert api.run("digits/one").id == api.run("one").id == api.run("first").id == "one"
    with pytest.raises(milepost.Error, match=r"no run 'digits/noe'.*near it: digits/one"):
        api.run("digits/noe")
    with pytest.raises(milepost.Error, match=r"no project 'digit'.*near it: digits"):
        api.runs("digit")


@pytest.mark.parametrize("run", ["digits/one", "digits/two", "digits/empty", "other/failed"])
def test_a_run_says_the_same_of_itself(api: milepost.Api, local: milepost.Api, run: str) -> None:
    found, wanted = api.run(run), local.run(run)

    for name in (
        "id",
        "project",
        "path",
        "name",
        "group",
        "job_type",
        "notes",
        "tags",
        "state",
        "last_step",
        "lastHistoryStep",
    ):
        assert getattr(found, name) == getattr(wanted, name), name
    for name in ("attempt", "attempts", "damage", "url"):
        assert getattr(found, name) == getattr(wanted, name), name
    assert exactly(found.config) == exactly(wanted.config)
    assert exactly(found.summary) == exactly(wanted.summary)
    assert found.metadata == wanted.metadata
    assert abs((found.created_at - wanted.created_at).total_seconds()) < 0.2


@pytest.mark.parametrize("run", ["digits/one", "digits/two", "digits/empty", "other/failed"])
def test_scan_history_gives_every_row_exactly(api: milepost.Api, local: milepost.Api, run: str) -> None:
    assert exactly(list(api.run(run).scan_history())) == exactly(list(local.run(run).scan_history()))


@pytest.mark.parametrize(
    "asked",
    [
        {"keys": ["loss", "text"]},
        {"keys": ["text", "odd", "none"], "require": "any"},
        {"min_step": 100, "max_step": 205},
        {"keys": ["n"], "min_step": 1230},
        {"writer": "all", "min_step": 1230},
        {"writer": 0, "min_step": 1230},
        {"keys": ["n"], "min_step": -5, "max_step": 2**70},
    ],
    ids=str,
)
def test_scan_history_takes_the_same_arguments(api: milepost.Api, local: milepost.Api, asked: dict[str, Any]) -> None:
    assert exactly(list(api.run("one").scan_history(**asked))) == exactly(list(local.run("one").scan_history(**asked)))


@pytest.mark.parametrize("run", ["more/mixed", "more/ranks"])
@pytest.mark.parametrize(
    "asked",
    [{}, {"writer": "all"}, {"writer": "all", "keys": ["x"]}, {"writer": "all", "min_step": 50, "max_step": 97}],
    ids=str,
)
def test_rows_that_were_logged_in_any_order_come_by_step(
    api: milepost.Api, local: milepost.Api, run: str, asked: dict[str, Any]
) -> None:
    found = list(api.run(run).scan_history(**asked))

    assert exactly(found) == exactly(list(local.run(run).scan_history(**asked)))
    steps = [row["_step"] for row in found if "_step" in row]
    assert steps == sorted(steps)
    sample: dict[str, Any] = {"samples": 40, "pandas": False, **({"keys": asked["keys"]} if "keys" in asked else {})}
    assert exactly(api.run(run).history(**sample)) == exactly(local.run(run).history(**sample))


def test_rows_that_were_taken_back_are_given_when_asked_for(api: milepost.Api, local: milepost.Api) -> None:
    found = list(api.run("two").scan_history(superseded=True))

    assert exactly(found) == exactly(list(local.run("two").scan_history(superseded=True)))
    assert sum("_superseded" in row for row in found) == 4


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"samples": 7},
        {"samples": 1},
        {"samples": None},
        {"keys": ["text"]},
        {"keys": ["loss"], "x_axis": "n", "samples": 9},
    ],
    ids=str,
)
def test_history_gives_the_same_sample(api: milepost.Api, local: milepost.Api, asked: dict[str, Any]) -> None:
    found, wanted = (each.run("one").history(pandas=False, **asked) for each in (api, local))

    assert exactly(found) == exactly(wanted)
    assert (found.total_rows, found.sampled, found.note) == (wanted.total_rows, wanted.sampled, wanted.note)


def test_history_is_a_data_frame(api: milepost.Api) -> None:
    table = api.run("one").history(keys=["acc"], samples=5)

    assert list(table.columns) == ["_step", "acc"]
    assert table["acc"].iloc[0] == math.sin(0)
    assert table.attrs["sampled"] == {"rows": 1234, "samples": 5}


@pytest.mark.parametrize(
    "asked",
    [{"writer": "nobody"}, {"writer": 7}, {"writer": True}, {"writer": 1.5}, {"require": "some"}, {"min_step": "x"}],
    ids=str,
)
@pytest.mark.parametrize("run", ["digits/one", "more/ranks"])
def test_wrong_arguments_are_refused_in_the_same_words(
    api: milepost.Api, local: milepost.Api, run: str, asked: dict[str, Any]
) -> None:
    said: list[str] = []
    for source in (api, local):
        with pytest.raises(UsageError) as refused:
            list(source.run(run).scan_history(**asked))
        said.append(str(refused.value))

    assert said[0] == said[1]


def test_a_key_that_was_never_logged_is_named(api: milepost.Api) -> None:
    note = api.run("one").history(keys=["los"], pandas=False).note

    assert "'los' was never logged (near it: 'loss'" in note


def test_media_open(api: milepost.Api) -> None:
    (row,) = api.run("one").scan_history(keys=["picture", "h"])

    assert row["picture"].to_pil().size == (4, 4)
    with row["picture"].open() as file:
        assert file.read().startswith(b"\x89PNG")
    assert row["picture"].file.read_bytes().startswith(b"\x89PNG")
    assert sum(row["h"]["values"]) == 3


def test_files_are_downloaded(api: milepost.Api, tmp_path: Path) -> None:
    run = api.run("one")
    picture = next(file for file in run.files() if file.name.endswith(".png"))

    copy = picture.download(tmp_path / "copy")

    assert copy.read_bytes().startswith(b"\x89PNG")
    assert copy.stat().st_size == picture.size
    with pytest.raises(milepost.Error, match="is there already"):
        picture.download(tmp_path / "copy")


def test_media_of_every_kind_open(api: milepost.Api, local: milepost.Api) -> None:
    keys = ["picture", "table", "page", "several", "h"]
    (found,), (wanted,) = (list(each.run("one").scan_history(keys=keys)) for each in (api, local))

    assert exactly(found) == exactly(wanted)
    assert found["picture"].to_numpy().tolist() == wanted["picture"].to_numpy().tolist()
    assert found["table"].to_pandas().equals(wanted["table"].to_pandas())
    with found["page"].open() as theirs, wanted["page"].open() as ours:
        assert theirs.read() == ours.read()


def test_files_are_the_same_and_found_by_name(api: milepost.Api, local: milepost.Api, tmp_path: Path) -> None:
    def listed(source: milepost.Api) -> dict[str, int]:
        # What the shipper leaves in the directory is not sent.
        return {
            file.name: file.size for file in source.run("one").files() if file.name.startswith(("files/", "media/"))
        }

    assert listed(api) == listed(local)
    assert len(listed(api)) == 6
    name = next(name for name in listed(api) if "weights" in name)
    copy = api.run("one").file(name).download(tmp_path / "copy")
    assert copy.read_bytes() == bytes(range(256)) * 5000
    with pytest.raises(milepost.Error, match=r"has no file 'none'; it has: "):
        api.run("one").file("none")


def test_runs_are_a_sequence(api: milepost.Api, local: milepost.Api) -> None:
    runs, wanted = api.runs(), local.runs()

    assert len(runs) == len(wanted) == 6
    assert [run.id for run in runs[1:3]] == [run.id for run in wanted[1:3]]
    assert runs[-1].id == wanted[-1].id
    assert repr(runs) == repr(wanted)
    assert repr(runs[0]) == repr(wanted[0])
    assert [run.state for run in runs] == [run.state for run in wanted]


def test_rows_of_all_writers_and_of_any_key(api: milepost.Api, local: milepost.Api) -> None:
    questions: list[dict[str, Any]] = [
        {"keys": ["loss", "text"], "require": "any", "samples": 30},
        {"keys": ["none", "odd"], "require": "any", "samples": None},
        {"keys": ["loss"], "x_axis": "_timestamp", "samples": 3},
        {"keys": ["zzz"]},
        {"writer": 0, "samples": 4},
    ]
    for asked in questions:
        found, wanted = (each.run("one").history(pandas=False, **asked) for each in (api, local))
        assert exactly(found) == exactly(wanted), asked
        assert found.note == wanted.note
    for rank in (0, 1, 2):
        rows, ours = (list(each.run("more/ranks").scan_history(writer=rank)) for each in (api, local))
        assert exactly(rows) == exactly(ours)
    frames = [each.run("one").history(keys=["loss"], samples=7) for each in (api, local)]
    assert frames[0].equals(frames[1])
    assert frames[0].attrs == frames[1].attrs


def test_wrong_names_are_named_the_same(api: milepost.Api, local: milepost.Api) -> None:
    for wrong in (
        lambda source: source.run("one").history(x_axis="los"),
        lambda source: source.run("one").history(samples=0),
        lambda source: source.run("one").history(keys="loss"),
        lambda source: source.run("digits/"),
        lambda source: source.run("a/b/c"),
        lambda source: source.run("../one"),
    ):
        said: list[str] = []
        for source in (api, local):
            with pytest.raises(milepost.Error) as caught:
                wrong(source)  # type: ignore[no-untyped-call]
            said.append(str(caught.value).replace(str(source), "HERE"))
        assert said[0] == said[1]


def test_where_rows_are_is_told_as_far_as_it_is_known(api: milepost.Api, local: milepost.Api) -> None:
    found, wanted = api.run("one").accounting(), local.run("one").accounting()

    assert found["logged"] == wanted["logged"] == 1234
    assert found["dropped"] == wanted["dropped"] == {}


def test_what_only_a_directory_has_is_refused_by_name(sources: Sources) -> None:
    run = sources.apis["data"].run("one")

    for call in (run.events, run.reader):
        with pytest.raises(milepost.Error, match="journal"):
            call()


def test_a_server_asks_for_a_key(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    url = str(sources.apis["data"])
    with pytest.raises(milepost.Error, match="set MILEPOST_API_KEY"):
        milepost.Api(url).projects()
    monkeypatch.setenv("MILEPOST_API_KEY", ADMIN_KEY)
    assert milepost.Api(url).projects() == ["digits", "more", "other"]
