"""The peers' environments: one each, made with pip when it is missing, so that no peer meets another's requirements or ours."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

REQUIREMENTS: Final = {
    "wandb": ["wandb==0.31.0", "pillow"],
    "trackio": ["trackio==0.43.0"],
    "tensorboardx": ["tensorboardX==2.6.5", "pillow"],
    "mlflow": ["mlflow==3.17.2"],
    "opentelemetry": ["opentelemetry-sdk==1.45.2"],
}
MARK: Final = "bench-requirements"


class PeerMissing(Exception):
    """A peer's environment cannot be made here; the text says why."""


def cache() -> Path:
    """Where the environments are: MILEPOST_BENCH_CACHE, or milepost-bench in the user's cache directory."""
    given = os.environ.get("MILEPOST_BENCH_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(base) / "milepost-bench"


def interpreter(subject: str) -> Path:
    """The Python that has the subject: this one, or that of the peer's environment. Raises `PeerMissing`."""
    if subject not in REQUIREMENTS:
        return Path(sys.executable)
    return environment(subject, [*REQUIREMENTS[subject], "numpy"])


def environment(name: str, requirements: Sequence[str]) -> Path:
    """The Python of an environment of its own with these requirements, made when it is missing. Raises `PeerMissing`."""
    directory = cache() / name
    wanted = "\n".join(requirements)
    python = directory / "bin" / "python"
    mark = directory / MARK
    if not python.exists() or not mark.exists() or mark.read_text() != wanted:
        print(f"making an environment for {name} in {directory}", file=sys.stderr, flush=True)
        try:
            subprocess.run(
                [sys.executable, "-m", "venv", "--clear", directory], check=True, capture_output=True, text=True
            )
            subprocess.run(
                [python, "-m", "pip", "install", "--quiet", *requirements],
                check=True,
                capture_output=True,
                text=True,
            )
        except (subprocess.CalledProcessError, OSError) as error:
            detail = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            raise PeerMissing(f"{name} cannot be installed: {detail[-1] if detail else error}") from None
        mark.write_text(wanted)
    return python


def version(subject: str) -> str:
    """The version that is measured."""
    distribution = {
        "floor": "msgspec",
        "readable_floor": "msgspec",
        "opentelemetry": "opentelemetry-sdk",
        "tensorboardx": "tensorboardX",
    }.get(subject, subject)
    code = f"from importlib.metadata import version; print(version({distribution!r}))"
    done = subprocess.run([interpreter(subject), "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "?"
