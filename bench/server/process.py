"""Served: `milepost server` in a process of its own, and what it and its compactor use of the machine."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx

from bench.measuring import cpu_of, memory_of

KEY: Final = "mp_first_" + "b" * 40


class Served:
    """A running server. url: where it listens."""

    def __init__(self, process: "subprocess.Popen[str]", url: str) -> None:
        self.process = process
        self.url = url
        self.host, _, port = url.removeprefix("http://").rpartition(":")
        self.port = int(port)

    def client(self) -> httpx.Client:
        """A client that keeps its connection, with a key that may do everything."""
        headers = {"Authorization": f"Bearer {KEY}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=120, trust_env=False)

    def compactor(self) -> int | None:
        """The process that compacts."""
        for listed in Path(f"/proc/{self.process.pid}/task").glob("*/children"):  # of the thread that started it
            if found := listed.read_text().split():
                return int(found[0])
        return None

    def pids(self) -> list[int]:
        """The server and its compactor."""
        return [pid for pid in (self.process.pid, self.compactor()) if pid is not None]

    def cpu_s(self) -> list[float]:
        """Processor seconds of the server and of its compactor."""
        return [cpu_of(pid) for pid in self.pids()]

    def rss_mb(self) -> list[float]:
        """Resident megabytes of the server and of its compactor."""
        return [memory_of(pid)[0] / 2**20 for pid in self.pids()]

    def reset_peak(self) -> None:
        """Count the peaks of memory from now on."""
        for pid in self.pids():
            with suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak_mb(self) -> list[float]:
        """The largest resident megabytes since `reset_peak`."""
        return [memory_of(pid)[1] / 2**20 for pid in self.pids()]


@contextmanager
def serve(option: str, directory: Path) -> Iterator[Served]:
    """A server over a directory until the end of the block. option: "--data" or "--runs"."""
    command = [sys.executable, "-c", "from milepost.sdk.cli import main; main()", "server", "--port", "0"]
    environment = {**os.environ, "MILEPOST_ADMIN_KEY": KEY}
    process: Any = subprocess.Popen(
        [*command, option, str(directory)], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if match := re.search(r"at (http://\S+)", line):
                yield Served(process, match[1])
                return
        raise RuntimeError(f"the server did not start: {''.join(said)}")
    finally:
        process.terminate()
        process.wait(120)
        process.stdout.close()
