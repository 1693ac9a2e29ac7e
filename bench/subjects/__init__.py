"""Who is measured: one module each with `start(directory) -> Subject`, about twenty lines."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

FLOORS: Final[tuple[str, ...]] = ("floor", "readable_floor")
"""The least there is, and the least that can be read back after SIGKILL."""
OWN: Final[tuple[str, ...]] = (*FLOORS, "milepost")
LOGGERS: Final[tuple[str, ...]] = ("wandb", "trackio", "tensorboardx", "opentelemetry")
PEERS: Final[tuple[str, ...]] = (*LOGGERS, "mlflow")
"""Of mlflow only the server is measured: see `bench.server.peers`."""


class Subject(NamedTuple):
    """A logger that is ready.

    log:    log(row) or log(row, step): one committed row.
    finish: returns once all rows are where they belong.
    """

    log: Callable[..., Any]
    finish: Callable[[], Any]


def start(name: str, directory: Path) -> Subject:
    """Start a subject that writes below a directory."""
    subject: Subject = import_module(f"bench.subjects.{name}").start(directory)
    return subject
