"""The low-level reader: one writer's events in order, whatever file each of them stands in."""

import os
import shutil
from pathlib import Path

import pytest

from milepost.sdk import frame
from milepost.sdk.reader import WriterReader, open_run
from tests.sdk.journals import Journalist, own_shared_memory, segment_files

__all__ = ["own_shared_memory"]

pytestmark = pytest.mark.usefixtures("own_shared_memory")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "digits" / "r1"


def only_writer(run_dir: Path) -> WriterReader:
    (writer,) = open_run(run_dir).writers
    return writer


def values(writer: WriterReader) -> list[dict[str, object]]:
    return [event.values for event in writer.events("row")]


def test_events_come_in_the_order_they_were_written(run_dir: Path) -> None:
    journal = Journalist(run_dir, config={"lr": 0.1})
    journal.row(loss=1.0)
    journal.event("config", {"set": {"lr": 0.2}})
    journal.row(loss=0.5, name="b")
    journal.finish()

    events = list(only_writer(run_dir).events())

    assert [event.kind for event in events] == ["run.start", "row", "config", "row", "run.finish"]
    assert [event.seq for event in events] == [0, 1, 2, 3, 4]
    assert [event.step for event in events if event.kind == "row"] == [0, 1]
    assert events[3].values == {"loss": 0.5, "name": "b"}
    assert {event.run for event in events} == {"digits/r1"}


def test_rows_of_a_dead_writer_are_read_from_its_ring(run_dir: Path) -> None:
    journal = Journalist(run_dir, use_ring=True)
    for n in range(100):
        journal.row(n=n)
    journal.writer.drain()
    for n in range(100, 150):
        journal.row(n=n)
    journal.die()

    reader = only_writer(run_dir)

    assert not reader.alive
    assert values(reader) == [{"n": n} for n in range(150)]
    assert [event.seq for event in reader.events()] == list(range(151))


def test_rows_that_stand_in_ring_and_segment_come_once(run_dir: Path) -> None:
    journal = Journalist(run_dir, use_ring=True)
    for n in range(10):
        journal.row(n=n)
    journal.writer.drain()  # the ring keeps what it held until it is overwritten

    assert values(only_writer(run_dir)) == [{"n": n} for n in range(10)]
    journal.close()


def test_a_live_writer_is_read_while_it_writes(run_dir: Path) -> None:
    journal = Journalist(run_dir, use_ring=True)
    for n in range(5000):
        journal.row(n=n)
        if n % 500 == 0:
            reader = only_writer(run_dir)
            assert reader.alive
            assert values(reader) == [{"n": m} for m in range(n + 1)]
        if n % 900 == 0:
            journal.writer.drain()
    journal.close()
    assert not only_writer(run_dir).alive


def test_reading_changes_nothing(run_dir: Path) -> None:
    journal = Journalist(run_dir, use_ring=True)
    journal.row(n=1)
    journal.part(1, n=2)
    journal.die()

    def state() -> dict[str, tuple[int, int]]:
        paths = [*run_dir.rglob("*"), *map(Path, journal.writer.ring.paths if journal.writer.ring else [])]
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}

    before = state()
    reader = open_run(run_dir)
    assert len(list(reader.writers[0].events())) == 3
    assert reader.problems() == []
    assert state() == before


def test_the_open_row_of_a_dead_writer_is_shown_as_recovery_would_commit_it(run_dir: Path) -> None:
    journal = Journalist(run_dir, use_ring=True)
    journal.row(n=0)
    journal.part(7, **{"a": 1, "b.c": 2})
    journal.event("system", {"cpu": 0.5})
    journal.part(7, a=3, b="whole")
    journal.die()

    *_, row = only_writer(run_dir).events()

    assert (row.kind, row.step, row.seq) == ("row", 7, 3)
    assert row.values == {"a": 3, "b": "whole"}


def test_the_open_row_of_a_live_writer_is_not_shown(run_dir: Path) -> None:
    journal = Journalist(run_dir, use_ring=True)
    journal.row(n=0)
    journal.part(1, n=1)

    assert values(only_writer(run_dir)) == [{"n": 0}]
    journal.close()


def test_parts_whose_row_was_committed_are_over(run_dir: Path) -> None:
    journal = Journalist(run_dir)
    journal.part(0, n=1)
    journal.row(n=2)
    journal.die()

    assert values(only_writer(run_dir)) == [{"n": 2}]


