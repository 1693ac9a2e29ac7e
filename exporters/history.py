"""A history file that several process lives append to, each row exactly once.

A crash leaves rows in the file that the delivery's cursor does not know of; they are delivered again. So the file has a
ledger beside it, `.NAME.ledger`: which writer wrote from which byte on. With it a writer's own rows can be counted, cut
back to the cursor when they end the file, and skipped on their second delivery when somebody else wrote behind them.
It also notes who went back to which step, so that superseded rows stay out even when they are delivered late.

The files are opened for each batch and the ledger is locked meanwhile: processes that share a run never interleave, a
deleted file comes back, and no descriptor is inherited by a child.
"""

import contextlib
import os
import sys
from collections.abc import Generator, Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import IO, Final

import msgspec

from milepost.exporters.jsonl import lines
from milepost.sdk.event import Event
from milepost.sdk.own_files import open_own

_REGIONS_LIMIT: Final = 64
_BLOCK: Final = 1 << 20
_STEP: Final = b'{"_step":'


class HistoryFile:
    """One history file, seen by one writer. Methods that raise OSError leave the file as it was, or mend it next time.

    rows: rows this writer has put into the file, superseded ones included.
    """

    def __init__(self, path: Path, writer: str, attempt: int = 1) -> None:
        self.path = path
        self.rows = 0
        self._writer = writer
        self._attempt = attempt
        self._skip = 0
        self._unsure = False
        self._ledger_path = ledger_path(path)

    def recover(self, rows: int) -> int:
        """Take the writer's rows after the first `rows` out of the file, or out of what is delivered next.

        Returns how many of the first `rows` are missing: lost with the machine, or taken out by hand.
        """
        with self._locked() as (file, ledger):
            _cut_partial_line(file)
            regions = ledger.regions(_size(file))
            counts = [_count_lines(file, start, end) for writer, start, end in regions if writer == self._writer]
            surplus = sum(counts) - rows
            missing = 0
            if regions[-1][0] == self._writer:
                missing = max(0, -surplus)  # with another writer behind, a rewind may have taken them out
            if surplus > 0 and regions[-1][0] == self._writer:
                kept = max(0, counts[-1] - surplus)
                file.truncate(_offset_of_line(file, regions[-1][1], kept))
                surplus -= counts[-1] - kept
            if not counts:
                ledger.claim(_size(file), self._writer, self._attempt)
        self.rows, self._skip, self._unsure = rows - missing, max(0, surplus), False
        return missing

    def append(self, rows: Sequence[Event]) -> None:
        """Add the rows, one line each. Those that a later writer's rewind has superseded are left out."""
        if self._unsure:
            self.recover(self.rows)
        text = lines(rows)
        with self._locked() as (file, ledger):
            limit = ledger.limit(self._writer)
            if limit is not None:
                rows = [row for row in rows if row.step is None or row.step < limit]
                text = lines(rows)
            skipped = min(self._skip, len(rows))
            start = 0
            for _ in range(skipped):
                start = text.index(b"\n", start) + 1
            if start < len(text):
                _cut_partial_line(file)
                ledger.claim(_size(file), self._writer, self._attempt)
                self._write(file, memoryview(text)[start:])
        self._skip -= skipped
        self.rows += len(rows)

    def cut_last(self, rows: int) -> None:
        """Take this writer's last rows out again, because their batch will be delivered a second time."""
        if rows:
            self.rows -= rows
            self._unsure = True
            self.recover(self.rows)

    def rewind(self, step: int) -> None:
        """Take out the rows with `_step` >= step of the writers that came before this one."""
        if self._unsure:
            self.recover(self.rows)
        with self._locked() as (file, ledger):
            _cut_partial_line(file)
            superseded = set(ledger.writers()) - set(ledger.successors(self._writer)) - {self._writer}
            temporary = self.path.with_name(f".{self.path.name}.rewound")
            starts: list[tuple[str, int]] = []
            try:
                with open_own(temporary, buffered=True) as target:
                    target.truncate()
                    for writer, start, end in ledger.regions(_size(file)):
                        starts.append((writer, target.tell()))
                        kept = _lines(file, start, end)
                        target.writelines(line for line in kept if writer not in superseded or _step_of(line) < step)
                os.replace(temporary, self.path)
            except OSError:
                with contextlib.suppress(OSError):  # the first error is the one to tell
                    temporary.unlink(missing_ok=True)
                raise
            ledger.rewound(starts, self._writer, step, self._attempt)

    def _write(self, file: IO[bytes], lines: memoryview) -> None:
        end = file.seek(0, os.SEEK_END)
        try:
            while lines:
                lines = lines[file.write(lines) :]
        except OSError:
            self._unsure = True
            file.truncate(end)
            self._unsure = False
            raise

    @contextlib.contextmanager
    def _locked(self) -> Generator[tuple[IO[bytes], "_Ledger"]]:
        with open_own(self._ledger_path) as ledger, _lock(ledger), open_own(self.path) as file:
            yield file, _Ledger(ledger)


def ledger_path(path: Path) -> Path:
    """Where the ledger of a history file lies."""
    return path.with_name(f".{path.name}.ledger")


