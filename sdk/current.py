"""The current run, alone in a module that costs nothing to import: `milepost.log` looks here and nowhere else."""

from typing import TYPE_CHECKING, Any

from milepost.sdk.errors import Error

if TYPE_CHECKING:
    from pathlib import Path

    from milepost.sdk.disabled import DisabledRun
    from milepost.sdk.run import Run


class Current:
    """Holds the active run of this process, None when there is none; and the runs directory of the last one that began."""

    run: "Run | DisabledRun | None" = None
    runs_dir: "Path | None" = None


current = Current()


def required(call: str) -> "Run | DisabledRun":
    """The active run. Raises Error naming the call when there is none."""
    if current.run is None:
        raise Error(f"You must call milepost.init() before milepost.{call}")
    return current.run


class Before:
    """Stands for `milepost.config` and `milepost.summary` while no run is active: every use raises, naming the call."""

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "_name", name)

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise Error(f"You must call milepost.init() before milepost.{object.__getattribute__(self, '_name')}")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._refuse()

    __setattr__ = __getitem__ = __setitem__ = __delitem__ = __contains__ = __iter__ = __len__ = _refuse

    def __repr__(self) -> str:
        return f"<milepost.{object.__getattribute__(self, '_name')} before init()>"
