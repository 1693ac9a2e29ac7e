"""encode_media: files of media leave the row here: their bytes are kept where SIGKILL cannot reach, and encoded elsewhere."""

from collections.abc import Callable
from typing import Any

from milepost.sdk.encoding.refs import MediaLeaf, holds_payload
from milepost.sdk.event import Event

Take = Callable[[dict[str, Any], int | str, tuple[str, ...]], dict[str, Any]]


class EncodeMedia:
    """Puts a reference in place of each file that a row brings, and hands its bytes over. Costs nothing where there are none.

    It stands behind `merge`, and behind each `filter` that follows it at once, unless the config names another place: what is
    left out gets no file. What stands before it sees media objects' mappings whole.
    take: set by the run, whose writer numbers and keeps the payloads.
    """

    def __init__(self) -> None:
        self.take: Take | None = None

    def __call__(self, event: Event) -> Event:
        """The event, with references."""
        if self.take is None or event.kind not in ("row", "part"):
            return event
        kinds = set(map(type, event.values.values()))
        if MediaLeaf not in kinds and not ((dict in kinds or list in kinds) and holds_payload(event.values)):
            return event
        return event.with_values(self.take(event.values, 0 if event.step is None else event.step, event.nested))
