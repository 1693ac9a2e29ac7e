"""opentelemetry: any exporter of OpenTelemetry's Python SDK, fed with the data types of that SDK.

For a back end whose vendor ships a Python exporter, and for tests. What a stock exporter does with a batch that fails, it does
here: most give up after ten seconds, and none says why but in its log. A batch that it answers FAILURE for is offered again, and
divided only when the exporter takes other parts of it. Where the back end speaks OTLP or remote write, `otlp` and
`prometheus_remote_write` know more.
"""

import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from milepost.exporters import opentelemetry_options
from milepost.exporters.otlp.metrics import INT_MAX, INT_MIN, as_double, explicit_buckets
from milepost.exporters.otlp.points import KINDS, Points, Series, figures
from milepost.exporters.otlp.records import WANTS, Records, described
from milepost.exporters.otlp.resource import attributes, version
from milepost.exporters.otlp.selection import Selection
from milepost.exporters.otlp.sender import TAKEN, Answer, short
from milepost.exporters.otlp.shipment import Shipment
from milepost.exporters.otlp.signal_exporter import SignalExporter
from milepost.exporters.otlp.splitting import Splitting
from milepost.sdk.errors import ConfigurationError, MissingDependencyError
from milepost.sdk.event import Event
from milepost.sdk.exporter import Position, RunInfo

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric, MetricsData
    from opentelemetry.sdk.resources import Resource

GROUPS = {"metrics": "opentelemetry_metrics_exporter", "logs": "opentelemetry_logs_exporter"}


class OpenTelemetryExporter(Splitting):
    """A stock MetricExporter, a stock LogRecordExporter, or both.

    metrics, logs: the exporter itself, or the name that its package registers. ..._options: keyword arguments for a name.
    One that was given as an object serves run after run: it is flushed at the end of each, and shut down by whoever made it.
    Raises ConfigurationError when neither is given or a name means nothing here.
    """

    name = "opentelemetry"
    network: ClassVar[bool] = True

    def __init__(
        self,
        metrics: Any = None,
        metrics_options: Mapping[str, Any] | None = None,
        logs: Any = None,
        logs_options: Mapping[str, Any] | None = None,
        step: Literal["companion", "attribute", "none"] = "companion",
        max_series: int = 10_000,
        interval: int = 1,
        detectors: Sequence[str] = (),
    ) -> None:
        if metrics is None and logs is None:
            raise ConfigurationError("opentelemetry: give metrics or logs, the name of an exporter or an exporter")
        parts: dict[str, SignalExporter] = {}
        if metrics is not None:
            selection = Selection(step=step, max_series=max_series, interval=interval)
            parts["metrics"] = StockMetrics(metrics, metrics_options or {}, selection, detectors)
        if logs is not None:
            parts["logs"] = StockLogs(logs, logs_options or {}, detectors)
        super().__init__(parts)

    parts = staticmethod(opentelemetry_options.parts)


def made(signal: str, exporter: Any, options: Mapping[str, Any]) -> Any:
    """The stock exporter of a name, or the one that was given. Raises ConfigurationError."""
    if isinstance(exporter, str):
        from importlib.metadata import entry_points

        points = [*entry_points(group=GROUPS[signal], name=exporter)]
        if not points:
            names = ", ".join(sorted({point.name for point in entry_points(group=GROUPS[signal])}))
            raise ConfigurationError(
                f"opentelemetry: {signal}: no installed package registers {exporter!r} in {GROUPS[signal]}. There are: {names}"
            )
        try:
            exporter = points[0].load()(**options)
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            raise ConfigurationError(
                f"opentelemetry: {signal}: {points[0].name!r} could not be made: {told}"
            ) from error
    if not callable(getattr(exporter, "export", None)):
        raise ConfigurationError(
            f"opentelemetry: {signal}: {type(exporter).__name__} has no export(); a metric reader, such as that of "
            "Prometheus, collects by itself and cannot be fed"
        )
    return exporter


