"""MediaQueue: what one writer does with media: payloads are kept and numbered in `log()`, and encoded by the encoder's process.

    log() -> stash (or, up to 4 KiB, an event of kind "media.payload" in the ring)      the caller's thread
    thread milepost-media -> encoder's process -> file -> event of kind "media"          behind its back
    exporters get rows once the files of their media are known (delivery.py)

Whatever fails here is said once and stands in the row as `error`; the rest of the row is kept.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from milepost.media.base import Payload
from milepost.sdk.encoding import large
from milepost.sdk.encoding.encode import Encoders
from milepost.sdk.encoding.payload_file import Note
from milepost.sdk.encoding.process import EncoderGone, EncoderProcess, Job, made
from milepost.sdk.encoding.refs import Facts, MediaLeaf, filled, holds_payload, parsed, ref, refs, stored
from milepost.sdk.encoding.stash import Held, Stash
from milepost.sdk.gone import Whereabouts, whereabouts
from milepost.sdk.text import told
from milepost.sdk.writer import Writer

logger = logging.getLogger("milepost")

SMALL: Final = 4096
"""Bytes up to which a payload travels in the ring."""
IN_NEED: Final = 2**19
"""Bytes up to which it does so where no file can be made, for want of descriptors."""
WINDOW: Final = 4
"""Jobs that the encoder's process has at a time."""
MAX_TRIES: Final = 2
LINGER_S: Final = 0.03
"""How long the first payload after a pause waits for others."""
RETRY_S: Final = 1.0

Say = Callable[[str, Mapping[str, Any]], bool]
"""Add an event to the run's stream; whether it was stored."""


class _Waiting:
    """One payload on its way."""

    __slots__ = ("data", "held", "note", "tries")

    def __init__(self, note: Note, held: Held | None, data: bytes | None) -> None:
        self.note = note
        self.held = held
        self.data = data
        self.tries = 0


