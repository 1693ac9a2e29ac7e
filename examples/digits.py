"""Train a small neural network on scikit-learn's digits, and log it.

    make demo                                   or:
    python examples/digits.py --epochs 20 --lr 0.05

The data are 1,797 scanned digits of 8 x 8 pixels, which scikit-learn brings along: nothing is downloaded. The network is
two layers of numpy; what matters here is `main()`, where it is trained and logged.
"""

import argparse
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import milepost

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


def main() -> None:
    """Train, and log one row per batch; the last batch of an epoch carries the validation as well."""
    options = arguments()
    random = np.random.default_rng(options.seed)
    (images, labels), (val_images, val_labels), (test_images, test_labels) = splits(random)
    network = Network(options.hidden, random)

    # The config is what the run was started with; `milepost.config.lr` reads it back.
    run = milepost.init(project="digits", config=vars(options), tags=["demo"])
    # Validation is seen over epochs, not over batches; of its accuracy, the summary is to keep the best value, too.
    milepost.define_metric("val.loss", step_metric="epoch")
    milepost.define_metric("val.accuracy", step_metric="epoch", summary="best,last", goal="maximize")

    batches = -(-len(images) // options.batch_size)
    for epoch in range(options.epochs):
        for number, chosen in enumerate(shuffled(len(images), options.batch_size, random), start=1):
            lr = learning_rate(options.lr, (epoch * batches + number) / (options.epochs * batches))
            batch = shifted(images[chosen], random)

            # A row may be put together where its values arise: `commit=False` leaves it open.
            loss, accuracy, gradients = network.gradients(batch, labels[chosen])
            milepost.log({"train": {"loss": loss, "accuracy": accuracy}}, commit=False)

            grad_norm = network.step(gradients, lr)
            if number == batches:
                val_loss, val_accuracy = network.evaluate(val_images, val_labels)
                milepost.log({"val": {"loss": val_loss, "accuracy": val_accuracy}}, commit=False)

            # This call closes it, and the next row begins. Nested names are joined: train.grad_norm.
            milepost.log({"train": {"grad_norm": grad_norm}, "lr": lr, "epoch": epoch})

    # The summary can be written by hand. Such values stay as they are.
    run.summary["test"] = {"accuracy": network.evaluate(test_images, test_labels)[1]}
    milepost.finish()


def arguments() -> argparse.Namespace:
    """The command line: what the config of the run will hold."""
    parser = argparse.ArgumentParser(description="Train a digits classifier and log it with milepost.")
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=128, help="width of the hidden layer")
    parser.add_argument("--lr", type=float, default=0.1, help="learning rate after the warm-up")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def splits(random: np.random.Generator) -> list[tuple[Array, Labels]]:
    """Images of shape (n, 64) in [0, 1] with their digits: 60 % to train, 20 % to validate, 20 % to test."""
    digits: Any = load_digits()
    images, labels = digits.data / 16, digits.target
    order = random.permutation(len(labels))
    ends = [len(labels) * 60 // 100, len(labels) * 80 // 100]
    return [(images[part], labels[part]) for part in np.split(order, ends)]


def shuffled(count: int, batch_size: int, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """The numbers 0 .. count-1 in random order, a batch at a time."""
    order = random.permutation(count)
    for start in range(0, count, batch_size):
        yield order[start : start + batch_size]


def shifted(images: Array, random: np.random.Generator) -> Array:
    """The images, each moved by up to one pixel: more data than there is, for a network that overfits easily."""
    padded = np.pad(images.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    corners = random.integers(0, 3, size=(len(images), 2))
    moved = [padded[i, y : y + 8, x : x + 8] for i, (y, x) in enumerate(corners)]
    return np.stack(moved).reshape(-1, 64)


def learning_rate(peak: float, progress: float) -> float:
    """Up in a line over the first 5 % of training, then down along a cosine. progress: 0 .. 1."""
    warm_up = 0.05
    if progress < warm_up:
        return peak * progress / warm_up
    return peak * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up))) / 2


class Network:
    """64 pixels, one hidden layer, 10 digits; trained by gradient descent with momentum."""

    def __init__(self, hidden: int, random: np.random.Generator) -> None:
        self._weights: list[Array] = [
            random.normal(0, math.sqrt(2 / inputs), (inputs + 1, outputs))
            for inputs, outputs in ((64, hidden), (hidden, 10))
        ]
        self._velocity: list[Array] = [np.zeros_like(weight) for weight in self._weights]

    def evaluate(self, images: Array, labels: Labels) -> tuple[float, float]:
        """The mean cross-entropy and the share of right answers."""
        return _scores(self._forward(images)[2], labels)

    def gradients(self, images: Array, labels: Labels) -> tuple[float, float, list[Array]]:
        """What `evaluate` gives, and the gradient of the cross-entropy for each array of weights."""
        inputs, hidden, shares = self._forward(images)
        loss, accuracy = _scores(shares, labels)
        wrong = (shares - np.eye(10)[labels]) / len(labels)
        back = (wrong @ self._weights[1].T) * (hidden > 0)
        return loss, accuracy, [inputs.T @ back[:, :-1], hidden.T @ wrong]

    def step(self, gradients: list[Array], lr: float, momentum: float = 0.9) -> float:
        """Move the weights down the gradients; how steep these were (their norm)."""
        for number, gradient in enumerate(gradients):
            self._velocity[number] = momentum * self._velocity[number] - lr * gradient
            self._weights[number] += self._velocity[number]
        return math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients))

    def _forward(self, images: Array) -> tuple[Array, Array, Array]:
        """Inputs and hidden values, each with a 1 for the bias, and the share that each digit gets."""
        inputs = _with_ones(images)
        hidden = _with_ones(np.maximum(inputs @ self._weights[0], 0))
        scores = hidden @ self._weights[1]
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        return inputs, hidden, shares / shares.sum(axis=1, keepdims=True)


def _scores(shares: Array, labels: Labels) -> tuple[float, float]:
    """Mean cross-entropy and share of right answers, from the share that each digit got of each image."""
    of_truth = shares[np.arange(len(labels)), labels]
    return float(-np.log(of_truth + 1e-9).mean()), float((shares.argmax(axis=1) == labels).mean())


def _with_ones(rows: Array) -> Array:
    """The rows with a 1 at the end of each, which the last row of the weights multiplies: the bias."""
    return np.hstack([rows, np.ones((len(rows), 1))])


if __name__ == "__main__":
    main()
