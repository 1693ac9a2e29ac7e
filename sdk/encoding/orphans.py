"""Orphans: payloads whose program is gone are encoded by whoever comes next, as the program would have done.

Done by `milepost sync`, and by the next `init` in the runs directory, in the background. Readers do not depend on it: they make
the file's bytes themselves for as long as it is not there. What became of a payload is added to the journal of its writer,
behind everything else, so a ring has to be put away first (recovery.py).
"""

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from milepost.sdk import frame
from milepost.sdk.encoding import payload_file
from milepost.sdk.encoding.encode import Encoders
from milepost.sdk.encoding.facts import Book
from milepost.sdk.encoding.process import Job, made
from milepost.sdk.encoding.refs import Facts, filled, parsed
from milepost.sdk.reading.files import writer_dirs
from milepost.sdk.recovery import last_written, write_segment
from milepost.sdk.ring import is_ours, shared_memory

logger = logging.getLogger("milepost")


def finish_media(run_dir: Path) -> int:
    """Encode what dead writers of a run left behind; how many files were made. Raises nothing: what fails is logged."""
    made_files = 0
    encoders = Encoders(of_files=True)
    for directory in writer_dirs(run_dir):
        try:
            if not any(shared_memory().glob(f"{directory.name}-*.ring")):
                made_files += _finish_writer(run_dir, directory, encoders)
        except OSError as error:
            logger.warning("milepost: media of %s could not be encoded: %s", run_dir, error)
    return made_files


def orphan_runs(root: Path) -> list[Path]:
    """The runs at or below a directory of which dead writers have stash files in shared memory."""
    found: dict[Path, None] = {}
    with contextlib.suppress(OSError):
        if not is_ours(shared_memory()):
            return []
        for path in shared_memory().glob("*-*.stash"):
            note = payload_file.owner(path)
            if note is None or not Path(note.run_dir).is_relative_to(root.absolute()):
                continue
            run_dir = Path(note.run_dir)
            writer = path.name.partition("-")[0]
            if not run_dir.is_dir():
                moved = next(run_dir.parent.glob(f"*/journal/{writer}"), None)
                if moved is None:  # see gone.py
                    continue
                run_dir = moved.parent.parent
            found[run_dir] = None
    return list(found)


def _finish_writer(run_dir: Path, directory: Path, encoders: Encoders) -> int:
    """Encode what one writer left, unless it lives or somebody else is at it."""
    lock = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return 0
        book = Book(directory)
        if book.alive:
            return 0
        said = list(_encode_all(run_dir, directory.name, book, encoders))
        if said:
            _append(directory, said)
        places = [book.waiting.get(number) for number, facts in book.facts.items() if facts.get("kept")]
        kept = [place[0] for place in places if isinstance(place, tuple)]
        for path in payload_file.files(directory.name, directory):
            if path not in kept:
                path.unlink(missing_ok=True)
        return sum("error" not in facts for facts in said)
    finally:
        os.close(lock)


def _encode_all(run_dir: Path, writer: str, book: Book, encoders: Encoders) -> Iterable[dict[str, Any]]:
    """The facts of everything that waits, in order of its number, for children come before what holds them."""

    def lookup(ref: str) -> Facts | None:
        found = parsed(ref)
        if found is None or found[0] != writer or found[1] not in book.facts:
            return {"error": "it is gone"}
        return book.facts[found[1]]

    for number in sorted(book.waiting):
        found = book.raw(number)
        if found is None:
            facts: dict[str, Any] = {"error": "what was kept of it cannot be read"}
        else:
            note, data = found
            children = filled(note.children, lookup)
            facts = made(encoders, Job(note=note, path="", run_dir=str(run_dir), data=bytes(data), children=children))
        if facts.pop("again", False):
            raise OSError(facts["error"])  # the disk: everything is left for the next time
        before = book.facts.get(number, {})
        if facts.get("kept") and before.get("kept"):
            continue  # said before, and its bytes stay for whoever has the encoder
        if "error" in facts:
            logger.warning("milepost: a media file of %s could not be made: %s", run_dir, facts["error"])
        book.facts[number] = facts
        yield {"number": number, **facts}


def _append(directory: Path, said: list[dict[str, Any]]) -> None:
    """Add "media" events to the journal of a writer that is gone, in a segment of their own."""
    seed = frame.writer_seed(directory.name)
    number = last_written(directory, seed) + 1
    event_seed = frame.frame_seed(seed, frame.EVENT)
    frames = [
        frame.frame(
            frame.EVENT, frame.encode_payload([number + at, time.time_ns(), 0, None, "media", values]), event_seed
        )
        for at, values in enumerate(said)
    ]
    write_segment(directory.name, directory, b"".join(frames))