class MediaQueue:
    """The media of one writer. `take` is called under the run's lock, the rest from anywhere.

    in_call: adds an event inside `log()`. say: adds one from another thread.
    encode_in, max_waiting_bytes: the settings `media`.
    """

    def __init__(
        self,
        writer: Writer,
        in_call: Callable[[str, Mapping[str, Any]], Any],
        say: Say,
        encode_in: str = "process",
        max_waiting_bytes: int = 512 * 2**20,
    ) -> None:
        self._writer = writer
        self._in_call = in_call
        self._say = say
        self._encode_in = encode_in
        self._lies = writer.run_dir, whereabouts(writer.run_dir)
        self._stash = Stash(writer.id, use_memory=writer.ring is not None, max_bytes=max_waiting_bytes)
        self._numbers = 0
        self._unsettled = 0
        """Payloads of which it is not yet known what became of them."""
        self._waiting: deque[_Waiting] = deque()
        self._running: deque[_Waiting] = deque()
        self._facts: dict[int, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._process: EncoderProcess | None = None
        self._one_died = False
        """Whether an encoder's process did: of several files at a time it could be any that killed it."""
        self._encoders = Encoders()
        self._closing = False
        self._hurry = threading.Event()
        """Set while somebody waits in `flush`."""
        self._said: set[str] = set()

    # -- in log() ------------------------------------------------------------------------------------------------------------

    def take(self, values: Mapping[str, Any], step: int | str, nested: tuple[str, ...] = ()) -> dict[str, Any]:
        """The values with references in place of payloads, which are kept from here on.

        nested: the names that stood for dicts, where values are flat already: a file is named by the last key of its path.
        """
        out: dict[str, Any] = {}
        for name, value in values.items():
            kind = type(value)
            if kind is MediaLeaf or (kind is list and holds_payload(value)):
                out[name] = self._store(value, _last_key(name, nested), step)
                if kind is MediaLeaf and value.get("_type") == "chart-file" and f"{name}_table" not in values:
                    from milepost.media.chart import table_value

                    out[f"{name}_table"] = table_value(out[name])
            elif kind is dict and "_type" not in value and holds_payload(value):
                out[name] = self.take(value, step)
            else:
                out[name] = value
        return out

    def _store(self, value: Any, key: str, step: int | str) -> Any:
        whole = stored(value, lambda payload: self._number(payload, key, str(step)))
        if type(value) is MediaLeaf:  # whoever else holds it sees the same
            value.clear()
            value.update(whole)
        return whole

    def _number(self, payload: Payload, key: str, step: str) -> str:
        """Keep a payload; its reference. One that was kept before has one already."""
        writer = self._writer
        known = payload.stored.get(writer.id)
        if known is not None:
            return ref(writer.id, known)
        children = [stored(child, lambda inner: self._number(inner, key, step)) for child in payload.children]
        number = self._numbers
        self._numbers += 1
        data = payload.data
        size = len(data) if isinstance(data, (bytes, bytearray)) else data.nbytes
        note = Note(
            writer=writer.id,
            number=number,
            run_dir=str(writer.run_dir),
            key=key,
            step=step,
            folder=payload.folder,
            extension=payload.extension,
            encoder=payload.encoder,
            options=payload.options,
            children=children,
            size=size,
            lies=self._whereabouts(),
            kept=time.time(),
        )
        waiting: _Waiting | None
        try:
            waiting = self._keep(note, payload)
        except (OSError, TypeError, ValueError, OverflowError) as error:
            waiting = self._in_need(note, payload, error)
        if waiting is not None:
            with self._changed:
                self._waiting.append(waiting)
                self._unsettled += 1
                self._start()
                self._changed.notify_all()
        payload.stored[writer.id] = number
        return ref(writer.id, number)

    def _whereabouts(self) -> Whereabouts:
        """Where the run lies; looked at again when it was moved."""
        place = self._writer.run_dir
        if place != self._lies[0]:
            self._lies = place, whereabouts(place)
        return self._lies[1]

    def _keep(self, note: Note, payload: Payload) -> _Waiting:
        if note.size <= SMALL:
            return self._in_ring(note, payload)
        return _Waiting(note, self._stash.put(note, payload.data, self._writer.directory), None)

    def _in_ring(self, note: Note, payload: Payload) -> _Waiting:
        data = bytes(payload.data)
        self._in_call("media.payload", {"number": note.number, "note": msgspec.to_builtins(note), "data": data})
        return _Waiting(note, None, data)

    def _in_need(self, note: Note, payload: Payload, error: Exception) -> _Waiting | None:
        """No file took it, in memory or on disk: the ring does, which needs no descriptor; or the row says why."""
        if isinstance(error, OSError) and note.size <= IN_NEED:
            waiting = self._in_ring(note, payload)
            if not self._writer.has_gap:
                return waiting
        reason = f"it could not be kept: {getattr(error, 'strerror', None) or told(error)}"
        self._warn("kept", f'the media "{note.key}" at step {note.step} has no file: {reason}')
        self._facts[note.number] = {"error": reason}
        self._in_call("media", {"number": note.number, "error": reason})
        return None

    # -- behind its back -----------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Start the thread, if there is none."""
        if self._thread is None and not self._closing:
            thread = threading.Thread(target=self._run, name="milepost-media", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no more threads: flush does the work
                self._warn(
                    "thread", f"the thread for media cannot start ({error}); they are encoded at the end of the run"
                )
            else:
                self._thread = thread

    def _run(self) -> None:
        while True:
            with self._changed:
                idle = not self._waiting and not self._running
                while not self._waiting and not self._running:
                    if self._closing:
                        return
                    self._changed.wait()
            if idle:  # pictures come in bursts, in which this thread would only be in the way
                self._hurry.wait(LINGER_S)
            if self._closing:
                return
            try:
                self._work()
            except Exception:
                logger.exception("milepost: encoding media failed; it is tried again")
                time.sleep(RETRY_S)

    def _work(self) -> None:
        """Keep the encoder busy, and take in one answer."""
        while len(self._running) < WINDOW and self._waiting:
            with self._changed:
                waiting = self._waiting[0]
                if self._running and self._is_for_thread(waiting):  # answers come in order: first those of the process
                    break
                job = self._job(waiting)
                if job is None:  # its children are on their way
                    break
                self._running.append(self._waiting.popleft())
            process = self._encoder(waiting)
            if process is None:
                self._settle(self._running.pop(), made(self._encoders, job))
                return
            process.ask(job)
        if self._running:
            assert self._process is not None
            try:
                facts = self._process.answer()
            except EncoderGone as gone:
                self._process = None
                self._gone(str(gone))
            else:
                self._settle(self._running.popleft(), facts)

    def _job(self, waiting: _Waiting) -> Job | None:
        note = waiting.note
        children = filled(note.children, self.lookup)
        if note.children and any(self.lookup(found) is None for found in refs(note.children)):
            return None
        path, at = ("", 0) if waiting.held is None else (str(waiting.held.path), waiting.held.at)
        run_dir = str(self._writer.run_dir)
        return Job(note=note, path=path, at=at, run_dir=run_dir, data=waiting.data, children=children)

    def _is_for_thread(self, waiting: _Waiting) -> bool:
        """Whether no other process could do the work: only this program has its own script's functions."""
        return self._encode_in == "thread" or waiting.note.encoder.startswith("__main__:")

    def _encoder(self, waiting: _Waiting) -> EncoderProcess | None:
        """The encoder's process; None where this thread does the work."""
        if self._is_for_thread(waiting):
            return None
        if self._process is None:
            try:
                self._process = EncoderProcess(one_by_one=self._one_died)
                if self._hurry.is_set():
                    self._process.hurry()
            except OSError as error:
                self._warn("process", f"no process for encoding media can be started ({error}); a thread does it")
                self._encode_in = "thread"
        return self._process

    def _gone(self, reason: str) -> None:
        """The encoder died: its first job is suspected, the others are asked again."""
        self._one_died = True
        suspect = self._running.popleft()
        suspect.tries += 1
        with self._changed:
            self._waiting.extendleft(reversed(self._running))
            self._running.clear()
            if suspect.tries < MAX_TRIES:
                self._waiting.appendleft(suspect)
                return
        self._settle(suspect, {"error": reason})

    def _settle(self, waiting: _Waiting, facts: dict[str, Any]) -> None:
        """Take in what became of a payload: said in the journal first, then its bytes are let go."""
        again = facts.pop("again", False)
        if "error" in facts:
            waiting.tries += 1
            if again and (waiting.tries < 10 or not self._closing):
                self._warn("again", f"the files of media cannot be written: {facts['error']}; it is tried again")
                with self._changed:
                    self._waiting.appendleft(waiting)
                    self._changed.wait(RETRY_S)
                return
            self._warn(
                f"failed {facts['error']}",
                f'the media "{waiting.note.key}" at step {waiting.note.step} has no file: {facts["error"]}',
            )
        if not self._say("media", {"number": waiting.note.number, **facts}):
            with self._changed:  # the journal takes nothing now; the bytes are safe where they are
                self._waiting.appendleft(waiting)
                self._changed.wait(RETRY_S)
            return
        if waiting.held is not None:
            self._stash.release(waiting.held)
        with self._changed:
            self._facts[waiting.note.number] = facts
            self._unsettled -= 1
            self._changed.notify_all()

    # -- for others ------------------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Payloads that are not encoded yet."""
        return self._unsettled

    def lookup(self, found: str) -> Facts | None:
        """The facts of a reference of this writer; None while it waits."""
        told = parsed(found)
        return self._facts.get(told[1]) if told is not None and told[0] == self._writer.id else None

    def flush(self, deadline: float) -> bool:
        """Wait until everything is encoded; whether that is so."""
        with self._changed:
            self._hurry.set()
            process = self._process
        if process is not None and self._unsettled:
            process.hurry()
        with self._changed:
            while self._unsettled and self._thread is not None and self._thread.is_alive():
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(min(left, 0.5)):
                    if time.monotonic() >= deadline:
                        break
        self._hurry.clear()
        if self._thread is None:
            while self.waiting and time.monotonic() < deadline:
                self._work()
        return not self.waiting

    def close(self) -> None:
        """End the thread and the process. What still waits stays where it is."""
        with self._changed:
            self._closing = True
            self._hurry.set()
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(2.0)
        process, self._process = self._process, None
        if process is not None:
            process.close()
        left = self.waiting
        if left:
            logger.warning(
                "milepost: %d media are not encoded yet; they are safe in %s. Encode and deliver them with: milepost sync %s",
                left,
                self._writer.directory if self._writer.ring is None else "shared memory",
                self._writer.run_dir,
            )
        self._stash.close()

    def forget(self) -> None:
        """In a forked child: everything here is the parent's."""
        if self._process is not None:
            self._process.forget()
        self._process = None
        self._thread = None
        self._closing = True
        self._waiting.clear()
        self._running.clear()
        self._unsettled = 0
        large.users.discard(self._writer.id)

    def _warn(self, pattern: str, text: str) -> None:
        if pattern not in self._said and len(self._said) < 20:
            self._said.add(pattern)
            logger.warning("milepost: %s", text)


def _last_key(name: str, nested: tuple[str, ...]) -> str:
    """The last key of a flat name: "a.im" is `im` where "a" is a dict."""
    inside = max((outer for outer in nested if name.startswith(outer + ".")), key=len, default=None)
    return name if inside is None else name[len(inside) + 1 :]
