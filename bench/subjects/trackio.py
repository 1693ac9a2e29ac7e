"""trackio, local: rows go to a queue and from there to SQLite."""

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.subjects import Subject


def start(directory: Path) -> Subject:
    """A run of a local project, no dashboard."""
    os.environ["TRACKIO_DIR"] = str(directory)
    trackio: Any = import_module("trackio")
    run: Any = trackio.init(project="bench")
    return Subject(run.log, run.finish)  # trackio.log knows the run on the thread of init only
