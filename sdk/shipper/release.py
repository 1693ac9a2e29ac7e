"""Release: ask whoever ships a run whose programs are gone to leave it, because somebody delivers it by hand."""

from pathlib import Path
from typing import Final

from milepost.sdk.shipper.listening import ask, meetings

NOTE: Final = "unsent.txt"
"""In a run's directory: what a shipper left, and how it is delivered."""
_PATIENCE_S: Final = 20.0


def release(run_dir: Path) -> bool:
    """Whether no shipper of this machine holds the run any more. Raises nothing."""
    message = {"op": "release", "run_dir": str(run_dir.absolute())}
    answers = [ask(path, message, _PATIENCE_S) for path in meetings()]
    return all(answer.get("ok") for answer in answers if answer is not None)


def status(path: Path) -> dict[str, object] | None:
    """What the shipper that listens at a socket says of itself; None when nobody answers."""
    return ask(path, {"op": "status"}, 2.0)