class _Stock(SignalExporter):
    """What the exporters of both signals have in common."""

    def __init__(self, signal: str, exporter: Any, options: Mapping[str, Any], detectors: Sequence[str]) -> None:
        self._made = functools.partial(made, signal, exporter, options)
        self._exporter = self._made()
        self._ours = isinstance(exporter, str)
        self._over = False
        self._empty: Any = None
        super().__init__(f"opentelemetry-{signal}", type(self._exporter).__name__, detectors)

    def shutdown(self, timeout_millis: int = 30_000) -> None:
        """Shut the stock exporter down if it was made here and used; flush one that another run may need."""
        try:
            if self._run is not None and self._ours:
                self._over = True  # the next run gets another one
                self._exporter.shutdown()
            elif self._run is not None and callable(flush := getattr(self._exporter, "force_flush", None)):
                flush(timeout_millis)
        finally:
            super().shutdown(timeout_millis)

    def _new_sender(self) -> "StockSender":
        if self._over:
            self._exporter, self._over = self._made(), False
        return StockSender(self._exporter, lambda: self._empty)


class StockSender:
    """Calls a stock exporter."""

    def __init__(self, exporter: Any, empty: Callable[[], Any]) -> None:
        self._exporter = exporter
        self._empty = empty
        self._logger = logging.getLogger(type(exporter).__module__.partition(".")[0])
        self._why = ""

    def send(self, request: Any) -> Answer:
        """Export it. FAILURE says nothing about why; what the exporter logs meanwhile does, if only the first time."""
        name = type(self._exporter).__name__
        try:
            with _not_traced(), _overheard(self._logger) as said:
                result = self._exporter.export(self._empty() if request == b"" else request)
        except Exception as error:  # noqa: BLE001 - the exporter is foreign code
            return Answer(outcome="failed", reason=short(f"{type(error).__name__}: {error}"))
        if getattr(result, "name", "") == "SUCCESS":
            return TAKEN
        self._why = said[-1] if said else self._why
        return Answer(outcome="failed", reason=f"FAILURE of {name}" + (f": {self._why}" if self._why else ""))

    def close(self) -> None:
        """Nothing is open but what the exporter keeps."""


class _Ear(logging.Handler):
    """Hears the warnings and errors of one thread. Where nobody else hears them, they go to stderr as they would without it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []
        self._thread = threading.get_ident()

    def handle(self, record: logging.LogRecord) -> bool:
        last, handlers = logging.lastResort, _handlers(record.name)
        alone = all(isinstance(each, _Ear) for each in handlers)
        if last is not None and record.levelno >= last.level and alone and self in handlers[:1]:
            last.handle(record)
        return bool(super().handle(record))

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            with contextlib.suppress(Exception):  # a text that its arguments do not fit
                self.found.append(short(record.getMessage()))


def _handlers(name: str) -> list[logging.Handler]:
    """Those that the records of a logger reach."""
    found: list[logging.Handler] = []
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None:
        found += logger.handlers
        logger = logger.parent if logger.propagate else None
    return found


@contextlib.contextmanager
def _overheard(logger: logging.Logger) -> Iterator[list[str]]:
    """The warnings and errors that this thread logs there in the meantime."""
    ear = _Ear()
    logger.addHandler(ear)
    try:
        yield ear.found
    finally:
        logger.removeHandler(ear)


@contextlib.contextmanager
def _not_traced() -> Iterator[None]:
    """So that an instrumented HTTP library makes no spans of an export."""
    from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value

    token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        yield
    finally:
        detach(token)


class StockMetrics(_Stock):
    """A stock MetricExporter."""

    wants = KINDS

    def __init__(
        self, exporter: Any, options: Mapping[str, Any], selection: Selection, detectors: Sequence[str]
    ) -> None:
        super().__init__("metrics", exporter, options, detectors)
        self._selection = selection

    def position(self) -> dict[str, Any]:
        """Also what later batches depend on."""
        return {**super().position(), **self._selection.state()}

    def _prepare(self, run: RunInfo, position: Position) -> None:
        from opentelemetry.sdk.metrics.export import MetricsData
        from opentelemetry.sdk.resources import Resource

        self._resource = Resource(attributes(run, self._detectors))
        self._empty = MetricsData(resource_metrics=[])
        self._selection = self._selection.going_on(position)

    def _shipment_of(self, batch: Sequence[Event]) -> Shipment:
        return self._ship(self._selection.select(batch), self._encode, self._selection.condemned)

    def _figures(self, event: Event, resource: dict[str, Any]) -> "MetricsData":
        from opentelemetry.sdk.resources import Resource

        return self._encode(figures(event), Resource(resource))

    def _encode(self, points: Points, resource: "Resource | None" = None) -> "MetricsData":
        from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        metrics = [metric for series in points.series if (metric := _metric(series)) is not None]
        scope = ScopeMetrics(InstrumentationScope("milepost", version()), metrics, "")
        return MetricsData([ResourceMetrics(resource or self._resource, [scope], "")])

    def _settled(self) -> None:
        self._selection.settled()

    def _more_counts(self) -> dict[str, Any]:
        return self._selection.counts()


def _metric(series: Series) -> "Metric | None":
    """A series as the SDK's data types say it; None for one without points."""
    from opentelemetry.sdk.metrics.export import AggregationTemporality, Gauge, Histogram, Metric, NumberDataPoint, Sum

    cumulative = AggregationTemporality.CUMULATIVE
    begun: Any = None  # not known, which the SDK's types do not foresee but its encoders do
    data: Any
    if series.kind == "histogram":
        points = _histogram_points(series)
        data = Histogram(points, cumulative) if points else None
    else:
        numbers = [
            NumberDataPoint(_attributes(series, at), begun, time, _number(value))
            for at, (time, value) in enumerate(zip(series.times, series.values, strict=True))
        ]
        data = Gauge(numbers) if series.kind == "gauge" else Sum(numbers, cumulative, series.kind == "counter")
    return None if data is None else Metric(name=series.name, description="", unit=series.unit, data=data)


