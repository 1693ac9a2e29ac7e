"""The encoder's process: a child at low priority that makes files of payloads, one after the other.

It is started with the first media of a run and ends when the program does, however that ends, for then its input ends. Both
sides speak in records of msgpack, each behind its length. What a file costs is so never taken from the program's threads, and
a payload that kills its encoder kills nothing else.

While the program trains, a thread of low priority does the work. On a machine whose cores are all busy it gets a tenth of one;
so when somebody waits for the files (an empty record says so), threads of ordinary priority take over with the next one, as many
as there are cores (`MAX_AT_ONCE` at the most): the program waits, too. A process without privileges can give priority away and
not take it back, hence other threads.

Where no process can be started, a thread of the program does the work (queue.py), at ordinary priority: it could not get it
back once somebody waits.
"""

import contextlib
import os
import select
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO, Final

import msgspec

from milepost.sdk.encoding.encode import Encoders
from milepost.sdk.encoding.payload_file import Note, read
from milepost.sdk.encoding.trust import EncoderRefused
from milepost.sdk.text import told

MAX_SECONDS: Final = 600.0
"""How long one file may take."""
CALM: Final = 10
"""How much nicer than the program the encoder is while nobody waits for it."""
_START: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.buffer.readline()); "
    "from milepost.sdk.encoding.process import main; main(int(sys.argv[1]))"
)
MAX_AT_ONCE: Final = 4
"""Files that are made at a time while somebody waits."""


class Job(msgspec.Struct, kw_only=True, frozen=True):
    """What the child is asked: note, where the payload is (in a file of the stash, or in data), the children's final mappings."""

    note: Note
    path: str
    run_dir: str
    at: int = 0
    data: bytes | None = None
    children: list[Any] = []


class EncoderGone(Exception):
    """The child ended, or had to be ended, in the middle of its work; the text says how."""


def made(encoders: Encoders, job: Job) -> dict[str, Any]:
    """Do a job: the facts of its file, or {"error": why there is none}, with "kept" where another Python may make it."""
    try:
        if job.data is not None:
            note, data = job.note, memoryview(job.data)
        else:
            found = read(Path(job.path), job.at)
            if found is None or (found[0].writer, found[0].number) != (job.note.writer, job.note.number):
                return {"error": "what was kept of it cannot be read"}
            note, data = found
        return encoders.encode(note, data, Path(job.run_dir), job.children)
    except OSError as error:
        return {"error": f"{error.strerror or error}", "again": True}
    except (EncoderRefused, ModuleNotFoundError) as error:
        return {"error": told(error), "kept": True} if encoders.of_files else {"error": told(error)}
    except (Exception, SystemExit) as error:  # noqa: BLE001 - encoders are foreign code, and the reason is kept in the row
        return {"error": told(error) if isinstance(error, Exception) else "the encoder called exit"}


