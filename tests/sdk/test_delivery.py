"""What a delivery does with the answers of an exporter: splits, sets aside, waits, and keeps its accounts exact."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from milepost.sdk.cursor import Cursor, load_cursor, store_cursor, store_first
from milepost.sdk.delivery import Delivery
from milepost.sdk.event import Event
from milepost.sdk.exporter import ExportResult, RunInfo
from milepost.sdk.route import Route
from milepost.sdk.writer import Writer

Answer = Callable[[Sequence[Event]], ExportResult]


class Destination:
    """Takes what `answer` lets it take, and remembers the rows and when it was asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.taken: list[int] = []
        self.asked: list[float] = []

    def export(self, batch: Sequence[Event]) -> ExportResult:
        self.asked.append(time.monotonic())
        result = self.answer(batch)
        if result.outcome in ("success", "rejected"):
            self.taken += [event.values["n"] for event in batch if event.kind == "row"]
        return result

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True

    def shutdown(self, timeout_millis: int = 30_000) -> None: ...


def delivery_of(tmp_path: Path, rows: int, exporter: Destination) -> Delivery:
    writer = Writer(tmp_path / "demo" / "run1", use_ring=False)
    for n in range(rows):
        writer.row({"n": n}, n, time.time_ns(), n, None)
    writer.close()
    info = RunInfo(id="run1", project="demo", name="run1", dir=writer.run_dir, writer=writer.id)
    return Delivery(Route("there", exporter), info, writer.directory)


def poisoned(*rows: int) -> Answer:
    def answer(batch: Sequence[Event]) -> ExportResult:
        bad = any(event.values["n"] in rows for event in batch)
        return ExportResult.refused("400: a value is out of range") if bad else ExportResult.SUCCESS

    return answer


def test_a_poison_row_costs_one_row_which_is_kept_on_disk(tmp_path: Path) -> None:
    exporter = Destination(poisoned(137))
    delivery = delivery_of(tmp_path, 500, exporter)

    assert delivery.run_to_end(10.0)

    assert exporter.taken == [n for n in range(500) if n != 137]
    assert len(exporter.asked) < 40
    assert (delivery.cursor.delivered, delivery.cursor.rejected) == (499, {"400: a value is out of range": 1})
    (line,) = (delivery.info.dir / "journal" / delivery.info.writer / "rejected-there.jsonl").read_text().splitlines()
    kept = json.loads(line)
    assert (kept["seq"], kept["step"], kept["values"]) == (137, 137, {"n": 137})
    assert kept["reason"] == "400: a value is out of range"


@pytest.mark.parametrize("rows", [(0,), (499,), (0, 1, 2), (7, 250, 499), tuple(range(500))])
def test_every_poison_row_is_found_and_no_other_row_with_it(tmp_path: Path, rows: tuple[int, ...]) -> None:
    exporter = Destination(poisoned(*rows))
    delivery = delivery_of(tmp_path, 500, exporter)

    assert delivery.run_to_end(10.0)

    assert exporter.taken == [n for n in range(500) if n not in rows]
    assert delivery.cursor.rows == 500
    assert sum(delivery.cursor.rejected.values()) == len(rows)


def test_an_outage_in_the_middle_of_a_split_neither_loses_nor_repeats_a_row(tmp_path: Path) -> None:
    state = {"calls": 0}

    def answer(batch: Sequence[Event]) -> ExportResult:
        state["calls"] += 1
        if state["calls"] % 3 == 0:
            return ExportResult.retry("busy", 0.001)
        return poisoned(3, 333)(batch)

    exporter = Destination(answer)
    first = delivery_of(tmp_path, 500, exporter)
    first.begin()
    for _ in range(5):  # then it is ended in the middle: another process goes on from the stored cursor
        first.step(2**20, 0.0)
    first.store()
    first.end(time.monotonic())
    second = Delivery(Route("there", exporter), first.info, first.info.dir / "journal" / first.info.writer)

    assert second.run_to_end(10.0)

    assert exporter.taken == [n for n in range(500) if n not in (3, 333)]
    assert second.cursor.rows == 500


def test_what_was_taken_is_stored_before_the_next_batch_is_tried(tmp_path: Path) -> None:
    stored: list[int] = []

    def answer(batch: Sequence[Event]) -> ExportResult:
        text = next((tmp_path / "demo" / "run1").glob("journal/*/cursor-there.json"), None)
        stored.append(json.loads(text.read_bytes())["delivered"] if text is not None else 0)
        return ExportResult.SUCCESS if len(stored) < 4 else ExportResult.retry("busy", 30.0)

    exporter = Destination(answer)
    delivery = delivery_of(tmp_path, 3_000, exporter)
    delivery.store_s = 0.0
    delivery.begin()
    delivery.step(4_096, 60.0)  # four batches in one turn

    assert len(stored) == 4
    assert 0 == stored[0] < stored[1] < stored[2] < stored[3] == len(exporter.taken)
    delivery.end(time.monotonic())


def test_a_partial_success_is_counted_shown_once_and_not_sent_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exporter = Destination(
        lambda batch: ExportResult.rejected(2, "too old") if len(batch) > 2 else ExportResult.SUCCESS
    )
    delivery = delivery_of(tmp_path, 3_000, exporter)

    assert delivery.run_to_end(10.0)

    assert exporter.taken == list(range(3_000))
    assert delivery.cursor.rejected == {"too old": 2 * len(exporter.asked)}
    assert len([record for record in caplog.records if "refused" in record.message]) == 1


def test_it_is_never_tried_sooner_than_the_back_end_said(tmp_path: Path) -> None:
    exporter = Destination(lambda batch: ExportResult.retry("429", 0.3))
    delivery = delivery_of(tmp_path, 10, exporter)

    delivery.run_to_end(1.0)

    between = [later - earlier for earlier, later in zip(exporter.asked, exporter.asked[1:], strict=False)]
    assert between
    assert min(between) >= 0.3


def test_however_long_an_outage_is_the_next_try_is_at_most_ten_seconds_away(tmp_path: Path) -> None:
    exporter = Destination(lambda batch: ExportResult.retry("nobody listens"))
    delivery = delivery_of(tmp_path, 1, exporter)
    waits: list[float] = []

    for _ in range(100):
        delivery.hurry()
        delivery.step(1024, 0.0)
        waits.append(delivery.next_try_s)

    assert len(exporter.asked) == 100
    assert 5.0 < waits[-1] <= 10.0
    assert max(waits) <= 10.0


def test_one_outage_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = {"calls": 0}

    def answer(batch: Sequence[Event]) -> ExportResult:
        state["calls"] += 1
        return (
            ExportResult.retry(f"refused, attempt {state['calls']}", 0.001)
            if state["calls"] < 50
            else ExportResult.SUCCESS
        )

    delivery = delivery_of(tmp_path, 10, Destination(answer))

    assert delivery.run_to_end(10.0)

    assert len([record for record in caplog.records if "cannot deliver" in record.message]) == 1
    assert delivery.cursor.last_error == ""


def test_a_first_cursor_is_never_put_in_place_of_another_one(tmp_path: Path) -> None:
    path = tmp_path / "cursor-there.json"
    store_first(path, "there")
    assert load_cursor(path, "there").rows == 0
    store_cursor(path, Cursor(exporter="there", seq=7, delivered=8))

    store_first(path, "there")

    assert load_cursor(path, "there").delivered == 8
    assert [each.name for each in tmp_path.glob("cursor-*")] == [path.name]
