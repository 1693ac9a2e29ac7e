"""`milepost export --media` copies the files that the exported rows name, wherever in a row they stand."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import milepost
from tests.sdk.cli.conftest import Command

ROOT = Path(__file__).parents[3]
SETTINGS: dict[str, Any] = {"capture": False, "media": {"encode_in": "thread"}}


def picture(n: int) -> Any:
    return np.full((6, 7, 3), 3 + n, np.uint8)


def row(n: int) -> dict[str, Any]:
    """Media in every place of a row; the picture `same` is the same in all rows."""
    return {
        "im": milepost.Image(picture(n), caption=f"number {n}"),
        "same": milepost.Image(picture(200)),
        "deep": {"er": {"im": milepost.Image(picture(n + 50))}},
        "list": [milepost.Image(picture(n + 100)), milepost.Image(picture(n + 101))],
        "mixed": [milepost.Image(picture(n + 150)), milepost.Html(f"<p>{n}</p>")],
        "masked": milepost.Image(picture(n), masks={"m": {"mask_data": np.full((6, 7), n, np.uint8)}}),
        "table": milepost.Table(columns=["n", "im"], data=[[n, milepost.Image(picture(n + 30))], [n, None]]),
        "large": milepost.Image(np.full((600, 700, 3), n + 2, np.uint8)),
        "n": n,
    }


def paths(value: Any) -> Iterator[str]:
    """Every path in an exported value."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "path":
                yield item
            else:
                yield from paths(item)
    elif isinstance(value, list):
        for item in value:
            yield from paths(item)


def exported(command: Command, run: str, folder: str) -> list[Any]:
    code, _, err = command(
        "export", run, "--dir", "runs", "--format", "jsonl", "-o", f"{run[-1]}.jsonl", "--media", folder
    )
    assert code == 0, err
    assert "left out" not in err
    return [json.loads(line) for line in Path(f"{run[-1]}.jsonl").read_text().splitlines()]


def judge(rows: list[Any], folder: Path) -> None:
    """Every file that a row names is there, and is what was logged."""
    for found in rows:
        n = found["n"]
        for path in paths(found):
            assert (folder / path).stat().st_size
        for value, pixels in (
            (found["im"], picture(n)),
            (found["same"], picture(200)),
            (found["deep.er.im"], picture(n + 50)),
            (found["list"]["files"][1], picture(n + 101)),
            (found["mixed"][0], picture(n + 150)),
            (found["large"], np.full((600, 700, 3), n + 2, np.uint8)),
        ):
            with PIL.Image.open(folder / value["path"]) as image:
                assert (np.asarray(image) == pixels).all()
        assert f"<p>{n}</p>" in (folder / found["mixed"][1]["path"]).read_text()
        table = json.loads((folder / found["table"]["path"]).read_text())
        cell = table["data"][0][1]
        with PIL.Image.open(io.BytesIO((folder / cell["path"]).read_bytes())) as image:
            assert (np.asarray(image) == picture(n + 30)).all()


def test_two_runs_in_one_folder_have_all_their_files(command: Command) -> None:
    for name, first in (("a", 0), ("b", 10)):
        with milepost.init(project="p", id=name, dir="runs", exporters=["file"], settings=SETTINGS) as run:
            for n in range(3):
                run.log(row(first + n))

    both = [exported(command, name, "out") for name in ("p/a", "p/b")]

    for rows in both:
        assert len(rows) == 3
        judge(rows, Path("out"))
    files = [path for path in Path("out").rglob("*") if path.is_file()]
    assert len({path.read_bytes() for path in files}) == len(files)


def test_a_killed_run_has_them_too(command: Command) -> None:
    code = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
import milepost
from tests.sdk.cli.test_export_media import row
run = milepost.init(project="p", id="k", dir="runs", exporters=["file"], settings={{"capture": False}})
for n in range(2):
    run.log(row(n))
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], env=os.environ, check=False, stderr=subprocess.DEVNULL, timeout=60)

    rows = exported(command, "p/k", "out")

    assert [found["n"] for found in rows] == [0, 1]
    judge(rows, Path("out"))


def test_a_link_in_the_folder_is_not_followed(command: Command, tmp_path: Path) -> None:
    with milepost.init(project="p", id="a", dir="runs", exporters=["file"], settings=SETTINGS) as run:
        run.log({"im": milepost.Image(picture(1))})
    outside = tmp_path / "outside"
    outside.mkdir()
    Path("out").mkdir()
    Path("out/media").symlink_to(outside)

    code, _, err = command("export", "p/a", "--dir", "runs", "-o", "a.jsonl", "--media", "out")

    assert code == 0
    assert "left out" in err
    assert not list(outside.iterdir())


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_a_file_that_is_gone_is_named_and_the_others_are_copied(command: Command, format: str) -> None:
    with milepost.init(project="p", id="a", dir="runs", exporters=["file"], settings=SETTINGS) as run:
        run.log({"im": milepost.Image(picture(1)), "other": milepost.Image(picture(2))})
    next(Path("runs/p/a/media/images").glob("im_*")).unlink()

    code, _, err = command("export", "p/a", "--dir", "runs", "-o", f"a.{format}", "--media", "out")

    assert code == 0
    assert "media/images/im_0_" in err
    assert len(list(Path("out/media/images").iterdir())) == 1
