"""wandb, offline: what wandb.log costs when nothing is sent."""

from importlib import import_module
from pathlib import Path
from typing import Any

from bench.subjects import Subject


def start(directory: Path) -> Subject:
    """An offline run that prints nothing."""
    wandb: Any = import_module("wandb")
    run = wandb.init(project="bench", mode="offline", dir=str(directory), settings=wandb.Settings(silent=True))
    return Subject(run.log, run.finish)
