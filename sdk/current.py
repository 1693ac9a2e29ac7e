"""The current run, alone in a module that costs nothing to import: `milepost.log` looks here and nowhere else."""

from typing import TYPE_CHECKING, Any

from milepost.sdk.errors import Error

if TYPE_CHECKING:
    from pathlib import Path

    from milepost.sdk.disabled import DisabledRun
    from milepost.sdk.now import Now
    from milepost.sdk.run import Run


class NoRun:
    """In place of `Now`, where no run stores anything: there is no fast path."""

    fast: None = None

    def long_way(self, data: Any, step: Any, commit: Any) -> None:
        """There is none either."""


NO_RUN = NoRun()


class Current:
    """Holds the active run of this process, None when there is none, and where it stands; and the runs directory of the last one
    that began.
    """

    __slots__ = ("now", "run", "runs_dir")

    def __init__(self) -> None:
        self.run: Run | DisabledRun | None = None
        self.now: Now | NoRun = NO_RUN
        self.runs_dir: Path | None = None

    def set(self, run: "Run | DisabledRun | None") -> None:
        """Make a run the active one."""
        self.run = run
        self.now = NO_RUN if run is None or not run._logs_directly else run._now  # noqa: SLF001 - nobody else is to look for it there


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
