# ruff: noqa: E501 - a table of values, one kind a line
"""A run with every kind of media, in the form in which they stand in rows: the page is tried with it without encoders.

python tests/server/gallery.py DIR [RUNS] makes it for looking at.
"""

import hashlib
import io
import json
import math
import struct
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

import milepost

HTML = (
    "<h2>Report</h2><p id=a>static</p><script>document.getElementById('a').textContent='the script ran in its box';"
    "try { parent.document.title = 'HACKED' } catch (error) { }; fetch('/api/v1/projects').then(() => "
    "parent.postMessage('LEAK', '*')).catch(() => null)</script>"
)


def stored(run_dir: Path, folder: str, name: str, data: bytes) -> dict[str, Any]:
    """Write a media file into a run; the fields that say where it is."""
    path = run_dir / "media" / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {"path": f"media/{folder}/{name}", "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}


def png(pixels: Any) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(np.asarray(pixels, np.uint8)).save(file, "PNG")
    return file.getvalue()


def wav(samples: Any, rate: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, rate, 0, "NONE", ""))
        writer.writeframes((np.asarray(samples) * 32000).astype("<i2").tobytes())
    return file.getvalue()


def stl() -> bytes:
    """A tetrahedron."""
    corners = np.array([[1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]], np.float32)
    faces = [(0, 1, 2), (0, 3, 1), (0, 2, 3), (1, 3, 2)]
    body = b"".join(struct.pack("<12fH", *([0.0] * 3), *corners[list(face)].ravel(), 0) for face in faces)
    return bytes(80) + struct.pack("<I", len(faces)) + body


GRAPH = b'{"format": "keras", "nodes": [{"id": 0, "name": "input"}, {"id": 1}, {"id": 2}], "edges": [[0, 1], [1, 2], [2, 0]]}'
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 6"><circle cx="4" cy="3" r="2" onclick="alert(2)"/><script>alert(1)</script></svg>'
OBJ = "v 1 1 1\nv -1 -1 1\nv -1 1 -1\nv 1 -1 -1\nf 1 2 3\nf 1 4 2\nf 1 3 4\nf 2 4 3\n"


def digits(run_dir: Path, step: int, random: np.random.Generator) -> dict[str, Any]:
    files: list[dict[str, Any]] = []
    captions: list[str] = []
    for index in range(8):
        y, x = np.mgrid[0:28, 0:28]
        radius = 5 + index
        ring = 255 * np.exp(-((np.hypot(y - 14, x - 14) - radius) ** 2) / 6)
        noise = random.normal(0, 60 * math.exp(-step / 8), (28, 28))
        files.append(stored(run_dir, "images", f"digits_{step}_{index}.png", png(np.clip(ring + noise, 0, 255))))
        captions.append(f"ring {radius}")
    paths = [file["path"] for file in files]
    sizes: dict[str, Any] = {"width": 28, "height": 28, "format": "png"}
    entries = [{**file, **sizes} for file in files]
    return {
        "_type": "images/separated",
        **sizes,
        "count": 8,
        "filenames": paths,
        "files": entries,
        "captions": captions,
    }


def detection(run_dir: Path, step: int, random: np.random.Generator, caption: str) -> dict[str, Any]:
    grey = np.add.outer(np.linspace(40, 200, 240), np.linspace(0, 50, 320))
    sky = np.stack([grey * 0.7, grey * 0.85, grey], -1) + random.normal(0, 6, (240, 320, 3))
    mask = np.zeros((240, 320), np.uint8)
    mask[160:, :] = 1
    mask[90:170, 60 + step * 3 : 150 + step * 3] = 2
    labels = {"0": "sky", "1": "road", "2": "car"}
    box = {"minX": (60 + step * 3) / 320, "maxX": (150 + step * 3) / 320, "minY": 90 / 240, "maxY": 170 / 240}
    sure = {"position": box, "class_id": 2, "scores": {"conf": 0.5 + step / 50}, "box_caption": "car"}
    far = {"position": {"minX": 0.75, "maxX": 0.9, "minY": 0.4, "maxY": 0.8}, "class_id": 1, "scores": {"conf": 0.3}}
    boxes = {"box_data": [sure, far], "class_labels": labels}
    image = stored(run_dir, "images", f"street_{step}.png", png(np.clip(sky, 0, 255)))
    box_file = stored(run_dir, "metadata/boxes2D", f"street_{step}.boxes2D.json", json.dumps(boxes).encode())
    mask_file = stored(run_dir, "images/mask", f"street_{step}.mask.png", png(mask))
    return {
        "_type": "image-file", "format": "png", "width": 320, "height": 240, "caption": caption, **image,
        "boxes": {"predictions": {"_type": "boxes2D", **box_file, "count": 2, "class_labels": labels}},
        "masks": {"segments": {"_type": "mask", **mask_file, "class_labels": labels}},
    }  # fmt: skip


def table(run_dir: Path, name: str, columns: list[str], data: list[list[Any]]) -> dict[str, Any]:
    content = json.dumps({"columns": columns, "data": data}).encode()
    file = stored(run_dir, "table", f"{name}.table.json", content)
    return {"_type": "table-file", "ncols": len(columns), "nrows": len(data), "log_mode": "IMMUTABLE", **file}


def chart(
    run_dir: Path, name: str, spec: str, fields: dict[str, str], columns: list[str], data: list[list[Any]]
) -> Any:
    kind = {"area-under-curve": "curve", "lineseries": "line_series"}.get(spec, spec)
    more = {"kind": kind, "title": name, "fields": fields, "strings": {"title": name}, "spec": f"wandb/{spec}/v0"}
    return {**table(run_dir, name, columns, data), "_type": "chart-file", **more}


