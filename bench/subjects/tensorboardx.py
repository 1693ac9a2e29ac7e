"""tensorboardX: one event per value in its file."""

from importlib import import_module
from pathlib import Path
from typing import Any

from bench.subjects import Subject


def start(directory: Path) -> Subject:
    """A writer with its defaults. It knows scalars only: nested rows are flattened by the caller, as its users do."""
    writer: Any = import_module("tensorboardX").SummaryWriter(str(directory))
    step = -1

    def log(row: dict[str, Any], at: int | None = None) -> None:
        nonlocal step
        step = step + 1 if at is None else at
        add("", row)

    def add(prefix: str, row: dict[str, Any]) -> None:
        for name, value in row.items():
            if isinstance(value, dict):
                add(f"{prefix}{name}/", value)
            elif isinstance(value, str) or value is None:
                writer.add_text(prefix + name, str(value), step)
            else:
                writer.add_scalar(prefix + name, value, step)

    return Subject(log, writer.close)
