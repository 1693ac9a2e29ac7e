"""What a delivery reads of a journal that grows while it is read."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from milepost.sdk import frame
from milepost.sdk.event import Event
from milepost.sdk.journal import segment_name
from milepost.sdk.tail import Tail

WRITER = "0123456789abcdef"


def events(numbers: range) -> bytes:
    """Frames of events with these numbers."""
    seed = frame.frame_seed(frame.writer_seed(WRITER), frame.EVENT)
    payloads = (frame.encode_payload([n, 0, 0, None, "meta", {"n": n}]) for n in numbers)
    return b"".join(frame.frame(frame.EVENT, payload, seed) for payload in payloads)


def test_what_a_segment_got_before_its_successor_began_is_read_before_it(tmp_path: Path) -> None:
    first, second = tmp_path / segment_name(0), tmp_path / segment_name(1)
    first.write_bytes(frame.segment_header(WRITER, 0) + events(range(1)))
    tail = Tail(tmp_path, "p/r", WRITER)
    assert [event.seq for event in tail.read()] == [0]

    with first.open("ab") as file:
        file.write(events(range(1, 6)))
    second.write_bytes(frame.segment_header(WRITER, 1) + events(range(6, 9)))

    seen: list[int] = []
    while read := tail.read():
        seen += [event.seq for event in read]
    assert seen == list(range(1, 9))
    assert tail.damaged_bytes == 0
    assert tail.pending_bytes() == 0


def test_two_tails_that_begin_apart_read_the_same_events(tmp_path: Path) -> None:
    (tmp_path / segment_name(0)).write_bytes(frame.segment_header(WRITER, 0) + events(range(500)))
    one, other = Tail(tmp_path, "p/r", WRITER), Tail(tmp_path, "p/r", WRITER)

    seen_by_one = [event.seq for _ in range(3) for event in one.read(1000)]
    while read := one.read(4096):
        seen_by_one += [event.seq for event in read]
    seen_by_other: list[int] = []
    while read := other.read(4096):
        seen_by_other += [event.seq for event in read]

    assert seen_by_one == seen_by_other == list(range(500))


@st.composite
def frames_of_all_kinds(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    """Frames as a writer leaves them, in runs and mixed, some of them damaged; and the numbers that can be read."""
    seed, data, whole, number = frame.writer_seed(WRITER), b"", list[int](), 0
    for schema, keys in enumerate((("loss",), ("loss", "note")), start=1):
        data += frame.frame(
            frame.SCHEMA, frame.encode_payload(keys), frame.frame_seed(seed, frame.SCHEMA, schema), schema
        )
    kinds = ("short", "long", "wide", "event", "part", "damaged")
    for kind, count in draw(st.lists(st.tuples(st.sampled_from(kinds), st.integers(1, 40)), max_size=12)):
        for _ in range(count):
            head = [number, 10**18 + number, number * 100, number]
            schema = 2 if kind == "wide" else 1
            payload = frame.encode_payload([*head, *([0.5, "x" * (number % 7)] if kind == "wide" else [0.5])])
            made = frame.frame(frame.ROW, payload, frame.frame_seed(seed, frame.ROW, schema), schema)
            if kind == "long":
                payload = frame.encode_payload([*head, "y" * 5000])
                made = frame.frame(frame.ROW, payload, frame.frame_seed(seed, frame.ROW, 1), 1)
            elif kind == "event":
                payload = frame.encode_payload([number, 0, 0, None, "meta", {}])
                made = frame.frame(frame.EVENT, payload, frame.frame_seed(seed, frame.EVENT))
            elif kind == "part":
                payload = frame.encode_payload([number, 0, 0, 0, 1, {"loss": 1}])
                made = frame.frame(frame.PART, payload, frame.frame_seed(seed, frame.PART))
            elif kind == "damaged":
                made = made[:-1] + bytes([made[-1] ^ 1])
            data += made
            if kind in ("short", "long", "wide", "event"):
                whole.append(number)
            number += kind != "part"
    return data, whole


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(frames_of_all_kinds(), st.sampled_from([500, 2000, 16 * 1024, 64 * 1024]))
def test_every_sound_frame_is_read_once_and_in_order_whatever_stands_around_it(
    tmp_path_factory: pytest.TempPathFactory, written: tuple[bytes, list[int]], size: int
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    data, whole = written
    (directory / segment_name(0)).write_bytes(frame.segment_header(WRITER, 0) + data)
    (directory / segment_name(1)).write_bytes(
        frame.segment_header(WRITER, 1)
    )  # so that damage at the end is no torn write
    tail = Tail(directory, "p/r", WRITER)

    seen: list[Event] = []
    while read := tail.read(size):
        seen += read

    assert [event.seq for event in seen] == whole
    for event in seen:
        if event.kind == "row":
            assert (event.step, event.time_unix_nano, event.runtime_s) == (
                event.seq,
                10**18 + event.seq,
                event.seq / 1e4,
            )
            assert list(event.values) in (["loss"], ["loss", "note"])
