"""The program's side: a thread that hands the run to the shipper, starts one where there is none, and hears of trouble.

It waits for the shipper in one blocking read, so it costs nothing while training goes on. When the shipper dies, the next one
is started at once. Where no shipper can be had (a frozen program, no private place to meet, a machine without processes to
spare), the exporters run on threads of the program.
"""

import contextlib
import logging
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

import msgspec

try:
    from _queue import Empty, SimpleQueue
except ImportError:
    from queue import Empty, SimpleQueue  # which loads more than the program needs, for its other queues

from milepost.sdk.cursor import load_cursor, store_first
from milepost.sdk.delivery import Delivery, Unsent
from milepost.sdk.errors import Error
from milepost.sdk.exporter import RunInfo
from milepost.sdk.lanes import Lanes
from milepost.sdk.routing import parts_of, routes_of
from milepost.sdk.shipper.meeting import Meeting, connect, meeting, receive, send
from milepost.sdk.shipper.plan import Plan

logger = logging.getLogger("milepost")

START_S: Final = 30.0
"""How long a new shipper may take until it listens: a busy machine imports slowly."""
REPEAT_S: Final = 600.0
"""How long a text is not said again."""
MAX_STARTS: Final = 10
"""Shippers that a run starts one after the other before it takes its exporters on threads of its own."""


class Shipping:
    """One run's network exporters, as the program sees them. Made and started by the run, for each of its writers.

    directory: RUN_DIR/journal/WRITER.
    """

    def __init__(self, plan: Plan, info: RunInfo, directory: Path) -> None:
        self._plan = plan
        self._info = info
        self._directory = directory
        self._connection: socket.socket | None = None
        self._answers: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._ready = threading.Event()
        self._ended = threading.Event()
        self._starts = 0
        self._said: dict[str, float] = {}
        self._lanes: list[Lanes] = []
        self._alone = contextlib.ExitStack()
        """The locks of what is delivered on threads of this program."""
        self.names: tuple[str, ...] = ()
        """The names of the routes, once they are known; trimming waits for them."""
        self.on_thread = ""
        """Why the exporters run on threads of the program, "" when they do not."""

    def start(self) -> None:
        """Hand over, on a thread: `init()` waits for nothing but a small file."""
        self._leave_cursors()
        threading.Thread(target=self._run, name="milepost-shipping", daemon=True).start()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                connection = self._hand_over()
            except Exception as error:  # noqa: BLE001 - whatever it is, the exporters then run here
                if self._ended.is_set():
                    return  # its rows are for the next shipper
                self._take(str(error) or type(error).__name__)
                return
            self._connection = connection
            self._ready.set()
            if self._ended.is_set():  # too late for this program, in time for its rows
                connection.close()
                return
            self._listen(connection)
            self._ready.clear()
            self._answers.put(None)
            if not self._ended.is_set():
                logger.info("milepost: the shipper is gone; the next one goes on")

    def _leave_cursors(self) -> None:
        """From now on whoever looks at the directory sees what is to be delivered, also when this program dies at once."""
        names: list[str] = []
        for each in self._plan.exporters:
            with contextlib.suppress(Error, OSError):
                for name in parts_of(each.name, each.component()):
                    names.append(name)
                    store_first(self._directory / f"cursor-{name}.json", name)
        self.names = tuple(names)

    def _hand_over(self) -> socket.socket:
        """A connection to a shipper that serves the run. Raises what hinders it."""
        place = meeting(Path(self._plan.run_dir).parent.parent)
        while True:
            if self._starts >= MAX_STARTS:
                raise Error(f"{MAX_STARTS} shippers ended one after the other; see {place.log}")
            connection = self._connection_to(place)
            try:
                connection.settimeout(START_S)
                send(connection, {"op": "serve", "plan": self._plan})
                while (answer := receive(connection)) is not None and answer.get("op") == "trouble":
                    self._warn(str(answer["text"]))
            except (OSError, msgspec.MsgspecError):
                answer = None
            if answer is not None and answer.get("op") == "serving":
                connection.settimeout(None)
                self.names = tuple(answer["routes"])
                for name, why in answer["wrong"].items():
                    self._warn(f"exporter {name} cannot be made: {why}; its rows stay in the journal")
                return connection
            connection.close()  # it was about to end, or died
            self._starts += 1
            time.sleep(0.1)

    def _connection_to(self, place: Meeting) -> socket.socket:
        with contextlib.suppress(FileNotFoundError, ConnectionError):
            return connect(place.socket)
        self._starts += 1
        start(Path(self._plan.run_dir).parent.parent, place)
        deadline = time.monotonic() + START_S
        while True:
            try:
                return connect(place.socket)
            except (FileNotFoundError, ConnectionError):
                if time.monotonic() >= deadline:
                    raise Error(f"no shipper listens after {START_S:.0f} s; see {place.log}") from None
            time.sleep(0.02)

    def _listen(self, connection: socket.socket) -> None:
        """Hear what the shipper says until it is gone."""
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            while (message := receive(connection)) is not None:
                if message.get("op") == "trouble":
                    self._warn(str(message["text"]))
                else:
                    self._answers.put(message)
        connection.close()

    def _warn(self, text: str) -> None:
        now = time.monotonic()
        if now - self._said.get(text, -REPEAT_S) >= REPEAT_S and len(self._said) < 50:
            self._said[text] = now
            logger.warning("milepost: %s", text)

    def _take(self, why: str) -> None:
        """Run the exporters here."""
        self.on_thread = why
        logger.warning(
            "milepost: no shipper can be had (%s); the network exporters run on threads of this program", why
        )
        from milepost.sdk.syncing import delivering

        names: list[str] = []
        for each in self._plan.exporters:
            try:
                routes = routes_of(each.name, each.component())
            except Error as error:
                self._warn(f"exporter {each.name} cannot be made: {error}; its rows stay in the journal")
                continue
            for route in routes:
                names.append(route.name)
                if not self._alone.enter_context(delivering(self._directory, route.name)):
                    self._warn(f"another process is delivering to {route.name}; it is left to that one")
                    continue
                lanes = Lanes([Delivery(route, self._info, self._directory)], int)
                self._lanes.append(lanes)
                with contextlib.suppress(RuntimeError):  # an interpreter that ends starts no thread any more
                    lanes.start()
        self.names = tuple(names)
        self._ready.set()

    # -- the end -----------------------------------------------------------------------------------------------------------

    def finish(self, seq: int, deadline: float) -> list[Unsent]:
        """Wait until everything up to number `seq` is delivered, or for the deadline (time.monotonic); what is not.

        All of the writer's rows are in the journal when this is called.
        """
        try:
            found = self._finish(seq, deadline)
        except Exception as error:  # noqa: BLE001 - a run ends whatever happens here
            found = self._as_stored(str(error))
        self._ended.set()
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        return found

    def _finish(self, seq: int, deadline: float) -> list[Unsent]:
        while time.monotonic() < deadline and self._ready.wait(max(deadline - time.monotonic(), 0.0)):
            if self.on_thread:
                return self._finish_here(deadline)
            connection = self._connection
            if connection is None:
                continue
            left_s = max(deadline - time.monotonic(), 0.0)
            try:
                send(connection, {"op": "finish", "writer": self._info.writer, "seq": seq, "timeout_s": left_s})
                answer = self._answers.get(timeout=left_s + 0.25)
            except OSError:
                time.sleep(0.02)  # it died: its successor is asked
                continue
            except Empty:
                break
            if answer is not None and answer.get("known"):
                missing = [Unsent(name, 0, "it cannot be made") for name in self._missing(answer)]
                return missing + [
                    Unsent(str(each["name"]), int(each["rows"]), str(each["error"]), tuple(each["wants"]))
                    for each in answer["routes"]
                    if not each["settled"]
                ]
        return self._as_stored("the shipper does not answer")

    def _as_stored(self, error: str) -> list[Unsent]:
        """What the stored cursors say, where nobody else says anything."""
        cursors = [load_cursor(self._directory / f"cursor-{name}.json", name) for name in self.names]
        return [Unsent(cursor.exporter, cursor.rows, cursor.last_error or error, cursor.wants) for cursor in cursors]

    def _missing(self, answer: dict[str, Any]) -> list[str]:
        routes = [each["name"] for each in answer["routes"]]
        return [
            each.name
            for each in self._plan.exporters
            if not any(name == each.name or name.startswith(f"{each.name}-") for name in routes)
        ]

    def _finish_here(self, deadline: float) -> list[Unsent]:
        for lanes in self._lanes:
            lanes.finish(deadline)
        unsent: list[Unsent] = []
        for lanes in self._lanes:
            late = lanes.join(deadline - time.monotonic() + 0.2)
            unsent += [
                Unsent(delivery.route.name, delivery.cursor.rows, delivery.cursor.last_error, delivery.cursor.wants)
                for delivery in lanes.deliveries
                if delivery in late or delivery.pending()
            ]
        self._alone.close()
        return unsent

    def forget(self) -> None:
        """In a forked child: the connection is the parent's, which would be thought alive as long as a copy is open."""
        self._ended.set()
        self._alone.close()
        if self._connection is not None:
            with contextlib.suppress(OSError):
                os.close(self._connection.detach())


