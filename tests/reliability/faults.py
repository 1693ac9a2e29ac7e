"""Faults: a full disk, an error from the k-th system call, a limit of the kernel. Each undoes itself.

What needs a privilege that is not there skips the test, with a reason that tests/allowed_skips.txt lists.
"""

import contextlib
import functools
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

CGROUPS = Path("/sys/fs/cgroup")


def needs_root(why: str) -> None:
    """Skip unless this is root."""
    if os.geteuid() != 0:
        pytest.skip(f"needs root: {why}")


@contextlib.contextmanager
def small_disk(path: Path, size_bytes: int) -> Iterator[Path]:
    """A file system of this size, mounted on `path`."""
    needs_root("mounts a small file system")
    path.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=777", "none", path],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"needs root: mounts a small file system ({done.stderr.strip()})")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@contextlib.contextmanager
def read_only(path: Path) -> Iterator[Path]:
    """An existing folder, read-only through a mount over itself."""
    needs_root("mounts a read-only file system")
    done = subprocess.run(["mount", "--bind", path, path], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs root: mounts a read-only file system ({done.stderr.strip()})")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


@contextlib.contextmanager
def immutable(path: Path) -> Iterator[Path]:
    """An existing folder in which not even root can make files."""
    needs_root("makes a folder immutable")
    done = subprocess.run(["chattr", "+i", path], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs a file system with chattr +i: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["chattr", "-i", path], check=True)


@contextlib.contextmanager
def memory_limit(size_bytes: int) -> Iterator[Path]:
    """A control group whose processes get no more memory than this; the kernel kills the one that wants more."""
    needs_root("makes a control group")
    first = CGROUPS / "memory"
    second = CGROUPS / "cgroup.controllers"
    if first.is_dir():
        group, limit = first / f"milepost-test-{os.getpid()}", "memory.limit_in_bytes"
    elif second.is_file() and "memory" in (CGROUPS / "cgroup.subtree_control").read_text().split():
        group, limit = CGROUPS / f"milepost-test-{os.getpid()}", "memory.max"
    else:
        pytest.skip("needs a memory control group")
    try:
        group.mkdir()
        (group / limit).write_text(str(size_bytes))
    except OSError as error:
        pytest.skip(f"needs a memory control group ({error.strerror})")
    try:
        yield group
    finally:
        deadline = time.monotonic() + 10
        while True:
            try:
                group.rmdir()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


@functools.cache
def _strace_works() -> str:
    """Why strace cannot be used here, or "" when it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    done = subprocess.run(
        ["strace", "-f", "-o", "/dev/null", "-e", "inject=getppid:error=EIO", "true"],
        check=False,
        capture_output=True,
        text=True,
    )
    return "" if done.returncode == 0 else f"strace may not trace here: {done.stderr.strip()[:100]}"


def strace(*injections: str, paths: Sequence[Path] = (), log: Path | None = None) -> list[str]:
    """What to put before a command so that its system calls fail or wait. injections: as strace's `-e inject=`.

    paths: only calls on these files and, for names relative to a folder, on that folder; they need not exist yet.
    log:   where strace writes down each such call. The k-th call is counted for each thread by itself.
    """
    missing = _strace_works()
    if missing:
        pytest.skip(f"needs strace: {missing}")
    calls = ",".join(dict.fromkeys(injection.partition(":")[0] for injection in injections))
    command = ["strace", "-f", "-y", "-qq", "--seccomp-bpf", "-o", str(log or "/dev/null"), "-e", f"trace={calls}"]
    for path in paths:
        command += ["-P", str(path)]
    for injection in injections:
        command += ["-e", f"inject={injection}"]
    return command
