"""Log every media type once, from real data, and put pictures of what came out into a folder.

python examples/gallery.py [--pictures FOLDER]

The photographs and digits come with scikit-learn; meshes, the sound and the videos are made here. Needs scikit-learn,
imageio-ffmpeg, soundfile, trimesh, pandas and plotly, all of which `make setup` installs.
"""

import argparse
import io
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import PIL.Image
import plotly.graph_objects as go
import trimesh
from matplotlib.patches import Rectangle
from sklearn.datasets import load_breast_cancer, load_digits, load_sample_image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from trimesh.exchange import gltf

import milepost

ROOT = Path(__file__).resolve().parent
FLOWER: Any = load_sample_image("flower.jpg")
CHINA: Any = load_sample_image("china.jpg")


def pictures() -> dict[str, Any]:
    """Photographs, with boxes and a mask, a list, and floats."""
    petals = (FLOWER[..., 0] > 150).astype(np.uint8)
    box = {"position": {"minX": 0.26, "maxX": 0.71, "minY": 0.18, "maxY": 0.8}, "class_id": 1, "scores": {"sure": 0.97}}
    return {
        "photo": milepost.Image(CHINA, caption="Summer Palace"),
        "jpg": milepost.Image(CHINA, file_type="jpg"),
        "annotated": milepost.Image(
            FLOWER,
            classes=[{"id": 0, "name": "leaf"}, {"id": 1, "name": "flower"}],
            boxes={"truth": {"box_data": [box]}},
            masks={"petals": {"mask_data": petals}},
        ),
        "digits": [milepost.Image(image / 16, caption=str(target)) for image, target in zip(*digits(), strict=True)],
        "pixels": milepost.Histogram(CHINA),
    }


def digits() -> tuple[Any, Any]:
    """Eight handwritten digits in [0, 16], and what they are."""
    data: Any = load_digits()
    return data.images[:8], data.target[:8]


def figure() -> Any:
    """A matplotlib figure of both photographs."""
    drawn, axes = plt.subplots(1, 2, figsize=(6, 2.4))
    for axis, image in zip(axes, (CHINA, FLOWER), strict=True):
        axis.imshow(image)
        axis.axis("off")
    return drawn


