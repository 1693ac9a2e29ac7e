"""What a user writes, as type checkers see it. Never run: mypy and pyright read it, strict (tests/typing/test_checkers.py)."""

from collections.abc import Mapping, Sequence
from typing import Any, assert_type

import milepost
from milepost import log
from milepost.sdk.event import Event
from milepost.sdk.exporter import ExportResult

run = milepost.init(project="digits", config={"lr": 0.1}, tags=["a"], mode="offline", resume="allow")
assert_type(run, milepost.Run)
assert_type(run.id, str)
assert_type(run.step, int)

milepost.log({"loss": 0.5, "nested": {"accuracy": 0.9}})
milepost.log({"loss": 0.5}, step=3, commit=True)
run.log({"loss": 0.5})
log({"loss": 0.5})
milepost.define_metric("train/*", step_metric="epoch", summary="min")
milepost.config["lr"] = 0.2
milepost.summary["best"] = 0.9
milepost.log({"weights": milepost.Histogram([1.0, 2.0])})
table = milepost.Table(columns=["step", "loss"], data=[[0, 0.5], [1, 0.25]])
table.add_data(2, 0.125)
milepost.log({"rows": table, "line": milepost.plot.line(table, "step", "loss", title="Loss")})
milepost.log({"pr": milepost.plots.precision_recall([0, 1], [[0.9, 0.1], [0.2, 0.8]], ["cat", "dog"])})
milepost.log({"figure": milepost.Plotly({"data": []}), "graph": milepost.Graph()})

with milepost.init(project="digits") as second:
    assert_type(second, milepost.Run)
    second.log({"loss": 0.5})

milepost.current_run().log({"loss": 0.5})
milepost.finish(exit_code=0)

api = milepost.Api()
for row in api.run("digits/abc").scan_history(keys=["loss"]):
    values: Mapping[str, Any] = row

try:
    milepost.log({"loss": object()})
except milepost.DataError as error:
    assert_type(error, milepost.DataError)


def count(batch: Sequence[Event]) -> ExportResult:
    """An exporter can be a plain function."""
    return ExportResult.SUCCESS


def keep_losses(event: Event) -> Event | None:
    """A processor is a plain function."""
    return event if "loss" in event.values else None


milepost.init(exporters=[count], processors=[keep_losses, "merge"])
