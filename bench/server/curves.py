"""Curves: what is logged: numbers that fall, with noise, 100 keys x 100 rows in a batch, the same each time."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

KEYS: Final = 100
ROWS: Final = 100
POINTS: Final = KEYS * ROWS
BEGIN: Final = 1_700_000_000_000_000_000
STEP_NS: Final = 20_000_000
NAMES: Final = [f"layer_{at // 10}/metric_{at % 10}" for at in range(KEYS)]
PROJECT: Final = "load"


def curves(kind: str, rows: int, keys: int, seed: int) -> NDArray[np.float64]:
    """Shape (keys, rows): each falls, with 10 % of noise. kind: "float32" or "float64", what values hold."""
    source = np.random.default_rng(seed)
    along = np.arange(rows) / rows
    scale = np.exp(source.uniform(-6, 6, (keys, 1)))
    found = scale * (0.2 + np.exp(-4 * along)) * (1 + 0.1 * source.standard_normal((keys, rows)))
    return found.astype(np.float32).astype(np.float64) if kind == "float32" else found
