"""A row that is logged inside a span of OpenTelemetry keeps which one it was, and whether its trace is sampled."""

from pathlib import Path

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

import milepost
from milepost.sdk.decode import Decoder
from milepost.sdk.frame import INLINE, TRACED
from milepost.sdk.reader import open_run

TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331


@pytest.mark.parametrize("flags", [0, 1, 3])
def test_rows_keep_the_span_that_was_active_in_log(flags: int) -> None:
    span = NonRecordingSpan(SpanContext(TRACE, SPAN, is_remote=False, trace_flags=TraceFlags(flags)))
    with milepost.init(project="demo", settings={"capture": False}) as run:
        with use_span(span):
            run.log({"loss": 0.5})
            run.log({"loss": 0.25}, step=7, commit=True)
            run.log({"open": 1}, commit=False)
        run.log({"loss": 0.125})

    (writer,) = open_run(Path(run.dir)).writers
    *inside, last = writer.events("row")
    told = [(event.trace_id, event.span_id, event.trace_flags) for event in inside]
    assert told == [(f"{TRACE:032x}", f"{SPAN:016x}", flags)] * 2
    assert (last.trace_id, last.span_id, last.trace_flags) == ("", "", 0)


def test_a_row_from_before_the_flags_were_kept_is_read_as_not_sampled() -> None:
    ids = [TRACE.to_bytes(16), SPAN.to_bytes(8)]

    event = Decoder("demo/run", "0" * 16).told(TRACED, INLINE, [4, 1_000, 2_000_000, 3, *ids, {"loss": 0.5}])

    assert event is not None
    assert (event.trace_id, event.span_id, event.trace_flags) == (f"{TRACE:032x}", f"{SPAN:016x}", 0)
    assert (event.seq, event.step, event.values) == (4, 3, {"loss": 0.5})
