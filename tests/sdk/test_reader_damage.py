"""Damaged journals: what is whole is read, what is not is reported, and nothing stops the reader."""

import os
import random
import stat
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from milepost.sdk import frame
from milepost.sdk.reader import RunReader, open_run
from milepost.sdk.reading.index import index
from tests.sdk.journals import Journalist, segment_files

ROWS = 200


def row(n: int) -> dict[str, Any]:
    return {"n": n, "loss": 1 / (n + 1), "text": f"row {n}"}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    run_dir = tmp_path / "runs" / "digits" / "r1"
    journal = Journalist(run_dir)
    for n in range(ROWS):
        journal.row(**row(n))
    journal.finish()
    return run_dir


def read(run_dir: Path) -> tuple[RunReader, list[dict[str, Any]]]:
    reader = open_run(run_dir)
    return reader, [event.values for writer in reader.writers for event in writer.events("row")]


def missing_rows(reader: RunReader) -> list[int]:
    """The rows that the reader says it misses; row n is event n + 1, since run.start comes first."""
    gone = {n for problem in reader.problems() for first, last in problem.missing for n in range(first, last + 1)}
    return sorted(n - 1 for n in gone)


def test_one_flipped_bit_costs_at_most_one_row_and_never_changes_one(run_dir: Path) -> None:
    (segment,) = segment_files(run_dir)
    whole = segment.read_bytes()
    dice = random.Random(1)
    for _ in range(500):
        damaged = bytearray(whole)
        bit = dice.randrange(8 * len(whole))
        damaged[bit // 8] ^= 1 << bit % 8
        segment.write_bytes(damaged)

        reader, rows = read(run_dir)

        numbers = [values["n"] for values in rows]
        assert rows == [row(n) for n in numbers], f"bit {bit} changed a row"
        lost = sorted(set(range(ROWS)) - set(numbers))
        assert len(lost) <= 1, f"bit {bit} cost {lost}"
        assert numbers == sorted(numbers)
        if lost:
            assert missing_rows(reader) == lost, f"bit {bit} was not reported"


def test_a_flipped_bit_is_seen_by_history_too(run_dir: Path) -> None:
    (segment,) = segment_files(run_dir)
    whole = segment.read_bytes()
    dice = random.Random(2)
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[dice.randrange(frame.SEGMENT_HEADER_SIZE, len(whole))] ^= 1 << dice.randrange(8)
        segment.write_bytes(damaged)

        _, rows = read(run_dir)
        selection = open_run(run_dir).select()

        told = [{key: values[key] for key in ("n", "loss", "text")} for values in scan(selection)]
        assert told == rows
        sample, total = selection.sample(_every(), lambda value: value, 10)
        assert total >= ROWS - 1
        assert all(values["loss"] == 1 / (values["n"] + 1) for values in sample)


def _every() -> Any:
    from milepost.sdk.reading.rows import Wish

    return Wish()


def scan(selection: Any) -> Iterator[dict[str, Any]]:
    yield from selection.scan(_every(), lambda value: value)


def test_every_whole_frame_is_found_wherever_the_file_is_cut(run_dir: Path) -> None:
    (segment,) = segment_files(run_dir)
    whole = segment.read_bytes()
    seed = frame.writer_seed(segment.parent.name)
    ends = index(whole, seed, frame.SEGMENT_HEADER_SIZE).end.tolist()
    expected = 0
    for cut in range(frame.SEGMENT_HEADER_SIZE, len(whole) + 1):
        while expected < len(ends) and ends[expected] <= cut:
            expected += 1
        assert len(index(whole[:cut], seed, frame.SEGMENT_HEADER_SIZE)) == expected


def test_a_journal_cut_anywhere_gives_every_row_before_the_cut(run_dir: Path) -> None:
    (segment,) = segment_files(run_dir)
    whole = segment.read_bytes()
    ends = list(index(whole, frame.writer_seed(segment.parent.name), frame.SEGMENT_HEADER_SIZE).end.tolist())
    for cut in [
        *range(0, len(whole), 29),
        *(end + d for end in ends[::10] for d in (-1, 0, 1) if end + d <= len(whole)),
    ]:
        segment.write_bytes(whole[:cut])

        _, rows = read(run_dir)

        # One schema and one run.start stand before the rows, and run.finish after them.
        kept = min(max(sum(end <= cut for end in ends) - 2, 0), ROWS)
        assert rows == [row(n) for n in range(kept)]


@pytest.mark.parametrize("fill", ["zeros", "garbage"])
def test_a_damaged_page_costs_only_the_rows_in_it(run_dir: Path, fill: str) -> None:
    (segment,) = segment_files(run_dir)
    whole = segment.read_bytes()
    frames = index(whole, frame.writer_seed(segment.parent.name), frame.SEGMENT_HEADER_SIZE)
    dice = random.Random(3)
    for _ in range(60):
        start = dice.randrange(0, len(whole) - 512)
        damaged = bytearray(whole)
        damaged[start : start + 512] = bytes(512) if fill == "zeros" else dice.randbytes(512)
        segment.write_bytes(damaged)

        reader, rows = read(run_dir)

        touched = int(((frames.at < start + 512) & (frames.end > start)).sum())
        assert len(rows) >= ROWS - touched
        assert rows == [row(values["n"]) for values in rows]
        lost = set(range(ROWS)) - {values["n"] for values in rows}
        assert any(problem.offset <= start < problem.offset + problem.size_bytes for problem in reader.problems())
        if any(reader.events("run.finish")):  # what is lost before something that is left is known by its number
            assert lost <= set(missing_rows(reader))


def test_swapped_pages_are_put_in_order_again(run_dir: Path) -> None:
    (segment,) = segment_files(run_dir)
    whole = segment.read_bytes()
    dice = random.Random(4)
    for _ in range(40):
        one, other = sorted(dice.sample(range(len(whole) // 1024), 2))
        damaged = bytearray(whole)
        damaged[one * 1024 : one * 1024 + 1024] = whole[other * 1024 : other * 1024 + 1024]
        damaged[other * 1024 : other * 1024 + 1024] = whole[one * 1024 : one * 1024 + 1024]
        segment.write_bytes(damaged)

        _, rows = read(run_dir)

        numbers = [values["n"] for values in rows]
        assert numbers == sorted(set(numbers))
        assert rows == [row(n) for n in numbers]
        assert len(numbers) >= ROWS - 50


def test_an_old_segment_copied_in_adds_nothing(run_dir: Path) -> None:
    (segment,) = segment_files(run_dir)
    segment.with_name("000001.mpj").write_bytes(segment.read_bytes())

    _, rows = read(run_dir)

    assert rows == [row(n) for n in range(ROWS)]


def test_a_segment_of_another_writer_is_refused_and_reported(run_dir: Path, tmp_path: Path) -> None:
    other = Journalist(tmp_path / "runs" / "digits" / "r2")
    for _ in range(50):
        other.row(n=-1, loss=0.0, text="foreign")
    other.close()
    (segment,) = segment_files(run_dir)
    (foreign,) = segment_files(tmp_path / "runs" / "digits" / "r2")
    segment.with_name("000001.mpj").write_bytes(foreign.read_bytes())

    reader, rows = read(run_dir)

    assert rows == [row(n) for n in range(ROWS)]
    assert any(problem.file.name == "000001.mpj" for problem in reader.problems())


ODD = [
    "empty",
    "header only",
    "newer version",
    "garbage",
    "directory",
    "symlink",
    "FIFO",
    "unreadable",
    "socket name",
    "no permission bits",
]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", ["000001.mpj", "keys.mpj", "writer.json", "cursor-file.json", "000000000007.mpj"])
def test_an_odd_file_in_the_journal_never_stops_the_reader(run_dir: Path, tmp_path: Path, odd: str, name: str) -> None:
    (segment,) = segment_files(run_dir)
    path = segment.with_name(name)
    path.unlink(missing_ok=True)
    make_odd(path, odd, segment.parent.name, tmp_path)

    reader, rows = read(run_dir)

    assert rows == [row(n) for n in range(ROWS)]
    problems = reader.problems()
    if name.endswith(".mpj") and odd in ("newer version", "directory", "symlink", "FIFO") and name != "keys.mpj":
        assert [problem.file for problem in problems] == [path]
    if odd == "newer version" and name.endswith(".mpj"):
        assert "upgrade with: pip install -U milepost" in problems[0].text


def make_odd(path: Path, odd: str, writer: str, tmp_path: Path) -> None:
    if odd == "directory":
        path.mkdir()
    elif odd == "symlink":
        target = tmp_path / "target"
        target.write_bytes(b"secret")
        path.symlink_to(target)
    elif odd == "FIFO":
        os.mkfifo(path)
    elif odd == "newer version":
        tail = struct.pack("<16sQ", writer.encode(), 1)
        version = frame.VERSION + 1
        header = frame.SEGMENT_HEADER.pack(frame.SEGMENT_MAGIC, version, 0, crc32(tail, version), writer.encode(), 1, 0)
        payload = frame.encode_payload(["x"])
        seed = crc32(struct.pack("<BBI", frame.SCHEMA, version, 9), frame.writer_seed(writer))
        newer = frame.HEADER.pack(frame.MAGIC, frame.SCHEMA, version, len(payload), crc32(payload, seed), 9) + payload
        path.write_bytes(header + newer)
    else:
        content = {"header only": frame.segment_header(writer, 1), "garbage": random.Random(5).randbytes(3000)}
        path.write_bytes(content.get(odd, b""))
        if odd in ("unreadable", "no permission bits"):
            path.chmod(0 if odd == "unreadable" else stat.S_IWUSR)


def test_a_newer_row_sets_its_file_aside_and_no_other_writer(run_dir: Path) -> None:
    (segment,) = segment_files(run_dir)
    seed = frame.writer_seed(segment.parent.name)
    payload = frame.encode_payload([ROWS + 2, 0, 0, 0, 1])
    newer = crc32(struct.pack("<BBI", frame.ROW, frame.VERSION + 1, 1), seed)
    head = frame.HEADER.pack(frame.MAGIC, frame.ROW, frame.VERSION + 1, len(payload), crc32(payload, newer), 1)
    segment.write_bytes(segment.read_bytes() + head + payload)
    second = Journalist(run_dir, rank=1)
    second.row(n=-5)
    second.close()

    reader, rows = read(run_dir)

    assert {"n": -5} in rows
    (problem,) = [problem for problem in reader.problems() if problem.file == segment]
    assert "newer milepost" in problem.text


def test_random_bytes_never_raise(run_dir: Path) -> None:
    (segment,) = segment_files(run_dir)
    whole = segment.read_bytes()
    dice = random.Random(6)
    for _ in range(200):
        pieces = [whole[dice.randrange(len(whole)) :][: dice.randrange(400)] for _ in range(5)]
        pieces.insert(dice.randrange(5), dice.randbytes(dice.randrange(200)))
        segment.write_bytes(frame.segment_header(segment.parent.name, 0) + b"".join(pieces))

        reader, rows = read(run_dir)

        assert all(values == row(values["n"]) for values in rows)
        reader.problems()


def test_a_payload_with_a_right_sum_and_a_wrong_shape_is_left_out(run_dir: Path) -> None:
    (segment,) = segment_files(run_dir)
    seed = frame.writer_seed(segment.parent.name)
    bad = b"".join(
        frame.frame(kind, payload, frame.frame_seed(seed, kind, schema), schema)
        for kind in sorted(frame.KINDS)
        for schema in (0, 1, 77)
        for payload in (
            b"",
            b"\xc1",
            frame.encode_payload([]),
            frame.encode_payload({"a": 1}),
            frame.encode_payload([ROWS + 2, "x", None, {}]),
        )
    )
    segment.write_bytes(segment.read_bytes() + bad)

    reader, rows = read(run_dir)

    assert rows[:ROWS] == [row(n) for n in range(ROWS)]
    reader.problems()
    assert [values["n"] for values in scan(reader.select())][:ROWS] == list(range(ROWS))
