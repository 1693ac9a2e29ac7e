"""Fifo: one exporter's way through the writers of one rank of a run, in the order in which they began.

One thread. A writer that began later waits until all of the one before it is delivered: a back end that wants each series in
order of time never gets an older row after a newer one, also when a run was resumed. Forked children, which write beside their
parents, have fifos of their own.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from milepost.sdk.configuration import Component
from milepost.sdk.cursor import store_first
from milepost.sdk.delivery import Delivery
from milepost.sdk.errors import Error
from milepost.sdk.event import Event
from milepost.sdk.reader import WriterReader
from milepost.sdk.reading.alive import alive
from milepost.sdk.reading.files import Unreadable, read_json, ring_files
from milepost.sdk.routing import routes_of
from milepost.sdk.shipper.hearing import Hearing
from milepost.sdk.syncing import delivering, run_info
from milepost.sdk.trimming import trim

logger = logging.getLogger("milepost")

BATCH_BYTES: Final = 64 * 1024
BUDGET_S: Final = 0.25
IDLE_S: Final = 0.1
LOOK_S: Final = 1.0
"""How often an idle fifo asks whether its writer lives."""
FAILED_S: Final = 60.0
"""Pause after what is no matter of the network."""
SELF_METRICS_S: Final = 30.0


class Standing(msgspec.Struct, kw_only=True):
    """How far one exporter is with one writer. settled: nothing that can be read is left. next_try_s: see `Delivery`.

    wants: see `Unsent`.
    """

    exporter: str
    writer: str
    seq: int
    rows: int
    settled: bool
    error: str = ""
    next_try_s: float = 0.0
    wants: tuple[str, ...] = ()


class Fifo:
    """Delivers the journals of some writers through one exporter, one after the other.

    name: of the route.              component: what its exporter is made of, one for each writer.
    trimmed_by: the names of all routes of the run when its journal is to be trimmed; empty when it is kept.
    say: told what people should know.
    """

    def __init__(
        self, name: str, base: str, component: Component, trimmed_by: tuple[str, ...], say: Callable[[str, Path], None]
    ) -> None:
        self.name = name
        self._base = base
        self._component = component
        self._trimmed_by = trimmed_by
        self._pass_on = say
        self._hearing = Hearing(self._heard)
        self._writers: deque[Path] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._delivery: Delivery | None = None
        self._writer: Path | None = None
        self._done: dict[str, Standing] = {}
        self._given: set[str] = set()
        self._raised: set[str] = set()
        self._hurried = False
        self._told_at = 0.0
        self.moved_at = time.monotonic()
        """When it last delivered something."""
        self._thread = threading.Thread(target=self._run, name=f"milepost-fifo-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def add_once(self, writer_dir: Path) -> None:
        """Serve one more writer, after those before it. Its cursor exists from now on, so that it is found again."""
        with contextlib.suppress(OSError):
            store_first(writer_dir / f"cursor-{self.name}.json", self.name)
        with self._lock:
            if writer_dir.name in self._given:
                return
            self._given.add(writer_dir.name)
            self._writers.append(writer_dir)
        self._wake.set()

    def add_again(self, writer_dir: Path) -> None:
        """Serve a dead writer once more: something was added to its journal."""
        with self._lock:
            self._given.add(writer_dir.name)
            self._done.pop(writer_dir.name, None)
            if writer_dir not in self._writers:
                self._writers.append(writer_dir)
        self._wake.set()

    def has(self, writer: str) -> bool:
        """Whether a writer, given by its id, was ever given to this fifo."""
        return writer in self._given

    def hurry(self) -> None:
        """A program waits: try now, unless the back end said when to."""
        self._hurried = True
        self._wake.set()

    def stop(self, timeout_s: float) -> bool:
        """End after the export that is under way; whether it has ended."""
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def idle(self) -> bool:
        """Whether all that its writers said is delivered, and none of them lives."""
        with self._lock:
            return not self._writers and self._writer is None

    @property
    def left(self) -> list[Path]:
        """The writers of which something may be left."""
        with self._lock:
            return [*([] if self._writer is None else [self._writer]), *self._writers]

    def standing(self, writer: str) -> Standing:
        """How far it is with a writer, given by its id."""
        with self._lock:
            delivery, at, waiting = self._delivery, self._writer, [path.name for path in self._writers]
        if writer in self._done:
            return self._done[writer]
        if at is not None and at.name == writer and delivery is not None:
            cursor = delivery.cursor
            return Standing(
                exporter=self.name,
                writer=writer,
                seq=cursor.seq,
                rows=cursor.rows,
                settled=not delivery.pending(),
                error=cursor.last_error or ("it is left alone" if delivery.disabled else ""),
                next_try_s=0.0 if self._hurried else delivery.next_try_s,
                wants=cursor.wants,
            )
        found = unknown(self.name, writer)
        if at is not None and writer in waiting:
            found.error = f"waits for the rows of writer {at.name}, which come first"
        return found

    def _run(self) -> None:
        with self._hearing.listening():
            self._deliver()

    def _heard(self, text: str) -> None:
        """The exporter logged a warning."""
        writer = self._writer
        if writer is not None:
            self._pass_on(text, writer)

    def _say(self, text: str, writer_dir: Path) -> None:
        with self._hearing.deaf():
            self._pass_on(text, writer_dir)

    def _deliver(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                writer = self._writer = self._writers.popleft() if self._writers else None
            if writer is None:
                self._wake.wait(LOOK_S)
                self._wake.clear()
                continue
            try:
                over = self._serve(writer)
            except Exception as error:  # noqa: BLE001 - foreign code may raise anything, and it is said
                self._failed(writer, error)
                over = False
            with self._lock:
                self._writer = None
                self._delivery = None
                if not over:  # tried again, and what comes after it still waits; or left, when this is the end
                    self._writers.appendleft(writer)
            if not over:
                self._stop.wait(LOOK_S)

    def _failed(self, writer_dir: Path, error: Exception) -> None:
        """Something that nobody foresaw: said once, with where it was raised, and tried again after a while."""
        if repr(error) not in self._raised:
            self._raised.add(repr(error))
            logger.error("milepost: delivering %s to %s failed", writer_dir, self.name, exc_info=error)
        self._say(
            f"delivering to {self.name} failed: {type(error).__name__}: {error}; its rows stay in the journal",
            writer_dir,
        )
        self._stop.wait(FAILED_S)

    def _serve(self, writer_dir: Path) -> bool:
        """Deliver a writer's rows until it is dead and nothing is left; False when that has to be tried again."""
        with delivering(writer_dir, self.name) as alone:
            if not alone:
                return False
            try:
                route = next(each for each in routes_of(self._base, self._component) if each.name == self.name)
            except Error as error:
                self._say(f"exporter {self.name} cannot be made: {error}", writer_dir)
                self._stop.wait(FAILED_S)
                return False
            delivery = Delivery(route, run_info(WriterReader(writer_dir, _run_of(writer_dir))), writer_dir)
            delivery.store_s = 0.0
            delivery.say = lambda text: self._say(text, writer_dir)
            if self._trimmed_by:
                delivery.stored = lambda: trim(writer_dir, self._trimmed_by)
            delivery.begin()
            self._delivery = delivery
            try:
                over = self._pump(delivery, writer_dir)
            finally:
                delivery.store()
                delivery.end(time.monotonic() + 5.0)
            if over:
                cursor = delivery.cursor
                self._done[writer_dir.name] = Standing(
                    exporter=self.name, writer=writer_dir.name, seq=cursor.seq, rows=cursor.rows, settled=True
                )
            return over

    def _pump(self, delivery: Delivery, writer_dir: Path) -> bool:
        """Feed the exporter; True when the writer is dead and nothing is left, False when this fifo is to end."""
        looked_at = 0.0
        living = False
        while not self._stop.is_set():
            now = time.monotonic()
            dead = False
            if now - looked_at >= LOOK_S:
                looked_at = now
                living = alive(writer_dir.name, card(writer_dir), writer_dir)
                dead = not living and over(
                    writer_dir
                )  # asked before the last read: what it said before its death is then read
            if self._hurried:
                delivery.hurry()
                self._hurried = False
            before = delivery.cursor.rows
            worked = delivery.step(BATCH_BYTES, BUDGET_S)
            if delivery.cursor.rows != before:
                self.moved_at = time.monotonic()
            if delivery.cursor.rows and not delivery.failing:
                self._tell(delivery, now)
            if worked:
                continue
            if delivery.disabled:
                self._stop.wait(FAILED_S)
                return False
            if dead and not delivery.waiting:
                delivery.beat(alive=False)
                return True
            if living:
                delivery.beat()
            self._wake.wait(IDLE_S)
            self._wake.clear()
        return False

    def _tell(self, delivery: Delivery, now: float) -> None:
        """Give an exporter that wants them the figures of its own delivery, now and then."""
        if not getattr(delivery.route.exporter, "self_metrics", False) or now - self._told_at < SELF_METRICS_S:
            return
        self._told_at = now
        delivery.tell(
            Event(
                kind="sdk",
                values=figures(delivery),
                time_unix_nano=time.time_ns(),
                run=f"{delivery.info.project}/{delivery.info.id}",
                writer=delivery.info.writer,
            )
        )


