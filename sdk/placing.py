"""Placing: who a new run is and where it lives: a new run, the next attempt, a further rank, or one that goes on."""

import contextlib
import errno
import fcntl
import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from milepost.sdk import names
from milepost.sdk.capture.ranks import RankInfo
from milepost.sdk.configuration import Settings
from milepost.sdk.errors import Error, UsageError
from milepost.sdk.ring import is_ours, shared_memory
from milepost.sdk.run_record import RunRecord
from milepost.sdk.summary import Summary

logger = logging.getLogger("milepost")

_IGNORED: Final = b"# made by milepost: runs are data, not code\n*\n"


class Found:
    """What a resumed run brings along."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self.summary: Summary | None = None


@contextlib.contextmanager
def place(chosen: Settings, rank: RankInfo) -> Iterator[tuple[RunRecord, Found]]:
    """Who the run is and where it lives, decided under a lock so that ranks that start together agree."""
    run_id = chosen.id or rank.shared_run_id
    resume = chosen.resume
    root = _writable(chosen)
    recover_later(root)
    project = root / chosen.project
    if resume == "auto" and run_id is None:
        run_id = _last_crashed(project)
    elif resume == "must" and run_id is None:
        raise UsageError('init(resume="must") needs the id of the run to resume: init(id="...") or MILEPOST_RUN_ID')
    record = RunRecord(
        id=run_id or names.run_id(),
        project=chosen.project,
        name=chosen.name or "",
        dir=project,
        group=chosen.group or rank.group,
        job_type=chosen.job_type,
        tags=tuple(chosen.tags),
        notes=chosen.notes,
        mode=chosen.mode,
        rank=rank.rank,
        primary=not rank.rank,
    )
    record.dir = project / record.id
    found = Found()
    exists = (record.dir / "journal").is_dir()
    if resume == "must" and not exists:
        raise UsageError(
            f'init(resume="must"): there is no run {record.id} in {project}; see what is there with: milepost ls {root}'
        )
    if resume == "never" and exists:
        raise UsageError(
            f'init(resume="never"): run {record.id} exists in {project}; choose another id, or resume="allow"'
        )
    try:
        record.dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        record.dir = _writable(chosen, f"{record.dir}: {error.strerror or error}") / chosen.project / record.id
        record.dir.mkdir(parents=True, exist_ok=True)
    with _locked(record.dir):
        if (record.dir / "journal").is_dir():
            _join_or_resume(record, found, chosen, rank)
        elif rank.attempt is not None and rank.shared_run_id is not None:
            record.attempt = rank.attempt
        record.name = record.name or names.run_name()
        yield record, found


def _join_or_resume(record: RunRecord, found: Found, chosen: Settings, rank: RankInfo) -> None:
    """The run's directory is there already: resume it, join it as another rank, or begin its next attempt."""
    from milepost.sdk.reader import open_run
    from milepost.sdk.recovery import recover

    if recover(record.dir, settled_s=0.5):
        from milepost.sdk.syncing import complete

        complete(record.dir)  # before new rows, so that history.jsonl keeps their order
    reader = open_run(record.dir)
    if not reader.writers:
        return
    card = reader.info
    record.name = record.name or str(card.get("name") or "")
    record.attempt = reader.attempt
    if chosen.resume in ("allow", "must", "auto"):
        _resume(record, found, reader)
        return
    others = [writer for writer in reader.members if writer.alive and not writer.parent]
    same_job = rank.shared_run_id is not None and (rank.attempt or reader.attempt) <= reader.attempt
    late = rank.rank is not None and all(
        w.rank is not None and w.rank != rank.rank for w in reader.members if not w.parent
    )
    if others or same_job or late:
        if rank.rank is None and others:
            logger.warning(
                "milepost: run %s is running already, with %d %s: this process joins it as one more, whose rows are read with "
                'writer="all". For a run of its own, give it another id, or none',
                record.id,
                len(others),
                "writer" if len(others) == 1 else "writers",
            )
        if rank.rank is None:
            record.primary = False
        return
    record.attempt = max(reader.attempt + 1, rank.attempt or 1)
    logger.warning(
        "milepost: run %s exists; this is its attempt %d. The earlier one is kept. To go on with it instead: "
        'init(resume="allow")',
        record.id,
        record.attempt,
    )


