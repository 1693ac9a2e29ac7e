"""Event: the one record that travels from `log()` through the pipeline to the exporters and back out of the journal."""

from typing import Any

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing a run said. Not tracked by the garbage collector: its values hold no cycles.

    kind:            "row" (a committed history row), "part" (a call not committed yet), or one of "run.start",
                     "run.finish", "environment", "config", "summary", "metric", "meta", "rewind", "system", "console",
                     "alert", "gap".
    values:          of a row after `flatten`: flat dotted keys, each with None, bool, int, float, str, a list, or a
                     mapping that carries `_type` (media, histograms, placeholders). NaN and infinities stay floats.
    step:            the writer's step, >= 0; None for what belongs to no step.
    commit:          on the way through the pipeline: whether this call closes its row.
    time_unix_nano:  wall clock, UTC, nanoseconds since 1970, taken inside `log()`.
    runtime_s:       seconds since the run began, from a clock that never goes back.
    run:             "project/run_id".
    writer:          16 hex digits, one per process start that writes a run.
    seq:             the event's number within its writer, without holes, over everything but parts; -1 before the journal.
    nested:          names that stood for dicts before `flatten`, so that `merge` can tell a dict from a dotted name.
    trace_id, span_id:  hex, of the OpenTelemetry span that was active in the call; empty for none.
    trace_flags:     of that span, as W3C has them: 1 when it is sampled, so that its trace can be found.
    """

    kind: str
    values: dict[str, Any]
    step: int | None = None
    commit: bool = True
    time_unix_nano: int = 0
    runtime_s: float = 0.0
    run: str = ""
    writer: str = ""
    seq: int = -1
    nested: tuple[str, ...] = ()
    trace_id: str = ""
    span_id: str = ""
    trace_flags: int = 0

    def with_values(self, values: dict[str, Any]) -> "Event":
        """The same event holding other values."""
        return msgspec.structs.replace(self, values=values)
