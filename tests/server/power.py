"""Power: a disk for a server that can lose its power, with what a disk may lose then: all that was written and not flushed.

    folder (ext4) -> loop device -> the file `disk` of a file system of this program (FUSE) -> an image

ext4, its journal and SQLite are the real ones. Every write that reaches `disk` is noted until the next flush. When the power is
cut, of these writes none, some or all are in the image, each sector of 512 bytes on its own, and no later one is: also in an
order that the kernel did not write in. Then the image is mounted as after a restart, and ext4 replays its journal.
"""

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from ctypes.util import find_library
from errno import EIO, ENOENT
from importlib import import_module
from pathlib import Path
from stat import S_IFDIR, S_IFREG
from typing import Any, Final

import pytest

SIZE: Final = 96 << 20
SECTOR: Final = 512
ROOT: Final = Path(__file__).resolve().parents[2]


class LossyDisk:
    """What FUSE asks for: one file, `disk`, whose bytes are those of an image. To open `cut` cuts the power."""

    use_ns = True  # what mfusepy asks for

    def __init__(self, image: Path, seed: int) -> None:
        self._image = os.open(image, os.O_RDWR)
        self._random = random.Random(seed)
        self._unflushed: list[tuple[int, bytes, bytes]] = []
        self._dead = False

    def getattr(self, path: str, _: object = None) -> dict[str, Any]:
        if path == "/":
            return {"st_mode": S_IFDIR | 0o700, "st_nlink": 2}
        if path in ("/disk", "/cut"):
            return {"st_mode": S_IFREG | 0o600, "st_nlink": 1, "st_size": SIZE if path == "/disk" else 0}
        raise OSError(ENOENT, path)

    def readdir(self, *_: object) -> list[str]:
        return [".", "..", "disk", "cut"]

    def open(self, path: str, _: object) -> int:
        if path == "/cut" and not self._dead:
            self._cut()
        return 0

    def read(self, _: str, size: int, offset: int, __: object) -> bytes:
        return os.pread(self._image, size, offset)

    def write(self, _: str, data: bytes, offset: int, __: object) -> int:
        if self._dead:
            raise OSError(EIO, "no power")
        self._unflushed.append((offset, bytes(data), os.pread(self._image, len(data), offset)))
        return os.pwrite(self._image, data, offset)

    def fsync(self, *_: object) -> int:
        if self._dead:
            raise OSError(EIO, "no power")
        self._unflushed.clear()
        return 0

    def _cut(self) -> None:
        self._dead = True
        share = self._random.choice((0.0, 0.5, 0.9, 1.0))
        print(
            f"power cut: {len(self._unflushed)} writes were not flushed, {share:.0%} of their sectors stay", flush=True
        )
        for offset, _, before in reversed(self._unflushed):
            os.pwrite(self._image, before, offset)
        for offset, data, _ in self._unflushed:
            for at in range(0, len(data), SECTOR):
                if self._random.random() < share:
                    os.pwrite(self._image, data[at : at + SECTOR], offset + at)


class Disk:
    """A folder on a disk that can lose its power. lost: how many writes were not flushed when it did, for each time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "disk"
        self._below = folder / "fuse"
        self._image = folder / "image"
        self._program: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Make it, and mount it."""
        for place in (self.folder, self._below):
            place.mkdir()
        with self._image.open("wb") as file:
            file.truncate(SIZE)
        _run("mkfs.ext4", "-q", "-F", str(self._image))
        self.on()

    def on(self) -> None:
        """Mount it, as after a restart."""
        command = [
            sys.executable,
            "-m",
            "tests.server.power",
            str(self._image),
            str(self._below),
            str(random.getrandbits(32)),
        ]
        self._program = subprocess.Popen(command, cwd=ROOT)
        until = time.monotonic() + 60
        while not (self._below / "disk").exists():
            assert time.monotonic() < until, "the file system below the disk did not start"
            assert self._program.poll() is None
            time.sleep(0.01)
        _run("mount", "-o", "loop", str(self._below / "disk"), str(self.folder))

    def cut(self) -> None:
        """Cut the power. What runs on it then meets errors; end it, and `on()` again after `off()`."""
        with (self._below / "cut").open("rb"):
            pass

    def off(self) -> None:
        """Unmount it."""
        for place in (self.folder, self._below):
            if os.path.ismount(place):
                _run("umount", str(place), tries=200)
        if self._program is not None:
            if not os.path.ismount(
                self._below
            ):  # else it ends by itself, and does not where it never came to be mounted
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._program.wait(60)
            self._program.kill()
            self._program.wait(60)
            self._program = None


@contextlib.contextmanager
def disk_of_its_own(folder: Path) -> Iterator[Disk]:
    """A disk for the time of a block. Skips where none can be made."""
    devices = all(Path(device).exists() for device in ("/dev/fuse", "/dev/loop-control"))
    if os.geteuid() != 0 or not devices or find_library("fuse") is None:
        pytest.skip("needs root: makes a disk that can lose its power")
    disk = Disk(folder)
    try:
        disk.make()
        yield disk
    finally:
        disk.off()


def _run(*command: str, tries: int = 1) -> None:
    for left in reversed(range(tries)):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not done.returncode:
            return
        assert left, f"{' '.join(command)}: {done.stderr}"
        time.sleep(0.05)


if __name__ == "__main__":
    mfusepy: Any = import_module("mfusepy")
    mfusepy.FUSE(LossyDisk(Path(sys.argv[1]), int(sys.argv[3])), sys.argv[2], foreground=True, nothreads=True)
