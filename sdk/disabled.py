"""DisabledRun: the run of `mode="disabled"`, and the silent one a library gets when nobody called `init`."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, Self

from milepost.sdk.metrics import Metric
from milepost.sdk.run_config import RunConfig


class DisabledRun:
    """Takes every call of a run and stores nothing; `log` only keeps the last values in `summary`, as they came."""

    def __init__(self, config: Mapping[str, Any] | None = None, project: str = "disabled") -> None:
        self.config = RunConfig(config)
        self.summary: dict[str, Any] = {}
        self.project = project
        self.id = self.name = "disabled"
        self.path = f"{project}/disabled"
        self.dir = ""
        self.step = self.starting_step = 0
        self.attempt = 1
        self.state = "disabled"
        self.mode = "disabled"
        self.disabled = True
        self.offline = self.resumed = False
        self.tags: tuple[str, ...] = ()
        self.notes = self.group = self.job_type = self.rank = self.url = self.entity = None

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

    def alert(self, *args: Any, **keywords: Any) -> None:
        """Without effect."""

    def save(self, *args: Any, **keywords: Any) -> list[str]:
        """Without effect."""
        return []

    def watch(self, *args: Any, **keywords: Any) -> None:
        """Without effect."""

    def finish(self, exit_code: int | None = None, timeout: float | None = None, *, quiet: bool | None = None) -> None:
        """The end of a run that was never there."""
        from milepost.sdk import lifecycle

        lifecycle.finished(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        self.finish()
        return False

    def __repr__(self) -> str:
        return "<milepost run, disabled>"
