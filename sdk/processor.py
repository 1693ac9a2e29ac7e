"""The contract of processors: an event goes in; an event, or nothing, comes out.

Any callable `Event -> Event | None` is a processor: a function, a lambda, an instance with `__call__`. It runs inside
`log()`, on the caller's thread and under the run's lock, so it is never called twice at once and every microsecond it
takes is a microsecond of training. Placed under an exporter it runs on that exporter's thread instead.

    in                                              out
    "row", before merge   one call of log()         the call, changed or not; None drops it, and its commit with it
    "row", after merge    a committed row           the row, changed or not; None drops it, or holds it back
    "part"                a row that is still open  as for a row; parts are how an open row survives a kill
    others                config, system, ...       returned as they came, unless the processor is about them

What every processor keeps to:

- It returns a new event (`event.with_values(...)`), or the same object when nothing changed. It never changes
  `event.values` in place: others hold the same dict.
- It keeps no event beyond the call, unless it is a `HoldingProcessor`.
- It may say behind which built-in processor it has to stand, by `must_follow = "flatten"` or `"merge"`. Another order
  in the config file is then an error. Under an exporter both have already run.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol, runtime_checkable

from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event

Processor = Callable[[Event], Event | None]

HISTORY_KINDS: Final = frozenset({"row", "part"})
"""The kinds that carry what was logged. The built-in processors return events of every other kind as they came."""


def is_open(event: Event) -> bool:
    """Whether a row is still open: a part, or a call that does not commit."""
    return event.kind == "part" or not event.commit


@runtime_checkable
class HoldingProcessor(Protocol):
    """A processor that holds events back, as `aggregate` does until its window closes.

    What is held is safe: after every row that it took in, whether or not a row came out, the pipeline asks `held()` and
    appends the answer to the journal as a part. Recovery merges the parts that follow the last row, last value per key
    wins, so they are what a killed run shows. At finish `flush()` gives the last row. An open row that it takes in
    comes back at once, its keys holding what they would hold in that last row.

    Such a processor stands in the pipeline only. Under an exporter it is refused, because the exporter's cursor would
    move past rows that are still held.
    """

    def __call__(self, event: Event) -> Event | None:
        """Take the event in; give what is ready, or None."""

    def held(self) -> Event | None:
        """What `flush()` would give now, without closing anything; None when nothing is held. Cheap: asked per row."""

    def flush(self) -> Event | None:
        """Give what is held and forget it; None when nothing is. Also the way to discard what a fork inherited."""


def check_order(processors: Sequence[Processor]) -> None:
    """Hold the order of a pipeline against what its processors need.

    Raises ConfigurationError, one text per processor that stands on the wrong side of another.
    """
    errors: list[str] = []
    names = [name_of(processor) for processor in processors]
    for place, processor in enumerate(processors):
        needed = getattr(processor, "must_follow", None)
        if needed is not None and needed not in names[:place]:
            errors.append(f"processors: {names[place]} stands at place {place + 1} and must stand behind {needed}")
        later = getattr(processor, "must_precede", None)
        if later is not None and later in names[:place]:
            errors.append(f"processors: {names[place]} stands at place {place + 1} and must stand before {later}")
    if errors:
        raise ConfigurationError("\n".join(errors), errors)


def check_exporter_processors(exporter: str, processors: Sequence[Processor]) -> None:
    """Refuse processors that hold events back: they belong in the pipeline. Raises ConfigurationError."""
    errors = [
        f"exporter {exporter}: the processor {name_of(processor)} holds rows back, and this exporter would miss them after "
        "a crash. Put it into the pipeline: the processors at the top level of the config file"
        for processor in processors
        if hasattr(processor, "flush")
    ]
    if errors:
        raise ConfigurationError("\n".join(errors), errors)


def name_of(processor: Processor) -> str:
    """What messages call a processor: the name of a built-in one, else that of its function or class."""
    kind = type(processor)
    if kind.__module__.startswith("milepost."):
        return kind.__name__.lower()
    return str(getattr(processor, "__name__", kind.__name__))
