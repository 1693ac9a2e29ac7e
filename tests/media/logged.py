"""What a value reads back as after it was logged, its file included."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import milepost

QUICK = {"capture": False, "media": {"encode_in": "thread"}}
"""Without a process that takes a quarter of a second to start; tests/sdk/encoding has those of the process."""


def logged_row(values: Mapping[str, Any]) -> Any:
    """The row that these values read back as, from a finished run."""
    with milepost.init(project="media", exporters=["file"], settings=QUICK) as run:
        run.log(values)
    return next(iter(milepost.Api(Path(run.dir).parents[1]).run(run.path).scan_history()))


def logged(value: Any) -> Any:
    """A value, logged as "v" and read back."""
    return logged_row({"v": value})["v"]
