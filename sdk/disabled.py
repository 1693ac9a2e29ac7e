"""DisabledRun: the run of `mode="disabled"`, and the silent one a library gets when nobody called `init`."""

from collections.abc import Mapping
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from milepost.sdk.current import NO_RUN
from milepost.sdk.metrics import Metric
from milepost.sdk.run_config import RunConfig


class DisabledSummary(dict[str, Any]):
    """A dict whose items are attributes too, as those of a run's summary are."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the summary has no {name!r}") from None

    __setattr__ = dict.__setitem__
    __delattr__ = dict.__delitem__

    def as_dict(self) -> dict[str, Any]:
        """A copy."""
        return dict(self)


class DisabledRun:
    """Takes every call of a run and stores nothing; `log` only keeps the last values in `summary`, as they came."""

    _now = NO_RUN
    _logs_directly = True

    def __init__(self, config: Mapping[str, Any] | None = None, project: str = "disabled") -> None:
        self.config = RunConfig(config)
        self.summary = DisabledSummary()
        self.project = project
        self.id = self.name = "disabled"
        self.path = f"{project}/disabled"
        self.step = self.starting_step = 0
        self.attempt = 1
        self.start_time = 0.0
        self.state = "disabled"
        self.mode = "disabled"
        self.disabled = True
        self.offline = self.resumed = False
        self.tags: tuple[str, ...] = ()
        self.writer = self.promise = ""
        self.notes = self.group = self.job_type = self.rank = self.url = None
        self.entity = None  # last: from now on assignments are looked at

    @cached_property
    def dir(self) -> str:
        """A folder for what a script writes beside its rows; made when it is asked for, gone when the program ends."""
        import atexit
        import os
        import shutil
        import tempfile

        made, owner = tempfile.mkdtemp(prefix="milepost-disabled-"), os.getpid()
        atexit.register(lambda: shutil.rmtree(made, ignore_errors=True) if os.getpid() == owner else None)
        return made

    def log(self, data: Any, step: Any = None, commit: Any = None, sync: Any = None) -> None:
        """Keep the last values in the summary."""
        if type(data) is dict:
            self.summary.update(data)

    def define_metric(self, name: str, *args: Any, **keywords: Any) -> Metric:
        """Without effect."""
        return Metric(name=str(name))

    def flush(self, durable: bool = False, timeout: float = 0.0) -> bool:
        """Without effect."""
        return True

    def rewind(self, step: int) -> None:
        """Without effect."""

    def record(self, kind: str, values: Mapping[str, Any]) -> None:
        """Without effect."""

    def alert(self, *args: Any, **keywords: Any) -> None:
        """Without effect."""

    def save(self, *args: Any, **keywords: Any) -> list[str]:
        """Without effect."""
        return []

    def log_artifact(self, artifact_or_path: Any, *args: Any, **keywords: Any) -> Any:
        """Without effect; what was given."""
        return artifact_or_path

    def watch(self, *args: Any, **keywords: Any) -> None:
        """Without effect."""

    def finish(self, exit_code: int | None = None, timeout: float | None = None, *, quiet: bool | None = None) -> None:
        """The end of a run that was never there."""
        from milepost.sdk import lifecycle

        lifecycle.finished(self)

    if not TYPE_CHECKING:  # to type checkers a misspelt attribute is an error

        def __getattr__(self, name: str) -> Any:
            """What wandb's runs have besides, as for a run that stores."""
            from milepost.sdk.migration import attribute_of_run

            return attribute_of_run(self, name)

        def __setattr__(self, name: str, value: Any) -> None:
            """As for a run that stores: what it refuses is refused here, so that a script fails in the same place."""
            if "entity" in self.__dict__ and not callable(getattr(type(self), name, None)):
                from milepost.sdk.migration import SETTABLE, refuse_to_set

                if name not in SETTABLE:
                    refuse_to_set(self, name)
                if name in ("config", "summary"):
                    getattr(self, name).update(value)
                    return
            object.__setattr__(self, name, value)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        self.finish()
        return False

    def __repr__(self) -> str:
        return "<milepost run, disabled>"