def start(runs_dir: Path, place: Meeting) -> None:
    """Start a shipper for a runs directory: a session of its own, its own log, no descriptor of this program. Raises OSError."""
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONINSPECT", "PYTHONSTARTUP")}
    environ["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # numpy counts: threads would only take memory
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        log = os.open(place.log, flags, 0o644)
    except OSError:
        log = os.open(os.devnull, flags)
    try:
        _left_behind(runs_dir, environ, log)
    finally:
        os.close(log)


def _left_behind(runs_dir: Path, environ: dict[str, str], log: int) -> None:
    """Start a process that leaves the shipper behind and ends; it closes what descriptors of the program come along.

    Not with `subprocess`, which would be loaded into the program for this alone, and takes 0.3 MiB.
    """
    command = [sys.executable, "-P", "-m", "milepost.sdk.shipper", str(runs_dir)]
    actions = (
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, log, 1),
        (os.POSIX_SPAWN_DUP2, log, 2),
    )
    try:
        pid = os.posix_spawn(sys.executable, command, environ, file_actions=actions, setsid=True)
    except NotImplementedError:  # not by this C library; it leaves the session a moment later
        pid = os.posix_spawn(sys.executable, command, environ, file_actions=actions)
    deadline = time.monotonic() + START_S
    with contextlib.suppress(ChildProcessError):  # the program waits for any child, and got this one
        while os.waitpid(pid, os.WNOHANG)[0] == 0 and time.monotonic() < deadline:
            time.sleep(0.005)
