"""The process: listens for programs, serves their runs, stays a while after the last one, and says what is left when it goes.

One thread for each program that is connected (a program that is gone closes its connection, whatever becomes of it), one for
each fifo, and one that looks around every second, for new writers and for what dead ones left.
"""

import contextlib
import fcntl
import logging
import os
import select
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from milepost.sdk.shipper.catching_up import older_runs
from milepost.sdk.shipper.fifo import unknown
from milepost.sdk.shipper.listening import listen, receive
from milepost.sdk.shipper.meeting import PROTOCOL, Meeting, is_mine, meeting, send
from milepost.sdk.shipper.plan import Plan, decode_plan
from milepost.sdk.shipper.serving import Served

logger = logging.getLogger("milepost")

LOOK_S: Final = 1.0
LOCK_S: Final = 10.0
FIRST_S: Final = 10.0
"""How long the program that started it may take to come."""
FINISH_POLL_S: Final = 0.02
MAX_LOG_BYTES: Final = 4 * 2**20


class _Program:
    """A connection to a program. Two threads may speak to it: the one that answers, and a fifo that has trouble to tell."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.run_dir = ""
        self._lock = threading.Lock()

    def say(self, message: dict[str, Any]) -> None:
        with self._lock:
            send(self.connection, message)


class Shipper:
    """What the process holds: the runs that it serves, by directory, and the programs that are connected."""

    def __init__(self, runs_dir: Path, place: Meeting) -> None:
        self._runs_dir = runs_dir
        self._place = place
        self._lock = threading.Lock()
        self._served: dict[str, Served] = {}
        self._programs: set[_Program] = set()
        """Those that have a run here."""
        self._searched: set[str] = set()
        self._searches = 0
        """How many threads look for older runs."""
        self._leaving: list[Served] = []
        """Runs that were let go of last, of which the note may still have to be taken away."""
        self._ending = False
        self._linger_s = FIRST_S
        self._active_at = time.monotonic()
        self._inode = 0

    def run(self, listener: socket.socket) -> None:
        """Serve until nobody needs it any more.

        A program that was let in and has said nothing yet when the end is decided meets a closed connection, and starts the
        next shipper.
        """
        self._inode = self._place.socket.stat().st_ino
        threading.Thread(target=self._look_around, name="milepost-look", daemon=True).start()
        while True:
            readable, _, _ = select.select([listener], [], [], LOOK_S)
            if readable:
                with contextlib.suppress(OSError):
                    connection, _ = listener.accept()
                    threading.Thread(
                        target=self._hear, args=(_Program(connection),), name="milepost-program", daemon=True
                    ).start()
            if self._over():
                break
        listener.close()
        with contextlib.suppress(OSError):
            if self._place.socket.stat().st_ino == self._inode:
                self._place.socket.unlink()
        self._farewell()

    def _look_around(self) -> None:
        """A thread of its own: directories may take a while to read, and nobody is kept waiting."""
        while True:
            time.sleep(LOOK_S)
            with self._lock:
                served = list(self._served.values())
            for each in served:
                try:
                    each.recover()
                    each.look()
                except Exception:
                    logger.exception("milepost: looking after %s failed; it is tried again", each.run_dir)
            _turn_log(self._place.log)
            with self._lock:
                connected = {program.run_dir for program in self._programs}
                over = [
                    run_dir
                    for run_dir, each in self._served.items()
                    if run_dir not in connected and each.idle and not (each.living or each.recovering or each.wrong)
                ]
                self._leaving = done = [self._served.pop(run_dir) for run_dir in over]
            for each in done:
                each.stop(1.0)
                each.note()

    def _over(self) -> bool:
        with self._lock:
            busy = self._wanted or any(each.living or each.recovering for each in self._served.values())
            moved_at = max((each.moved_at for each in self._served.values()), default=0.0)
        if busy:
            self._active_at = time.monotonic()
        try:
            gone = self._place.socket.stat().st_ino != self._inode
        except OSError:
            gone = True  # somebody took the socket away: nobody can come any more
        idle_s = time.monotonic() - max(self._active_at, moved_at)
        if busy or not (idle_s >= self._linger_s or gone):
            return False
        with self._lock:  # nobody comes from now on: what is taken up at the end would be broken off, and nobody told
            self._ending = not self._wanted
            return self._ending

    @property
    def _wanted(self) -> bool:
        """Whether a program is connected, or older runs are looked for. Called with the lock held."""
        return bool(self._programs or self._searches)

    def _farewell(self) -> None:
        with self._lock:
            served = [*self._leaving, *self._served.values()]
        for each in served:
            each.stop(0.0)
        for each in served:
            each.stop(5.0)
            left = each.note()
            for line in left:
                logger.warning("milepost: %s: %s", each.run_dir, line)
            if left:
                logger.warning("milepost: the shipper ends; deliver what is left with: milepost sync %s", each.run_dir)
        logger.info("milepost: the shipper of %s ends", self._runs_dir)

    # -- one program ---------------------------------------------------------------------------------------------------------

    def _hear(self, program: _Program) -> None:
        try:
            if not is_mine(program.connection):
                return
            while (message := receive(program.connection)) is not None:
                program.say(self._answer(program, message))
        except (OSError, msgspec.MsgspecError, ValueError, KeyError):
            pass  # the program is gone, or is none of ours
        except Exception:
            logger.exception("milepost: a program was not understood")
        finally:
            with self._lock:
                if program in self._programs:
                    self._programs.discard(program)
                    self._active_at = time.monotonic()
            program.connection.close()

    def _answer(self, program: _Program, message: dict[str, Any]) -> dict[str, Any]:
        match message.get("op"):
            case "serve":
                return self._serve(program, decode_plan(message["plan"]))
            case "finish":
                return self._finish(
                    program.run_dir, str(message["writer"]), int(message["seq"]), float(message["timeout_s"])
                )
            case "release":
                return self._release(str(message["run_dir"]))
            case "status":
                with self._lock:
                    runs = {run_dir: each.routes for run_dir, each in self._served.items()}
                return {
                    "op": "status",
                    "pid": os.getpid(),
                    "runs": runs,
                    "programs": len(self._programs),
                    "log": str(self._place.log),
                }
            case other:
                return {"op": "unknown", "what": str(other), "protocol": PROTOCOL}

    def _serve(self, program: _Program, plan: Plan) -> dict[str, Any]:
        with self._lock:
            if self._ending:
                raise ConnectionAbortedError("this shipper ends")
            self._linger_s = max(self._linger_s, plan.linger_s) if self._programs else plan.linger_s
            self._active_at = time.monotonic()
            program.run_dir = plan.run_dir
            self._programs.add(program)
            served = self._served.get(plan.run_dir)
            if served is None:
                served = self._served[plan.run_dir] = Served(plan, lambda text: self._tell(plan.run_dir, text))
                fresh = True
            else:
                fresh = False
            others = [
                each
                for run_dir, each in self._served.items()
                if run_dir != plan.run_dir and all(program.run_dir != run_dir for program in self._programs)
            ]
        if fresh:
            served.look()
        else:
            served.update(plan)
        for each in others:
            each.renew(plan)
        self._search(plan)
        logger.info("milepost: serving %s: %s", plan.run_dir, ", ".join(served.routes) or "nothing")
        return {
            "op": "serving",
            "pid": os.getpid(),
            "routes": served.routes,
            "wrong": served.wrong,
            "log": str(self._place.log),
        }

    def _tell(self, run_dir: str, text: str) -> None:
        with self._lock:
            programs = [program for program in self._programs if program.run_dir == run_dir]
        for program in programs:
            with contextlib.suppress(OSError):
                program.say({"op": "trouble", "text": text})

    def _search(self, plan: Plan) -> None:
        """Older runs of the directory, whose programs are gone and which had the same exporters, are served, too."""
        with self._lock:
            names = {each.name for each in plan.exporters} - self._searched
            self._searched |= names
            self._searches += bool(names)
        if names:
            threading.Thread(target=self._take_older, args=(plan, names), name="milepost-older", daemon=True).start()

    def _take_older(self, plan: Plan, names: set[str]) -> None:
        try:
            for found in older_runs(self._runs_dir, plan, names):
                with self._lock:
                    if found.run_dir in self._served:
                        continue
                    served = self._served[found.run_dir] = Served(found, lambda text: None)
                logger.info("milepost: %s has rows that were not delivered", found.run_dir)
                served.look()
        except Exception:
            logger.exception("milepost: looking for older runs in %s failed", self._runs_dir)
        finally:
            with self._lock:
                self._searches -= 1
                self._active_at = time.monotonic()

    def _finish(self, run_dir: str, writer: str, seq: int, timeout_s: float) -> dict[str, Any]:
        """Wait until the writer's rows up to number `seq` are delivered, or nothing can be expected within the time."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            served = self._served.get(run_dir)
        if served is None:
            return {"op": "settled", "routes": [], "known": False}
        served.hurry()
        while True:
            found = {each.exporter: each for each in served.standing(writer)}
            standing = [found.get(name) or unknown(name, writer) for name in served.routes]
            left = [each for each in standing if not (each.settled or each.seq >= seq)]
            left_s = deadline - time.monotonic()
            if not left or left_s <= 0 or all(each.next_try_s > left_s for each in left):
                break  # all is there; or the time is over; or it is, before anything is tried again
            time.sleep(min(FINISH_POLL_S, max(deadline - time.monotonic(), 0.0)))
        routes = [
            {
                "name": each.exporter,
                "rows": each.rows,
                "settled": each not in left,
                "error": each.error,
                "wants": each.wants or served.wants.get(each.exporter, ()),
            }
            for each in standing
        ]
        return {"op": "settled", "routes": routes, "known": True}

    def _release(self, run_dir: str) -> dict[str, Any]:
        """Somebody else wants to deliver a run whose programs are gone."""
        with self._lock:
            served = self._served.get(run_dir)
            if served is None:
                return {"op": "released", "ok": True}
            if any(program.run_dir == run_dir for program in self._programs):
                return {"op": "released", "ok": False}
            del self._served[run_dir]
        return {"op": "released", "ok": served.stop(15.0)}