class EncoderProcess:
    """The program's side. Used by one thread, but for `hurry`. Raises OSError when the child cannot be started.

    one_by_one: never more than one file at a time, so that it is known which one it was that killed its encoder.
    """

    def __init__(self, *, one_by_one: bool = False) -> None:
        import json

        if getattr(sys, "frozen", False) or not sys.executable:
            raise OSError("this program has no Python to start")
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, "1" if one_by_one else str(min(_cores(), MAX_AT_ONCE))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            process_group=0,  # no Ctrl-C; a session of its own would have its own share of the processors, however nice it is
            bufsize=0,  # what is in a buffer, select does not see
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._to, self._from = self._child.stdin, self._child.stdout
        self._sending = threading.Lock()
        self._hurried = False
        paths = [os.path.abspath(path) for path in sys.path]
        self._guard(lambda: self._to.write(json.dumps(paths).encode() + b"\n"))

    def ask(self, job: Job) -> None:
        """Hand a job over."""
        record = msgspec.msgpack.encode(job)
        self._guard(lambda: _send(self._to, record))

    def hurry(self) -> None:
        """Somebody waits: from the next file on the child works at ordinary priority. From any thread."""
        if not self._hurried:
            self._hurried = True
            self._guard(lambda: _send(self._to, b""))

    def answer(self) -> dict[str, Any]:
        """The answer to the oldest job. Raises EncoderGone."""
        ready, _, _ = select.select([self._from], [], [], MAX_SECONDS)
        if not ready:
            self.close()
            raise EncoderGone(f"the encoder took more than {MAX_SECONDS:.0f} s")
        record = _receive(self._from)
        if record is None:
            code = self.close()
            raise EncoderGone(
                f"the encoder's process was killed by signal {-code}" if code < 0 else "the encoder's process ended"
            )
        facts: dict[str, Any] = msgspec.msgpack.decode(record)
        return facts

    def close(self) -> int:
        """End the child; its exit code."""
        with contextlib.suppress(OSError):
            self._to.close()
        try:
            code = self._child.wait(0.5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            code = self._child.wait()
        self._from.close()
        return code

    def forget(self) -> None:
        """In a forked child: close the inherited ends, so that the encoder sees its program's end."""
        for pipe in (self._to, self._from):  # without buffers, so that nothing is written by closing them
            with contextlib.suppress(OSError):
                pipe.close()
        self._child.returncode = 0  # it is the parent's to wait for

    def _guard(self, write: Any) -> None:
        # What is the matter shows when its answer is read. A pipe that was closed meanwhile is a ValueError.
        with self._sending, contextlib.suppress(OSError, ValueError):
            write()


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(at_once: int) -> None:
    """What the child does until its input ends. at_once: files while somebody waits."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # an encoder that prints must not speak on this line
    jobs: SimpleQueue[Job] = SimpleQueue()
    hurried = threading.Event()
    threading.Thread(target=_work, args=(jobs, hurried.is_set, answers, at_once), daemon=True).start()
    decode = msgspec.msgpack.Decoder(Job).decode
    while (record := _receive(requests)) is not None:
        if record:
            jobs.put(decode(record))
        else:
            hurried.set()
    os._exit(0)  # the program is gone: an encoder that hangs would keep this process


def _work(jobs: "SimpleQueue[Job]", hurried: Callable[[], bool], answers: BinaryIO, at_once: int) -> None:
    """Answer jobs, in order; each is done by a thread of the priority that is right by now."""
    from concurrent.futures import Future, ThreadPoolExecutor  # 5 ms that the program's own process does not need

    encoders = Encoders()
    calm, ordinary = ThreadPoolExecutor(1, initializer=_be_nice), ThreadPoolExecutor(at_once)
    running: deque[Future[dict[str, Any]]] = deque()
    while True:
        with contextlib.suppress(Empty):
            while len(running) < (at_once if hurried() else 1):
                job = jobs.get(block=not running)
                running.append((ordinary if hurried() else calm).submit(made, encoders, job))
        facts = running.popleft().result()
        try:
            encoded = msgspec.msgpack.encode(facts)
        except (TypeError, ValueError) as error:
            encoded = msgspec.msgpack.encode({"error": f"the encoder's fields cannot be stored: {error}"})
        try:
            _send(answers, encoded)
            answers.flush()
        except OSError:
            return


def _be_nice() -> None:
    """Give the priority of this thread away."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + CALM)


def _send(pipe: Any, record: bytes) -> None:
    view = memoryview(len(record).to_bytes(4, "little") + record)
    while view:
        view = view[pipe.write(view) :]


def _receive(pipe: BinaryIO | Any) -> bytes | None:
    """The next record, or None at the end."""
    head = _read(pipe, 4)
    return None if head is None else _read(pipe, int.from_bytes(head, "little"))


def _read(pipe: Any, size: int) -> bytes | None:
    """Exactly so many bytes, or None at the end."""
    pieces = bytearray()
    while len(pieces) < size:
        piece = pipe.read(size - len(pieces))
        if not piece:
            return None
        pieces += piece
    return bytes(pieces)
