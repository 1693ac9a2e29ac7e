"""What a delivery reads of a journal that grows while it is read."""

from pathlib import Path

from milepost.sdk import frame
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