def last_row(run_dir: Path, random: np.random.Generator) -> dict[str, Any]:
    """One value of each kind that is logged once."""
    classes = ["cat", "dog", "eel"]
    curve = [
        [name, x / 20, round((x / 20) ** (0.25 + at / 6), 3)] for at, name in enumerate(classes) for x in range(21)
    ]
    cloud = np.concatenate([random.normal(size=(3000, 3)), random.integers(0, 255, (3000, 3))], 1).round(3)
    figure = {
        "data": [{"type": "scatter", "y": [1, 3, 2]}, {"type": "bar", "y": [2, 1, 2]}],
        "layout": {"title": {"text": "A figure"}},
    }
    small = [
        {"_type": "image-file", **stored(run_dir, "images", f"cell_{at}.png", png(random.integers(0, 255, (12, 12)))),
         "width": 12, "height": 12}
        for at in range(40)
    ]  # fmt: skip
    rows = [[at, small[at], classes[at % 3], random.random(), "<img src=x onerror=alert(1)>"] for at in range(40)]
    counts = [[a, b, int(30 if a == b else random.integers(0, 9))] for a in classes for b in classes]
    html = stored(run_dir, "html", "report.html", HTML.encode())
    svg = stored(run_dir, "images", "evil.svg", SVG)
    tone = np.sin(np.arange(8000) * 0.3) * 0.5
    pixels = [PIL.Image.fromarray(random.integers(0, 255, (48, 48, 3), dtype=np.uint8)) for _ in range(6)]
    moving = io.BytesIO()
    pixels[0].save(moving, "GIF", save_all=True, append_images=pixels[1:], duration=200, loop=0)
    return {
        "eval/roc": chart(run_dir, "roc", "area-under-curve", {"x": "fpr", "y": "tpr", "class": "class"}, ["class", "fpr", "tpr"], curve),
        "eval/confusion": chart(
            run_dir, "confusion", "confusion_matrix", {"Actual": "Actual", "Predicted": "Predicted", "nPredictions": "nPredictions"},
            ["Actual", "Predicted", "nPredictions"], counts),
        "eval/bars": chart(run_dir, "bars", "bar", {"label": "label", "value": "value"}, ["label", "value"], [["cat", 3], ["dog", 5], ["eel", 1]]),
        "eval/points": chart(run_dir, "points", "scatter", {"x": "x", "y": "y"}, ["x", "y"], random.normal(size=(200, 2)).tolist()),
        "eval/series": chart(
            run_dir, "series", "lineseries", {"step": "step", "lineKey": "lineKey", "lineVal": "lineVal"}, ["step", "lineKey", "lineVal"],
            [[x, name, math.sin(x / 3 + at)] for at, name in enumerate(classes) for x in range(30)]),
        "eval/lengths": chart(run_dir, "lengths", "histogram", {"value": "value"}, ["value"], random.normal(size=(400, 1)).tolist()),
        "eval/table": table(run_dir, "answers", ["id", "image", "guess", "score", "<b>note</b>"], rows),
        "media/report": {"_type": "html-file", **html},
        "media/drawing": {"_type": "image-file", "format": "svg", "width": 10, "height": 10, **svg},
        "media/figure": {"_type": "plotly-file", **stored(run_dir, "plotly", "figure.plotly.json", json.dumps(figure).encode())},
        "media/cloud": {"_type": "object3D-file", **stored(run_dir, "object3D", "cloud.pts.json", json.dumps(cloud.tolist()).encode())},
        "media/solid": {"_type": "object3D-file", **stored(run_dir, "object3D", "solid.stl", stl())},
        "media/mesh": {"_type": "object3D-file", **stored(run_dir, "object3D", "mesh.obj", OBJ.encode())},
        "media/tone": {"_type": "audio-file", "caption": "tone", **stored(run_dir, "audio", "tone.wav", wav(tone, 8000))},
        "media/clip": {"_type": "video-file", "caption": "noise", **stored(run_dir, "videos", "clip.gif", moving.getvalue())},
        "media/graph": {"_type": "graph-file", **stored(run_dir, "graph", "net.graph.json", GRAPH)},
    }  # fmt: skip


def log_gallery(
    directory: Path,
    name: str = "baseline",
    seed: int = 0,
    project: str = "gallery",
    caption: str = "<b>street</b>",
) -> str:
    """Log one such run; its id."""
    random = np.random.default_rng(seed)
    run = milepost.init(
        project=project, dir=str(directory), name=name, config={"seed": seed}, settings={"capture": False}
    )
    run_dir = Path(run.dir)
    for step in range(20):
        row: dict[str, Any] = {"train/loss": 2 * math.exp(-step / 8) + 0.1 * random.random()}
        if step % 4 == 3:
            row["val/digits"] = digits(run_dir, step, random)
            row["val/street"] = detection(run_dir, step, random, caption)
            row["weights/layer1"] = milepost.Histogram(random.normal(step / 20, 1 + step / 10, 3000))
        if step == 19:
            row |= last_row(run_dir, random)
        milepost.log(row)
    milepost.finish()
    return run.id


if __name__ == "__main__":
    for number in range(int(sys.argv[2]) if len(sys.argv) > 2 else 1):
        log_gallery(Path(sys.argv[1]), ["baseline", "mixup", "cutout"][number % 3], number)
