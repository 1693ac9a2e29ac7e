"""Media in rows: where the bytes wait, who encodes them, what exporters get, and what happens when something fails."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import milepost
from milepost.exporters.memory import MemoryExporter
from milepost.media.base import FileMedia, Payload
from milepost.sdk.encoding.payload_file import files
from tests.media.logged import logged, logged_row
from tests.sdk.encoding import encoders

ROOT = Path(__file__).parents[3]
RNG = np.random.default_rng(5)
PICTURE = RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8)
THREAD = {"capture": False, "media": {"encode_in": "thread"}}


class Custom(FileMedia):
    """A file whose encoder is a function of this module."""

    type_name = "custom-file"

    def __init__(self, data: bytes, encoder: str) -> None:
        self._keep(Payload(data, "custom", "bin", f"{encoders.__name__}:{encoder}"), {})


def pictures(count: int) -> list[Any]:
    return [RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(count)]


def test_the_encoder_s_process_makes_the_files() -> None:
    arrays = pictures(12)
    with milepost.init(project="p", exporters=["file"], settings={"capture": False}) as run:
        for array in arrays:
            run.log({"im": milepost.Image(array)})

    rows = list(milepost.Api().run(run.path).scan_history())

    assert all((row["im"].to_numpy() == array).all() for row, array in zip(rows, arrays, strict=True))
    assert not list(files(run.writer, Path(run.dir) / "journal" / run.writer))


def test_exporters_get_rows_whose_media_are_final() -> None:
    memory = MemoryExporter()
    with milepost.init(project="p", exporters=[memory], settings={"capture": False}) as run:
        run.log({"a": 1})
        run.log({"im": milepost.Image(PICTURE)})
        for n in range(20):
            run.log({"n": n, "many": [milepost.Image(PICTURE[: n + 1]), milepost.Image(PICTURE)]})

    rows = [event.values for event in memory.events if event.kind == "row"]
    assert len(rows) == 22
    for row in rows[1:]:
        assert "_pending" not in str(row)
    assert (Path(run.dir) / rows[1]["im"]["path"]).stat().st_size == rows[1]["im"]["size"]


def test_an_exporter_that_asks_for_it_gets_rows_at_once_and_media_as_events() -> None:
    class Pending(MemoryExporter):
        media = "pending"

    memory = Pending()
    with milepost.init(project="p", exporters=[memory], settings=THREAD) as run:
        run.log({"im": milepost.Image(PICTURE)})

    (row,) = [event.values for event in memory.events if event.kind == "row"]
    (facts,) = [event.values for event in memory.events if event.kind == "media"]
    assert row["im"]["_pending"] == f"{run.writer}-{facts['number']}"
    assert (Path(run.dir) / facts["path"]).stat().st_size == facts["size"]


def test_equal_files_are_written_once() -> None:
    with milepost.init(project="p", exporters=["file"], settings=THREAD) as run:
        for step in range(4):
            run.log({"im": milepost.Image(PICTURE)}, step=step)

    assert len(list((Path(run.dir) / "media" / "images").iterdir())) == 1
    assert {row["im"]["path"][:-25] for row in milepost.Api().run(run.path).scan_history()} == {"media/images/im_0"}


def test_equal_files_are_written_once_by_an_encoder_that_makes_several_at_a_time() -> None:
    with milepost.init(project="p", exporters=["file"], settings={"capture": False}) as run:
        for n in range(6):
            run.log({f"{n}-{copy}": milepost.Image(PICTURE[: n + 5]) for copy in range(4)})

    assert len(list((Path(run.dir) / "media" / "images").iterdir())) == 6
    for n, row in enumerate(milepost.Api().run(run.path).scan_history()):
        assert len({row[f"{n}-{copy}"]["path"] for copy in range(4)}) == 1


def test_a_step_that_is_given_is_in_the_name() -> None:
    with milepost.init(project="p", exporters=["file"], settings=THREAD) as run:
        run.log({"im": milepost.Image(PICTURE)}, step=50)

    (row,) = milepost.Api().run(run.path).scan_history()
    assert row["im"]["path"].startswith("media/images/im_50_")


@pytest.mark.parametrize(
    ("key", "start"),
    [
        ("../../x", "__/__/x"),
        ("/../x", "__/x"),
        ("//x", "x"),
        ("a/./b", "a/_/b"),
        ("a b/ü", "a b/ü"),
        ("x\0y\\z:w", "x_y_z_w"),
        ("k" * 300, "k" * 111 + "~"),
        ("ж" * 300, "ж" * 55 + "~"),
        ("/".join("d" * 30), "d/d/d/d/d/d/d/d_d_d"),
        ("..", "__"),
        ("%2e%2e/x", "%2e%2e/x"),
        ("con", "con"),
    ],
)
def test_no_key_leads_out_of_the_run(key: str, start: str) -> None:
    before = {path for path in Path.cwd().rglob("*") if "milepost-runs" not in path.parts}

    value = logged_row({key: milepost.Image(PICTURE)})[key]

    assert value["path"].startswith(f"media/images/{start}")
    assert (value.to_numpy() == PICTURE).all()
    assert value.file.resolve().is_relative_to(Path.cwd() / "milepost-runs")
    assert {path for path in Path.cwd().rglob("*") if "milepost-runs" not in path.parts} == before


def test_a_link_in_the_place_of_a_folder_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with milepost.init(project="p", exporters=["file"], settings=THREAD) as run:
        (Path(run.dir) / "media").symlink_to(outside)
        run.log({"im": milepost.Image(PICTURE), "n": 1})
        run.finish(timeout=1.0)

    assert list(outside.iterdir()) == []


def test_nested_dicts_and_lists_name_files_by_their_last_key() -> None:
    row = logged_row({"a": {"b": {"im": milepost.Image(PICTURE)}}, "c.d": milepost.Image(PICTURE[:5])})

    assert row["a.b.im"]["path"].startswith("media/images/im_0_")
    assert row["c.d"]["path"].startswith("media/images/c.d_0_")


def test_pictures_in_lists_of_lists_open_too() -> None:
    row = logged_row({"grid": [[milepost.Image(PICTURE)], [milepost.Image(PICTURE[:5]), milepost.Image(PICTURE[:6])]]})

    shapes = [[picture.to_numpy().shape for picture in line] for line in row["grid"]]
    assert shapes == [[PICTURE.shape], [(5, 40, 3), (6, 40, 3)]]


def test_a_later_picture_takes_the_place_of_an_earlier_one_whole() -> None:
    with milepost.init(project="p", exporters=["file"], settings=THREAD) as run:
        run.log({"im": milepost.Image(PICTURE, caption="old")}, commit=False)
        run.log({"im": milepost.Image(PICTURE[:5])})

    (row,) = milepost.Api().run(run.path).scan_history()
    assert "caption" not in row["im"]
    assert row["im"].to_numpy().shape == (5, 40, 3)


def test_the_summary_holds_media_and_its_own_have_their_own_names() -> None:
    with milepost.init(project="p", exporters=["file"], settings=THREAD) as run:
        run.log({"im": milepost.Image(PICTURE)})
        run.summary["best"] = milepost.Image(PICTURE[:9])
        run.summary["nested"] = {"im": milepost.Image(PICTURE[:8]), "x": 1}

    summary = milepost.Api().run(run.path).summary
    assert (summary["im"].to_numpy() == PICTURE).all()
    assert summary["best"]["path"].startswith("media/images/best_summary_")
    assert summary["nested"]["im"].to_numpy().shape == (8, 40, 3)
    assert "_pending" not in (Path(run.dir) / "summary.json").read_text()


def test_an_encoder_that_raises_leaves_the_rest_of_the_row(caplog: pytest.LogCaptureFixture) -> None:
    row = logged_row({"bad": Custom(b"x" * 5000, "fails"), "n": 1, "im": milepost.Image(PICTURE)})

    assert row["n"] == 1
    assert row["bad"]["error"] == "ValueError: as it was told"
    assert (row["im"].to_numpy() == PICTURE).all()
    assert 'the media "bad" at step 0 has no file' in caplog.text
    with pytest.raises(milepost.UsageError, match="as it was told"):
        row["bad"].open()


def test_an_encoder_that_dies_takes_nothing_with_it(caplog: pytest.LogCaptureFixture) -> None:
    with milepost.init(project="p", exporters=["file"], settings={"capture": False}) as run:
        run.log({"before": milepost.Image(PICTURE)})
        run.log({"bad": Custom(b"x" * 5000, "dies"), "n": 1})
        run.log({"after": milepost.Image(PICTURE[:6])})

    rows = list(milepost.Api().run(run.path).scan_history())
    assert (rows[0]["before"].to_numpy() == PICTURE).all()
    assert rows[1]["bad"]["error"] == "the encoder's process was killed by signal 9"
    assert rows[2]["after"].to_numpy().shape == (6, 40, 3)


SCRIPT = """
import milepost
from milepost.media.base import FileMedia, Payload
from tests.sdk.encoding import encoders

