"""Backup: a copy of a data directory that a server can be started with, made while another runs.

The database is copied by SQLite, page by page, as it was at one moment. Contents come after it: none is removed meanwhile, so
whatever the copied database refers to is there.
"""

import contextlib
import fcntl
import os
import shutil
import sqlite3
from pathlib import Path

from milepost.sdk.errors import UsageError
from milepost.server.store.sweep import backup_lock


def backup(data: Path, target: Path) -> tuple[int, int]:
    """Copy a data directory to a folder that is not there yet, or to an earlier backup; (bytes of database, contents copied).

    Raises `UsageError` when there is no store, or the target is something else.
    """
    source = data / "milepost.db"
    if not source.is_file():
        raise UsageError(f"{data} is no data directory of a milepost server: it has no milepost.db")
    if target.exists() and any(target.iterdir()) and not (target / "milepost.db").is_file():
        raise UsageError(f"{target} holds other things; name a new folder, or an earlier backup")
    if target.resolve() == data.resolve():
        raise UsageError(f"{target} is the data directory itself; name another folder")
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    with backup_lock(data, fcntl.LOCK_SH):
        try:
            return _copied(data, source, target)
        except sqlite3.Error as error:
            raise UsageError(f"{source} cannot be copied to {target}: {error}; what is there stays as it was") from None


def _copied(data: Path, source: Path, target: Path) -> tuple[int, int]:
    fresh = target / "milepost.db.new"
    fresh.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(source)) as old, contextlib.closing(sqlite3.connect(fresh)) as new:
        old.backup(new, pages=1000)
        found = new.execute("PRAGMA integrity_check").fetchone()[0]
        if found != "ok":
            raise UsageError(f"the copy of {source} is damaged: {found}")
    for journal in ("milepost.db-wal", "milepost.db-shm"):
        (target / journal).unlink(missing_ok=True)
    os.replace(fresh, target / "milepost.db")
    if (data / "secret").is_file():
        shutil.copy2(data / "secret", target / "secret")
    copied = 0
    for blob in (data / "blobs").glob("*/*"):
        place = target / "blobs" / blob.parent.name / blob.name
        if not place.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(blob, place.with_name(place.name + ".new"))
            os.replace(place.with_name(place.name + ".new"), place)
            copied += 1
    return (target / "milepost.db").stat().st_size, copied
