"""Delivery: each exporter's thread reads the journal after the exporter's cursor, exports, and moves the cursor.

Live export, catching up and `milepost sync` are this one loop. An exporter that fails, hangs or answers RETRY holds up
nobody else: rows wait in the journal. The accounting of an exporter is exact at all times, in rows:
`logged = delivered + pending + filtered + rejected + dropped`.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from milepost.sdk.event import Event
from milepost.sdk.exporter import Exporter, ExportResult, RunInfo
from milepost.sdk.tail import Shared, Tail

logger = logging.getLogger("milepost")

IDLE_S: Final = 0.1
SLICE_S: Final = 0.0003
"""How long a thread of the program works before it lets the training loop have the interpreter again."""
REST_S: Final = 0.005
STORE_S: Final = 1.0
MAX_BACKOFF_S: Final = 30.0
SLICE_BYTES: Final = 2 * 1024
DRAIN_BYTES: Final = 64 * 1024
MAX_FAILURES: Final = 20


class Cursor(msgspec.Struct, kw_only=True):
    """How far one exporter is in one writer's journal, and the rows it has accounted for. Stored as cursor-NAME.json."""

    exporter: str
    segment: int = 0
    offset: int = 0
    seq: int = -1
    delivered: int = 0
    filtered: int = 0
    rejected: dict[str, int] = {}
    dropped: dict[str, int] = {}
    position: dict[str, Any] = {}
    last_error: str = ""
    stored_unix_nano: int = 0

    @property
    def rows(self) -> int:
        """Rows accounted for: all that were logged except those still pending."""
        return self.delivered + self.filtered + sum(self.rejected.values()) + sum(self.dropped.values())


def load_cursor(path: Path, exporter: str) -> Cursor:
    """The stored cursor, or a new one where none is stored or it cannot be read."""
    try:
        cursor = msgspec.json.decode(path.read_bytes(), type=Cursor)
    except (OSError, msgspec.DecodeError):
        return Cursor(exporter=exporter)
    cursor.exporter = exporter
    return cursor


def store_cursor(path: Path, cursor: Cursor) -> None:
    """Store a cursor so that a crash leaves the old or the new one."""
    cursor.stored_unix_nano = time.time_ns()
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(msgspec.json.encode(cursor))
    os.replace(fresh, path)


class Route:
    """One exporter of a run: its name, what stands before it, and how it is fed.

    processors: per-exporter processors (filter, rename, ...), on the exporter's own thread.
    """

    def __init__(
        self, name: str, exporter: Exporter, processors: Sequence[Callable[[Event], Event | None]] = ()
    ) -> None:
        self.name = name
        self.exporter = exporter
        self.processors = list(processors)


class _Batch(msgspec.Struct, kw_only=True):
    """What is about to be exported, and where the cursor stands once it is."""

    segment: int
    offset: int
    seq: int
    events: list[Event] = []
    rows: int = 0
    filtered: int = 0
    dropped: dict[str, int] = {}


