"""Run: one execution that logs, as the program that started it sees it: its beginning, its forks, and its end.

What `log()` does is in `recorder.py`, what can be asked of a run in `identity.py`, what else a script says of it in
`described.py`; where its rows go from the journal is in `outlet.py`.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from milepost.sdk.described import Described
from milepost.sdk.drain import drain
from milepost.sdk.errors import DataError
from milepost.sdk.event import Event
from milepost.sdk.held import held_here
from milepost.sdk.outlet import Outlet
from milepost.sdk.pipeline import Pipeline
from milepost.sdk.route import Route
from milepost.sdk.run_media import RunMedia
from milepost.sdk.run_record import RunRecord
from milepost.sdk.summary import Summary
from milepost.sdk.text import shown
from milepost.sdk.writer import Writer

if TYPE_CHECKING:
    from milepost.sdk.shipper.plan import Plan

logger = logging.getLogger("milepost")

FINISH_TIMEOUT_S: Final = 30.0
FAILED_TIMEOUT_S: Final = 5.0
_MAX_ROUNDS: Final = 100
"""How often the end of a run looks whether calls came in between."""


class Run(Described):
    """A run in progress. Made by `milepost.init`; a context manager that finishes it.

    Attributes that can be set: name, tags, notes. Everything else is read only. Safe from any thread, signal handler and
    forked child (which becomes its own writer when it first logs).
    """

    def __init__(
        self,
        record: RunRecord,
        *,
        writer: Writer,
        pipeline: Callable[[Summary], Pipeline],
        routes: Sequence[Route],
        config: Mapping[str, Any],
        base_summary: Summary | None = None,
        on_invalid: str = "raise",
        unordered: bool = False,
        timeouts_s: tuple[float, float] = (FINISH_TIMEOUT_S, FAILED_TIMEOUT_S),
        on_finish: Callable[["Run"], None] | None = None,
        plan: "Plan | None" = None,
        media: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(record, writer, pipeline, config, base_summary, on_invalid, unordered)
        self._media = RunMedia(record.dir, writer, self._add, self._say_media, media or {})
        self._outlet = Outlet(routes, plan, self._media.facts, trims=record.keep == "undelivered")
        self._on_finish = on_finish
        self._timeouts_s = timeouts_s
        self._exit_code: int | None = None
        self._names = frozenset(self.__dict__)
        self._emit("run.start", self._start_values())
        self._serve()

    def _start_values(self) -> dict[str, Any]:
        return self._record.start_values(self._config.as_dict(), self._writer)

    def __repr__(self) -> str:
        return f"<milepost run {self.path} ({self.state}, step {self._step})>"

    def flush(self, durable: bool = False, timeout: float = FINISH_TIMEOUT_S) -> bool:
        """Move all rows into the journal, and with durable=True onto the disk; True when that was done.

        After `finish()`, which does so itself, there is nothing left to move.
        """
        try:
            with self._alone():
                writer = self._writer
                if self._finished:
                    return writer.broken is None
            done = writer.drain_until(time.monotonic() + timeout, durable=durable)
        finally:
            self._end_if_wanted()
        return done and not self._deferred

    def finish(self, exit_code: int | None = None, timeout: float | None = None, *, quiet: bool | None = None) -> None:
        """Close the run: commit the open row, deliver what exporters still wait for, and release everything.

        exit_code: 0 or None marks it finished, anything else failed.
        timeout:   seconds to wait for exporters, 30 by default and 5 after an exception; what is unsent then stays in the
                   journal and is named. A second call does nothing. Raises for a timeout that is no number, and nothing else.

        In a signal handler that interrupts a call of this run, it returns at once, and the run ends when that call is done.
        """
        if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, (int, float))):
            raise DataError(f"finish() timeout must be seconds or None, got {shown(timeout)}; the run goes on")
        wanted = "finished" if not exit_code else "failed", exit_code or 0, timeout
        if self._is_interrupted():
            self._end_wanted = self._end_wanted or (threading.get_ident(), *wanted)
        else:
            self._finish(*wanted)

    def _is_interrupted(self) -> bool:
        """Whether this thread is inside of a call: it would find things half done, or wait for itself."""
        return held_here(self._lock) or self._writer.is_interrupted

    def _end_if_wanted(self) -> None:
        wanted = self._end_wanted
        if wanted is not None and wanted[0] == threading.get_ident() and not self._is_interrupted():
            self._end_wanted = None
            self._finish(*wanted[1:])

    def _finish(self, state: str, exit_code: int, timeout: float | None) -> None:
        if self._stale_calls:
            logger.warning(
                "milepost: %s of log() made no row of %s: the step was behind the run's",
                "1 call" if self._stale_calls == 1 else f"{self._stale_calls} calls",
                self.path,
            )
        if timeout is None:
            timeout = self._timeouts_s[0] if state == "finished" else self._timeouts_s[1]
        deadline = time.monotonic() + timeout
        for close in self.closers:
            try:
                close()
            except Exception:
                logger.exception("milepost: closing a part of the run failed; the run is finished all the same")
        if not self._finished:
            self._media.flush(deadline)
        with self._lock:
            if self._finished:
                return
            if self._forked_from is not None:
                self._finished = True  # a child that never logged has nothing to close
                return
            self._now.ended = False  # else an end that Ctrl-C broke off
            self._config.store_changes()
            words = self._say_end(state, exit_code)
            self._finished = True
            self._end_wanted = None
            self._now.busy = False
        try:
            self._outlet.finish(self._writer, deadline, self._end_event(words), (self.path, self.dir))
        finally:
            self._release()

    def _say_end(self, state: str, exit_code: int) -> dict[str, Any]:
        """Store all that is open and, as the last event, how the run ended; what that says. Nothing is stored after it.

        A call that interrupts it, by a signal handler or `__del__`, is set aside, and stored before the last event as well.
        """
        now = self._now
        words: dict[str, Any] = {"state": state, "exit_code": exit_code}
        self._record.state = state
        self._exit_code = exit_code
        for _ in range(_MAX_ROUNDS):
            self._close_row()
            words["summary"] = self._read_summary()
            if not self._deferred:
                break
        now.ended = True  # after `break` nothing looks for a signal up to here
        if self._deferred:  # a processor logs whenever it is flushed: not once more
            self._store_deferred()
            self._row.close()
            words["summary"] = self._read_summary()
        if self._stale_calls:
            words["dropped_calls"] = {"stale_step": self._stale_calls}
        self._emit("run.finish", words)
        return words

    def _close_row(self) -> None:
        """Store what was set aside, what processors hold, and the open row."""
        self._store_deferred()
        self._row.close()
        for event in self._pipeline.flush():
            self._row.commit(event)

    def _end_event(self, words: Mapping[str, Any]) -> Event:
        """The event run.finish as an exporter gets it that cannot read it from the journal."""
        return Event(
            run=self.path,
            writer=self._writer.id,
            seq=self._writer.seq - 1,
            step=None,
            time_unix_nano=time.time_ns(),
            runtime_s=(time.monotonic_ns() - self._began) / 1e9,
            kind="run.finish",
            values={**words, "rows": self._writer.rows},
        )

    def _release(self) -> None:
        self._media.close()
        drain.remove(self._writer)
        self._writer.close()
        self._record.finished(self._exit_code, self._writer)
        if self._on_finish is not None:
            self._on_finish(self)

    def _preempt(self) -> None:
        """SIGTERM: the run ends as preempted. Its lock stays taken: no call returns any more, as the process is about to end."""
        self._media.flush(time.monotonic() + FAILED_TIMEOUT_S / 2)
        if not self._lock.acquire(timeout=FAILED_TIMEOUT_S):
            return  # a processor hangs in log(); the rows are where they survive
        if self._finished or self._forked_from is not None:
            return
        self._say_end("preempted", 143)
        self._outlet.hurry(self._writer, time.monotonic() + FAILED_TIMEOUT_S)
        self._record.finished(143, self._writer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        code = 0 if kind is None else 1
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        self.finish(exit_code=code)
        return False

    # -- media -------------------------------------------------------------------------------------------------------------

    def _take_media(self, values: dict[str, Any], step: int | str, nested: tuple[str, ...]) -> dict[str, Any]:
        if self._forked_from is not None:
            self._become_writer()
        return self._media.take(values, step, nested)

    def _add(self, kind: str, values: Mapping[str, Any]) -> None:
        """Add an event, inside a call or not. Called under the lock."""
        if self._now.busy:
            self._emit(kind, values)
        else:
            self._event(kind, values)

    def _say_media(self, kind: str, values: Mapping[str, Any]) -> bool:
        """Add what became of a payload; False when the journal takes nothing right now, or no more."""
        with self._alone():
            if self._finished:
                return False
            self._event(kind, values)
            return not self._writer.has_gap

    def _read_summary(self) -> dict[str, Any]:
        return self._media.fill(super()._read_summary())

    # -- processes ---------------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Have the writer drained, and its exporters fed."""
        self._media.writer = self._writer
        self._outlet.open(self._writer, self._record.info(self._writer, self._config.as_dict()))

    def _after_fork(self) -> None:
        """In a forked child: the ring, the journal and the threads are the parent's; become a writer when first needed."""
        self._lock = threading.RLock()
        self._now.busy = self._now.ended = False
        self._end_wanted = None
        self._deferred.clear()
        self._pause()
        self._outlet.forget()
        self._plans.clear()
        self._now.held = None
        if self._forked_from is None:
            self._forked_from = self._writer.id
        self.closers.clear()
        self._pipeline.discard()
        self._now.open = False
        self._media.forget()
        self._writer.forget()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled into another process, a run attaches there as a writer of its own."""
        from milepost.sdk.lifecycle import attach

        return attach, (self._record.pickled(), self._step, self._forked_from or self._writer.id)
