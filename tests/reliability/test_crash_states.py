"""A7: every state in which a crash can leave the files: recovery and reading never raise, show no wrong row, keep what is safe.

Real bytes of the real writer. After a power cut, each 512-byte sector that was not synced is there, zero, or older, and a
file may be shorter; after SIGKILL the ring ends in any part of a frame.
"""

import random
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from milepost.sdk import frame
from milepost.sdk.reader import open_run
from milepost.sdk.recovery import recover
from milepost.sdk.writer import Writer
from tests.reliability.conftest import Figure
from tests.reliability.oracle import flat, plain

SECTOR = 512
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


@dataclass
class History:
    """What was done with a writer: rows by number, the number of the last row that was synced, and synced sizes of files."""

    rows: dict[int, dict[str, Any]]
    synced_rows: int = 0
    sizes: dict[str, int] | None = None


actions = st.lists(
    st.sampled_from(["row", "row", "row", "rows", "new keys", "part", "event", "drain", "sync", "next segment"]),
    min_size=3,
    max_size=40,
)


def write(writer: Writer, what: list[str]) -> History:
    """Do these actions with a writer."""
    done = History({}, 0, {})
    step = 0
    for n, action in enumerate(what):
        if action in ("row", "rows", "new keys"):
            for _ in range(20 if action == "rows" else 1):
                values = flat(plain("crash", step).values)
                if action == "new keys":
                    values[f"key{n}"] = n
                seq = writer.row(values, step, 10**18 + step, step, None)
                done.rows[seq] = values
                step += 1
        elif action == "part":
            writer.part({"open": n}, step, 10**18, step)
        elif action == "event":
            writer.event("config", {"set": {f"c{n}": n}}, None, 10**18, step)
        elif action == "next segment" and writer.journal is not None:
            writer.journal._segment_bytes = max(writer.journal.offset - 1, 1)
        else:
            writer.drain(sync=action == "sync")
            if action == "sync":
                done.synced_rows = writer.seq
                done.sizes = {path.name: path.stat().st_size for path in writer.directory.glob("*.mpj")}
    return done


def power_cut(directory: Path, sizes: dict[str, int], choose: random.Random) -> None:
    """Make of a writer's files what a power cut may leave of them."""
    for path in sorted(directory.iterdir()):
        data = bytearray(path.read_bytes())
        safe = sizes.get(path.name, 0) if path.suffix == ".mpj" and path.name != "keys.mpj" else 0
        fate = choose.random()
        if safe == 0 and fate < 0.15:
            path.unlink()
            continue
        for at in range(safe - safe % SECTOR, len(data), SECTOR):
            begin, end = max(at, safe), min(at + SECTOR, len(data))
            if choose.random() < 0.3:
                data[begin:end] = bytes(end - begin) if choose.random() < 0.7 else choose.randbytes(end - begin)
        if fate > 0.6:
            del data[choose.randint(safe, len(data)) :]
        path.write_bytes(data)


def check(run_dir: Path, done: History, must: int) -> int:
    """Read everything: no wrong row, no row twice, and every row numbered below `must`; how many there were."""
    reader = open_run(run_dir)
    seen: dict[int, dict[str, Any]] = {}
    for writer in reader.writers:
        for event in writer.events("row"):
            assert event.seq not in seen
            seen[event.seq] = event.values
    reader.problems()
    for seq, values in seen.items():
        if "open" in values:
            continue  # the row that was left open, committed by recovery
        assert values == done.rows.get(seq), seq
    missing = [seq for seq in done.rows if seq < must and seq not in seen]
    assert missing == []
    return len(seen)


# (examples in CI, in the gate)
@pytest.mark.parametrize("examples", [300, pytest.param(10_000, marks=pytest.mark.gate)])
def test_after_a_power_cut_recovery_shows_all_that_was_synced_and_nothing_wrong(
    own_shared_memory: Path, figure: Figure, examples: int
) -> None:
    figures = {"synced": 0, "shown": 0, "states": 0}

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=SLOW)
    @given(actions, st.randoms(use_true_random=False))
    def search(what: list[str], choose: random.Random) -> None:
        root = Path(tempfile.mkdtemp(dir=own_shared_memory))
        run_dir = root / "p" / "crash"
        writer = Writer(run_dir, use_ring=False, min_free=0)
        done = write(writer, what)
        writer.forget()
        power_cut(writer.directory, done.sizes or {}, choose)

        shown = 0
        for _ in range(2):
            shown = check(run_dir, done, done.synced_rows)
            recover(root, settled_s=0.0)
        figures["states"] += 1
        figures["synced"] += sum(seq < done.synced_rows for seq in done.rows)
        figures["shown"] += shown
        shutil.rmtree(root)

    search()
    figure(
        "A7",
        f"{figures['states']} states after a power cut: {figures['synced']} rows synced, {figures['shown']} shown, "
        "0 synced ones lost, 0 wrong",
    )


@pytest.mark.parametrize("examples", [300, pytest.param(10_000, marks=pytest.mark.gate)])
def test_after_sigkill_at_any_byte_of_a_store_recovery_shows_every_row(
    own_shared_memory: Path, figure: Figure, examples: int
) -> None:
    figures = {"states": 0, "rows": 0}

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=SLOW)
    @given(actions, st.randoms(use_true_random=False))
    def search(what: list[str], choose: random.Random) -> None:
        root = Path(tempfile.mkdtemp(dir=own_shared_memory))
        run_dir = root / "p" / "crash"
        writer = Writer(run_dir, block_bytes=16384, min_free=0)
        assert writer.ring is not None
        done = write(writer, what)
        block = writer.block
        assert block is not None
        begun = frame.frame(frame.ROW, choose.randbytes(choose.randint(1, 200)), writer.seed)
        part = begun[: choose.randint(0, min(len(begun) - 1, block.free))]
        block.buffer[block.pos : block.pos + len(part)] = part
        if choose.random() < 0.5:  # the drain was in the middle of a write
            segment = max(writer.directory.glob("[0-9]*.mpj"))
            rest = bytes(block.buffer[block.drained : block.pos])
            with segment.open("ab") as file:
                file.write(rest[: choose.randint(0, len(rest))])
        writer.forget()

        for _ in range(3):
            check(run_dir, done, writer.seq)
            recover(root, settled_s=0.0)
        assert list(own_shared_memory.glob(f"milepost-*/{writer.id}-*.ring")) == []
        figures["states"] += 1
        figures["rows"] += len(done.rows)
        shutil.rmtree(root)

    search()
    figure(
        "A7",
        f"{figures['states']} states after SIGKILL in the middle of a store or a drain: {figures['rows']} rows, 0 lost, 0 wrong",
    )
