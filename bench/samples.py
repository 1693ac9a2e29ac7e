"""The rows that are logged: the same for every subject, 64 of each kind so that no value is always the same."""

import random
from typing import Any, Final

Row = dict[str, Any]

COUNT: Final = 64
KINDS: Final = ("floats", "mixed", "nested", "numpy", "step", "thousand")


def rows(kind: str) -> list[Row]:
    """64 rows of one kind.

    floats:   10 floats, flat.
    mixed:    10 scalars: floats, ints, texts, booleans, None.
    nested:   10 floats in two levels of dicts.
    numpy:    10 numpy scalars, float32, float64 and int64.
    step:     as floats; the caller gives step=k with each.
    thousand: 1,000 floats in 10 dicts of 10 dicts of 10.
    """
    source = random.Random(7)
    return [_row(kind, source) for _ in range(COUNT)]


def _row(kind: str, source: random.Random) -> Row:
    value = source.random
    if kind in ("floats", "step"):
        return {f"metric_{at}": value() for at in range(10)}
    if kind == "mixed":
        return {
            "loss": value(),
            "accuracy": value(),
            "learning_rate": value(),
            "epoch": source.randrange(100),
            "batch": source.randrange(100_000),
            "tokens": source.randrange(10**12),
            "phase": source.choice(("train", "validate")),
            "checkpoint": f"step-{source.randrange(1000):06d}",
            "improved": source.random() < 0.5,
            "note": None,
        }
    if kind == "nested":
        return {
            "train": {"loss": value(), "accuracy": value(), "norm": {"gradient": value(), "weight": value()}},
            "validate": {"loss": value(), "accuracy": value(), "top": {"1": value(), "5": value()}},
            "lr": value(),
            "time": value(),
        }
    if kind == "numpy":
        import numpy as np

        makers = (np.float32, np.float64, np.float32, np.float64, np.int64)
        return {f"metric_{at}": makers[at % 5](value() * 100) for at in range(10)}
    if kind == "thousand":
        return {
            f"group_{a}": {f"layer_{b}": {f"m_{c}": value() for c in range(10)} for b in range(10)} for a in range(10)
        }
    raise ValueError(f"kind of row {kind!r}; it can be one of {', '.join(KINDS)}")