def attempt_of(path: Path) -> int | None:
    """The attempt whose rows stand in a history file, None when no ledger says."""
    try:
        return int(msgspec.json.decode(ledger_path(path).read_bytes())["attempt"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


class _Ledger:
    """Who wrote from which byte on, and who has gone back to which step.

    Rewritten in place: one small write, which a killed process does not tear. Read when made, under the lock.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._starts: list[tuple[str, int]] = []
        self._rewinds: list[tuple[str, int]] = []
        try:
            told = msgspec.json.decode(file.read())
            self._starts = [(str(writer), int(start)) for writer, start in told["regions"]]
            self._rewinds = [(str(writer), int(step)) for writer, step in told.get("rewinds", ())]
        except (ValueError, TypeError, KeyError):
            pass  # a new ledger, or one that something else wrote over

    def regions(self, size: int) -> list[tuple[str, int, int]]:
        """(writer, start, end) in the order of a file of `size` bytes, covering it; the writer is "" where nobody knows."""
        starts = self._within(size)
        if not starts or starts[0][1] > 0:
            starts.insert(0, ("", 0))
        return [(writer, start, end) for (writer, start), (_, end) in pairwise([*starts, ("", size)])]

    def writers(self) -> list[str]:
        """The writers in the order in which they began; "", who came before them all, first."""
        return list(dict.fromkeys(["", *(writer for writer, _ in self._starts)]))

    def successors(self, writer: str) -> list[str]:
        """The writers that began after this one."""
        known = self.writers()
        return known[known.index(writer) + 1 :] if writer in known else []

    def limit(self, writer: str) -> int | None:
        """The step from which on the rows of a writer are superseded, None when there is none."""
        after = set(self.successors(writer))
        return min((step for rewinder, step in self._rewinds if rewinder in after), default=None)

    def claim(self, size: int, writer: str, attempt: int) -> None:
        """Note that the writer writes from the end of the file on."""
        self._starts = self._within(size)
        if not self._starts or self._starts[-1][0] != writer:
            self._starts.append((writer, size))
            self._write(attempt)

    def rewound(self, starts: list[tuple[str, int]], writer: str, step: int, attempt: int) -> None:
        """Note that the writer went back to a step, and where the regions start since."""
        self._starts = starts
        self._rewinds = [*self._rewinds[-_REGIONS_LIMIT // 2 :], (writer, step)]
        self._write(attempt)

    def _write(self, attempt: int) -> None:
        if len(self._starts) > _REGIONS_LIMIT:  # the oldest are forgotten: their rows are delivered long since
            self._starts = [("", 0), *self._starts[-_REGIONS_LIMIT // 2 :]]
        told = {"format": 1, "attempt": attempt, "regions": self._starts, "rewinds": self._rewinds}
        content = msgspec.json.encode(told)
        self._file.seek(0)
        self._file.write(content)
        self._file.truncate(len(content))

    def _within(self, size: int) -> list[tuple[str, int]]:
        """The starts that fit a file of `size` bytes, which may have been deleted or cut by hand."""
        return [(writer, start) for writer, start in self._starts if 0 <= start <= size]


@contextlib.contextmanager
def _lock(file: IO[bytes]) -> Generator[None]:
    """Hold the file against other processes. Let go by name: a child forked meanwhile has the same descriptor."""
    if sys.platform == "win32":  # no such locks: two processes on one file are the user's care
        yield
        return
    import fcntl

    with contextlib.suppress(OSError):  # nor on some network file systems
        fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)


def _size(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_size


def _cut_partial_line(file: IO[bytes]) -> None:
    """Cut what stands behind the last newline: the line a killed process was writing."""
    end = _size(file)
    while end > 0:
        start = max(0, end - _BLOCK) if end < _size(file) else end - 1
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < _size(file):
        file.truncate(end)


def _blocks(file: IO[bytes], start: int, end: int) -> Iterator[bytes]:
    file.seek(start)
    while start < end and (block := file.read(min(_BLOCK, end - start))):
        yield block
        start += len(block)


def _count_lines(file: IO[bytes], start: int, end: int) -> int:
    return sum(block.count(b"\n") for block in _blocks(file, start, end))


def _lines(file: IO[bytes], start: int, end: int) -> Iterator[bytes]:
    """Whole lines, each with its newline. Both ends are line ends."""
    rest = b""
    for block in _blocks(file, start, end):
        *lines, rest = (rest + block).split(b"\n")
        yield from (line + b"\n" for line in lines)


def _offset_of_line(file: IO[bytes], start: int, count: int) -> int:
    """The byte behind the first `count` lines from `start` on."""
    return start + sum(len(line) for line in islice(_lines(file, start, _size(file)), count))


def _step_of(line: bytes) -> int:
    """The step of a line of history, -1 where it cannot be told."""
    try:
        return (
            int(line[len(_STEP) : line.index(b",")])
            if line.startswith(_STEP)
            else int(msgspec.json.decode(line)["_step"])
        )
    except (ValueError, TypeError, KeyError):
        return -1
