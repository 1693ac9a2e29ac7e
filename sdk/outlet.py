"""Outlet: what takes the rows of one writer to its exporters, from the first row to the last word at the end of a run.

    writer -> drain -> journal -> lanes      exporters of this process
                               -> shipper    exporters that use the network, by the plan

Without a journal (no disk could be written) there is nothing to read from, and the writer is only drained.
"""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from milepost.sdk.cursor import FILES
from milepost.sdk.delivery import Delivery, Unsent
from milepost.sdk.drain import drain
from milepost.sdk.encoding.refs import Facts
from milepost.sdk.event import Event
from milepost.sdk.exporter import RunInfo
from milepost.sdk.keeper import STUCK_S
from milepost.sdk.lanes import Lanes
from milepost.sdk.route import Route
from milepost.sdk.tail import Shared
from milepost.sdk.trimming import trim
from milepost.sdk.writer import Writer

if TYPE_CHECKING:  # a run whose exporters are all local needs nothing of it
    from milepost.sdk.shipper.plan import Plan
    from milepost.sdk.shipper.program import Shipping

logger = logging.getLogger("milepost")


class Outlet:
    """The deliveries of a writer. A forked child opens one of its own, by `again`.

    routes: to exporters of this process.    plan: for those that the shipper runs.
    media:  what is known of a media file.   trims: whether segments that every exporter has are removed.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        plan: "Plan | None",
        media: Callable[[str], Facts | None],
        *,
        trims: bool,
    ) -> None:
        self._routes = list(routes)
        self._plan = plan
        self._media = media
        self._trims = trims
        self._lanes = Lanes((), int)
        self._shipping: Shipping | None = None

    def open(self, writer: Writer, info: RunInfo) -> None:
        """Start the drain, and one delivery for each exporter. info: what they are told of the run."""
        journal = writer.journal
        if journal is None:
            drain.add(writer)
            return
        shared = Shared()
        deliveries = [Delivery(route, info, writer.directory, shared) for route in self._routes]
        for delivery in deliveries:
            delivery.media = self._media
            if self._trims:
                delivery.stored = lambda: self._trim(writer.directory)
        self._lanes = Lanes(deliveries, lambda: journal.total)
        self._lanes.start()
        drain.add(writer, self._look)
        if self._plan is not None:
            from milepost.sdk.shipper.program import Shipping

            self._shipping = Shipping(self._plan, info, writer.directory)
            self._shipping.start()

    def _look(self) -> None:
        """Called by the drain each time it has looked."""
        self._lanes.look()
        if self._shipping is not None:
            self._shipping.look()

    def _trim(self, directory: Path) -> None:
        """Remove the segments that every exporter has behind it."""
        names = [delivery.route.name for delivery in self._lanes.deliveries]
        if self._shipping is not None:
            if not self._shipping.names:
                return  # who they are is not known yet
            names += self._shipping.names
        trim(directory, names)

    def forget(self) -> None:
        """In a forked child: the threads are the parent's."""
        self._lanes = Lanes((), int)
        if self._shipping is not None:
            self._shipping.forget()
            self._shipping = None

    # -- the end -----------------------------------------------------------------------------------------------------------

    def finish(self, writer: Writer, deadline: float, last: Event, run: tuple[str, str]) -> None:
        """Drain, let every exporter catch up until the deadline (time.monotonic), and say what is left.

        last: the event run.finish, for exporters that cannot read it from the journal. run: its path and its directory.
        """
        if not writer.drain_until(deadline):
            deadline = min(deadline, time.monotonic() + STUCK_S)  # what is not in the journal cannot be delivered
        if writer.broken is not None:
            self._lanes.say_end(last)
        self._lanes.finish(deadline)
        unsent = self._shipping.finish(writer.seq - 1, deadline) if self._shipping is not None else []
        late = self._lanes.join(deadline - time.monotonic() + 0.2)
        unsent += [
            Unsent(delivery.route.name, delivery.cursor.rows, delivery.cursor.last_error, delivery.cursor.wants)
            for delivery in self._lanes.deliveries
            if delivery in late or delivery.pending() or _misses_rows(delivery, writer)
        ]
        path, directory = run
        for each in unsent:
            why = f" ({each.error})" if each.error else ""
            if not each.wants:
                rows = max(writer.rows - each.rows, 0)
                what = f"{rows} row of {path} is not" if rows == 1 else f"{rows} rows of {path} are not"
                logger.warning(
                    "milepost: %s delivered to %s yet%s; %s", what, each.name, why, _where_rows_are(writer, directory)
                )
            elif not writer.kinds.isdisjoint(each.wants):
                logger.warning(
                    "milepost: not all %s of %s are delivered to %s yet%s; they are safe in %s. Deliver them with: "
                    "milepost sync %s",
                    "files" if FILES.issuperset(each.wants) else "events",
                    path,
                    each.name,
                    why,
                    directory,
                    directory,
                )

    def hurry(self, writer: Writer, deadline: float) -> None:
        """As `finish`, without a word, for a program that is about to be ended."""
        writer.drain(sync=True)
        self._lanes.finish(deadline)
        if self._shipping is not None:
            self._shipping.finish(writer.seq - 1, deadline)
        self._lanes.join(deadline - time.monotonic())


def _misses_rows(delivery: Delivery, writer: Writer) -> bool:
    """Whether rows that the journal does not take are missing at an exporter."""
    return writer.broken is not None and delivery.wants_rows and writer.rows > delivery.cursor.rows


def _where_rows_are(writer: Writer, directory: str) -> str:
    """Where rows are that were not delivered, and what to do."""
    if writer.broken is None or writer.ring is None:
        return f"they are safe in {writer.directory}. Deliver them with: milepost sync {directory}"
    dropped = sum(writer.dropped.values())
    counted = f", but for {dropped:,} that found no room there either and are counted as dropped" if dropped else ""
    if writer.at_limit:
        return (
            f"they are in shared memory until this machine restarts{counted}, for the journal is as large as "
            "journal.max_bytes allows. The next init() or Api of this directory moves them to the disk, beyond that limit; "
            f"to do so now: milepost sync {directory}"
        )
    return (
        f"they are in shared memory until this machine restarts{counted}: {writer.broken}. When the disk has room "
        f"again: milepost sync {directory}"
    )
