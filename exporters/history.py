"""A history file that several process lives append to, each row exactly once.

A crash leaves rows in the file that the delivery's cursor does not know of; they are delivered again. So the file has a
ledger beside it, `.NAME.ledger`: which writer wrote from which byte on. With it a writer's own rows can be counted, cut
back to the cursor when they end the file, and skipped on their second delivery when somebody else wrote behind them.

The files are opened for each batch and the ledger is locked meanwhile: processes that share a run never interleave, a
deleted file comes back, and no descriptor is inherited by a child.
"""

import contextlib
import json
import os
import sys
from collections.abc import Generator, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import IO, Final

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
            regions = ledger.regions(file)
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
                ledger.claim(file, self._writer, self._attempt)
        self.rows, self._skip, self._unsure = rows - missing, max(0, surplus), False
        return missing

    def append(self, lines: bytes | bytearray, rows: int) -> None:
        """Add whole lines, `rows` of them."""
        if self._unsure:
            self.recover(self.rows)
        skipped = min(self._skip, rows)
        start = 0
        for _ in range(skipped):
            start = lines.index(b"\n", start) + 1
        if start < len(lines):
            with self._locked() as (file, ledger):
                _cut_partial_line(file)
                ledger.claim(file, self._writer, self._attempt)
                self._write(file, memoryview(lines)[start:])
        self._skip -= skipped
        self.rows += rows

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
            regions = ledger.regions(file)
            temporary = self.path.with_name(f".{self.path.name}.rewound")
            starts: list[tuple[str, int]] = []
            earlier = True
            try:
                with temporary.open("wb") as target:
                    for writer, start, end in regions:
                        earlier = earlier and writer != self._writer
                        starts.append((writer, target.tell()))
                        lines = _lines(file, start, end)
                        target.writelines(line for line in lines if not earlier or _step_of(line) < step)
                os.replace(temporary, self.path)
            except OSError:
                with contextlib.suppress(OSError):  # the first error is the one to tell
                    temporary.unlink(missing_ok=True)
                raise
            ledger.write(starts, self._attempt)

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
        with _open(self._ledger_path) as ledger, _lock(ledger), _open(self.path) as file:
            yield file, _Ledger(ledger)


def ledger_path(path: Path) -> Path:
    """Where the ledger of a history file lies."""
    return path.with_name(f".{path.name}.ledger")


def attempt_of(path: Path) -> int | None:
    """The attempt whose rows stand in a history file, None when no ledger says."""
    try:
        return int(json.loads(ledger_path(path).read_bytes())["attempt"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


class _Ledger:
    """Who wrote from which byte on. Rewritten in place: one small write, which a killed process does not tear."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def regions(self, file: IO[bytes]) -> list[tuple[str, int, int]]:
        """(writer, start, end) in the order of the file, covering all of it; the writer is "" where it is not known."""
        size = _size(file)
        starts = self._starts(size)
        if not starts or starts[0][1] > 0:
            starts.insert(0, ("", 0))
        return [(writer, start, end) for (writer, start), (_, end) in pairwise([*starts, ("", size)])]

    def claim(self, file: IO[bytes], writer: str, attempt: int) -> None:
        """Note that the writer writes from the end of the file on."""
        size = _size(file)
        starts = self._starts(size)
        if not starts or starts[-1][0] != writer:
            self.write([*starts, (writer, size)], attempt)

    def write(self, starts: list[tuple[str, int]], attempt: int) -> None:
        """Put the ledger on disk. Of many writers the oldest are forgotten: their rows are delivered long since."""
        if len(starts) > _REGIONS_LIMIT:
            starts = [("", 0), *starts[-_REGIONS_LIMIT // 2 :]]
        content = json.dumps({"format": 1, "attempt": attempt, "regions": starts}).encode()
        self._file.seek(0)
        self._file.write(content)
        self._file.truncate(len(content))

    def _starts(self, size: int) -> list[tuple[str, int]]:
        """What the ledger says, as far as it fits a file of `size` bytes; it may have been deleted or cut by hand."""
        self._file.seek(0)
        try:
            starts = [(str(writer), int(start)) for writer, start in json.loads(self._file.read())["regions"]]
        except (ValueError, TypeError, KeyError):
            return []  # a new ledger, or one that something else wrote over
        return [(writer, start) for writer, start in starts if 0 <= start <= size]


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


def _open(path: Path) -> IO[bytes]:
    """The file for reading and writing, made when it is not there. Unbuffered: what `write` took, the system has."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)


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
        return int(line[len(_STEP) : line.index(b",")]) if line.startswith(_STEP) else int(json.loads(line)["_step"])
    except (ValueError, TypeError, KeyError):
        return -1
