"""One row, hop by hop, from log() to an exporter. Read it from top to bottom: it is the tour of the SDK.

    run.log({"train": {"loss": 0.5}}, commit=False)      two calls, one row
    run.log({"train": {"accuracy": 0.9}, "lr": 0.1})

Each test is one hop and begins with what the hop before it left.
"""

from typing import Any

from milepost.exporters.memory import MemoryExporter
from milepost.sdk import frame
from milepost.sdk.decode import Decoder
from milepost.sdk.event import Event
from milepost.sdk.exporter import ExportResult
from milepost.sdk.metrics import Metrics
from milepost.sdk.pipeline import Pipeline
from milepost.sdk.processors.flatten import Flatten
from milepost.sdk.processors.merge import Merge
from milepost.sdk.processors.summarize import Summarize
from milepost.sdk.summary import Summary

RUN, WRITER = "digits/1a2b3c", "00112233445566aa"
NOON = 1_750_000_000_000_000_000


def call(values: dict[str, Any], *, commit: bool, runtime_s: float) -> Event:
    """What log() makes of its arguments: the values as they are, plus who, when and at which step."""
    time_unix_nano = NOON + int(runtime_s * 1e9)
    return Event(
        kind="row",
        values=values,
        step=0,
        commit=commit,
        time_unix_nano=time_unix_nano,
        runtime_s=runtime_s,
        run=RUN,
        writer=WRITER,
        seq=1,  # 0 was the event run.start; the row gets the writer's next number
    )


FIRST_CALL = call({"train": {"loss": 0.5}}, commit=False, runtime_s=1.5)
SECOND_CALL = call({"train": {"accuracy": 0.9}, "lr": 0.1}, commit=True, runtime_s=2.0)

ROW_VALUES = {"train.loss": 0.5, "train.accuracy": 0.9, "lr": 0.1}


def test_hop_1_flatten_joins_nested_keys_with_dots() -> None:
    flatten = Flatten()

    first = flatten(FIRST_CALL)
    assert first.values == {"train.loss": 0.5}
    assert first.nested == ("train",)  # so that merge can tell {"train": {"loss": 1}} from {"train.loss": 1}

    second = flatten(SECOND_CALL)
    assert second.values == {"train.accuracy": 0.9, "lr": 0.1}

    assert FIRST_CALL.values == {"train": {"loss": 0.5}}  # what came in is never changed


def test_hop_2_merge_holds_the_first_call_and_gives_the_whole_row_with_the_second() -> None:
    merge = Merge()
    first = Event(kind="row", step=0, commit=False, values={"train.loss": 0.5}, nested=("train",))
    second = Event(kind="row", step=0, commit=True, values={"train.accuracy": 0.9, "lr": 0.1}, nested=("train",))

    assert merge(first) is None  # nothing goes on to the next hop yet
    assert merge.held() == first  # but it is not lost: this goes into the journal as a part

    row = merge(second)
    assert row is not None
    assert row.values == ROW_VALUES
    assert row.commit
    assert merge.held() is None


def test_hop_3_summarize_remembers_the_row_and_passes_it_on() -> None:
    summary = Summary(Metrics())
    row = Event(kind="row", step=0, values=ROW_VALUES)

    assert Summarize(summary)(row) == row
    assert summary.collect() == ROW_VALUES  # the last value of each name, until define_metric asks for something else


def test_hops_1_to_3_are_the_pipeline() -> None:
    summary = Summary(Metrics())
    pipeline = Pipeline([Flatten(), Merge(), Summarize(summary)])

    assert pipeline.run(FIRST_CALL) is None
    assert summary.collect() == {}  # a row counts once it is committed

    row = pipeline.run(SECOND_CALL)
    assert row == Event(
        kind="row",
        values=ROW_VALUES,
        nested=("train",),
        step=0,
        commit=True,
        time_unix_nano=NOON + 2_000_000_000,  # of the call that closed the row
        runtime_s=2.0,
        run=RUN,
        writer=WRITER,
        seq=1,
    )
    assert summary.collect() == ROW_VALUES


def journal_bytes() -> bytes:
    """What the ring in shared memory, and then the journal on disk, hold of the two calls."""
    seed = frame.writer_seed(WRITER)
    time_ns, runtime_us = NOON + 1_500_000_000, 1_500_000
    part = [
        1,
        0,
        time_ns,
        runtime_us,
        0,
        {"train.loss": 0.5},
    ]  # next seq, number of the part, time, runtime, step, values
    row = [1, NOON + 2_000_000_000, 2_000_000, 0, 0.5, 0.9, 0.1]  # seq, time, runtime, step, and the values alone:
    schema = ["train.loss", "train.accuracy", "lr"]  # the keys are written once, for all rows that have the same ones
    return b"".join(
        [
            frame.frame(frame.PART, frame.encode_payload(part), frame.frame_seed(seed, frame.PART)),
            frame.frame(frame.SCHEMA, frame.encode_payload(schema), frame.frame_seed(seed, frame.SCHEMA, 1), schema=1),
            frame.frame(frame.ROW, frame.encode_payload(row), frame.frame_seed(seed, frame.ROW, 1), schema=1),
        ]
    )


def decoded(data: bytes) -> list[Event]:
    decoder = Decoder(RUN, WRITER)
    frames = [found for found in frame.scan(data, frame.writer_seed(WRITER)) if isinstance(found, frame.Frame)]
    return [event for found in frames if (event := decoder.event(found, data)) is not None]


def test_hop_4_the_journal_holds_a_part_for_the_open_call_and_then_the_whole_row() -> None:
    part, row = decoded(journal_bytes())

    assert part.kind == "part"
    assert part.values == {"train.loss": 0.5}  # all that a run killed between the two calls would show
    assert row.kind == "row"
    assert row.values == ROW_VALUES  # makes the part obsolete: its seq is the one that the part announced
    assert row.seq == part.seq == 1


def test_hop_4_a_kill_or_a_flipped_bit_never_turns_into_a_wrong_value() -> None:
    data = journal_bytes()

    torn = data[:-5]
    assert [event.kind for event in decoded(torn)] == ["part"]

    flipped = bytearray(data)
    flipped[-5] ^= 1
    assert [event.kind for event in decoded(bytes(flipped))] == ["part"]


def test_hop_5_an_exporter_gets_rows_and_says_what_became_of_them() -> None:
    rows = [event for event in decoded(journal_bytes()) if event.kind == "row"]  # parts stay in the journal
    memory = MemoryExporter()

    assert memory.export(rows) == ExportResult.SUCCESS  # and the exporter's cursor moves behind them
    assert memory.rows == [
        {
            "train.loss": 0.5,
            "train.accuracy": 0.9,
            "lr": 0.1,
            "_step": 0,
            "_timestamp": NOON / 1e9 + 2.0,
            "_runtime": 2.0,
        }
    ]
