"""Recovery: rings whose writer is dead are moved into its journal, and the row it had not committed is committed.

Done by whoever comes next: `init`, `Api`, `milepost sync`. Readers do not depend on it, they read rings themselves; but a
ring takes memory until somebody has put it away. A ring is touched only under its lock, which a living writer holds.
"""

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from milepost.sdk import frame
from milepost.sdk.frame import EVENT, GAP, INLINE, PART, ROW, SCHEMA, TRACED, Damage, NewerFormat
from milepost.sdk.journal import segment_name
from milepost.sdk.reading.files import Unreadable, read_file
from milepost.sdk.ring import HEADER_SIZE, is_ours, mount_namespace, read_header, shared_memory

logger = logging.getLogger("milepost")

SETTLED_S: Final = 2.0
"""A ring younger than this may belong to a writer that has not taken its lock yet."""
_NUMBERED: Final = (ROW, TRACED, EVENT, GAP)


def recover(directory: Path, *, settled_s: float = SETTLED_S) -> list[Path]:
    """Put away the orphan rings of runs at or below a directory; the run directory of each writer that was recovered.

    Raises nothing: what cannot be recovered now is left for the next time, with a warning.
    """
    recovered: list[Path] = []
    for writer, rings in _rings().items():
        try:
            run_dir = _run_dir(rings[0])
            below = run_dir is not None and run_dir.is_relative_to(directory.absolute())
            if run_dir is not None and below and _settled(rings, settled_s) and _recover(writer, run_dir, rings):
                recovered.append(run_dir)
        except NewerFormat as error:
            logger.warning("milepost: the ring of writer %s is left alone: %s", writer, error)
        except Unreadable:
            continue  # put away by somebody else in between
        except OSError as error:
            logger.warning("milepost: the rows of writer %s are still in shared memory only: %s", writer, error)
    return recovered


def _rings() -> dict[str, list[Path]]:
    """The ring files of each writer, in the order they were made."""
    found: dict[str, list[Path]] = {}
    with contextlib.suppress(OSError):
        if not is_ours(shared_memory()):
            return {}
        for path in shared_memory().glob("*-*.ring"):
            found.setdefault(path.name.partition("-")[0], []).append(path)
    return {writer: sorted(paths, key=_number) for writer, paths in found.items()}


def _number(path: Path) -> int:
    text = path.stem.partition("-")[2]
    return int(text) if text.isdigit() else -1


def _run_dir(ring: Path) -> Path | None:
    header = read_header(read_file(ring, HEADER_SIZE))
    where = header.get("run_dir") if header is not None else None
    return Path(where) if isinstance(where, str) else None


def _sees_the_same(ring: Path) -> bool:
    """Whether the ring's writer had this process's view of the file systems."""
    header = read_header(read_file(ring, HEADER_SIZE)) or {}
    return bool(header.get("mounts", "") == mount_namespace())


def _settled(rings: Iterable[Path], settled_s: float) -> bool:
    now = time.time()
    return all(now - path.stat().st_ctime >= settled_s for path in rings)


def _recover(writer: str, run_dir: Path, rings: list[Path]) -> bool:
    """Recover one writer, unless it lives or somebody else is at it."""
    lock = os.open(rings[0], os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        if not rings[0].exists():  # put away while this process waited
            return False
        journal = run_dir / "journal" / writer
        moved = None if run_dir.is_dir() else next(run_dir.parent.glob(f"*/journal/{writer}"), None)
        if moved is not None:
            _append(writer, moved, rings)
        elif run_dir.is_dir():
            journal.mkdir(parents=True, exist_ok=True)  # a disk that failed from the start may have left none
            _append(writer, journal, rings)
        elif not run_dir.parent.is_dir() or not _sees_the_same(rings[0]):
            return False  # a volume that is not mounted here: the rows may be all there is of the run
        else:
            logger.warning("milepost: the run of writer %s was deleted (%s); its ring is removed", writer, run_dir)
        for path in reversed(rings):
            path.unlink(missing_ok=True)
        return True
    finally:
        os.close(lock)


def _append(writer: str, journal: Path, rings: list[Path]) -> None:
    """Write what only the rings hold into a new segment, ending with the row that was left open."""
    # Imported here because it brings numpy, which an init with nothing to recover can do without.
    from milepost.sdk.reading.writer import WriterReader

    seed = frame.writer_seed(writer)
    written = last_written(journal, seed)
    numbered: dict[int, bytes] = {}
    schemas: dict[int, bytes] = {}
    for path in rings:
        data = read_file(path)
        for found in frame.scan(data, seed, HEADER_SIZE):
            if isinstance(found, Damage):
                continue
            whole = data[found.start - frame.HEADER_SIZE : found.end]
            if found.kind == SCHEMA:
                schemas[found.schema] = whole
            elif found.kind != PART:
                number = frame.decode_payload(data[found.start : found.end])[0]
                if number > written:
                    numbered[number] = whole
    pieces = [*schemas.values(), *(numbered[number] for number in sorted(numbered))]
    reader = WriterReader(journal)
    reader.alive = False  # the lock that it sees on the ring is the one held here; a living writer's parts are not over
    leftover = reader.survey.leftover
    if leftover is not None:
        payload = frame.encode_payload(
            [leftover.seq, leftover.time_unix_nano, int(leftover.runtime_s * 1e6), leftover.step, leftover.values]
        )
        pieces.append(frame.frame(ROW, payload, frame.frame_seed(seed, ROW), INLINE))
    if numbered or leftover is not None:
        write_segment(writer, journal, b"".join(pieces))


def last_written(journal: Path, seed: int) -> int:
    """The highest number that stands in the segments, -1 for none."""
    for path in sorted(journal.glob("[0-9]*.mpj"), reverse=True):
        data = read_file(path)
        numbers = [
            frame.decode_payload(data[found.start : found.end])[1 if found.kind == GAP else 0]
            for found in frame.scan(data, seed, frame.SEGMENT_HEADER_SIZE)
            if not isinstance(found, Damage) and found.kind in _NUMBERED
        ]
        if numbers:
            return int(max(numbers))
    return -1


def write_segment(writer: str, journal: Path, data: bytes) -> None:
    """A new segment after the others, whole or not at all."""
    index = max((int(path.stem) for path in journal.glob("[0-9]*.mpj") if path.stem.isdigit()), default=-1) + 1
    path = journal / segment_name(index)
    fresh = path.with_suffix(".new")
    with open(fresh, "wb") as file:
        file.write(frame.segment_header(writer, index) + data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
