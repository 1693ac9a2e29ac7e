"""Delivery: read the journal after an exporter's cursor, export, and move the cursor.

Live export (on a thread of the program, see `lanes.py`), catching up and `milepost sync` are this one loop. What an exporter
does not take waits in the journal. The accounting of an exporter is exact at all times, in rows:
`logged = delivered + pending + filtered + rejected + dropped`.
"""

import contextlib
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from milepost.sdk.cursor import load_cursor, store_cursor
from milepost.sdk.encoding.final import final
from milepost.sdk.event import Event
from milepost.sdk.exporter import ExportResult, RunInfo
from milepost.sdk.outage import Outage
from milepost.sdk.outgoing import Outgoing
from milepost.sdk.route import Intake, Route, wanted_without_rows
from milepost.sdk.tail import Shared, Tail

logger = logging.getLogger("milepost")

STORE_S: Final = 1.0
MEDIA_S: Final = 0.02
"""How soon it is looked again whether a media file is there."""
BEAT_S: Final = 30.0
"""How often an exporter that wants to know it hears that the program lives, while there is nothing to export."""
SLICE_BYTES: Final = 16 * 1024
DRAIN_BYTES: Final = 64 * 1024
MAX_FAILURES: Final = 20


class Unsent(NamedTuple):
    """What an exporter has not taken when a run ends. rows: how many it has settled. error: why it has no more.

    wants: the kinds of events that it takes when it takes no rows; see `Cursor`.
    """

    name: str
    rows: int
    error: str
    wants: tuple[str, ...] = ()


