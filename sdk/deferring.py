"""DeferringRun: a run whose `log()` does not wait for an accelerator (`device_values: defer`).

A call whose values are still being computed is put in a queue, and so is every call behind it, for rows are stored in the order
of their calls. A thread stores them as their values arrive, with the time of the call. What is in the queue is in the memory of
the program only: SIGKILL loses it, which is the weaker promise. Whoever asks the run for something that follows from its rows
(step, summary, flush, finish) waits for the queue first.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from queue import Empty, SimpleQueue
from typing import Any, Final

from milepost.media import device
from milepost.media.device import Copy, Waiting
from milepost.sdk.call_arguments import arguments
from milepost.sdk.errors import DataError
from milepost.sdk.held import held_here
from milepost.sdk.metrics import Metric
from milepost.sdk.nesting import SCALARS
from milepost.sdk.recorder import current_trace
from milepost.sdk.run import FAILED_TIMEOUT_S, FINISH_TIMEOUT_S, Run
from milepost.sdk.snapshot import placeholder, snapshot
from milepost.sdk.text import told

logger = logging.getLogger("milepost")

MAX_CALLS: Final = 1000
"""Calls that wait; one more waits for the first of them."""
MAX_BYTES: Final = 256 * 2**20
"""Of their copies."""
_LOOK_S: Final = 0.002


class _Call:
    """One call in the queue. values: with `Waiting` in place of what is not there yet; rest: what `Recorder` wants besides.

    handed_on: to `Recorder`; stored: and it has stored it.
    """

    __slots__ = ("copies", "handed_on", "nbytes", "rest", "stored", "values")

    def __init__(self, values: dict[str, Any], copies: list[Copy], rest: tuple[Any, ...]) -> None:
        self.values = values
        self.copies = copies
        self.rest = rest
        self.nbytes = sum(copy.nbytes for copy in copies)
        self.handed_on = self.stored = False

    def ready(self) -> bool:
        return all(copy.ready() for copy in self.copies)


class DeferringRun(Run):
    """A run that takes values on an accelerator without waiting for them.

    There is one lock, the run's. Whoever holds it waits for nobody: `_arrive` does nothing then, and only the end of the run,
    which lets in no more calls, waits for the device under it.
    """

    _logs_directly = False

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self._queue: deque[_Call] = deque()
        self._queued_bytes = 0
        self._reads = False
        """Nothing is put in the queue any more once it is empty: values are read at the call. At the end, and in a child."""
        self._wake: SimpleQueue[None] = SimpleQueue()
        """Not an Event, which a signal handler inside of its own `set` would wait for."""
        self._thread: threading.Thread | None = None
        super().__init__(*arguments, **keywords)
        device.run_defers(id(self), True)

    def log(
        self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None, sync: bool | None = None
    ) -> None:
        """As `Run.log`; but tensors of PyTorch and JAX are copied off their device without waiting for it.

        A value that cannot be read when it arrives is said in the log, and a placeholder stands in its place.
        """
        queued = False
        if self._queue or not (self._reads or (type(data) is dict and SCALARS.issuperset(map(type, data.values())))):
            with self._alone():
                queued = not self._finished and bool(self._queue or not self._reads)
                call = self._read_call(data, step, commit) if queued else None
                if call is None:
                    queued = False
                elif call.copies or self._queue:
                    self._queue.append(call)
                    self._queued_bytes += call.nbytes
                    self._start()
                else:
                    queued, data = False, call.values
        if not queued:  # outside of the lock, for at the exit of the program a call may never return
            if self._queue:  # the call is refused, or stored without its step
                self._arrive()
            super().log(data, step, commit, sync)
            return
        self._wake.put(None)
        while len(self._queue) > MAX_CALLS or (self._queued_bytes > MAX_BYTES and len(self._queue) > 1):
            if self._owned() or self._finished:
                return  # owned: a signal handler inside of those that make room
            self._look()

    def _owned(self) -> bool:
        """Whether this thread holds the lock: a signal handler inside a call, or the end of the run."""
        return held_here(self._lock)

    def _read_call(self, data: Any, step: Any, commit: Any) -> _Call | None:
        """A call with its copies begun; None for one that is not stored as it is, about which `Recorder` says what is wrong."""
        rest = time.time_ns(), (time.monotonic_ns() - self._began) // 1000, current_trace()
        with device.collecting() as copies:
            try:
                values = snapshot(data, self._mode(), self._bad_value)
                arguments(step, commit)
            except DataError:
                if self._mode() == "raise":
                    raise
                return None
        return _Call(values, copies, (step, commit, *rest))

    def _start(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run_queue, name="milepost-device", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads: whoever waits stores what is there
                return
            self._thread = thread

    def _run_queue(self) -> None:
        while not self._finished:
            try:
                if self._queue:
                    if not self._store_first():
                        time.sleep(_LOOK_S)
                else:
                    self._wake.get(timeout=1.0)
            except Empty:
                pass
            except Exception:
                logger.exception("milepost: storing values of a device failed; it is tried again")
                time.sleep(1.0)

    def _look(self) -> None:
        """Wait a little for the thread, or do what it would."""
        if self._thread is not None or not self._store_first():
            time.sleep(_LOOK_S / 4)

    def _store_first(self, *, late: bool = False) -> bool:
        """Store the first call if its values are there, or as it is when it is late; whether that was done."""
        nested = self._owned() and self._now.busy
        with self._alone():
            if not self._queue or not (late or self._queue[0].ready()):
                return False
            call = self._queue[0]
            if not call.handed_on:
                arrived = (self._arrived(call.values, ""), *call.rest)
                hand_on = self._deferred.append
                if not call.handed_on:  # by finish(), called by a signal handler just now
                    call.handed_on = True  # between here and the end of the next call nothing looks for a signal
                    hand_on(arrived)
            if not nested:
                self._settle()
            call.stored = True
            if self._queue and self._queue[0] is call:  # as above
                self._queued_bytes -= call.nbytes
                self._queue.popleft()  # last: while it is there, calls queue up behind it
        return True

    def _arrived(self, value: Any, path: str) -> Any:
        """A value with what has arrived in it; placeholders for what has not, or cannot be read."""
        if type(value) is dict:
            return {key: self._arrived(item, f"{path}.{key}" if path else key) for key, item in value.items()}
        if type(value) is list:
            return [self._arrived(item, path) for item in value]
        if type(value) is not Waiting:
            return value
        if not all(copy.ready() for copy in value.copies):
            self._bad_value(path, value.given, "it did not arrive from its device in time")
            return placeholder(value.given, "it did not arrive from its device in time")
        try:
            return snapshot({"v": value.make()}, "placeholder", lambda _, bad, why: self._bad_value(path, bad, why))[
                "v"
            ]
        except Exception as error:  # noqa: BLE001 - a device that failed, or a media type that does not take the values
            reason = f"reading it from its device raised {told(error)}"
            self._bad_value(path, value.given, reason)
            return placeholder(value.given, reason)

    def _arrive(self, timeout: float = FINISH_TIMEOUT_S) -> bool:
        """Wait until the calls that are in the queue now are stored; whether they are. Not under the lock."""
        try:
            last = self._queue[-1]
        except IndexError:
            return True
        deadline = time.monotonic() + timeout
        while not last.stored and not self._owned() and time.monotonic() < deadline:
            self._look()
        return last.stored

    def _empty(self, deadline: float) -> None:
        """Let no more calls wait, and store those that do; what is not there in time, without its values. Under the lock."""
        self._reads = True
        while self._queue:
            if not self._store_first(late=time.monotonic() >= deadline):
                time.sleep(_LOOK_S / 4)
        device.run_defers(id(self), False)

    @property
    def promise(self) -> str:
        """What a crash can cost here, as one sentence."""
        return (
            f"{super().promise}; either loses rows whose values had not arrived from the device (device_values: defer)"
        )

    # -- whoever asks, waits -----------------------------------------------------------------------------------------------

    @property
    def step(self) -> int:
        """The step that the next value lands in. Waits for the values that are on their way."""
        self._arrive()
        return super().step

    def define_metric(self, *arguments: Any, **keywords: Any) -> Metric:
        """As `Run.define_metric`, once the rows on their way are stored."""
        self._arrive()
        return super().define_metric(*arguments, **keywords)

    def rewind(self, step: int) -> None:
        """As `Run.rewind`, once the rows on their way are stored."""
        self._arrive()
        super().rewind(step)

    def flush(self, durable: bool = False, timeout: float = FINISH_TIMEOUT_S) -> bool:
        """As `Run.flush`, with the rows whose values are on their way."""
        deadline = time.monotonic() + timeout
        arrived = self._arrive(timeout)
        return super().flush(durable, max(deadline - time.monotonic(), 0.0)) and arrived

    def _read_summary(self) -> dict[str, Any]:
        self._arrive()
        return super()._read_summary()

    def _set_summary(self, path: str, value: Any) -> None:
        self._arrive()
        super()._set_summary(path, value)

    def _delete_summary(self, path: str) -> None:
        self._arrive()
        super()._delete_summary(path)

    def _finish(self, state: str, exit_code: int, timeout: float | None) -> None:
        if timeout is None:
            timeout = self._timeouts_s[0 if state == "finished" else 1]
        end = time.monotonic() + timeout
        if not self._finished:  # half of the time for the device, the rest at least for the exporters
            self._arrive(timeout / 2)
            with self._lock:
                self._empty(end - timeout / 2)
        super()._finish(state, exit_code, max(end - time.monotonic(), 0.0))

    def _preempt(self) -> None:
        deadline = time.monotonic() + FAILED_TIMEOUT_S / 2
        self._arrive(FAILED_TIMEOUT_S / 2)
        if not self._lock.acquire(timeout=FAILED_TIMEOUT_S):
            return  # as in `Run`
        try:
            if not self._finished:
                self._empty(deadline)
        finally:
            self._lock.release()  # the media, which come next, need it
        super()._preempt()

    def _after_fork(self) -> None:
        """In a forked child the queue is the parent's, and its values are read, for a device does not go through a fork."""
        self._queue.clear()
        self._queued_bytes = 0
        self._reads = True
        self._wake = SimpleQueue()
        self._thread = None
        device.run_defers(id(self), False)
        super()._after_fork()
