"""sample: every N-th row, for an exporter that needs no more."""

from typing import ClassVar

from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event
from milepost.sdk.processor import HISTORY_KINDS, is_open


class Sample:
    """Keep the first row and every N-th after it; the others are dropped, and counted as filtered.

    every:  whole number >= 1, in rows. Rows are counted from the start of this process, whatever their step.
    Meant to stand under an exporter: the journal then still holds every row. In the pipeline the dropped rows are gone.
    Raises ConfigurationError when `every` is not a whole number >= 1.
    """

    must_follow: ClassVar[str] = "merge"

    def __init__(self, every: int) -> None:
        if type(every) is not int or every < 1:
            raise ConfigurationError(f"sample: every must be a whole number of rows >= 1, not {every!r}")
        self._every = every
        self._rows = 0

    def __call__(self, event: Event) -> Event | None:
        """The event when its row is one to keep. An open row shares the fate that it will have once committed."""
        if event.kind not in HISTORY_KINDS:
            return event
        keep = self._rows % self._every == 0
        if not is_open(event):
            self._rows += 1
        return event if keep else None
