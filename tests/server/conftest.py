"""Real servers: `milepost server` as a process of its own, on a free port."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

Start = Callable[..., "Server"]
SCRIPT = "from milepost.sdk.cli import main; main()"
"""What a server's process runs."""


class Server:
    """A server process. url: where it listens; `stop()` ends it as Ctrl-C does, `kill()` as SIGKILL does."""

    def __init__(self, arguments: list[str], environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, "server", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        assert self.process.stdout is not None
        self.said: list[str] = []
        for line in self.process.stdout:
            self.said.append(line)
            if match := re.search(r"at (http://[^\s\"]+)", line):
                self.url = match[1]
                return
        self.process.stdout.close()
        self.process.wait(60)
        raise AssertionError(f"the server did not start: {''.join(self.said)}")

    def client(self, key: str | None = None) -> httpx.Client:
        """A client; key: an API key."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)

    def stop(self) -> int:
        """End it; its exit code."""
        self.process.terminate()
        return self._ended()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self._ended()

    def _ended(self) -> int:
        assert self.process.stdout is not None
        self.said += self.process.stdout.readlines()
        self.process.stdout.close()
        return self.process.wait(60)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start servers; they are ended with the test."""
    started: list[Server] = []

    def begin(*arguments: str | Path, environment: dict[str, str] | None = None) -> Server:
        started.append(Server([str(argument) for argument in arguments], environment))
        return started[-1]

    yield begin
    for server in started:
        if server.process.poll() is None:
            server.kill()


ADMIN_KEY = "mp_first_" + "a" * 40


@pytest.fixture
def data_server(start: Start) -> Callable[[], Server]:
    """Start a server with a store of its own in ./data, which takes `ADMIN_KEY`; again after it was ended."""
    return lambda: start("--data", "data", environment={**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY})