def main(runs_dir: Path) -> int:
    """Be the shipper of a runs directory, unless there is one."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format=f"%(asctime)s {os.getpid()} %(levelname)s %(message)s"
    )
    logging.captureWarnings(True)
    for noisy in ("httpx", "httpcore", "grpc", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    place = meeting(runs_dir)
    deadline = time.monotonic() + LOCK_S
    while (lock := _held(place.lock)) is None:  # another one lives: it listens, or is about to end
        if time.monotonic() >= deadline or _somebody_listens(place):
            return 0
        time.sleep(0.05)
    _turn_log(place.log)
    listener = listen(place.socket)
    logger.info("milepost: the shipper of %s begins, process %d", runs_dir, os.getpid())
    Shipper(runs_dir, place).run(listener)
    if _stands_at(lock, place.lock):  # or each directory that ever had a shipper would leave a file in shared memory
        place.lock.unlink(missing_ok=True)
    return 0


def _held(path: Path) -> int | None:
    """A descriptor that holds the lock of the file at a path, for as long as this process lives; None when another one does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _stands_at(descriptor, path):  # and is not that which another one took away at its end
            return descriptor
    os.close(descriptor)
    return None


def _stands_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _turn_log(path: Path) -> None:
    """Begin the log anew when it has become long; the old one is kept beside it."""
    with contextlib.suppress(OSError):
        if path.stat().st_size > MAX_LOG_BYTES:
            os.replace(path, path.with_suffix(".log.1"))
            log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)


def _somebody_listens(place: Meeting) -> bool:
    from milepost.sdk.shipper.meeting import connect

    try:
        connect(place.socket, 1.0).close()
    except OSError:
        return False
    return True