def test_losing_one_copy_of_the_keys_loses_no_row(run_dir: Path) -> None:
    journal = Journalist(run_dir)
    for n in range(20):
        journal.row(**{"loss": n, f"only{n % 3}": n})
    journal.writer.drain()
    journal.close()
    expected = values(only_writer(run_dir))
    (keys,) = run_dir.glob("journal/*/keys.mpj")
    (segment,) = segment_files(run_dir)

    keys.rename(keys.with_name("away"))
    assert values(only_writer(run_dir)) == expected

    keys.with_name("away").rename(keys)
    data = bytearray(segment.read_bytes())
    for found in frame.scan(bytes(data), frame.writer_seed(journal.id), frame.SEGMENT_HEADER_SIZE):
        if isinstance(found, frame.Frame) and found.kind == frame.SCHEMA:
            data[found.start] ^= 0xFF
    segment.write_bytes(data)
    assert values(only_writer(run_dir)) == expected


def test_rows_that_carry_their_own_keys_are_read(run_dir: Path) -> None:
    journal = Journalist(run_dir)
    journal.rows([{f"key{n}": n} for n in range(1200)])  # more sets of keys than are announced
    journal.close()

    assert values(only_writer(run_dir)) == [{f"key{n}": n} for n in range(1200)]


def test_dropped_rows_are_a_gap_and_no_damage(run_dir: Path) -> None:
    journal = Journalist(run_dir)
    journal.row(n=0)
    journal.writer._gap = (2, 5, "disk_full")
    journal.writer.seq = 6
    journal.row(n=6)
    journal.close()

    reader = only_writer(run_dir)

    (gap,) = reader.events("gap")
    assert gap.values == {"first": 2, "last": 5, "reason": "disk_full"}
    assert reader.check() == []
    assert values(reader) == [{"n": 0}, {"n": 6}]


def test_segments_are_read_by_their_numbers_and_a_missing_one_is_reported(run_dir: Path) -> None:
    journal = Journalist(run_dir)
    journal.writer.journal._segment_bytes = 4096  # type: ignore[union-attr]
    for n in range(1000):
        journal.row(n=n, x=0.5)
    journal.close()
    files = segment_files(run_dir)
    assert len(files) > 5
    assert [row["n"] for row in values(only_writer(run_dir))] == list(range(1000))

    files[2].unlink()
    reader = only_writer(run_dir)
    left = [row["n"] for row in values(reader)]
    (problem,) = reader.check()

    missing = [n for first, last in problem.missing for n in range(first, last + 1)]
    assert missing
    assert left == [n for n in range(1000) if n + 1 not in missing]


def test_segments_with_swapped_names_are_still_read_in_order(run_dir: Path) -> None:
    journal = Journalist(run_dir)
    journal.writer.journal._segment_bytes = 4096  # type: ignore[union-attr]
    for n in range(500):
        journal.row(n=n, x=0.5)
    journal.close()
    first, second, *_ = segment_files(run_dir)
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)

    assert [row["n"] for row in values(only_writer(run_dir))] == list(range(500))


def test_first_segments_that_were_removed_after_delivery_are_no_damage(run_dir: Path) -> None:
    journal = Journalist(run_dir)
    journal.writer.journal._segment_bytes = 4096  # type: ignore[union-attr]
    for n in range(500):
        journal.row(n=n, x=0.5)
    journal.close()
    for path in segment_files(run_dir)[:2]:
        path.unlink()

    reader = only_writer(run_dir)
    left = [row["n"] for row in values(reader)]

    assert 0 < len(left) < 500
    assert left == list(range(500 - len(left), 500))
    assert reader.check() == []


def test_a_run_directory_that_was_moved_reads_the_same(run_dir: Path, tmp_path: Path) -> None:
    journal = Journalist(run_dir)
    journal.row(n=1)
    journal.close()
    moved = tmp_path / "elsewhere" / "p" / "other"
    shutil.copytree(run_dir, moved)

    assert values(only_writer(moved)) == [{"n": 1}]


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"rank": "x", "attempt": true, "ring": [1, "/nowhere"]}', os.urandom(300)]
)
def test_a_damaged_writer_json_hides_no_row(run_dir: Path, damage: bytes) -> None:
    journal = Journalist(run_dir)
    journal.row(n=1)
    journal.close()
    (journal.dir / "writer.json").write_bytes(damage)

    reader = open_run(run_dir)

    assert values(reader.writers[0]) == [{"n": 1}]
    assert reader.attempt == 1
