"""On threads: a run's network exporters on threads of its program, where no shipper can be had."""

import contextlib
import logging
import time
from pathlib import Path

from milepost.sdk.delivery import Delivery, Unsent
from milepost.sdk.errors import Error
from milepost.sdk.exporter import RunInfo
from milepost.sdk.lanes import Lanes
from milepost.sdk.routing import routes_of
from milepost.sdk.shipper.plan import Plan
from milepost.sdk.syncing import delivering

logger = logging.getLogger("milepost")


class OnThreads:
    """The exporters of a plan, each on a thread of its own. why: no shipper can be had, which is said.

    names: of the routes.
    """

    def __init__(self, plan: Plan, info: RunInfo, directory: Path, why: str) -> None:
        logger.warning(
            "milepost: no shipper can be had (%s); the network exporters run on threads of this program", why
        )
        self._alone = contextlib.ExitStack()
        """The locks of what is delivered here."""
        self._lanes: list[Lanes] = []
        names: list[str] = []
        for each in plan.exporters:
            try:
                routes = routes_of(each.name, each.component())
            except Error as error:
                logger.warning(
                    "milepost: exporter %s cannot be made: %s; its rows stay in the journal", each.name, error
                )
                continue
            for route in routes:
                names.append(route.name)
                if not self._alone.enter_context(delivering(directory, route.name)):
                    logger.warning("milepost: another process is delivering to %s; it is left to that one", route.name)
                    continue
                lanes = Lanes([Delivery(route, info, directory)], int)
                self._lanes.append(lanes)
                with contextlib.suppress(RuntimeError):  # an interpreter that ends starts no thread any more
                    lanes.start()
        self.names = tuple(names)

    def finish(self, deadline: float) -> list[Unsent]:
        """Let the exporters catch up until the deadline (time.monotonic); what they have not."""
        for lanes in self._lanes:
            lanes.finish(deadline)
        unsent: list[Unsent] = []
        for lanes in self._lanes:
            late = lanes.join(deadline - time.monotonic() + 0.2)
            unsent += [
                Unsent(delivery.route.name, delivery.cursor.rows, delivery.cursor.last_error, delivery.cursor.wants)
                for delivery in lanes.deliveries
                if delivery in late or delivery.pending()
            ]
        self.close()
        return unsent

    def close(self) -> None:
        """Let the locks go."""
        self._alone.close()