def _histogram_points(series: Series) -> list[Any]:
    from opentelemetry.sdk.metrics.export import HistogramDataPoint

    found: list[Any] = []
    start, unknown = series.start, 0.0
    for at, (time, value) in enumerate(zip(series.times, series.values, strict=True)):
        buckets = explicit_buckets(value)
        if buckets is not None:
            counts, bounds = buckets
            begun = start if 0 < start < time else time - 1
            point = HistogramDataPoint(
                _attributes(series, at), begun, time, sum(counts), unknown, counts, bounds, bounds[0], bounds[-1]
            )
            object.__setattr__(point, "sum", None)  # not known; the encoders leave it out
            found.append(point)
        start = time
    return found


def _attributes(series: Series, at: int) -> dict[str, Any]:
    own = dict[str, Any](series.attributes)
    return {**own, "milepost.step": series.steps[at]} if series.steps else own


def _number(value: Any) -> Any:
    """A whole number beyond 64 bits would fail a whole batch."""
    return value if isinstance(value, float) or INT_MIN <= value <= INT_MAX else as_double(value)


class StockLogs(_Stock):
    """A stock LogRecordExporter."""

    wants = WANTS

    def __init__(self, exporter: Any, options: Mapping[str, Any], detectors: Sequence[str]) -> None:
        super().__init__("logs", exporter, options, detectors)
        self._empty = []

    def _prepare(self, run: RunInfo, position: Position) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._resource = Resource({**attributes(run, self._detectors), "milepost.writer": run.writer})
        self._scope = InstrumentationScope("milepost", version())

    def _shipment_of(self, batch: Sequence[Event]) -> Shipment:
        chosen = [event for event in batch if event.kind in WANTS]
        seqs = [event.seq if event.kind == "row" else None for event in chosen]
        return self._ship(Records([self._record(event) for event in chosen], seqs), lambda load: list(load.records))

    def _figures(self, event: Event, resource: dict[str, Any]) -> list[Any]:
        from opentelemetry.sdk.resources import Resource

        return [self._record(event, Resource(resource))]

    def _record(self, event: Event, resource: "Resource | None" = None) -> Any:
        from opentelemetry._logs import LogRecord, SeverityNumber

        try:
            from opentelemetry.sdk._logs import ReadableLogRecord
        except ImportError:
            raise MissingDependencyError(
                "the exporter opentelemetry needs a newer opentelemetry-sdk for logs; install it with: "
                "pip install -U opentelemetry-sdk"
            ) from None
        told = described(event)
        record = LogRecord(
            timestamp=event.time_unix_nano,
            observed_timestamp=event.time_unix_nano,
            context=_context(event),
            severity_number=SeverityNumber(told.severity),
            body=told.body,
            attributes=told.attributes,
            event_name=told.name,
        )
        return ReadableLogRecord(record, resource or self._resource, self._scope)


def _context(event: Event) -> Any:
    """The span that was active inside log(); None for none."""
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    if not event.trace_id:
        return Context()  # an empty one: the thread's own would be asked otherwise
    flags = TraceFlags(event.trace_flags)
    span = SpanContext(int(event.trace_id, 16), int(event.span_id, 16), is_remote=False, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(span), Context())
