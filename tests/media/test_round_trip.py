"""Fresh random values of every type, compared with what is read back: of a finished run, of a living one, and after SIGKILL."""

import datetime
import io
import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import milepost

ROOT = Path(__file__).parents[2]
SEED = int(os.environ.get("ROUND_TRIP_SEED", "20261125"))

Case = tuple[Any, Callable[[Any], Any]]
"""What is logged, and what says whether it was read back (a bool, or it raises)."""


def content_of(value: Any) -> bytes:
    with value.open() as file:
        content: bytes = file.read()
    return content


def content(expected: bytes) -> Callable[[Any], Any]:
    return lambda value: content_of(value) == expected


def pixels(expected: Any) -> Callable[[Any], Any]:
    def same(value: Any) -> bool:
        found = value.to_numpy()
        return found.shape == expected.shape and bool((found == expected).all())

    return same


def frames_are(expected: Any) -> Callable[[Any], Any]:
    return lambda value: bool((value.to_numpy()[..., :3] == expected).all())


def points_are(expected: Any) -> Callable[[Any], Any]:
    return lambda value: np.allclose(value.to_numpy(), expected, atol=1e-6)


def images(random: np.random.Generator) -> dict[str, Case]:
    height, width = (int(number) for number in random.integers(2, 40, 2))
    cases: dict[str, Case] = {}
    for channels in (0, 1, 3, 4):
        shape = (height, width, channels) if channels else (height, width)
        shown = (height, width) if channels < 2 else shape
        whole = random.integers(2, 256, shape, dtype=np.uint8)
        floats = random.random(shape)
        signed = random.random(shape) * 2 - 1
        signed.flat[0] = -1
        flags = random.random(shape) > 0.5
        wide = random.integers(0, 256, shape)
        wide.flat[0] = 255
        for name, array, expected in (
            ("uint8", whole, whole),
            ("float", floats, np.floor(floats * 255)),
            ("float32", floats.astype(np.float32), np.floor(floats.astype(np.float32) * 255)),
            ("signed", signed, np.floor((signed + 1) * 127.5)),
            ("bool", flags, flags * 255),
            ("int64", wide, wide),
            ("int16", wide.astype(np.int16), wide),
            ("list", whole.tolist(), whole),
            ("strided", whole[::-1], whole[::-1]),
        ):
            cases[f"{name}{channels}"] = milepost.Image(array), pixels(np.asarray(expected).reshape(shown))
    base = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    pil = PIL.Image.fromarray(base)
    for mode in ("L", "RGB", "RGBA", "LA", "1", "P"):
        image = pil.convert(mode)
        expected = np.asarray(image.convert({"1": "L", "P": "RGB"}.get(mode, mode)))
        cases[f"pil-{mode}"] = milepost.Image(image), pixels(expected)
    for form in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"):
        buffer = io.BytesIO()
        pil.save(buffer, form)
        file = buffer.getvalue()
        cases[f"file-{form}"] = milepost.Image(file), content(file)
    deep = PIL.Image.fromarray(random.integers(0, 65536, (height, width), dtype=np.uint16))
    buffer = io.BytesIO()
    deep.save(buffer, "PNG")
    cases["16 bits"] = (
        milepost.Image(buffer.getvalue()),
        lambda value: bool((np.asarray(PIL.Image.open(io.BytesIO(content_of(value)))) == np.asarray(deep)).all()),
    )
    mask = random.integers(0, 5, (height, width), dtype=np.uint8)
    cases["mask"] = (
        milepost.Image(base, masks={"m": {"mask_data": mask, "class_labels": {1: "cat"}}}),
        lambda value: bool((value["masks"]["m"].to_numpy() == mask).all()),
    )
    return cases


def moving(random: np.random.Generator) -> Any:
    """Colours that run over each picture and change with time, shape (6, 3, 32, 48): what codecs are made for."""
    ranges = ((10, 50), (0.5, 2.5), (0.5, 1.5), (2, 8))
    begin, down, right, later = (random.uniform(low, high, (3, 1, 1)) for low, high in ranges)
    y, x = np.mgrid[:32, :48]
    pictures = [begin + down * y + right * x + later * time for time in range(6)]
    return np.stack(pictures).clip(0, 235).astype(np.uint8)


