"""Write docs/images/charts.png: charts of a model on scikit-learn's digits, logged, read back, and drawn from their rows.

    python scripts/chart_pictures.py

What stands in the picture is what `to_pandas()` gives, and nothing else.
"""

import tempfile
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

import milepost

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "images" / "charts.png"
EPOCHS = 30


def logged(runs: Path) -> dict[str, Any]:
    """The values of a run that trained a classifier for some epochs, by key."""
    images, digits = load_digits(return_X_y=True)
    images = images / 16
    model = SGDClassifier(loss="log_loss", alpha=0.01, random_state=0)
    names = [str(digit) for digit in range(10)]
    settings = {"capture": {"enabled": False}, "exporters": []}
    with milepost.init(project="digits", dir=runs, settings=settings) as run:
        losses: list[list[float]] = [[], []]
        for _ in range(EPOCHS):
            model.partial_fit(images[:900], digits[:900], classes=np.arange(10))
            for held, part in zip(losses, (slice(900), slice(900, None)), strict=True):
                held.append(float(1 - model.score(images[part], digits[part])))
        y_true, y_probas = digits[900:], model.predict_proba(images[900:])
        run.log(
            {
                "roc": milepost.plot.roc_curve(y_true, y_probas, labels=names, classes_to_plot=[1, 8, 9]),
                "pr": milepost.plot.pr_curve(y_true, y_probas, labels=names, classes_to_plot=[1, 8, 9]),
                "confusion": milepost.plot.confusion_matrix(probs=y_probas, y_true=y_true, class_names=names),
                "error": milepost.plot.line_series(range(EPOCHS), losses, ["train", "test"], "Error", "epoch"),
            }
        )
    return dict(next(iter(milepost.Api(runs).run(run.path).scan_history())))


def draw(row: dict[str, Any]) -> None:
    """Draw the four charts from their rows."""
    figure, axes = plt.subplots(2, 2, figsize=(8, 6.4), layout="constrained")
    for place, key in zip((axes[0, 0], axes[0, 1], axes[1, 1]), ("roc", "pr", "error"), strict=True):
        chart = row[key]
        fields, strings = chart["fields"], chart["strings"]
        x, y, group = (
            (fields["x"], fields["y"], fields["class"])
            if "x" in fields
            else (fields[name] for name in ("step", "lineVal", "lineKey"))
        )
        for name, part in chart.to_pandas().groupby(group, sort=False):
            place.plot(part[x], part[y], label=name)
        place.set(title=chart["title"], xlabel=strings["x-axis-title"], ylabel=strings.get("y-axis-title", ""))
        place.legend()
    chart = row["confusion"]
    counts = chart.to_pandas().pivot_table(index="Actual", columns="Predicted", values="nPredictions", sort=False)
    axes[1, 0].imshow(np.log1p(counts), cmap="Blues")
    for (i, j), count in np.ndenumerate(counts.to_numpy()):
        if count:
            axes[1, 0].text(
                j, i, int(count), ha="center", va="center", color="white" if count > 20 else "black", fontsize=7
            )
    axes[1, 0].set(title=chart["title"], xlabel="Predicted", ylabel="Actual", xticks=range(10), yticks=range(10))
    figure.savefig(PICTURE, dpi=100)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        draw(logged(Path(folder)))
    print(f"wrote {PICTURE}: {PICTURE.stat().st_size // 1024} KiB")
