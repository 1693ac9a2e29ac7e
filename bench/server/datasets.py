"""Datasets: what the servers that are read start with. Made once, kept in the bench's cache, the same each time."""

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.peers import cache
from bench.server.filling import MOST_ROWS, add_run, filling, rows
from milepost.server.store.parts import Part
from milepost.server.store.schema import MIGRATIONS

VERSION: Final = 2
"""Raised with whatever changes the data below."""


def dataset(name: str, make: Callable[[Path], None]) -> Path:
    """The directory of a dataset; made when it is not there."""
    kept = cache() / "server-data" / f"{name}-{VERSION}.{len(MIGRATIONS)}"
    if not kept.exists():
        half = kept.with_name(f"{kept.name}.{os.getpid()}")
        shutil.rmtree(half, ignore_errors=True)
        make(half)
        half.rename(kept)
    return kept


def curve_parts(keys: tuple[str, ...], count: int, seed: int) -> Iterator[Part]:
    """Rows of noisy curves that fall, as float32 values, some ten thousand at a time."""
    source = np.random.default_rng(seed)
    scale = np.exp(source.uniform(-3, 3, (len(keys), 1)))
    speed = source.uniform(2, 8, (len(keys), 1))
    for first in range(0, count, MOST_ROWS):
        along = np.arange(first, min(first + MOST_ROWS, count)) / count
        noise = source.standard_normal((len(keys), len(along)), np.float32)
        found = (scale * (0.1 + np.exp(-speed * along))) * (1 + 0.1 * noise)
        yield rows(keys, list(found.astype(np.float32).astype(np.float64)), first)


def long_runs(data: Path, runs: int, steps: int, keys: int = 1, project: str = "long") -> None:
    """Runs of noisy curves: project/long-0, ..., keys loss, key_1, ..."""
    names = ("loss", *(f"group_{at // 10}/key_{at}" for at in range(1, keys)))
    with filling(data) as connection:
        for run in range(runs):
            config = {"lr": 10.0 ** -(1 + run % 5), "seed": run, "model": {"layers": 2 + run % 4}}
            add_run(connection, project, f"{project}-{run}", run + 1, curve_parts(names, steps, run), config)


def long_run(steps: int) -> Path:
    """The dataset of one run of so many steps."""
    return dataset(f"steps-{steps}", partial(long_runs, runs=1, steps=steps))


def table(data: Path, runs: int, columns: int = 50, project: str = "table") -> None:
    """Many short runs, each with so many columns in its summary, and ten in its config."""
    source = np.random.default_rng(5)
    names = tuple(f"{('train', 'val', 'test')[at % 3]}/metric_{at}" for at in range(columns))
    with filling(data) as connection:
        for run in range(runs):
            values: list[Any] = list(source.random((columns, 4)))
            config: dict[str, Any] = {"lr": float(10 ** source.uniform(-5, -1)), "model": {"layers": run % 12}}
            config |= {"optimizer": ("sgd", "adam", "lion")[run % 3], "seed": run}
            config |= {f"option_{at}": run * at % 7 for at in range(6)}
            add_run(connection, project, f"run-{run:05d}", run + 1, [rows(names, values)], config, 1.7e9 + 60 * run)


def many_keys(data: Path, keys: int) -> None:
    """One run of so many keys."""
    source = np.random.default_rng(6)
    names = tuple(f"model/layer_{at // 100}/block_{at // 10 % 10}/weight_{at}" for at in range(keys))
    with filling(data) as connection:
        add_run(connection, "keys", "many", 1, [rows(names, list(source.random((keys, 2))))])


def long_directory(directory: Path, count: int) -> None:
    """A runs directory with one run of so many rows, 10 numbers each, logged by milepost."""
    import milepost

    run = milepost.init(project="long", id="long-0", dir=str(directory), exporters=[], settings={"console": False})
    source = np.random.default_rng(7)
    for first in range(0, count, 10_000):
        for row in source.random((min(10_000, count - first), 10)).tolist():
            run.log({f"metric_{at}": value for at, value in enumerate(row)})
    run.finish()