def unknown(name: str, writer: str) -> Standing:
    """The standing of a writer that a route has not begun with."""
    return Standing(exporter=name, writer=writer, seq=-1, rows=0, settled=False)


def figures(delivery: Delivery) -> dict[str, Any]:
    """The accounts of a delivery under the names of OpenTelemetry's SDK metrics, `otel.sdk.*` with our prefix."""
    cursor = delivery.cursor
    return {
        "milepost.component.name": delivery.route.name,
        "milepost.sdk.exporter.rows.delivered": cursor.delivered,
        "milepost.sdk.exporter.rows.filtered": cursor.filtered,
        "milepost.sdk.exporter.rows.rejected": sum(cursor.rejected.values()),
        "milepost.sdk.exporter.rows.dropped": sum(cursor.dropped.values()),
        "milepost.sdk.exporter.pending.bytes": delivery.pending_bytes(),
        "milepost.sdk.exporter.lag": delivery.lag_s(),
    }


def over(writer_dir: Path) -> bool:
    """Whether a writer's process is gone and what it left in shared memory is in its journal."""
    info = card(writer_dir)
    return not alive(writer_dir.name, info, writer_dir) and not any(
        path.exists() for path in ring_files(writer_dir.name, info, writer_dir)
    )


def card(writer_dir: Path) -> dict[str, Any]:
    """A writer's writer.json, {} when it cannot be read."""
    try:
        return read_json(writer_dir / "writer.json")
    except Unreadable:
        return {}


def _run_of(writer_dir: Path) -> str:
    run_dir = writer_dir.parent.parent
    return f"{run_dir.parent.name}/{run_dir.name}"
