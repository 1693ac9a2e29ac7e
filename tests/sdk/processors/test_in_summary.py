"""A processor of an exporter meets the run's summary, too: what it leaves out, renames or hides in rows, it does there."""

import pytest

from milepost.sdk.event import Event
from milepost.sdk.processor import Processor
from milepost.sdk.processors.filter import Filter
from milepost.sdk.processors.redact import Redact
from milepost.sdk.processors.rename import Rename

SUMMARY = {"loss": 0.5, "api.token": "abc"}


@pytest.mark.parametrize(
    ("processor", "expected"),
    [
        (Filter(exclude=["*token*"]), {"loss": 0.5}),
        (Rename(keys={"api.token": "key"}), {"loss": 0.5, "key": "abc"}),
        (Redact(keys=["*token*"]), {"loss": 0.5, "api.token": "***"}),
    ],
    ids=["filter", "rename", "redact"],
)
def test_the_summary_is_changed_as_rows_are(processor: Processor, expected: dict[str, object]) -> None:
    end = processor(Event(kind="run.finish", values={"state": "finished", "summary": SUMMARY}))
    change = processor(Event(kind="summary", values={"set": SUMMARY, "delete": ["api.token"]}))

    assert end is not None
    assert end.values == {"state": "finished", "summary": expected}
    assert change is not None
    assert change.values == {"set": expected, "delete": [key for key in expected if key != "loss"]}


@pytest.mark.parametrize("processor", [Filter(exclude=["*"]), Rename(keys={"loss": "l"}), Redact(keys=["*"])])
def test_other_events_pass_as_they_are(processor: Processor) -> None:
    for event in (Event(kind="config", values={"set": {"loss": "mse"}}), Event(kind="run.finish", values={})):
        assert processor(event) is event
