"""summarize: each committed row is taken into the run's summary."""

from milepost.sdk.event import Event
from milepost.sdk.metrics import Metrics
from milepost.sdk.summary import Summary


class Summarize:
    """Keeps `summary` up to date and passes every event on.

    summary: the state to keep; one of its own when a test or a tool uses the processor alone.
    """

    def __init__(self, summary: Summary | None = None) -> None:
        self.summary = summary if summary is not None else Summary(Metrics())

    def __call__(self, event: Event) -> Event:
        """The same event, counted; a row also gets the step metrics it lacks (`define_metric` with step_sync)."""
        if event.kind == "row":
            missing = self.summary.step_metrics(event.values)
            if missing:
                event = event.with_values({**event.values, **missing})
            self.summary.add_row(event.seq, event.values)
        return event
