"""Programs whose rows go through a shipper to a back end of the tests, and the shippers that they start."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

from milepost.sdk.shipper.listening import meetings
from milepost.sdk.shipper.release import status
from tests.reliability.double import installed
from tests.reliability.fault_server import FaultServer, Item, Request
from tests.reliability.oracle import Verdict, judge
from tests.reliability.programs import REPOSITORY, Program

QUIET: dict[str, Any] = {"capture": False, "shipper": {"linger": 500}}

LOGS = """
import contextlib
run = milepost.init(project="reliability", id=ID, dir=DIR, exporters={exporters!r}, settings={settings!r})
log_calls(run, "plain", ACKS, **{calls!r})
while {until!r} and not Path({until!r}).exists():
    time.sleep(0.01)
from tests.reliability.clock import lateness
with lateness(Path(DIR)) if {timed!r} else contextlib.nullcontext() as late:
    print("finish begins", time.time(), flush=True)
    began = time.monotonic()
    milepost.finish(timeout={timeout!r})
    took = time.monotonic() - began
print("finish took", took, "while this machine was late by", getattr(late, "s", 0.0), flush=True)
"""


class Oracle(Protocol):
    """What both fault servers remember."""

    accepted: list[Item]
    requests: list[Request]

    def seqs(self) -> list[tuple[str, int]]: ...


class Site:
    """A folder with the double installed, for the programs of one test and for `milepost` in this process."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        path = installed(directory / "double")
        monkeypatch.syspath_prepend(path)
        self.environment = {"PYTHONPATH": os.pathsep.join(map(str, (REPOSITORY, path)))}

    def program(
        self,
        name: str,
        exporters: Sequence[Any],
        *,
        settings: Mapping[str, Any] | None = None,
        timeout_s: float = 30.0,
        until: Path | None = None,
        timed: bool = False,
        **calls: Any,
    ) -> Program:
        """A program that logs `plain` calls and finishes its run, when the file `until` is there if one is given; started.

        timed: it also says how late the machine was during finish() (clock.py).
        """
        text = LOGS.format(
            exporters=list(exporters),
            settings=QUIET | dict(settings or {}),
            calls=calls,
            timeout=timeout_s,
            until="" if until is None else str(until),
            timed=timed,
        )
        return self.script(name, text)

    def script(self, name: str, text: str) -> Program:
        """A program of these lines, started."""
        return Program(self.directory, name).script(text, environment=self.environment)


def lines(server: FaultServer, name: str = "http_lines", **options: Any) -> dict[str, Any]:
    """The double as an entry of `exporters`."""
    return {name: {"url": server.url, **options}}


def shippers() -> list[int]:
    """The process ids of the shippers that are about."""
    found = [status(path) for path in meetings()]
    return [int(str(each["pid"])) for each in found if each is not None]


def end_shippers() -> None:
    """Kill the shippers that a test left, in its own shared memory."""
    for pid in shippers():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_for(condition: Callable[[], bool], what: str, patience_s: float = 60.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {patience_s:.0f} s in vain for {what}"
        time.sleep(0.02)


def judged(server: Oracle, program: Program, *, tried: int = 0) -> Verdict:
    """Hold what the back end acknowledged, each (writer, seq) once, against the calls of a program that returned."""
    run = f"reliability/{program.name}"
    once = {(item["writer"], item["seq"]): item["values"] for item in list(server.accepted) if item["run"] == run}
    return judge(once.values(), program.name, "plain", program.acks[0], tried=tried)


def doubled(server: Oracle) -> int:
    """How many items were acknowledged more than once."""
    seqs = server.seqs()
    return len(seqs) - len(set(seqs))


def doubled_although_heard(server: FaultServer) -> int:
    """How many items were sent again after an acknowledgement that arrived: requests went on on its connection."""
    return len(_again(server, lambda request: request.heard))


def doubled_although_told(server: Oracle, timeout_s: float) -> list[str]:
    """What was sent again although the client could hear the first acknowledgement, as lines of the server's log.

    It could where it waited for less than its timeout; over gRPC where half of that was left, for a busy machine may be late.
    """

    def could_hear(request: Request) -> bool:
        if request.left_s is not None:
            return request.left_s > timeout_s / 2
        return request.heard or 0 < request.waited_s < 0.9 * timeout_s

    return [str(request) for request in _again(server, could_hear)]


def _again(server: Oracle, settles: Callable[[Request], bool]) -> list[Request]:
    """Each request with an item that one before it had settled, behind that one."""
    settled: dict[tuple[str, int], Request] = {}
    found: list[Request] = []
    for request in list(server.requests):
        items = [(item["writer"], item["seq"]) for item in request.items]
        before = [settled[item] for item in items if item in settled]
        if before:
            found += [*before[:1], request]
        if settles(request):
            settled.update(dict.fromkeys(items, request))
    return found


@contextlib.contextmanager
def shared_memory_of_its_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Rings and shippers of one test, which end with it."""
    root.mkdir(exist_ok=True)
    monkeypatch.setenv("MILEPOST_SHM", str(root))
    try:
        yield
    finally:
        end_shippers()