def nearly(frames: Any) -> Callable[[Any], Any]:
    """Equal but for what a codec may lose."""

    def same(value: Any) -> bool:
        found = value.to_numpy()
        expected = frames.transpose(0, 2, 3, 1)
        return found.shape == expected.shape and float(np.abs(found.astype(int) - expected).mean()) < 3

    return same


def sounds(random: np.random.Generator) -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for channels in (1, 2):
        whole = random.integers(-32768, 32768, (900, channels), dtype=np.int16)
        floats = random.random((900, channels)) * 2 - 1
        pitch, height = random.uniform(200, 1500, channels), random.uniform(0.1, 0.9, channels)
        tone = height * np.sin(2 * np.pi * pitch * np.arange(4000)[:, None] / 8000)
        for name, samples, expected in (
            ("int16", whole, whole / 32768),
            ("float", floats, floats),
            ("tone", tone, tone),
        ):
            for form in ("wav", "flac", "ogg"):
                limit = 2 / 32768 if form != "ogg" else 0.3 if name == "tone" else 2.0  # noise is what ogg leaves out

                def same(value: Any, expected: Any = expected, limit: float = limit) -> bool:
                    found = value.to_numpy()
                    found = found.reshape(len(found), -1)
                    return len(found) == len(expected) and float(np.abs(found - expected).max()) <= limit

                cases[f"{name}-{channels}-{form}"] = milepost.Audio(samples, sample_rate=8000, file_type=form), same
    return cases


def others(random: np.random.Generator) -> dict[str, Case]:
    frames = random.integers(0, 256, (3, 3, 16, 16), dtype=np.uint8)
    smooth = moving(random)
    gray = random.integers(2, 256, (4, 1, *random.integers(16, 50, 2)), dtype=np.uint8)
    palette = random.integers(2, 256, (200, 3), dtype=np.uint8)
    coloured = palette[random.integers(0, 200, (3, 40, 30))].transpose(0, 3, 1, 2)
    batch = random.integers(0, 256, (3, 2, 1, 8, 8), dtype=np.uint8)
    picture = random.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    numbers = random.normal(size=300)
    counts, edges = np.histogram(numbers, bins=64)
    now = datetime.datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=datetime.UTC)
    cells = [1, 2.5, math.nan, None, "text \u2603", True, now, now.date(), [1, [2]], {"k": 1}, b"bytes", 2**53 + 1]
    table = milepost.Table(
        columns=[str(at) for at in range(len(cells))] + ["im"],
        data=[[*cells, milepost.Image(picture)]],
        allow_mixed_types=True,
    )
    cases: dict[str, Case] = {
        "gif": (milepost.Video(frames), lambda value: value.to_numpy().shape[:3] == (3, 16, 16)),
        "gif-gray": (milepost.Video(gray), frames_are(np.repeat(gray, 3, 1).transpose(0, 2, 3, 1))),
        "gif-colours": (milepost.Video(coloured, fps=9), frames_are(coloured.transpose(0, 2, 3, 1))),
        "batch": (milepost.Video(batch), lambda value: value.to_numpy().shape[0] == 2),
        "mp4": (milepost.Video(smooth, format="mp4", fps=5), nearly(smooth)),
        "webm": (milepost.Video(smooth, format="webm"), nearly(smooth)),
        "ogg": (milepost.Video(smooth, format="ogg"), nearly(smooth)),
        "histogram": (
            milepost.Histogram(numbers),
            lambda value: value["values"] == counts.tolist() and np.allclose(value["bins"], edges, rtol=1e-15),
        ),
        "html": (
            milepost.Html("<b>\u2603</b>", inject=False),
            content("<b>\u2603</b>".encode()),
        ),
        "molecule": (
            milepost.Molecule(io.StringIO("1\nx\nO 0 0 0\n"), file_type="xyz"),
            content(b"1\nx\nO 0 0 0\n"),
        ),
        "list": (
            [milepost.Image(picture), milepost.Image(picture[:4])],
            lambda value: [array.shape[0] for array in value.to_numpy()] == [5, 4],
        ),
        "table": (table, lambda value: table_is(value, cells, picture)),
    }
    cases |= figures(random)
    for columns in (3, 4, 6):
        points = random.normal(size=(20, columns)).round(3)
        points[:, 3:] = random.integers(1, 14, (20, columns - 3))
        cases[f"points{columns}"] = (
            milepost.Object3D(points),
            points_are(points),
        )
    return cases


