"""Reserve: room on the disk that is given up so that a run can be deleted when there is none left.

Also a deletion is written to the database's log first. On a full disk nothing could be deleted, and so no room be made: the one
thing that whoever runs the server would do.
"""

import logging
import os
import shutil
import time
from pathlib import Path
from typing import Final

logger = logging.getLogger("milepost.server")

SIZE: Final = 16 << 20
"""What the deletion of a run of 100 MB writes: most of its pages are only let go of (5 MB were measured for 35)."""
MANY_TIMES: Final = 4
"""How many times as much has to be free for it to be made."""
LOOK_S: Final = 60.0


class Reserve:
    """A file of no use but its size, `reserve` in the data directory."""

    def __init__(self, data: Path) -> None:
        self._file = data / "reserve"
        self._look_at = 0.0

    def keep(self) -> None:
        """Make it where it is not there, and there is room enough. Looks once a minute."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK_S
        try:
            if self._file.exists() or shutil.disk_usage(self._file.parent).free < MANY_TIMES * SIZE:
                return
            fresh = self._file.with_name("reserve.new")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                _fill(descriptor)
            except OSError:
                fresh.unlink()  # half of it takes room, too
                raise
            finally:
                os.close(descriptor)
            fresh.replace(self._file)
        except OSError as error:
            logger.warning("milepost: no room can be kept for deletions on a full disk: %s", error)

    def give_up(self) -> bool:
        """Whether there was one, and its room is free now."""
        try:
            self._file.unlink()
        except OSError:
            return False
        self._look_at = time.monotonic() + LOOK_S
        logger.warning("milepost: the disk is full; the room that was kept for deletions is given up for one")
        return True


def _fill(descriptor: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, SIZE)
        return
    for _ in range(SIZE >> 20):
        os.write(descriptor, bytes(1 << 20))
