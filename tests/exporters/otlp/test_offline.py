"""An offline run that is synced days later: with a window it is all there, without one it is counted and nothing is wedged.

And one whose back end has moved meanwhile.
"""

import datetime
import time
from pathlib import Path

import pytest
import time_machine

import milepost
from milepost.sdk.configuration import load
from milepost.sdk.syncing import Outcome, sync
from tests.exporters.otlp.processes import Backend, prometheus
from tests.exporters.otlp.querying import samples, wait_for
from tests.exporters.otlp.sink import Sink

ROWS = 20


def train(project: str, ago: datetime.timedelta, endpoint: str | None) -> tuple[Path, str]:
    """A run of so long ago; online when it is given an endpoint. Its directory and id."""
    exporters = [{"prometheus_remote_write": {"endpoint": endpoint}}] if endpoint else []
    settings = {"exporters": exporters, "capture": False, "shipper": {"run_in": "thread"}}
    mode = "online" if endpoint else "offline"
    then = datetime.datetime.now(datetime.UTC) - ago
    with time_machine.travel(then), milepost.init(project=project, settings=settings, mode=mode) as run:
        for step in range(ROWS):
            run.log({"loss": 1 / (1 + step)})
            time.sleep(0.002)
    return Path(run.dir), run.id


def synced(backend: Backend) -> tuple[Outcome, str]:
    """What becomes of a run of two days ago, beside one of now; and its id."""
    endpoint = f"{backend.http}/api/v1/write"
    train("other", datetime.timedelta(), endpoint)
    directory, run_id = train("digits", datetime.timedelta(days=2), None)
    in_force = load(settings={"exporters": [{"prometheus_remote_write": {"endpoint": endpoint}}]}, environ={})
    (outcome,) = sync(directory, to="prometheus_remote_write", in_force=in_force)
    return outcome, run_id


def test_with_a_window_every_value_is_there_at_its_time(tmp_path: Path) -> None:
    with prometheus(tmp_path / "prometheus", window="7d") as backend:
        outcome, run_id = synced(backend)

        assert (outcome.state, outcome.delivered, outcome.rejected) == ("delivered", ROWS, {})
        at = time.time() - 2 * 86_400 + 600
        found = wait_for(backend, f'loss{{instance="{run_id}"}}', ROWS, at=at)
        assert [value for _, value in found] == [1 / (1 + step) for step in range(ROWS)]


def test_without_one_it_is_counted_as_refused_and_a_later_run_goes_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with prometheus(tmp_path / "prometheus") as backend:
        outcome, _ = synced(backend)
        _, later = train("digits", datetime.timedelta(), f"{backend.http}/api/v1/write")

        assert (outcome.state, outcome.delivered, outcome.pending) == ("delivered", 0, 0)
        assert outcome.rejected == {"too old or out of order (HTTP 400)": ROWS}
        assert "out_of_order_time_window" in caplog.text
        assert len(samples(backend, f'loss{{instance="{later}"}}')) == ROWS


def test_a_back_end_that_has_moved_is_reached_by_name(tmp_path: Path) -> None:
    def settings(endpoint: str) -> dict[str, object]:
        return {"exporters": [{"otlp": {"endpoint": endpoint, "signals": ["logs"]}}], "capture": False}

    with milepost.init(project="digits", settings=settings("http://127.0.0.1:9"), mode="offline") as run:
        run.log({"loss": 0.5})
    directory = Path(run.dir)
    with Sink() as sink:
        same, moved = (load(settings=settings(each), environ={}) for each in ("http://127.0.0.1:9", sink.address))
        (there,) = sync(directory, in_force=same, patience_s=0.0)
        (told,) = sync(directory, in_force=moved, patience_s=0.0)
        (delivered,) = sync(directory, to="otlp", in_force=moved)
        (later,) = sync(directory, in_force=same, patience_s=0.0)

    assert (there.state, told.state, delivered.state, later.state) == ("pending", "pending", "delivered", "delivered")
    assert "http://127.0.0.1:9" in there.note
    assert "milepost sync --to" not in there.note
    assert told.note.endswith("the config file in force has other options for it: milepost sync --to otlp uses them")
    assert len(sink.rows()) == 1