def _resume(record: RunRecord, found: Found, reader: Any) -> None:
    """Take over what the run said so far."""
    from milepost.sdk.reading import replay
    from milepost.sdk.reading.rows import Wish

    writers = [w for w in reader.members if not w.parent and (w.rank or 0) == (record.rank or 0)] or reader.primary
    events = [event for writer in writers for event in writer.survey.events]
    facts = replay.facts(events)
    record.resumed = True
    record.name = record.name or str(facts.get("name") or "")
    record.group = record.group or facts.get("group")
    record.job_type = record.job_type or facts.get("job_type")
    record.tags = record.tags or tuple(facts.get("tags") or ())
    record.notes = record.notes or facts.get("notes")
    found.config = replay.config(events)
    found.summary = replay.live_summary(writers)
    last, _ = reader.select(record.rank or None).sample(Wish(), lambda value: value, 1)
    if last:
        record.start_step = last[0]["_step"] + 1
        record.earlier_runtime_s = last[0]["_runtime"]


def _last_crashed(project: Path) -> str | None:
    """The id of the last run of a project that crashed or was preempted on this machine."""
    from milepost.sdk.api import Api

    if not project.is_dir():
        return None
    for run in Api(project.parent).runs(project.name):
        if run.state in ("crashed", "preempted", "failed"):
            return str(run.id)
    return None


def _writable(chosen: Settings, refused: str = "") -> Path:
    """The runs directory, or where rows can be kept instead when it cannot be written (refused: known why); says so."""
    reasons = [refused] if refused else []
    roots = (
        chosen.dir,
        Path(tempfile.gettempdir()) / f"milepost-{os.getuid()}" / "runs",
        shared_memory() / "runs",
    )
    for root in roots[len(reasons) :]:
        if reasons and chosen.strict:
            break
        try:
            if root is not chosen.dir:
                root.parent.mkdir(mode=0o700, exist_ok=True)
                if not is_ours(root.parent):
                    raise PermissionError(errno.EPERM, f"{root.parent} belongs to somebody else")
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root):
                pass
        except OSError as error:
            reasons.append(f"{root}: {error.strerror or error}")
            continue
        if reasons:
            logger.warning(
                "milepost: the runs directory cannot be written (%s); this run is kept in %s. Fix the directory, or "
                "choose another with dir= or MILEPOST_DIR",
                reasons[0],
                root,
            )
        _ignore(root, chosen.project)
        return root
    raise Error(
        f"init(): no runs directory can be written: {'; '.join(reasons)}; choose another with dir= or MILEPOST_DIR"
    )


def _ignore(root: Path, project: str) -> None:
    """Keep runs out of the user's repository: the whole directory; where it holds other things (dir="."), only the project."""
    file = root / ".gitignore"
    with contextlib.suppress(OSError):
        with os.scandir(root) as found:
            shared = any(found)
        if shared:
            if file.exists() and file.read_bytes().startswith(_IGNORED[:10]):
                return
            file = root / project / ".gitignore"
            file.parent.mkdir()  # one that is there stays as it is: who removed the file wants his runs in the repository
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(fd, _IGNORED)
        os.close(fd)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Alone with a run's directory, against other processes that start the same run."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a folder or file system without locks: ranks then agree by starting apart
            fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, fd)
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield


def recover_later(root: Path) -> None:
    """Put away what dead processes left in shared memory for this runs directory, and complete their runs' files; remove what
    they left for runs that are gone. All off the caller's path."""
    with contextlib.suppress(OSError):
        if any(any(shared_memory().glob(kind)) for kind in ("*.ring", "*.stash", "*.spare")):
            threading.Thread(target=_recover, args=(root,), name="milepost-recover", daemon=True).start()


def _recover(root: Path) -> None:
    from milepost.sdk.encoding.abandoned import media_wait, remove_abandoned_media
    from milepost.sdk.recovery import recover, remove_abandoned

    try:
        recovered = recover(root)
        if recovered or media_wait(root):
            from milepost.sdk.encoding.orphans import (
                orphan_runs,
            )  # numpy with it: 100 ms, so only when there is something
            from milepost.sdk.syncing import complete

            for run_dir in dict.fromkeys([*recovered, *orphan_runs(root)]):
                complete(run_dir)
        remove_abandoned()  # last: what could be put in its place is there by now
        remove_abandoned_media()
    except Exception:
        logger.exception("milepost: recovering runs in %s failed; milepost sync tries it again", root)
