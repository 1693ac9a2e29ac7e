"""Lanes: the threads of a program that feed its exporters.

All exporters of a writer share one thread, on which each has its turn: a row is read and decoded once for all of them. An
exporter that answers RETRY or raises only loses its turn. One that keeps the thread for long, because it is slow or hangs,
gets the thread for itself, and the others go on on another one: so nobody is held up for more than a moment.

    lanes.look()      called by the drain every 100 ms: wake the lanes when there is something new, and part them where one hangs
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from milepost.sdk.delivery import Delivery
from milepost.sdk.event import Event

logger = logging.getLogger("milepost")

SLICE_S: Final = 0.0003
"""How long a lane works before it lets the training loop have the interpreter again."""
REST_S: Final = 0.005
"""Pause between two turns, in which the training loop has the interpreter."""
SHARE: Final = 0.003
"""Of the time, what a lane works when it keeps up: a batch costs the more a row the fewer rows it has,"""
MAX_REST_S: Final = 0.5
"""and nobody waits for one much longer than for the drain."""
IDLE_S: Final = 1.0
"""How long a lane sleeps unless it is woken: for cursors to store, and for exporters that asked for a later call."""
SLOW_S: Final = 0.05
"""A turn that takes longer, three times in a row, is that of a slow exporter."""
SLOW_TURNS: Final = 3
HANG_S: Final = 0.5
"""A turn that takes longer is not waited for."""


class _Lane:
    """A thread, and the deliveries that have their turns on it. What others may change of it is changed under `lock`."""

    def __init__(self, lanes: "Lanes", members: list[Delivery]) -> None:
        self.members = members
        self.busy: Delivery | None = None
        """Whose turn it is,"""
        self.since = 0.0
        """and since when."""
        self.wake = threading.Event()
        self._lanes = lanes
        self._slow: dict[Delivery, int] = {}

    def start(self) -> None:
        """Start the thread."""
        name = "milepost-export" if len(self.members) > 1 else f"milepost-export-{self.members[0].route.name}"
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        spent = 0.0
        while self.members:
            self.wake.clear()
            began = time.monotonic()
            worked = self._round()
            while worked and time.monotonic() < began + SLICE_S and self._round():
                pass
            spent += time.monotonic() - began
            if self._lanes.finishing:
                if not worked:
                    time.sleep(0.01)
            elif worked:
                self._lanes.closing.wait(REST_S)
            else:
                self._lanes.closing.wait(min(spent / SHARE, MAX_REST_S))
                self.wake.wait(self._idle_s())
                spent = 0.0

    def _round(self) -> bool:
        """Give each member its turn, in which it takes the same piece of the journal; whether there was anything to do."""
        worked = False
        for delivery in list(self.members):
            worked |= self._turn(delivery)
        return worked

    def _turn(self, delivery: Delivery) -> bool:
        """Give a member its turn; whether it had anything to do."""
        with self._lanes.lock:
            if delivery not in self.members:  # it has a lane of its own meanwhile
                return False
            self.busy, self.since = delivery, time.monotonic()
        worked = False
        try:
            worked = delivery.turn(self._lanes.deadline)
        except Exception:
            logger.exception(
                "milepost: delivery to %s ended unexpectedly; its rows stay in the journal", delivery.route.name
            )
            delivery.give_up()
        with self._lanes.lock:
            self.busy = None
            if time.monotonic() - self.since > SLOW_S:
                self._slow[delivery] = self._slow.get(delivery, 0) + 1
            elif worked:
                self._slow[delivery] = 0
            if delivery.ended:
                self.members.remove(delivery)
            elif self._slow.get(delivery, 0) >= SLOW_TURNS:
                self._lanes.part(self, [delivery])
        return worked

    def _idle_s(self) -> float:
        waits = [delivery.waits_s for delivery in self.members]
        return min([IDLE_S, *waits])


class Lanes:
    """The lanes of one writer.

    deliveries: one for each exporter. written: how many bytes the journal has, to see that there is something new.
    """

    def __init__(self, deliveries: Sequence[Delivery], written: Callable[[], int]) -> None:
        self.deliveries = list(deliveries)
        self.lock = threading.Lock()
        self.deadline: float | None = None
        self.closing = threading.Event()
        self._lanes: list[_Lane] = []
        self._written = written
        self._seen = -1

    def start(self) -> None:
        """Start with one lane for all."""
        if self.deliveries:
            self._open(list(self.deliveries))

    def look(self) -> None:
        """Wake the lanes when the journal has grown; part a lane in which somebody keeps the others waiting."""
        written = self._written()
        with self.lock:
            if written != self._seen:
                self._seen = written
                for lane in self._lanes:
                    lane.wake.set()
            now = time.monotonic()
            for lane in list(self._lanes):
                if lane.busy is not None and len(lane.members) > 1 and now - lane.since > HANG_S:
                    self.part(lane, [member for member in lane.members if member is not lane.busy])

    @property
    def finishing(self) -> bool:
        """Whether all is to be delivered and the exporters shut down."""
        return self.deadline is not None

    def say_end(self, event: Event) -> None:
        """The event run.finish could not be written: exporters that only show it are handed it when they are done."""
        for delivery in self.deliveries:
            delivery.end_event = event

    def finish(self, deadline: float) -> None:
        """Deliver what is there, and end by `deadline` (time.monotonic)."""
        with self.lock:
            self.deadline = deadline
            self.closing.set()
            for lane in self._lanes:
                lane.wake.set()

    def join(self, timeout_s: float) -> list[Delivery]:
        """Wait until all exporters were shut down; those that were not in time."""
        until = time.monotonic() + timeout_s
        for delivery in self.deliveries:
            while not delivery.join(min(0.1, until - time.monotonic())) and time.monotonic() < until:
                self.look()
        return [delivery for delivery in self.deliveries if not delivery.ended]

    def part(self, lane: _Lane, leaving: list[Delivery]) -> None:
        """Give some members of a lane another one. Called under the lock."""
        if len(leaving) == len(lane.members):
            return
        stay = [member for member in lane.members if member not in leaving]
        with contextlib.suppress(RuntimeError):  # no more threads: they stay together, and it is tried again
            self._open(leaving)
            lane.members = stay

    def _open(self, members: list[Delivery]) -> None:
        lane = _Lane(self, members)
        lane.start()
        self._lanes.append(lane)