class Delivery:
    """Feeds one exporter from one writer's journal.

    info: the run. directory: RUN_DIR/journal/WRITER. shared: what the deliveries of one writer decode once between them.
    """

    def __init__(self, route: Route, info: RunInfo, directory: Path, shared: Shared | None = None) -> None:
        self.route = route
        self.info = info
        self._path = directory / f"cursor-{route.name}.json"
        self.cursor = load_cursor(self._path, route.name)
        self._shared = shared if shared is not None else Shared()
        self._tail = Tail(
            directory,
            f"{info.project}/{info.id}",
            info.writer,
            self.cursor.segment,
            self.cursor.offset,
            self.cursor.seq,
            self._shared,
        )
        self._wants: frozenset[str] | None = getattr(route.exporter, "wants", None)
        self._batch: _Batch | None = None
        self._failures = 0
        self._raised = 0
        self._said: set[str] = set()
        self._not_before = 0.0
        self._stored_at = time.monotonic()
        self._dirty = False
        self._closing = threading.Event()
        self._deadline = 0.0
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self.disabled = False
        self._stored_in = self.cursor.segment
        self.stored: Callable[[], None] = lambda: None
        """Called each time the cursor was stored."""

    # -- the thread --------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name=f"milepost-export-{self.route.name}", daemon=True)
        self._thread.start()

    def finish(self, deadline: float) -> None:
        """Ask the thread to deliver what is there and to end by `deadline` (time.monotonic)."""
        self._deadline = deadline
        self._closing.set()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread; True when it ended."""
        return self._done.wait(max(timeout_s, 0.0))

    def pending(self) -> bool:
        """Whether anything waits to be delivered."""
        return self._batch is not None or self._tail.pending_bytes() > 0

    def _run(self) -> None:
        try:
            self._begin()
            while not self.disabled and not self._closing.is_set():
                worked = self.step(SLICE_BYTES, SLICE_S)
                self._closing.wait(REST_S if worked else IDLE_S)
            self.drain(self._deadline)
        except Exception:
            logger.exception(
                "milepost: delivery to %s ended unexpectedly; its rows stay in the journal", self.route.name
            )
        finally:
            self._end()
            self._done.set()

    # -- the work, also called without a thread ------------------------------------------------------------------------------

    def drain(self, deadline: float) -> bool:
        """Deliver until nothing is left, the exporter gives up, or the deadline passes; whether nothing is left."""
        while not self.disabled:
            now = time.monotonic()
            if now >= deadline:
                break
            if self._not_before > now:
                time.sleep(min(self._not_before - now, deadline - now))
                continue
            if not self.step(DRAIN_BYTES, 0.0) and self._batch is None:
                break
            self._shared.keep_pace(self, self.cursor.rows)
        self._shared.leave(self)
        with contextlib.suppress(Exception):
            self.route.exporter.force_flush(max(int((deadline - time.monotonic()) * 1000), 0))
        self._store()
        return not self.pending()

    def run_to_end(self, patience_s: float, moved: Callable[[int], None] | None = None) -> bool:
        """Deliver everything that is there on this thread, from start() to shutdown(); whether nothing readable is left.

        patience_s: how long an exporter may go without taking anything. moved: called now and then with the rows settled.
        """
        since, rows = time.monotonic(), self.cursor.rows
        self._begin()
        try:
            while not self.disabled:
                deadline = time.monotonic() + 1.0
                if self.drain(deadline) or (self._batch is None and time.monotonic() < deadline):
                    break
                if self.cursor.rows != rows:
                    if moved is not None:
                        moved(self.cursor.rows - rows)
                    since, rows = time.monotonic(), self.cursor.rows
                elif time.monotonic() - since >= patience_s:
                    break
        finally:
            if moved is not None:
                moved(self.cursor.rows - rows)
            self._deadline = time.monotonic() + patience_s
            self._end()
        return self._batch is None and not self.disabled

    @property
    def behind(self) -> bool:
        """Whether there is anything to do: something to deliver, or something that the exporter itself held back."""
        return self.pending() or bool(self.cursor.position.get("behind"))

    def step(self, size: int, budget_s: float) -> bool:
        """Work for about `budget_s` on pieces of `size` bytes; whether there was anything to do."""
        started = time.monotonic()
        if started < self._not_before:
            return False
        worked = False
        while self._batch is not None or self._read(size):
            if not self._export():
                return False
            worked = True
            if time.monotonic() - started >= budget_s or self.disabled:
                break
        if self._dirty and time.monotonic() - self._stored_at >= STORE_S:
            self._store()
        return worked

    def _read(self, size: int) -> bool:
        """Make the next batch from about `size` bytes of the journal; False when nothing is new."""
        read = self._tail.read(size)
        if not read:
            return False
        batch = _Batch(segment=self._tail.index, offset=self._tail.offset, seq=self._tail.seq)
        for event in read:
            if event.kind == "gap":
                lost = event.values["last"] - event.values["first"] + 1
                batch.dropped[event.values["reason"]] = batch.dropped.get(event.values["reason"], 0) + lost
            kept = self._process(event) if self._wants is None or event.kind in self._wants else None
            if kept is not None:
                batch.events.append(kept)
                batch.rows += kept.kind == "row"
            else:
                batch.filtered += event.kind == "row"
        self._batch = batch
        return True

    def _process(self, event: Event) -> Event | None:
        result: Any = event
        for processor in self.route.processors:
            try:
                result = processor(event)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code may raise anything, and it is said
                self._trouble(
                    f"a processor of {self.route.name} raised {type(error).__name__}: {error}; the event goes on without it",
                    about=f"processor {id(processor)}",
                )
                result = event
            if result is None:
                return None
            if isinstance(result, Event):
                event = result
                continue
            self._trouble(
                f"a processor of {self.route.name} returned {type(result).__name__}, not an Event or None; the event goes on "
                "without it",
                about=f"processor {id(processor)}",
            )
        return event

    def _export(self) -> bool:
        """Hand the waiting batch over; whether it is settled."""
        batch = self._batch
        assert batch is not None
        result = self._call(batch.events) if batch.events else ExportResult.SUCCESS
        if result.outcome == "retry":
            self._failures += 1
            delay = result.retry_after_s
            if delay is None:
                import random  # only here: it costs milliseconds

                delay = min(0.2 * 2 ** min(self._failures, 10), MAX_BACKOFF_S) * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
            self._not_before = time.monotonic() + delay
            self.cursor.last_error = result.reason
            if result.reason:
                self._trouble(
                    f"{self.route.name} cannot deliver: {result.reason}; rows wait in the journal and it is tried again"
                )
            if self._raised >= MAX_FAILURES:
                self.disabled = True
                logger.warning(
                    "milepost: exporter %s failed %d times in a row and is left alone now; its rows stay in the journal "
                    "(milepost sync delivers them)",
                    self.route.name,
                    self._raised,
                )
            return False
        self._failures = 0
        self._raised = 0
        refused = min(result.count, batch.rows) if result.outcome == "rejected" else 0
        if refused:
            reason = result.reason or "rejected"
            self.cursor.rejected = {**self.cursor.rejected, reason: self.cursor.rejected.get(reason, 0) + refused}
            self._trouble(f"{self.route.name} refused {refused} rows for good: {reason}", about=f"refused {reason}")
        self.cursor.delivered += batch.rows - refused
        self.cursor.filtered += batch.filtered
        for reason, count in batch.dropped.items():
            self.cursor.dropped = {**self.cursor.dropped, reason: self.cursor.dropped.get(reason, 0) + count}
        self.cursor.segment, self.cursor.offset, self.cursor.seq = batch.segment, batch.offset, batch.seq
        self._batch = None
        self._dirty = True
        return True

    def _call(self, batch: list[Event]) -> ExportResult:
        """Call the exporter; whatever it raises or returns becomes a result."""
        try:
            result: Any = self.route.exporter.export(batch)
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                raise  # the user's own, in `milepost sync`
            self._raised += 1
            return ExportResult.retry(f"{type(error).__name__}: {error}"[:300])
        if isinstance(result, ExportResult):
            return result
        self._raised += 1
        return ExportResult.retry(f"export() returned {type(result).__name__}, not an ExportResult")

    def _begin(self) -> None:
        start = getattr(self.route.exporter, "start", None)
        if start is not None:
            try:
                start(self.info, self.cursor.position or None)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code may raise anything, and it is said
                self.cursor.last_error = f"start() raised {type(error).__name__}: {error}"[:300]
                self._trouble(f"{self.route.name} cannot start: {error}; its rows stay in the journal")
                self.disabled = True

    def _end(self) -> None:
        try:
            self.route.exporter.shutdown(max(int((self._deadline - time.monotonic()) * 1000), 0))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code may raise anything, and it is said
            self._trouble(f"{self.route.name} raised {type(error).__name__} while shutting down: {error}")
        self._tail.close()

    def _store(self) -> None:
        position = getattr(self.route.exporter, "position", None)
        try:
            if position is not None:
                self.cursor.position = dict(position())
            store_cursor(self._path, self.cursor)
            self._dirty = False
            self._stored_in = self.cursor.segment
            self.stored()
        except Exception as error:  # noqa: BLE001 - position() is foreign code
            self._trouble(f"the cursor of {self.route.name} cannot be stored: {error}")
        self._stored_at = time.monotonic()

    def stored_segment(self) -> int:
        """The segment that the stored cursor stands in: older ones are not needed here any more."""
        return self._stored_in

    def _trouble(self, text: str, *, about: str = "") -> None:
        """Say what is wrong, once; of several texts about one thing only the first."""
        known = about or text
        if known not in self._said and len(self._said) < 20:
            self._said.add(known)
            logger.warning("milepost: %s", text)
