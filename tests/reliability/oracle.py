"""Oracle: knows what a run owes, apart from milepost.

A program under test calls `log()` with values that follow from (run, number of the call), and after each call that returned
it stores the count in a mapped file, which outlives any death of the program. Judging compares the rows that are read back
with these obligations, on identity and content: as the death left them, after recovery, and after a second recovery.
"""

import mmap
import os
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import milepost
from milepost.sdk.recovery import recover

SEED: Final = int(os.environ.get("RELIABILITY_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
"""Decides every random choice; RELIABILITY_SEED repeats one."""

_NOTHING = object()


class Acks:
    """How many calls each lane (thread or process) of a program has seen return, in a file that the kernel keeps."""

    def __init__(self, path: Path, lanes: int = 1) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        os.ftruncate(descriptor, 8 * lanes)
        # A memoryview stores eight bytes at once. struct.pack_into clears them first, and a kill in between leaves a 0.
        self._counts = memoryview(mmap.mmap(descriptor, 8 * lanes)).cast("q")
        self.lanes = lanes
        os.close(descriptor)

    def __setitem__(self, lane: int, count: int) -> None:
        self._counts[lane] = count

    def __getitem__(self, lane: int) -> int:
        return self._counts[lane]

    def counts(self) -> list[int]:
        return [self[lane] for lane in range(self.lanes)]


@dataclass(frozen=True)
class Call:
    """One call to `log()`: its values and keywords, and the row it belongs to."""

    values: dict[str, Any]
    row: int
    keywords: dict[str, Any] = field(default_factory=dict)


def plain(run: str, n: int, lane: int = 0) -> Call:
    """One call, one row: numbers, text, and an inner dict."""
    mixed = crc32(f"{run}/{lane}/{n}".encode())
    values = {
        "lane": lane,
        "n": n,
        "x": mixed / 7,
        "word": f"{mixed:08x}",
        "odd": bool(mixed & 1),
        "inner": {"y": -mixed},
    }
    return Call(values, n)


def numbers(run: str, n: int, lane: int = 0) -> Call:
    """One call, one row of plain numbers, which takes the fast path."""
    mixed = crc32(f"{run}/{lane}/{n}".encode())
    return Call({"lane": lane, "n": n} | {f"x{i}": mixed / (i + 1) for i in range(8)}, n)


def sized(run: str, n: int, lane: int = 0) -> Call:
    """One call, one row, whose text has 1 byte to 200 KB."""
    mixed = crc32(f"{run}/{lane}/{n}".encode())
    length = max(1, int(200_000 ** ((mixed & 0xFFFF) / 0xFFFF)))
    text = (f"{mixed:08x}" * (length // 8 + 1))[:length]
    return Call({"lane": lane, "n": n, "text": text}, n)


def incremental(run: str, n: int, lane: int = 0) -> Call:
    """Three calls, one row: commit=False twice, then a call that closes it."""
    row, part = divmod(n, 3)
    return Call(_part(run, row, part), row, {} if part == 2 else {"commit": False})


def stepwise(run: str, n: int, lane: int = 0) -> Call:
    """Three calls, one row, held together by step= alone."""
    row, part = divmod(n, 3)
    return Call(_part(run, row, part), row, {"step": row})


def _part(run: str, row: int, part: int) -> dict[str, Any]:
    mixed = crc32(f"{run}/{row}/{part}".encode())
    return {f"part{part}": mixed, "shared": part, "inner": {f"p{part}": mixed / 3}}


KINDS: Final[dict[str, Callable[..., Call]]] = {
    function.__name__: function for function in (plain, numbers, sized, incremental, stepwise)
}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values as they read back: inner dicts joined with dots."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found.update(flat(value, f"{prefix}{key}."))
        else:
            found[prefix + key] = value
    return found


@dataclass
class Verdict:
    """What became of acknowledged calls. All lists hold a few examples, counts are of everything."""

    acknowledged: int = 0
    rows: int = 0
    lost: int = 0
    altered: int = 0
    doubled: int = 0
    foreign: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.lost or self.altered or self.doubled or self.foreign)

    def note(self, what: str, text: str) -> None:
        setattr(self, what, getattr(self, what) + 1)
        if len(self.examples) < 8:
            self.examples.append(f"{what}: {text}")

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(
            self.acknowledged + other.acknowledged,
            self.rows + other.rows,
            self.lost + other.lost,
            self.altered + other.altered,
            self.doubled + other.doubled,
            self.foreign + other.foreign,
            (self.examples + other.examples)[:8],
        )


def judge(
    rows: Iterable[Mapping[str, Any]],
    run: str,
    kind: str,
    acknowledged: int,
    lane: int = 0,
    tried: int = 1,
    interrupted: Collection[int] = (),
) -> Verdict:
    """Hold rows against the first `acknowledged` calls of a lane.

    `tried` calls after them, and those of them that were interrupted, may have left a trace, or not.
    """
    make = KINDS[kind]
    grouped = kind in ("incremental", "stepwise")
    owed: dict[int, dict[str, Any]] = {}
    allowed: dict[int, dict[str, list[Any]]] = {}
    for n in range(acknowledged + tried):
        call = make(run, n, lane)
        values = flat(call.values)
        if n < acknowledged and n not in interrupted:
            owed.setdefault(call.row, {}).update(values)
        possible = allowed.setdefault(call.row, {})
        for key, value in values.items():
            possible.setdefault(key, []).append(value)
    verdict = Verdict(acknowledged)
    seen: set[int] = set()
    for found in rows:
        values = {key: value for key, value in found.items() if not key.startswith("_")}
        row = found["_step"] if grouped else values.get("n")
        if not grouped and values.get("lane") != lane:
            continue
        verdict.rows += 1
        if row not in allowed:
            verdict.note("foreign", f"{dict(found)!r:.200}")
            continue
        if row in seen:
            verdict.note("doubled", f"row {row}")
        seen.add(row)
        wanted = owed.get(row, {})
        missing = [key for key in wanted if key not in values]
        unsure = not grouped or any(n in interrupted or n >= acknowledged for n in range(3 * row, 3 * row + 3))
        wrong = [
            key
            for key, value in values.items()
            if (value not in allowed[row].get(key, ()) if unsure else wanted.get(key, _NOTHING) != value)
        ]
        if missing:
            verdict.note("lost", f"row {row} lacks {missing}")
        if wrong:
            verdict.note("altered", f"row {row}: {wrong} in {values!r:.200}")
    for row in owed.keys() - seen:
        verdict.note("lost", f"row {row}")
    return verdict


def lanes(rows: Iterable[Mapping[str, Any]]) -> dict[int, list[Mapping[str, Any]]]:
    """Rows by the lane that logged them; rows that do not say are lane 0's."""
    found: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row.get("lane", 0), []).append(row)
    return found


def readings(run_dir: Path, *, recoveries: int = 2) -> Iterator[tuple[str, "milepost.Api"]]:
    """The run as it is, then after each of some recoveries: (which, an Api that reads it now)."""
    root = run_dir.parent.parent
    yield "as it was left", milepost.Api(root)
    for number in range(1, recoveries + 1):
        recover(root, settled_s=0.0)
        yield f"after recovery {number}", milepost.Api(root)


def judge_run(
    run_dir: Path,
    kind: str,
    acks: Sequence[int],
    *,
    writer: str | int | None = None,
    tried: int = 1,
    recoveries: int = 2,
    interrupted: Collection[int] = (),
) -> Verdict:
    """Judge all lanes of a run in each reading of it; the verdict of the last one, with the faults of all."""
    path = f"{run_dir.parent.name}/{run_dir.name}"
    total = Verdict()
    for which, api in readings(run_dir, recoveries=recoveries):
        rows = lanes(api.run(path).scan_history(writer=writer))
        found = Verdict()
        for lane, count in enumerate(acks):
            found += judge(rows.get(lane, ()), run_dir.name, kind, count, lane, tried, interrupted)
        total = Verdict(
            found.acknowledged,
            found.rows,
            total.lost + found.lost,
            total.altered + found.altered,
            total.doubled + found.doubled,
            total.foreign + found.foreign,
            (total.examples + [f"{which}, {example}" for example in found.examples])[:8],
        )
    return total


def unbalanced(run: Any) -> list[str]:
    """The accounting identity of a run read back: exporters for which logged is not the sum of its parts, as texts."""
    accounting = run.accounting()
    logged = accounting["logged"]
    wrong: list[str] = []
    for name, cursor in accounting["exporters"].items():
        parts = (
            cursor["delivered"]
            + cursor["pending"]
            + cursor["filtered"]
            + sum(cursor["rejected"].values())
            + sum(cursor["dropped"].values())
        )
        if parts != logged:
            wrong.append(f"{name}: logged {logged}, accounted for {parts}: {cursor}")
    return wrong
