"""The contract of exporters: take a batch of events, answer what became of it.

An exporter never sees two calls at once, may raise (it is caught, counted and tried again), and is asked again with the
same batch after RETRY. Delivery, cursors and back-off live in `delivery.py`; an exporter only knows its destination.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import msgspec

from milepost.sdk.event import Event


class ExportResult(msgspec.Struct, frozen=True):
    """What became of one batch.

    outcome:       "success": all taken. "retry": none taken, ask again later. "rejected": taken, except `count` rows that
                   will never be. "refused": none taken, because something in the batch is bad and the back end does not say
                   what: the delivery asks again with halves of it until the bad row stands alone.
    count:         rows refused for good (outcome "rejected").
    reason:        a short text, counted and shown by `milepost doctor`.
    retry_after_s: the delay the back end named, in seconds; None lets the delivery choose.
    """

    outcome: Literal["success", "retry", "rejected", "refused"]
    count: int = 0
    reason: str = ""
    retry_after_s: float | None = None

    SUCCESS: ClassVar["ExportResult"]

    @classmethod
    def retry(cls, reason: str = "", after_s: float | None = None) -> "ExportResult":
        """Nothing was taken; the same batch comes again, after `after_s` seconds when the back end named a delay."""
        return cls("retry", reason=reason, retry_after_s=after_s)

    @classmethod
    def rejected(cls, count: int, reason: str) -> "ExportResult":
        """`count` rows of the batch were refused for good, the others taken."""
        return cls("rejected", count=count, reason=reason)

    @classmethod
    def refused(cls, reason: str) -> "ExportResult":
        """Nothing was taken and never will be as it stands: one bad row, or a few, spoil the batch (HTTP 400 and its kin).

        Not for a refusal that halves would meet too (too old, out of order, no permission): that is `rejected`, or `retry`.
        """
        return cls("refused", reason=reason)


ExportResult.SUCCESS = ExportResult("success")


class RunInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The run an exporter works for.

    dir:      the run's directory.
    primary:  True for the writer that speaks for the run (lowest rank, not a child process).
    rank:     place in a distributed job, or None.
    resource: the resource attributes in force, `service.name` among them; secrets masked.
    host:     the machine the writer runs on.      parent: the writer it was forked from, or "".
    """

    id: str
    project: str
    name: str
    dir: Path
    writer: str
    attempt: int = 1
    rank: int | None = None
    primary: bool = True
    resumed: bool = False
    config: dict[str, Any] = {}
    group: str | None = None
    job_type: str | None = None
    tags: tuple[str, ...] = ()
    host: str = ""
    parent: str = ""
    resource: dict[str, Any] = {}


def resource_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The resource attributes of settings as a run stores them (a list of name and value)."""
    resource = settings.get("resource")
    listed = resource.get("attributes") if isinstance(resource, Mapping) else None
    pairs = [each for each in listed or () if isinstance(each, Mapping)]
    return {str(each["name"]): each.get("value") for each in pairs if "name" in each}


@runtime_checkable
class Exporter(Protocol):
    """A destination. Besides the three methods it may have:

    start(run: RunInfo, position: Mapping | None)   called once, before the first export, with what `position()` last gave
    position() -> Mapping                           small JSON-able state stored durably with the cursor, so that after a
                                                    crash the exporter can cut back to it and nothing is written twice
    wants: frozenset[str]                           the kinds of events it is given; all of them without it
    beat(alive: bool)                               called every half minute in which there was nothing to export, as long as
                                                    the program lives, and with False once it is dead and all is delivered
    takes_rows: bool                                True when it can take rows by the column: its batches are then `Batch`es,
                                                    with rows of the same names as `Rows` (see batch.py), else lists of events

    and its class:

    network = True                                  it speaks to another machine: it runs in the shipper, a process of its own
                                                    (`shipper: {run_in}`). Made there from its options alone; no thread and no
                                                    connection before `start` or the first `export`
    media = "pending"                               it gets rows before their media are encoded, with references in place of
                                                    the files, and then an event "media" for each (encoding/refs.py)
    parts(options) -> Mapping[str, Mapping]         a static method: an exporter of several signals becomes one exporter for
                                                    each, with a cursor of its own; by suffix ("metrics", or "" for the name
                                                    alone) the options of each
    with_environment(options, environ) -> Mapping   a static method: the options with what they leave open filled from
                                                    variables. Called once, in the program: other processes have others
    """

    def export(self, batch: Sequence[Event]) -> ExportResult:
        """Deliver the events, in order. Never called concurrently with itself. None counts as SUCCESS, an exception as retry."""
        ...

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Push out what the exporter itself holds; True when nothing is left."""
        ...

    def shutdown(self, timeout_millis: int = 30_000) -> None:
        """Release what the exporter holds. No export follows."""
        ...


class CallableExporter:
    """A plain function as an exporter: called with the batch; an ExportResult, or None for success, comes back."""

    def __init__(self, function: Callable[[Sequence[Event]], ExportResult | None]) -> None:
        self._function = function
        self.name = getattr(function, "__name__", "function").strip("<>")

    def export(self, batch: Sequence[Event]) -> ExportResult:
        """Call the function."""
        return self._function(batch) or ExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held back."""
        return True

    def shutdown(self, timeout_millis: int = 30_000) -> None:
        """Nothing to release."""


Position = Mapping[str, Any]
