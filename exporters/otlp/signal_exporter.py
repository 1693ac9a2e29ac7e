"""SignalExporter: what the exporters of one signal have in common: a destination, the shipment on its way, and the counts."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from milepost.exporters.otlp.points import Points
from milepost.exporters.otlp.records import Records
from milepost.exporters.otlp.resource import attributes, instance_id
from milepost.exporters.otlp.sender import Sender
from milepost.exporters.otlp.shipment import Counts, Shipment
from milepost.exporters.otlp.splitting import signature
from milepost.sdk.event import Event
from milepost.sdk.exporter import ExportResult, Position, RunInfo

GRPC_LIMIT = 3_500_000
"""Bytes of a request: receivers take 4 MiB unless told otherwise, and the frame around it counts."""
HTTP_LIMIT = 16_000_000


class SignalExporter:
    """One signal to one destination. A subclass says how its encoder is made and what of a batch it sends.

    name:      also that of its cursor.      address: of the back end, as messages show it.
    detectors: names of OpenTelemetry resource detectors.      problem: why nothing can be sent, or "".
    limit:     bytes that a request may have.
    """

    network: ClassVar[bool] = True
    wants: frozenset[str] = frozenset()
    takes_rows = True
    self_metrics = True

    def __init__(
        self, name: str, address: str, detectors: Sequence[str], *, problem: str = "", limit: int = HTTP_LIMIT
    ) -> None:
        self.name = name
        self._address = address
        self._problem = problem
        self._limit = limit
        self.counts = Counts()
        self._detectors = detectors
        self._sender: Sender | None = None
        self._shipment: Shipment | None = None
        self._shipped: tuple[int, int, int] = (0, 0, 0)
        self._said: set[Any] = set()
        self._run: RunInfo | None = None
        self._resumed = False

    def start(self, run: RunInfo, position: Position | None) -> None:
        """Note the run; the connection is opened by the first export."""
        self._run = run
        self._shipment, self._shipped = None, (0, 0, 0)  # what another run left is not this one's
        told = (position or {}).get("counts") or {}
        self.counts.sent = int(told.get("sent") or 0)
        self._resumed = self.counts.sent > 0
        self.counts.rejected = {str(reason): int(count) for reason, count in (told.get("rejected") or {}).items()}
        self._prepare(run, position or {})

    def position(self) -> dict[str, Any]:
        """The counts of points or records, which `milepost doctor` shows."""
        return {"counts": {"sent": self.counts.sent, "rejected": dict(self.counts.rejected), **self._more_counts()}}

    def export(self, batch: Sequence[Event]) -> ExportResult:
        """Send the batch, or what is left of it when it comes again."""
        if self._run is None:
            return ExportResult.retry(f"the exporter {self.name} is not started or was shut down")
        if not batch:
            return ExportResult.SUCCESS
        if self._problem:
            return ExportResult.retry(f"endpoint {self._address}: {self._problem}")
        if len(batch) == 1 and batch[0].kind == "sdk":
            return self._tell(batch[0])
        this = signature(batch)
        if self._shipment is None or this != self._shipped:
            self._shipment, self._shipped = self._shipment_of(batch), this
        result = self._shipment.go()
        if result.outcome != "retry":
            self._shipment = None
            self._resumed = self._resumed and result.outcome != "success"
            self._settled()
        return result

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held back."""
        return True

    def shutdown(self, timeout_millis: int = 30_000) -> None:
        """Close the connection."""
        if self._sender is not None:
            self._sender.close()
        self._sender = self._shipment = self._run = None

    def _ship(
        self,
        load: Points | Records,
        encode: Callable[[Any], Any],
        condemned: Callable[[Any], Callable[[Any], Any] | None] | None = None,
    ) -> Shipment:
        self._sender = self._sender or self._new_sender()
        return Shipment(
            load, encode, self._sender, self.counts, limit=self._limit, doubtful=self._resumed,
            condemned=condemned,
            name=f"{self.name} at {self._address}", said=self._said,
        )  # fmt: skip

    def _tell(self, event: Event) -> ExportResult:
        """Send the figures of the delivery itself, past whatever waits: under an instance id of their own, since a back end
        may want the samples of one resource in the order of their times."""
        assert self._run is not None
        own = f"{instance_id(self._run)}-{self.name}"
        self._sender = self._sender or self._new_sender()
        answer = self._sender.send(self._figures(event, {**attributes(self._run), "service.instance.id": own}))
        return ExportResult.SUCCESS if answer.outcome == "taken" else ExportResult.retry(answer.reason, answer.after_s)

    def _figures(self, event: Event, resource: dict[str, Any]) -> Any:
        """The request that holds the figures of a delivery."""
        raise NotImplementedError

    def _prepare(self, run: RunInfo, position: Position) -> None:
        raise NotImplementedError

    def _shipment_of(self, batch: Sequence[Event]) -> Shipment:
        raise NotImplementedError

    def _new_sender(self) -> Sender:
        raise NotImplementedError

    def _settled(self) -> None:
        """The batch is settled."""

    def _more_counts(self) -> dict[str, Any]:
        return {}