class Delivery:
    """Feeds one exporter from one writer's journal.

    info: the run. directory: RUN_DIR/journal/WRITER. shared: what the deliveries of one writer decode once between them.
    """

    def __init__(self, route: Route, info: RunInfo, directory: Path, shared: Shared | None = None) -> None:
        self.route = route
        self.info = info
        self._path = directory / f"cursor-{route.name}.json"
        self.cursor = load_cursor(self._path, route.name)
        self.cursor.wants = wanted_without_rows(route.exporter)
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
        self._intake = Intake(route, lambda text, about: self._trouble(text, about=about))
        self._waits_for_media = getattr(route.exporter, "media", "final") != "pending"
        self.media: Callable[[str], Any] | None = None
        """What is known of a media file, by reference; None asks the run's journals when the first reference comes."""
        self._takes_rows = bool(getattr(route.exporter, "takes_rows", False))
        self._batches: deque[Outgoing] = deque()
        """What was read and is not settled yet: one batch, or the pieces of one that was split."""
        self._outage = Outage()
        self._raised = 0
        self._said: set[str] = set()
        self._settled_unix_nano = 0
        self._beat_at = time.monotonic()
        self._stored_at = time.monotonic()
        self._dirty = False
        self._begun = False
        self._ended = threading.Event()
        self.disabled = False
        self.end_event: Event | None = None
        """The event run.finish, when the journal does not take it: for an exporter that says `shows_end`, and stores nothing."""
        self.stored: Callable[[], None] = lambda: None
        """Called each time the cursor was stored."""
        self.store_s = STORE_S
        """How often the cursor is stored while rows are delivered; 0 stores it after each batch."""
        self.say: Callable[[str], None] = lambda text: logger.warning("milepost: %s", text)
        """Called with what somebody should know, once per kind of trouble."""

    def pending(self) -> bool:
        """Whether anything waits to be delivered."""
        return self.waiting or self._tail.pending_bytes() > 0

    @property
    def waiting(self) -> bool:
        """Whether a batch was read that the exporter has not taken yet."""
        return bool(self._batches)

    @property
    def wants_rows(self) -> bool:
        """Whether rows that are not in the journal yet are missing at the exporter."""
        return self._intake.wants_rows and not getattr(self.route.exporter, "shows_end", False)

    def pending_bytes(self) -> int:
        """Bytes of the journal that were not read yet."""
        return self._tail.pending_bytes()

    def lag_s(self) -> float:
        """How old the last event is that the exporter took, in seconds; 0.0 when it has all."""
        if not self.pending() or not self._settled_unix_nano:
            return 0.0
        return max((time.time_ns() - self._settled_unix_nano) / 1e9, 0.0)

    @property
    def next_try_s(self) -> float:
        """Seconds until the batch that waits is tried again; 0.0 when it is being tried, or none waits."""
        return self._outage.next_try_s if self.waiting else 0.0

    def tell(self, event: Event) -> None:
        """Give the exporter an event that is not in the journal, when it takes any; if it does not, that is all."""
        if self.waiting or self._outage.next_try_s:
            return
        result = self._call([event])
        if result.outcome == "retry":
            self._failed(result)

    def beat(self, *, alive: bool = True) -> None:
        """Let an exporter that wants to know hear whether the program lives: seldom while it does, and once when it is dead."""
        call = getattr(self.route.exporter, "beat", None)
        now = time.monotonic()
        if call is None or self.disabled or self.waiting or (alive and now - self._beat_at < BEAT_S):
            return
        self._beat_at = now
        try:
            call(alive)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code may raise anything, and it is said
            self._trouble(f"{self.route.name} raised {type(error).__name__} in beat(): {error}", about="beat")

    def hurry(self) -> None:
        """Somebody waits: the next try is now, unless the back end said when it may be."""
        self._outage.hurry()

    @property
    def failing(self) -> bool:
        """Whether the last thing that the exporter said was that it cannot deliver now."""
        return self._outage.on

    # -- on a thread shared with others ---------------------------------------------------------------------------------------

    def turn(self, deadline: float | None = None) -> bool:
        """Do a little of what is to be done next; whether there was anything to do.

        deadline: of time.monotonic, once the run is finished; then all that is there is delivered and the exporter shut down.
        """
        if not self._begun:
            self._begun = True
            self.begin()
            return True
        if deadline is None and not self.disabled:
            worked = self.step(SLICE_BYTES, 0.0)
            if not worked:
                self.beat()
            return worked
        deadline = time.monotonic() if deadline is None else deadline
        if not self.disabled and time.monotonic() < deadline:
            if self.step(DRAIN_BYTES, 0.0):
                return True
            if self.waiting:  # the exporter asked for a moment
                return False
        self._settle(deadline)
        self.end(deadline)
        return True

    @property
    def waits_s(self) -> float:
        """Seconds until there is something to do even when nothing new comes; infinity when there never is."""
        now = time.monotonic()
        if self.waiting:
            return max(self._outage.next_try_s, 0.001)
        return max(self._stored_at + self.store_s - now, 0.001) if self._dirty else math.inf

    @property
    def ended(self) -> bool:
        """Whether the exporter was shut down."""
        return self._ended.is_set()

    def join(self, timeout_s: float) -> bool:
        """Wait until the exporter was shut down; whether it was."""
        return self._ended.wait(max(timeout_s, 0.0))

    # -- on a thread of the caller's, until all is done ----------------------------------------------------------------------

    def drain(self, deadline: float) -> bool:
        """Deliver until nothing is left, the exporter gives up, or the deadline passes; whether nothing is left."""
        while not self.disabled:
            now = time.monotonic()
            if now >= deadline:
                break
            if wait_s := self._outage.next_try_s:
                time.sleep(min(wait_s, deadline - now))
                continue
            if not self.step(DRAIN_BYTES, 0.0) and not self.waiting:
                break
        self._settle(deadline)
        return not self.pending()

    def _settle(self, deadline: float) -> None:
        """Have the exporter push out what it holds itself, and store the cursor."""
        with contextlib.suppress(Exception):
            self.route.exporter.force_flush(max(int((deadline - time.monotonic()) * 1000), 0))
        self.store()

    def run_to_end(self, patience_s: float, moved: Callable[[int], None] | None = None) -> bool:
        """Deliver everything that is there on this thread, from start() to shutdown(); whether nothing readable is left.

        patience_s: how long an exporter may go without taking anything. moved: called now and then with the rows settled.
        """
        since, rows = time.monotonic(), self.cursor.rows
        self.begin()
        try:
            while not self.disabled:
                deadline = time.monotonic() + 1.0
                if self.drain(deadline) or (not self.waiting and time.monotonic() < deadline):
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
            self.end(time.monotonic() + patience_s)
        return not self.waiting and not self.disabled

    @property
    def behind(self) -> bool:
        """Whether there is anything to do: something to deliver, or something that the exporter itself held back."""
        return self.pending() or bool(self.cursor.position.get("behind"))

    def step(self, size: int, budget_s: float) -> bool:
        """Work for about `budget_s` on pieces of `size` bytes; whether there was anything to do."""
        started = time.monotonic()
        if self._outage.next_try_s:
            return False
        worked = False
        while self._batches or self._read(size):
            worked = self._export()
            self._store_when_due()
            if not worked or time.monotonic() - started >= budget_s or self.disabled:
                break
        self._store_when_due()
        return worked

    def _store_when_due(self) -> None:
        if self._dirty and time.monotonic() - self._stored_at >= self.store_s:
            self.store()

    def _read(self, size: int) -> bool:
        """Make the next batch from about `size` bytes of the journal; False when nothing is new."""
        read = self._tail.read(size)
        if not read:
            return False
        batch = Outgoing(segment=self._tail.index, offset=self._tail.offset, seq=self._tail.seq)
        self._intake.fill(batch, read.parts)
        self._batches.append(batch)
        return True

    def _export(self) -> bool:
        """Hand the waiting batch over; whether it is settled, or was split into two that may be."""
        batch = self._batches[0]
        if self._waits_for_media and not self._make_final(batch):
            return False
        result = self._call(batch.events) if batch.events else ExportResult.SUCCESS
        if result.outcome == "retry":
            self._failed(result)
            return False
        self._raised = 0
        if self._outage.over():
            self.cursor.last_error = ""
            logger.info("milepost: %s takes rows again", self.route.name)
        if result.outcome == "refused" and len(batch.events) > 1:
            self._batches.popleft()
            self._batches.extendleft(reversed(batch.halves()))
            return True
        self._batches.popleft()
        rows = batch.rows
        reason = result.reason or "rejected"
        refused = {"rejected": min(result.count, rows), "refused": rows}.get(result.outcome, 0)
        if result.outcome == "refused" or refused:
            self._set_aside(batch, refused, reason)
        if refused:
            self.cursor.rejected = {**self.cursor.rejected, reason: self.cursor.rejected.get(reason, 0) + refused}
        self.cursor.delivered += rows - refused
        self.cursor.filtered += len(batch.filtered)
        for _, count, why in batch.dropped:
            self.cursor.dropped = {**self.cursor.dropped, why: self.cursor.dropped.get(why, 0) + count}
        if batch.segment is not None and batch.offset is not None:
            self.cursor.segment, self.cursor.offset = batch.segment, batch.offset
        self.cursor.seq = batch.seq
        self._beat_at = time.monotonic()
        if batch.events:
            self._settled_unix_nano = batch.events[-1].time_unix_nano
        self._dirty = True
        return True

    def _make_final(self, batch: Outgoing) -> bool:
        """Fill in what has become of the media in a batch; whether all their files are there, for it waits for them."""
        if self.media is None:
            from milepost.sdk.encoding.facts import RunFacts  # numpy with it

            self.media = RunFacts(self._path.parent.parent.parent).lookup
        events = final(batch.events, self.media)
        if events is None:
            self._outage.not_before = time.monotonic() + MEDIA_S
            return False
        batch.events = events
        return True

    def _failed(self, result: ExportResult) -> None:
        """Nothing was taken: wait, and say so once per outage."""
        to_say = self._outage.failed(result)
        if self.cursor.last_error != result.reason:
            self.cursor.last_error = result.reason
            self.store()  # whoever looks at the run sees why rows wait
        if to_say:
            self.say(
                f"{self.route.name} cannot deliver: {result.reason}; {self.cursor.things} wait "
                f"{'in the run' if self.cursor.wants else 'in the journal'} and it is tried again"
            )
        if self._raised >= MAX_FAILURES:
            self.disabled = True
            self.say(
                f"exporter {self.route.name} failed {self._raised} times in a row and is left alone now; its rows stay in "
                "the journal (milepost sync delivers them)"
            )

    def _set_aside(self, batch: Outgoing, refused: int, reason: str) -> None:
        """Keep on disk what the back end will never take, and say so."""
        from milepost.sdk.set_aside import set_aside

        try:
            kept = str(set_aside(self._path.parent, self.route.name, batch.events, refused, reason))
        except OSError as error:
            kept = f"the journal ({error})"
        self._trouble(
            f"{self.route.name} refused {refused} {'row' if refused == 1 else 'rows'} for good: {reason}; kept in {kept}",
            about=f"refused {reason}",
        )

    def _call(self, batch: Sequence[Event]) -> ExportResult:
        """Call the exporter; whatever it raises or returns becomes a result."""
        try:
            # a copy: it is theirs
            result: Any = self.route.exporter.export(batch if self._takes_rows else list(batch))
        except BaseException as error:  # also what asyncio raises for a task that was cancelled
            if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                raise  # the user's own, in `milepost sync`
            self._raised += 1
            return ExportResult.retry(f"{type(error).__name__}: {error}"[:300])
        if result is None:  # as of a function: whoever raises nothing and says nothing took it
            return ExportResult.SUCCESS
        if isinstance(result, ExportResult):
            return result
        self._raised += 1
        return ExportResult.retry(f"export() returned {type(result).__name__}, not an ExportResult")

    def begin(self) -> None:
        """Start the exporter. The first thing of a delivery that is fed by `step` and not by a thread of its own."""
        start = getattr(self.route.exporter, "start", None)
        if start is not None:
            try:
                start(self.info, self.cursor.position or None)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code may raise anything, and it is said
                self.cursor.last_error = f"start() raised {type(error).__name__}: {error}"[:300]
                self._trouble(f"{self.route.name} cannot start: {error}; its rows stay in the journal")
                self.disabled = True

    def end(self, deadline: float) -> None:
        """Shut the exporter down by `deadline` (time.monotonic); no step follows."""
        if self.end_event is not None and not self.disabled and getattr(self.route.exporter, "shows_end", False):
            self._call([self.end_event])
        shutdown = getattr(self.route.exporter, "shutdown", lambda timeout_millis: None)  # an object may only export
        try:
            shutdown(max(int((deadline - time.monotonic()) * 1000), 0))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code may raise anything, and it is said
            self._trouble(f"{self.route.name} raised {type(error).__name__} while shutting down: {error}")
        self._tail.close()
        self._ended.set()

    def give_up(self) -> None:
        """Let the exporter go after something unforeseen; its rows stay in the journal."""
        self.disabled = True
        self.end(time.monotonic())

    def store(self) -> None:
        """Store the cursor, and where the exporter says it is."""
        position = getattr(self.route.exporter, "position", None)
        try:
            if position is not None:
                self.cursor.position = dict(position())
            store_cursor(self._path, self.cursor)
            self._dirty = False
            self.stored()
        except Exception as error:  # noqa: BLE001 - position() is foreign code
            self._trouble(f"the cursor of {self.route.name} cannot be stored: {error}")
        self._stored_at = time.monotonic()

    def _trouble(self, text: str, *, about: str = "") -> None:
        """Say what is wrong, once; of several texts about one thing only the first."""
        known = about or text
        if known not in self._said and len(self._said) < 20:
            self._said.add(known)
            self.say(text)