class Own(FileMedia):
    type_name = "own-file"
    def __init__(self, data, encoder):
        self._keep(Payload(data, "own", "bin", encoder), {})

def mine(data, options, target):
    target.write(data)

with milepost.init(project="p", id="own", exporters=["file"], settings={"capture": False}) as run:
    for n in range(3):
        run.log({"slow": Own(b"s" * 5000, encoders.__name__ + ":slow")})
        run.log({"bad": Own(b"x" * 5000, encoders.__name__ + ":dies"), "own": Own(b"y" * 6000, "__main__:mine")})
"""


def test_an_encoder_of_the_script_works_behind_one_that_dies() -> None:
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT)})

    rows = list(milepost.Api().run("p/own").scan_history())
    for row in rows[1::2]:
        with row["own"].open() as file:
            assert file.read() == b"y" * 6000
    assert all("killed by signal 9" in row["bad"]["error"] for row in rows[1::2])
    assert all("path" in row["slow"] for row in rows[::2])


def test_files_are_made_at_low_priority_until_somebody_waits_for_them() -> None:
    with milepost.init(project="p", exporters=["file"], settings={"capture": False}) as run:
        run.log({"im": Custom(b"x" * 5000, "slow")})
        run.log({"im": Custom(b"z" * 5000, "priority")})
        deadline = time.monotonic() + 60
        while not list((Path(run.dir) / "media").rglob("im_1_*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        run.log({"im": Custom(b"y" * 5000, "slow")})
        run.log({"im": Custom(b"z" * 6000, "priority")})

    rows = list(milepost.Api().run(run.path).scan_history())
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert (rows[1]["im"]["nice"], rows[3]["im"]["nice"]) == (min(own + 10, 19), own)


def test_what_an_encoder_returns_joins_the_value() -> None:
    value = logged(Custom(b"abc", "counts"))

    assert value["letters"] == 3
    with value.open() as file:
        assert file.read() == b"abc"


def test_over_the_bound_media_wait_on_disk() -> None:
    settings = {**THREAD, "media": {"encode_in": "thread", "max_waiting_bytes": 0}}
    arrays = pictures(5)
    with milepost.init(project="p", exporters=["file"], settings=settings) as run:
        for array in arrays:
            run.log({"im": milepost.Image(array)})

    rows = list(milepost.Api().run(run.path).scan_history())
    assert all((row["im"].to_numpy() == array).all() for row, array in zip(rows, arrays, strict=True))
    assert not list((Path(run.dir) / "journal" / run.writer).glob("*.stash*"))


def test_finish_waits_no_longer_than_it_may_and_sync_does_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    with milepost.init(project="p", exporters=["file"], settings={"capture": False}) as run:
        run.log({"slow": Custom(b"x" * 5000, "slow"), "n": 1})
        run.log({"im": milepost.Image(PICTURE)})
        began = time.monotonic()
        run.finish(timeout=0.5)
        assert time.monotonic() - began < 15

    assert "media are not encoded yet" in caplog.text
    from milepost.sdk.syncing import sync

    sync(Path(run.dir))
    rows = list(milepost.Api().run(run.path).scan_history())
    assert rows[0]["slow"]["size"] == 5000
    assert "_pending" not in (Path(run.dir) / "history.jsonl").read_text()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_logs_media_of_its_own() -> None:
    with milepost.init(project="p", exporters=["file"], settings={"capture": False}) as run:
        run.log({"im": milepost.Image(PICTURE)})
        child = os.fork()
        if child == 0:
            run.log({"im": milepost.Image(PICTURE[:7])})
            run.finish()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        run.log({"im": milepost.Image(PICTURE[:8])})

    heights = [len(row["im"].to_numpy()) for row in milepost.Api().run(run.path).scan_history(writer="all")]
    assert sorted(heights) == [7, 8, 30]


def test_a_running_program_s_media_open_before_they_are_encoded() -> None:
    with milepost.init(project="p", exporters=["file"], settings={"capture": False}) as run:
        run.log({"slow": Custom(b"x" * 5000, "slow")})
        run.log({"im": milepost.Image(PICTURE)})
        rows = list(milepost.Api().run(run.path).scan_history())
        assert (rows[1]["im"].to_numpy() == PICTURE).all()


def test_a_value_opens_that_was_read_before_its_file_was_made_by_an_encoder_that_never_writes_the_same_twice() -> None:
    with milepost.init(project="p", exporters=["file"], settings={"capture": False}) as run:
        run.log({"slow": Custom(b"x" * 5000, "slow")})
        run.log({"odd": Custom(b"y" * 5000, "never_the_same")})
        _, row = milepost.Api().run(run.path).scan_history()

    row["odd"]._source._made.clear()  # as other values make it forget
    with row["odd"].open() as file:
        assert file.read().startswith(b"y" * 5000)


def test_a_pipeline_of_one_s_own_has_media_too() -> None:
    def double(event: Any) -> Any:
        return event.with_values({**event.values, "twice": event.values.get("n", 0) * 2})

    processors = ["flatten", "merge", double, "summarize"]
    with milepost.init(project="p", exporters=["file"], processors=processors, settings=THREAD) as run:
        run.log({"a": {"im": milepost.Image(PICTURE)}, "n": 2})
        run.log({"b": milepost.Image(PICTURE[:4])}, commit=False)
        run.log({"n": 3})

    rows = list(milepost.Api().run(run.path).scan_history())
    assert (rows[0]["twice"], rows[0]["a.im"]["path"][:17]) == (4, "media/images/im_0"[:17])
    assert rows[1]["b"].to_numpy().shape == (4, 40, 3)


def test_what_a_filter_behind_merge_leaves_out_gets_no_file() -> None:
    pipeline: list[Any] = ["flatten", "merge", {"filter": {"exclude": ["secret*"]}}, "summarize"]
    with milepost.init(project="p", processors=pipeline, settings=THREAD) as run:
        run.log({"secret": milepost.Image(PICTURE), "shown": milepost.Image(PICTURE[:8])})

    assert [path.name.partition("_")[0] for path in Path(run.dir).glob("media/**/*.png")] == ["shown"]


def test_media_in_the_config_are_refused() -> None:
    with pytest.raises(milepost.DataError, match="summary"):
        milepost.init(project="p", config={"im": milepost.Image(PICTURE)})


def test_a_disabled_run_takes_media() -> None:
    with milepost.init(mode="disabled") as run:
        run.log({"im": milepost.Image(PICTURE)})


def test_a_resumed_run_keeps_the_media_of_its_summary() -> None:
    with milepost.init(project="p", id="r", exporters=["file"], settings=THREAD) as run:
        run.log({"im": milepost.Image(PICTURE)})
    with milepost.init(project="p", id="r", resume="must", exporters=["file"], settings=THREAD) as run:
        run.log({"n": 1})
        assert run.summary["im"]["path"].startswith("media/images/im_0_")

    assert (milepost.Api().run("p/r").summary["im"].to_numpy() == PICTURE).all()


def test_ctrl_c_in_the_terminal_does_not_reach_the_encoder() -> None:
    before = signal.getsignal(signal.SIGINT)
    with milepost.init(project="p", exporters=["file"], settings={"capture": False}) as run:
        run.log({"im": milepost.Image(PICTURE)})
    assert signal.getsignal(signal.SIGINT) is before
    assert sys.exc_info() == (None, None, None)


def test_large_pictures_are_copied_once_and_belong_to_each_run_that_logs_them() -> None:
    large = RNG.integers(0, 256, (700, 800, 3), dtype=np.uint8)
    kept = large.copy()
    image = milepost.Image(large)
    large[:] = 0
    before = {path.name for path in Path(os.environ.get("MILEPOST_SHM", "/dev/shm")).glob("milepost-*/*.stash")}

    writers: list[str] = []
    for _ in range(2):
        with milepost.init(project="p", exporters=["file"], settings={"capture": False}) as run:
            writers.append(run.writer)
            run.log({"a": image, "again": image})
            run.log({"b": image})
        rows = list(milepost.Api().run(run.path).scan_history())
        assert (rows[0]["a"].to_numpy() == kept).all()
        assert rows[0]["a"]["path"] == rows[0]["again"]["path"] == rows[1]["b"]["path"]

    after = {path.name for path in Path(os.environ.get("MILEPOST_SHM", "/dev/shm")).glob("milepost-*/*.stash")}
    assert not [name for name in after - before if name.startswith(tuple(writers))]


def test_a_large_picture_over_the_bound_waits_on_disk() -> None:
    large = RNG.integers(0, 256, (700, 800, 3), dtype=np.uint8)
    settings = {"capture": False, "media": {"encode_in": "thread", "max_waiting_bytes": 1}}

    with milepost.init(project="p", exporters=["file"], settings=settings) as run:
        run.log({"a": milepost.Image(large)})

    (row,) = milepost.Api().run(run.path).scan_history()
    assert (row["a"].to_numpy() == large).all()
