"""The program's side: hand the run to the shipper, start one where there is none, hear of trouble, wait at finish().

Nothing here waits but `finish()`. The drain's thread, which looks every 100 ms anyway, takes the next step that can be taken at
once: meet the shipper, hand over, hear what it says, and meet the next one when it has died. So a program that ships has no more
threads than one that does not, and loads next to nothing for it.

Where no shipper can be had (a frozen program, no private place to meet, a machine without processes to spare), the exporters run
on threads of the program (`on_threads.py`).
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from milepost.sdk.cursor import load_cursor, store_first
from milepost.sdk.delivery import Unsent
from milepost.sdk.errors import Error
from milepost.sdk.exporter import RunInfo
from milepost.sdk.routing import parts_of, wanted_by
from milepost.sdk.shipper.meeting import Meeting, Socket, connect, meeting, send, taken
from milepost.sdk.shipper.plan import Plan
from milepost.sdk.shipper.spawn import spawn

if TYPE_CHECKING:
    from milepost.sdk.shipper.on_threads import OnThreads

logger = logging.getLogger("milepost")

START_S: Final = 30.0
"""How long a new shipper may take until it listens, and then until it serves the run: a busy machine imports slowly."""
SEND_S: Final = 5.0
PAUSE_S: Final = 0.1
"""Between a shipper that was about to end, or died, and the next one."""
POLL_S: Final = 0.005
SPEAK_S: Final = 1.0
"""How long the end of a run waits for what is being said."""
ANSWER_S: Final = 0.25
"""How much later than it was told to the shipper may answer."""
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
        self._lock = threading.Lock()
        """Held by whoever takes steps: the drain's thread, or who finishes the run."""
        self._place: Meeting | None = None
        self._connection: Socket | None = None
        self._received = bytearray()
        self._answers: list[dict[str, Any]] = []
        self._ready = False
        self._ended = False
        self._starts = 0
        self._child = 0
        """The process that leaves a shipper behind, until it has ended."""
        self._not_before = 0.0
        self._until: float | None = None
        """When patience ends: with a shipper that was started and does not listen, or was asked and does not serve."""
        self._said: dict[str, float] = {}
        self._other: threading.Thread | None = None
        """Says something, or takes the exporters: what may take long is not for the drain's thread."""
        self._threads: OnThreads | None = None
        self.on_thread = ""
        """Why the exporters run on threads of the program, "" when they do not."""
        self.names: tuple[str, ...] = ()
        """The names of the routes, once they are known; trimming waits for them."""

    def start(self) -> None:
        """Begin. `init()` waits for nothing but small files."""
        self._leave_cursors()
        self.look()

    def look(self) -> None:
        """Take the next step, if there is one; called by the drain every 100 ms."""
        if self._lock.acquire(blocking=False):
            try:
                self._step()
            finally:
                self._lock.release()

    def _leave_cursors(self) -> None:
        """From now on whoever looks at the directory sees what is to be delivered, also when this program dies at once."""
        names: list[str] = []
        for each in self._plan.exporters:
            with contextlib.suppress(Error, OSError):
                for name, part in parts_of(each.name, each.component()).items():
                    names.append(name)
                    store_first(self._directory / f"cursor-{name}.json", name, wanted_by(part))
        self.names = tuple(names)

    def _step(self) -> None:
        if self._ended or self.on_thread:
            return
        try:
            self._reap()
            if self._connection is None and time.monotonic() >= self._not_before:
                self._meet()
            if self._connection is not None:
                self._hear(self._connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, the exporters then run here
            self.on_thread = str(error) or type(error).__name__
            self._elsewhere(self._take)

    def _meet(self) -> None:
        """Hand the run to the shipper that listens, or start one. Raises what hinders it."""
        runs_dir = Path(self._plan.run_dir).parent.parent
        place = self._place = self._place or meeting(runs_dir)
        now = time.monotonic()
        try:
            connection = connect(place.socket, 0.0)
        except (FileNotFoundError, ConnectionError, BlockingIOError):
            if self._until is None:
                self._count_start()
                self._child = spawn(runs_dir, place.log)
                self._until = now + START_S
            elif now >= self._until:
                raise Error(f"no shipper listens after {START_S:.0f} s; see {place.log}") from None
            return
        self._connection, self._until = connection, now + START_S
        try:
            connection.settimeout(SEND_S)
            send(connection, {"op": "serve", "plan": self._plan})
            connection.settimeout(0.0)
        except OSError:
            self._lost()

    def _count_start(self) -> None:
        self._starts += 1
        if self._starts > MAX_STARTS and self._place is not None:
            raise Error(f"{MAX_STARTS} shippers ended one after the other; see {self._place.log}")

    def _hear(self, connection: Socket) -> None:
        """Read what the shipper has said."""
        with contextlib.suppress(BlockingIOError):
            while True:
                try:
                    piece = connection.recv(4096)
                except ConnectionError:
                    piece = b""
                if not piece:
                    self._lost()
                    return
                self._received += piece
                try:
                    for message in taken(self._received):
                        self._understand(message)
                except (msgspec.MsgspecError, KeyError, TypeError):  # no shipper of ours
                    self._lost()
                    return
        if not self._ready and self._until is not None and time.monotonic() >= self._until:
            self._lost()

    def _understand(self, message: dict[str, Any]) -> None:
        match message.get("op"):
            case "trouble":
                self._warn(str(message["text"]))
            case "serving":
                self._ready, self._until = True, None
                self.names = tuple(message["routes"])
                for name, why in message["wrong"].items():
                    self._warn(f"exporter {name} cannot be made: {why}; its rows stay in the journal")
            case "settled":
                self._answers.append(message)
            case other:
                raise KeyError(other)

    def _lost(self) -> None:
        """The shipper was about to end, or died: meet the next one."""
        served, connection = self._ready, self._connection
        self._connection, self._ready, self._until = None, False, None
        self._received.clear()
        self._answers.clear()
        self._not_before = time.monotonic() + PAUSE_S
        if connection is not None:
            connection.close()
        if served:
            logger.info("milepost: the shipper is gone; the next one goes on")
        else:
            self._count_start()

    def _warn(self, text: str) -> None:
        now = time.monotonic()
        if now - self._said.get(text, -REPEAT_S) >= REPEAT_S and len(self._said) < 50:
            self._said[text] = now
            self._elsewhere(logger.warning, "milepost: %s", text)

    def _elsewhere(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do what may take long on a thread of its own: a terminal that stands still, too, holds up whoever writes to it."""
        thread = threading.Thread(target=work, args=arguments, name="milepost-shipping", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # an interpreter that ends starts no thread any more
            work(*arguments)
        else:
            self._other = thread

    def _take(self) -> None:
        from milepost.sdk.shipper.on_threads import OnThreads

        threads = OnThreads(self._plan, self._info, self._directory, self.on_thread)
        self.names = threads.names
        self._threads = threads

    def _reap(self) -> None:
        if self._child:
            try:
                if os.waitpid(self._child, os.WNOHANG)[0]:
                    self._child = 0
            except ChildProcessError:  # the program waits for any child, and got this one
                self._child = 0

    # -- the end -----------------------------------------------------------------------------------------------------------

    def finish(self, seq: int, deadline: float) -> list[Unsent]:
        """Wait until everything up to number `seq` is delivered, or for the deadline (time.monotonic); what is not.

        All of the writer's rows are in the journal when this is called.
        """
        if not self._lock.acquire(timeout=max(deadline - time.monotonic(), 0.0)):
            return self._as_stored("the shipper is being asked already")
        try:
            return self._finish(seq, deadline)
        except Exception as error:  # noqa: BLE001 - a run ends whatever happens here
            return self._as_stored(str(error))
        finally:
            self._ended = True
            if self._connection is not None:
                self._connection.close()
            while self._child and time.monotonic() < deadline:
                self._reap()
                time.sleep(POLL_S)
            if self._other is not None:
                self._other.join(SPEAK_S)
            self._lock.release()

    def _finish(self, seq: int, deadline: float) -> list[Unsent]:
        asked: Socket | None = None
        while (left_s := deadline - time.monotonic()) > (0.0 if asked is None else -ANSWER_S):
            self._step()
            if self.on_thread:
                return self._finish_here(deadline)
            connection = self._connection
            if self._ready and connection is not None and asked is not connection:
                asked = connection
                try:
                    send(connection, {"op": "finish", "writer": self._info.writer, "seq": seq, "timeout_s": left_s})
                except OSError:
                    self._lost()
            for answer in self._answers:
                if answer["known"]:
                    return self._unsent(answer)
                self._lost()  # it serves the run no more: it, or the next one, is to serve it again
                break
            time.sleep(POLL_S)
        return self._as_stored("the shipper does not answer")

    def _unsent(self, answer: dict[str, Any]) -> list[Unsent]:
        """What is left, as the shipper says."""
        routes = [each["name"] for each in answer["routes"]]
        missing = [
            Unsent(each.name, 0, "it cannot be made")
            for each in self._plan.exporters
            if not any(name == each.name or name.startswith(f"{each.name}-") for name in routes)
        ]
        return missing + [
            Unsent(str(each["name"]), int(each["rows"]), str(each["error"]), tuple(each["wants"]))
            for each in answer["routes"]
            if not each["settled"]
        ]

    def _as_stored(self, error: str) -> list[Unsent]:
        """What the stored cursors say, where nobody else says anything."""
        cursors = [load_cursor(self._directory / f"cursor-{name}.json", name) for name in self.names]
        return [Unsent(cursor.exporter, cursor.rows, cursor.last_error or error, cursor.wants) for cursor in cursors]

    def _finish_here(self, deadline: float) -> list[Unsent]:
        if self._other is not None:
            self._other.join(max(deadline - time.monotonic(), 0.0))
        return self._as_stored(self.on_thread) if self._threads is None else self._threads.finish(deadline)

    def forget(self) -> None:
        """In a forked child: the connection is the parent's, which would be thought alive as long as a copy is open."""
        self._ended = True
        if self._threads is not None:
            self._threads.close()
        if self._connection is not None:
            with contextlib.suppress(OSError):
                os.close(self._connection.detach())
