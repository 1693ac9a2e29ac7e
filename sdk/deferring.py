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
from typing import Any, Final

from milepost.media import device
from milepost.media.device import Copy, Waiting
from milepost.sdk.call_arguments import arguments
from milepost.sdk.errors import DataError
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
    """One call in the queue. values: with `Waiting` in place of what is not there yet; rest: what `Recorder` wants besides."""

    __slots__ = ("copies", "nbytes", "rest", "values")

    def __init__(self, values: dict[str, Any], copies: list[Copy], rest: tuple[Any, ...]) -> None:
        self.values = values
        self.copies = copies
        self.rest = rest
        self.nbytes = sum(copy.nbytes for copy in copies)

    def ready(self) -> bool:
        return all(copy.ready() for copy in self.copies)


class DeferringRun(Run):
    """A run that takes values on an accelerator without waiting for them."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self._queue: deque[_Call] = deque()
        self._queued_bytes = 0
        self._storing = threading.RLock()
        """Held by whoever stores the queue."""
        self._more = threading.Event()
        self._thread: threading.Thread | None = None
        super().__init__(*arguments, **keywords)
        device.run_defers(1)

    def log(
        self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None, sync: bool | None = None
    ) -> None:
        """As `Run.log`; but tensors of PyTorch and JAX are copied off their device without waiting for it.

        A value that cannot be read when it arrives is said in the log, and a placeholder stands in its place.
        """
        if not self._queue and type(data) is dict and SCALARS.issuperset(map(type, data.values())):
            super().log(data, step, commit, sync)
            return
        with self._lock:
            self._check_running("log")
            call = self._read_call(data, step, commit)
            if call is None or not (call.copies or self._queue):
                super().log(data if call is None else call.values, step, commit, sync)
                return
            self._queue.append(call)
            self._queued_bytes += call.nbytes
            self._more.set()
            self._start()
        while len(self._queue) > MAX_CALLS or (self._queued_bytes > MAX_BYTES and len(self._queue) > 1):
            if self._storing._is_owned() or self._lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001
                return  # a signal handler inside of those that make room
            self._arrive(one=True)

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
        if self._thread is None and self._forked_from is None:
            thread = threading.Thread(target=self._run_queue, name="milepost-device", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads: the next call stores what is there
                self._store_ready()
            else:
                self._thread = thread

    def _run_queue(self) -> None:
        while not self._finished:
            self._more.wait(1.0)
            if not self._queue:
                self._more.clear()
                if not self._queue:
                    continue
                self._more.set()
            try:
                if not self._store_ready():
                    time.sleep(_LOOK_S)
            except Exception:
                logger.exception("milepost: storing values of a device failed; it is tried again")
                time.sleep(1.0)

    def _store_ready(self, *, late: bool = False, one: bool = False) -> bool:
        """Store the calls at the front whose values are there; whether there was one. late: all of them, as they are."""
        if self._storing._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001 - as in `Recorder`: a handler inside of it
            return False
        stored = False
        with self._storing:
            while self._queue and (late or self._queue[0].ready()) and not (one and stored):
                call = self._queue[0]
                values = self._arrived(call.values, "")
                with self._lock:
                    self._deferred.append((values, *call.rest))
                    if not self._now.busy:
                        self._settle()
                    self._queue.popleft()
                    self._queued_bytes -= call.nbytes
                stored = True
        return stored

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

    def _arrive(self, timeout: float = FINISH_TIMEOUT_S, *, one: bool = False, late: bool = False) -> None:
        """Wait until the queue (or its first call) is stored. late: what is not there in time is stored without its values."""
        if self._forked_from is not None or self._storing._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001 - as above
            return
        deadline = time.monotonic() + timeout
        while self._queue and time.monotonic() < deadline:
            if self._store_ready(one=one):
                if one:
                    return
            else:
                time.sleep(_LOOK_S / 4)
        if late:
            self._store_ready(late=True)

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
        self._arrive(timeout)
        return super().flush(durable, timeout) and not self._queue

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
        if not self._finished:
            given = self._timeouts_s[0 if state == "finished" else 1] if timeout is None else timeout
            self._arrive(given, late=True)
            device.run_defers(-1)
        super()._finish(state, exit_code, timeout)

    def _preempt(self) -> None:
        self._arrive(FAILED_TIMEOUT_S / 2, late=True)
        super()._preempt()

    def _after_fork(self) -> None:
        """In a forked child the queue is the parent's, and its values are read, for a device does not go through a fork."""
        self._queue.clear()
        self._queued_bytes = 0
        self._storing = threading.RLock()
        self._thread = None
        super()._after_fork()
