"""milepost with its defaults: console and file exporters, environment and sampler on."""

from pathlib import Path

import milepost
from bench.subjects import Subject


def start(directory: Path) -> Subject:
    """A run in the directory."""
    milepost.init(project="bench", dir=directory)
    return Subject(milepost.log, milepost.finish)