def zoom(frames: int = 10) -> Any:
    """A flight into the photograph of the flower, shape (time, channels, height, width)."""
    whole = PIL.Image.fromarray(FLOWER)
    made: list[Any] = []
    for at in range(frames):
        margin = at * 14
        cut = whole.crop((margin * 3 // 2, margin, 640 - margin * 3 // 2, 427 - margin))
        made.append(np.asarray(cut.resize((240, 160))).transpose(2, 0, 1))
    return np.stack(made)


def moving() -> dict[str, Any]:
    """The same flight in each format, and a grid of four."""
    flight = zoom()
    return {
        "gif": milepost.Video(flight, fps=8, caption="zoom"),
        "mp4": milepost.Video(flight, fps=8, format="mp4"),
        "webm": milepost.Video(flight, fps=8, format="webm"),
        "grid": milepost.Video(np.stack([flight, flight[::-1], 255 - flight])[..., ::2, ::2], fps=8, format="mp4"),
    }


def melody() -> Any:
    """Four notes of a flute, stereo."""
    rate, notes = 22_050, (523.25, 659.25, 783.99, 1046.5)
    time = np.arange(rate // 2) / rate
    envelope = np.minimum(1, time * 30) * np.exp(-3 * time)
    tones = [envelope * (np.sin(2 * np.pi * note * time) + 0.2 * np.sin(4 * np.pi * note * time)) for note in notes]
    left = np.concatenate(tones) * 0.6
    return np.stack([left, np.roll(left, 400)], axis=1)


def sounds() -> dict[str, Any]:
    """The melody in each format."""
    return {
        kind: milepost.Audio(melody(), 22_050, file_type=kind, caption="four notes") for kind in ("wav", "flac", "ogg")
    }


def shapes() -> dict[str, Any]:
    """A mesh in each format, points, and a scene."""
    mesh: Any = trimesh.creation.torus(1.0, 0.35)
    mesh.visual.vertex_colors = np.concatenate(
        [(mesh.vertices * 90 + 128).clip(0, 255), np.full((len(mesh.vertices), 1), 255)], 1
    ).astype(np.uint8)  # trimesh takes floats for shares of one: all of it would be white
    found: dict[str, Any] = {}
    for kind in ("obj", "glb", "stl", "ply"):
        content: Any = mesh.export(file_type=kind)
        content = content.encode() if isinstance(content, str) else content
        found[kind] = milepost.Object3D(io.BytesIO(content), file_type=kind, caption=f"torus.{kind}")
    export: Any = gltf.export_gltf
    embedded = export(trimesh.Scene(mesh), embed_buffers=True)
    found["gltf"] = milepost.Object3D(io.BytesIO(embedded["model.gltf"]), file_type="gltf")
    points: Any = trimesh.sample.sample_surface(mesh, 3000, seed=0)[0]
    colours = (points * 90 + 128).clip(0, 255).round()
    corners = [[x, y, z] for x in (-1.4, 1.4) for y in (-1.4, 1.4) for z in (-0.4, 0.4)]
    found["points"] = milepost.Object3D(np.concatenate([points, colours], 1))
    found["scene"] = milepost.Object3D(
        {
            "type": "lidar/beta",
            "points": points,
            "boxes": [{"corners": corners, "label": "torus", "color": [255, 128, 0]}],
            "vectors": [{"start": [0, 0, 0], "end": [0, 0, 1]}],
        }
    )
    return found


WATER = "3\nwater\nO 0.000 0.000 0.117\nH 0.000 0.757 -0.471\nH 0.000 -0.757 -0.471\n"
REPORT = "<h1>Report</h1><p>Accuracy <b>97.2 %</b>, see <a href='https://example.org'>how</a>.</p>"


def charts() -> dict[str, Any]:
    """What a classifier says of real patients, as a table and as curves."""
    data: Any = load_breast_cancer()
    train_x, test_x, train_y, test_y = train_test_split(data.data, data.target, random_state=0)
    model = LogisticRegression(max_iter=5000).fit(train_x, train_y)
    probabilities = model.predict_proba(test_x)
    rows = [[milepost.Image(image / 16), int(target)] for image, target in zip(*digits(), strict=True)]
    return {
        "table": milepost.Table(columns=["digit", "label"], data=rows),
        "roc": milepost.plot.roc_curve(test_y, probabilities, labels=list(data.target_names)),
        "precision_recall": milepost.plots.precision_recall(test_y, probabilities, list(data.target_names)),
        "confusion": milepost.plot.confusion_matrix(
            preds=probabilities.argmax(1), y_true=list(test_y), class_names=list(data.target_names)
        ),
        "errors": milepost.Table(
            columns=["patient", "truth", "malignant"],
            data=[
                [at, truth, p[0]]
                for at, (truth, p) in enumerate(zip(test_y, probabilities, strict=True))
                if (p[1] > 0.5) != truth
            ],
        ),
        **of_patients(data),
    }


def of_patients(data: Any) -> dict[str, Any]:
    """The patients themselves: a data frame as it is, and charts of its columns."""
    frame = pd.DataFrame(data.data[:, [0, 1]], columns=["radius", "texture"])
    frame["diagnosis"] = data.target_names[data.target]
    share = frame.groupby("diagnosis").size().reset_index(name="patients")
    steps = np.arange(0, 30, 2)
    groups = list(frame.groupby("diagnosis"))
    below = [[float((part["radius"] < step).mean()) for step in steps] for _, part in groups]
    return {
        "frame": frame,
        "bar": milepost.plot.bar(share, "diagnosis", "patients", title="Patients"),
        "scatter": milepost.plot.scatter(frame, "radius", "texture", title="Patients by two measures"),
        "radius": milepost.plot.histogram(frame, "radius", title="Radius"),
        "below": milepost.plot.line_series(
            steps, below, keys=[name for name, _ in groups], title="Share below", xname="radius"
        ),
        "line": milepost.plot.line(
            pd.DataFrame({"radius": steps, "share": below[0]}), "radius", "share", title="Benign"
        ),
        "plotly": go.Figure(
            [go.Scatter(x=part["radius"], y=part["texture"], mode="markers", name=name) for name, part in groups]
        ),
    }


def network() -> milepost.Graph:
    """The layers of a small network."""
    graph = milepost.Graph(nodes=[{"id": at, "name": name} for at, name in enumerate(("input", "dense", "output"))])
    graph.add_edge(0, 1)
    graph.add_edge(1, 2)
    return graph


def main() -> None:
    """Log all of it, then read it back and draw what came out."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pictures", type=Path, help="a folder for a small picture of each")
    options = arguments.parse_args()
    with milepost.init(project="gallery", config={"data": "scikit-learn"}) as run:
        run.log({"image": pictures(), "figure": figure()})
        run.log({"video": moving(), "audio": sounds()})
        run.log({"shape": shapes(), "molecule": milepost.Molecule(io.StringIO(WATER), file_type="xyz")})
        run.log({"html": milepost.Html(REPORT), "graph": network(), **charts()})
        growing = milepost.Table(columns=["step", "guess"], log_mode="INCREMENTAL")
        for step in range(3):
            growing.add_data(step, step / 2)
            run.log({"growing": growing})
        run.summary["best"] = milepost.Image(FLOWER)
    read = milepost.Api(Path(run.dir).parents[1]).run(run.path)
    rows = {key: value for row in read.scan_history() for key, value in row.items()}
    for key, value in rows.items():
        if isinstance(value, dict):
            print(f"{key:24} {value['_type']:18} {value.get('path') or ', '.join(value.get('filenames', [])[:1])}")
    if options.pictures is not None:
        draw(rows, options.pictures)


def draw(rows: dict[str, Any], folder: Path) -> None:
    """A picture of each type, drawn from what was read back."""
    folder.mkdir(parents=True, exist_ok=True)

    def save(name: str, image: Any) -> None:
        image = image.convert("RGB")
        image.thumbnail((320, 214))
        image.quantize(96).save(folder / f"{name}.png", optimize=True)

    def plotted(name: str, plot: Any, **projection: Any) -> None:
        drawn, axes = plt.subplots(figsize=(3.2, 2.1), subplot_kw=projection)
        plot(axes)
        target = io.BytesIO()
        drawn.savefig(target, format="png", bbox_inches="tight")
        plt.close(drawn)
        save(name, PIL.Image.open(target))

    def side_by_side(name: str, images: list[Any]) -> None:
        height = min(image.height for image in images)
        images = [image.convert("RGB").resize((image.width * height // image.height, height)) for image in images]
        sheet = PIL.Image.new("RGB", (sum(image.width for image in images), height))
        at = 0
        for image in images:
            sheet.paste(image, (at, 0))
            at += image.width
        save(name, sheet)

    save("image", rows["image.photo"].to_pil())
    annotated = rows["image.annotated"]
    shown = annotated.to_pil().convert("RGB")
    mask = annotated["masks"]["petals"].to_numpy()
    pixels = np.asarray(shown).copy()
    pixels[mask == 1] = pixels[mask == 1] // 2 + np.array([0, 90, 128], np.uint8)
    place = annotated["boxes"]["truth"].load()["box_data"][0]["position"]

    def boxed(axes: Any) -> None:
        axes.imshow(pixels)
        axes.axis("off")
        left, top = place["minX"] * 640, place["minY"] * 427
        size = ((place["maxX"] - place["minX"]) * 640, (place["maxY"] - place["minY"]) * 427)
        axes.add_patch(Rectangle((left, top), *size, fill=False, color="yellow"))

    plotted("boxes-and-masks", boxed)
    side_by_side("images", [image.resize((80, 80), 0) for image in rows["image.digits"].to_pil()[:4]])
    counts, edges = rows["image.pixels"].to_numpy()
    plotted("histogram", lambda axes: axes.stairs(counts, edges, fill=True))
    save("figure", rows["figure"].to_pil())
    side_by_side("video", [PIL.Image.fromarray(frame) for frame in rows["video.mp4"].to_numpy()[::3]])
    plotted(
        "audio",
        lambda axes: axes.plot(
            np.linspace(0, 2, len(rows["audio.wav"].to_numpy())), rows["audio.wav"].to_numpy(), lw=0.3
        ),
    )
    points = rows["shape.points"].to_numpy()

    def cloud(axes: Any) -> None:
        axes.scatter(*points[:, :3].T, c=points[:, 3:] / 255, s=1)
        axes.set_aspect("equal")
        axes.axis("off")

    plotted("object3d", cloud, projection="3d")
    atoms = [line.split() for line in rows["molecule"].load().splitlines()[2:]]

    def molecule(axes: Any) -> None:
        places = np.array([atom[1:] for atom in atoms], float)[:, 1:]
        for at in (1, 2):
            axes.plot(*places[[0, at]].T, color="silver", lw=9, solid_capstyle="round", zorder=1)
        for (name, *_), (x, y) in zip(atoms, places, strict=True):
            axes.scatter(
                x, y, c={"O": "firebrick", "H": "gainsboro"}[name], edgecolors="black", s={"O": 1300, "H": 600}[name]
            )
            axes.text(x, y, name, ha="center", va="center")
        axes.set(xlim=(-1.2, 1.2), ylim=(-0.9, 0.5), aspect="equal")
        axes.axis("off")

    plotted("molecule", molecule)
    pictures_of_documents(rows, plotted)
    pictures_of_charts(rows, plotted)


def pictures_of_documents(rows: dict[str, Any], plotted: Any) -> None:
    """What stands in a page, a Plotly figure and a graph, drawn plainly: a browser shows the first two as they are."""
    title, text = re.findall(r"<h1>(.*?)</h1><p>(.*?)</p>", rows["html"].load())[0]

    def page(axes: Any) -> None:
        axes.text(0.06, 0.72, title, fontsize=17, weight="bold", family="serif")
        axes.text(0.06, 0.45, re.sub("<.*?>", "", text), fontsize=11, family="serif")
        axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])

    def traces(axes: Any) -> None:
        for trace in rows["plotly"].load()["data"]:
            axes.scatter(trace["x"], trace["y"], s=3, label=trace["name"])
        axes.set_facecolor("#e5ecf6")
        axes.grid(color="white")
        axes.set_axisbelow(True)
        axes.legend(fontsize=7)

    def graph(axes: Any) -> None:
        network = rows["graph"].load()
        for node in network["nodes"]:
            axes.text(
                node["id"], 0, node["name"], ha="center", va="center", bbox={"boxstyle": "round", "fc": "aliceblue"}
            )
        for start, end in network["edges"]:
            axes.annotate("", (end - 0.3, 0), (start + 0.3, 0), arrowprops={"arrowstyle": "->"})
        axes.set(xlim=(-0.5, 2.5), ylim=(-1, 1))
        axes.axis("off")

    plotted("html", page)
    plotted("plotly", traces)
    plotted("graph", graph)


def pictures_of_charts(rows: dict[str, Any], plotted: Any) -> None:
    """A picture of a table, and of each kind of chart."""

    def lines(key: str, x: str, y: str, by: str) -> None:
        def draw_lines(axes: Any) -> None:
            for name, part in rows[key].to_pandas().groupby(by, sort=False):
                axes.plot(part[x], part[y], label=name)
            axes.set(xlabel=rows[key]["strings"]["x-axis-title"], title=rows[key]["title"])
            axes.legend(fontsize=7)

        plotted(key.replace("_", "-"), draw_lines)

    lines("roc", "fpr", "tpr", "class")
    lines("precision_recall", "recall", "precision", "class")
    lines("below", "step", "lineVal", "lineKey")

    def matrix(axes: Any) -> None:
        counts = (
            rows["confusion"]
            .to_pandas()
            .pivot_table(index="Actual", columns="Predicted", values="nPredictions", sort=False)
        )
        axes.imshow(counts, cmap="Blues")
        for (i, j), count in np.ndenumerate(counts.to_numpy()):
            axes.text(j, i, int(count), ha="center", va="center", color="white" if i == j else "black")
        axes.set(
            xticks=range(len(counts)), xticklabels=counts.columns, yticks=range(len(counts)), yticklabels=counts.index
        )

    def cells(axes: Any) -> None:
        for at, row in enumerate(rows["table"].to_dicts()[:4]):
            axes.imshow(row["digit"].to_pil(), extent=(0, 0.9, -at - 0.9, -at), cmap="gray")
            axes.text(1.2, -at - 0.45, row["label"], va="center", fontsize=14)
        axes.set(xlim=(0, 2), ylim=(-4, 0.6))
        axes.text(0, 0.2, "digit")
        axes.text(1.1, 0.2, "label")
        axes.axis("off")

    plotted("confusion", matrix)
    plotted("table", cells)
    bars, points = rows["bar"].to_pandas(), rows["scatter"].to_pandas()
    plotted("bar", lambda axes: axes.bar(bars["diagnosis"], bars["patients"]))
    plotted("scatter", lambda axes: axes.scatter(points["radius"], points["texture"], s=2))


if __name__ == "__main__":
    main()
