"""Recovery: rings whose writer is dead are moved into its journal, and the row it had not committed is committed.

Done by whoever comes next: `init`, `Api`, `milepost sync`. Readers do not depend on it, they read rings themselves; but a
ring takes memory until somebody has put it away. A ring is touched only under its lock, which a living writer holds. One whose
run is nowhere to be found is removed a day later, see `gone.py`.
"""

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from milepost.sdk import frame
from milepost.sdk.frame import EVENT, GAP, INLINE, PART, ROW, SCHEMA, TRACED, Damage, NewerFormat
from milepost.sdk.gone import Journals, is_gone, is_old, noted
from milepost.sdk.journal import segment_name
from milepost.sdk.reading.files import Unreadable, read_file
from milepost.sdk.ring import HEADER_SIZE, is_ours, read_header, shared_memory

logger = logging.getLogger("milepost")

SETTLED_S: Final = 2.0
"""A ring younger than this may belong to a writer that has not taken its lock yet."""
_NUMBERED: Final = (ROW, TRACED, EVENT, GAP)


def recover(directory: Path, *, settled_s: float = SETTLED_S) -> list[Path]:
    """Put away the orphan rings of runs at or below a directory; the run directory of each writer that was recovered.

    Raises nothing: what cannot be recovered now is left for the next time, with a warning.
    """
    recovered: list[Path] = []
    journals = Journals()
    for writer, rings in _rings().items():
        try:
            header = _header(rings[0])
            if header is None or not _settled(header, rings, settled_s):
                continue
            run_dir = Path(header["run_dir"])
            here = run_dir.is_relative_to(directory.absolute())
            journal = _journal_of(writer, run_dir, journals) if here else None
            if journal is None and is_gone(noted(header), run_dir, writer, journals):
                journal = _moved_below(writer, directory, journals)
            if journal is not None and _recover(writer, journal, rings):
                recovered.append(journal.parent.parent)
        except NewerFormat as error:
            _sign(rings)
            logger.warning("milepost: the ring of writer %s is left alone: %s", writer, error)
        except Unreadable:
            continue  # put away by somebody else in between
        except OSError as error:
            _sign(rings)
            logger.warning("milepost: the rows of writer %s are still in shared memory only: %s", writer, error)
    return recovered


def remove_abandoned() -> None:
    """Remove the rings of dead writers whose run has been gone for a day, whatever directory it was in. Raises nothing."""
    for run_dir, rings in gone_rings():
        with contextlib.suppress(OSError):
            if not all(map(is_old, rings)):
                continue
            with _held(rings) as held:
                if held:
                    _unlink(rings)
                    logger.warning("milepost: a killed program's last rows are removed: its run is gone (%s)", run_dir)


def gone_rings() -> Iterator[tuple[str, list[Path]]]:
    """The rings whose run is gone, with the directory that it was in."""
    journals = Journals()
    for writer, rings in _rings().items():
        with contextlib.suppress(OSError, Unreadable):
            header = _header(rings[0])
            if header is not None and is_gone(noted(header), Path(header["run_dir"]), writer, journals):
                yield header["run_dir"], rings


def _sign(rings: list[Path]) -> None:
    """Keep rings for another day: somebody wants their rows, and could not have them."""
    with contextlib.suppress(OSError):
        os.utime(rings[0])


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


def _header(ring: Path) -> dict[str, Any] | None:
    """What a ring says of its writer; None where it does not say which run that is."""
    header = read_header(read_file(ring, HEADER_SIZE))
    return header if header is not None and isinstance(header.get("run_dir"), str) else None


def _settled(header: dict[str, Any], rings: Iterable[Path], settled_s: float) -> bool:
    """Whether its writer has its lock by now, if it lives. Older programs did not write down when a ring was made."""
    made = header.get("made_unix_nano")
    since = made / 1e9 if isinstance(made, int) else max(path.stat().st_ctime for path in rings)
    return time.time() - since >= settled_s


def _journal_of(writer: str, run_dir: Path, journals: Journals) -> Path | None:
    """The writer's folder in its run, also where that was renamed; None where it is not to be seen."""
    journal = run_dir / "journal" / writer
    if run_dir.is_dir():
        journal.mkdir(parents=True, exist_ok=True)  # a disk that failed from the start may have left none
        return journal
    return _fullest(journals.below(run_dir.parent, writer))


def _moved_below(writer: str, directory: Path, journals: Journals) -> Path | None:
    """The writer's folder in a run at or below a directory, which was moved there."""
    root, real = directory.absolute(), directory.resolve()
    projects = [folder for folder in root.iterdir() if folder.is_dir()]
    found = [journal for folder in (*projects, root) for journal in journals.below(folder, writer)]
    own = root / "journal" / writer
    found += [own] if own.is_dir() else []
    return _fullest(
        [each for each in found if each.resolve() == real / each.relative_to(root)]
    )  # not those behind links


def _fullest(found: list[Path]) -> Path | None:
    """Of a writer's folders in copies of its run, the one that was written to the longest: a copy made earlier lacks rows."""
    return max(found, key=lambda folder: sum(path.stat().st_size for path in folder.glob("*.mpj")), default=None)


def _recover(writer: str, journal: Path, rings: list[Path]) -> bool:
    """Recover one writer, unless it lives or somebody else is at it."""
    with _held(rings) as held:
        if held:
            _append(writer, journal, rings)
            _unlink(rings)
        return held


@contextlib.contextmanager
def _held(rings: list[Path]) -> Iterator[bool]:
    """Hold the locks of rings, so that nobody else touches them; False when somebody does, or their writer lives."""
    with contextlib.ExitStack() as stack:
        for path in rings:
            try:
                lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
                stack.callback(os.close, lock)
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
        yield all(path.exists() for path in rings)  # else they were put away while this process waited


def _unlink(rings: list[Path]) -> None:
    for path in reversed(rings):
        path.unlink(missing_ok=True)


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