def figures(random: np.random.Generator) -> dict[str, Case]:
    """What is stored as JSON: a plotly figure, a bokeh document, a scene of points, boxes and vectors, a graph."""
    y = [None if number > 0.9 else number for number in random.random(20).tolist()]
    line = {"type": "scatter", "y": y, "name": "\u2603"}
    plotly = {"data": [line], "layout": {"title": {"text": "t"}}}
    with_nan = {**plotly, "data": [{**line, "y": np.array([math.nan if v is None else v for v in y])}]}
    bokeh = {"roots": [{"id": str(number)} for number in random.integers(0, 9999, 5)], "title": "b\u00fc"}
    document = Path(f"document{random.integers(10**9)}.json")
    document.write_text(json.dumps(bokeh))
    points, corners, start = (random.normal(size=shape) for shape in ((9, 3), (8, 3), (3,)))
    box = {"label": "car", "color": [1, 2, 255], "score": random.random()}
    scene = {
        "type": "lidar/beta",
        "points": points,
        "boxes": [{"corners": corners, **box}],
        "vectors": [{"start": start, "end": [0, 0, 1]}],
    }
    expected = {
        "type": "lidar/beta",
        "boxes": [{"corners": corners.tolist(), **box}],
        "vectors": [{"start": start.tolist(), "end": [0, 0, 1]}],
    }

    def scene_is(value: Any) -> bool:
        found = value.load()
        return bool((found.pop("points") == points).all()) and found == expected

    names = [f"n{number}" for number in random.permutation(6)]
    graph = milepost.Graph(nodes=[{"id": name} for name in names], edges=list(itertools.pairwise(names)))
    edges = [list(pair) for pair in itertools.pairwise(names)]
    return {
        "plotly": (milepost.Plotly(with_nan), lambda value: value.load() == plotly),
        "bokeh": (milepost.Bokeh(document), lambda value: value.load() == bokeh),
        "scene": (milepost.Object3D(scene), scene_is),
        "graph": (graph, lambda value: value.load()["edges"] == edges),
    }


def table_is(value: Any, cells: list[Any], picture: Any) -> bool:
    (row,) = value.to_dicts()
    found = list(row.values())
    assert (found[0], found[1], found[3], found[4], found[5], found[11]) == (1, 2.5, None, cells[4], True, 2**53 + 1)
    assert math.isnan(found[2])
    assert found[8:10] == [[1, [2]], {"k": 1}]
    assert [str(found[at])[:10] for at in (6, 7)] == ["2026-01-02"] * 2
    return bool((found[-1].to_numpy() == picture).all())


def cases(seed: int) -> dict[str, Case]:
    random = np.random.default_rng(seed)
    return {**images(random), **sounds(random), **others(random)}


def judge(row: Any, seed: int) -> None:
    for name, (_, same) in cases(seed).items():
        assert same(row[name]), (name, seed, row[name])


def test_everything_is_read_back_of_a_run_that_lives_and_of_one_that_ended() -> None:
    with milepost.init(project="p", id="r", exporters=["file"], settings={"capture": False}) as run:
        run.log({name: value for name, (value, _) in cases(SEED).items()})
        (row,) = milepost.Api().run("p/r").scan_history()
        judge(row, SEED)

    (row,) = milepost.Api().run("p/r").scan_history()
    judge(row, SEED)


def test_everything_is_read_back_after_a_kill() -> None:
    code = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
import milepost
from tests.media.test_round_trip import cases
with milepost.init(project="p", id="k", exporters=["file"], settings={{"capture": False}}) as run:
    run.log({{name: value for name, (value, _) in cases({SEED} + 1).items()}})
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], check=False, stderr=subprocess.DEVNULL, timeout=120)

    (row,) = milepost.Api().run("p/k").scan_history()
    judge(row, SEED + 1)


@pytest.mark.gate
@pytest.mark.parametrize("seed", range(100))
def test_a_hundred_other_seeds(seed: int) -> None:
    with milepost.init(project="p", id="r", exporters=["file"], settings={"capture": False}) as run:
        run.log({name: value for name, (value, _) in cases(seed).items()})

    (row,) = milepost.Api().run("p/r").scan_history()
    judge(row, seed)
