"""OTLP over HTTP: what any OpenTelemetry client sends, as runs with steps.

    POST /v1/metrics    POST /v1/logs        protobuf or JSON, under gzip or nothing

    project  milepost.project, else service.name          run  milepost.run.id, else service.instance.id, else service.name
    step     the attribute `step` or `milepost.step` of a point, or the gauge `milepost.step` of the same time; else the number
             of the row
    row      the points of one resource at one time; a key is the metric's name, with its other attributes in braces
    logs     records `milepost.row` are rows, exact; a run that has them does not show its metrics besides.
             Others are console lines

OTLP has no numbers, so they are given here; a body that comes again within ten minutes under one key is taken for a retry and
dropped. Beyond that, rows arrive at least once.

Source: OpenTelemetry Protocol specification, "OTLP/HTTP".
"""

import asyncio
import hashlib
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from milepost.sdk import wire
from milepost.sdk.event import Event
from milepost.server.auth import Principal
from milepost.server.ingest import MAX_BODY, check_project, is_name, read_body, store_of_ingest, unpack
from milepost.server.problems import Problem
from milepost.server.store.ingest import Busy, Conflict, Job, NoSpace
from milepost.server.store.parts import InvalidBatch, parts_of, pressed
from milepost.server.store.sqlite import SqliteStore

MAX_DECODED: Final = 64 << 20
RETRY_S: Final = 600.0
KEPT_HASHES: Final = 20_000
_STEPS: Final = ("step", "milepost.step")
_WORDS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass
class Found:
    """What one resource brings. rows: by time in nanoseconds. records: exact rows (time, step, values). lines: (time, text)."""

    attributes: dict[str, Any]
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    steps: dict[int, int] = field(default_factory=dict)
    records: list[tuple[int, int, dict[str, Any]]] = field(default_factory=list)
    lines: list[tuple[int, str]] = field(default_factory=list)

    @property
    def project(self) -> str:
        """The project that it belongs to."""
        return str(self.attributes.get("milepost.project") or self.attributes.get("service.name") or "otlp")

    @property
    def run(self) -> str:
        """The run that it belongs to."""
        named = (self.attributes.get(name) for name in ("milepost.run.id", "service.instance.id", "service.name"))
        return str(next(filter(None, named), "otlp"))


class Receiver:
    """Takes requests in. One for each app: it gives rows their numbers."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, float] = OrderedDict()
        self._next: dict[tuple[str, str, str], int] = {}
        self._lock = threading.Lock()

    def routes(self) -> list[Route]:
        """The routes."""
        return [Route("/v1/metrics", self.metrics, methods=["POST"]), Route("/v1/logs", self.logs, methods=["POST"])]

    async def metrics(self, request: Request) -> Response:
        """Take metrics in."""
        return await self._take(request, ExportMetricsServiceRequest(), "metrics")

    async def logs(self, request: Request) -> Response:
        """Take log records in."""
        return await self._take(request, ExportLogsServiceRequest(), "logs")

    async def _take(self, request: Request, message: Any, signal: str) -> Response:
        store = store_of_ingest(request)
        principal: Principal | None = request.scope.get("principal")
        body = await read_body(request, MAX_BODY)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("application/x-protobuf", "application/json"):
            text = f"OTLP comes as application/x-protobuf or application/json, got {kind[:80]!r}"
            raise Problem(415, "unsupported media type", text)
        digest = hashlib.sha256(body + (principal.id if principal else "").encode()).digest()
        if self._is_repeated(digest):
            return _answer(kind, 0, "", signal)
        encoding = request.headers.get("content-encoding", "")
        found, rejected, why = await asyncio.to_thread(_read, body, encoding, kind, message, signal)
        for each in found:
            check_project(each.project, principal)
            if not is_name(each.project) or not is_name(each.run):
                raise Problem(400, "invalid resource", f"{each.project[:80]!r} / {each.run[:80]!r} cannot name a run")
        try:
            for each in found:
                await self._store(store, each, signal)
        except (Conflict, InvalidBatch) as error:
            raise Problem(400, "invalid request", str(error)[:200]) from None
        except (Busy, NoSpace) as error:
            status = 429 if isinstance(error, Busy) else 503
            raise Problem(status, "try again", str(error), headers={"Retry-After": "1"}) from None
        with self._lock:
            self._seen[digest] = time.monotonic()
            while len(self._seen) > KEPT_HASHES:
                self._seen.popitem(last=False)
        return _answer(kind, rejected, why, signal)

    def _is_repeated(self, digest: bytes) -> bool:
        with self._lock:
            return time.monotonic() - self._seen.get(digest, -math.inf) < RETRY_S

    async def _store(self, store: SqliteStore, found: Found, signal: str) -> None:
        key = found.project, found.run, writer_of(found, signal)
        with self._lock:
            first = self._next.get(key)
            if first is None:
                first = store.next_number(*key)
            events = _events(found, first)
            if not events:
                return
            self._next[key] = events[-1].seq + 1
            parent = "" if signal == "logs" else writer_of(found, "logs")
            batch = wire.batch_of(events, first, events[-1].seq, project=found.project, writer=key[2], parent=parent)
            parts = parts_of(batch)
            groups = [part.group() for part in parts]
            body = pressed(wire.WireBatch(writer=batch.writer, first=first, last=batch.last, groups=groups))
            waiting = store.ingest.submit(Job(found.project, found.run, batch, parts, body))
        await asyncio.wrap_future(waiting)


def writer_of(found: Found, signal: str) -> str:
    """The writer that stands for a signal of a resource: 16 hex digits."""
    told = f"{found.project}/{found.run}/{found.attributes.get('milepost.process.rank')}/{signal}"
    return hashlib.sha256(told.encode(errors="replace")).hexdigest()[:16]


def _events(found: Found, first: int) -> list[Event]:
    """Numbered events: what the resource says at the beginning, then rows and lines by time."""
    told: list[tuple[int, str, int | None, dict[str, Any]]] = []
    told += [(at, "row", found.steps.get(at), values) for at, values in found.rows.items() if values]
    told += [(at, "row", step, values) for at, step, values in found.records]
    told += [(at, "console", None, {"stream": "log", "text": text}) for at, text in found.lines]
    told.sort(key=lambda each: each[0])
    if first == 0 and told:
        name = found.attributes.get("milepost.run.name") or found.run
        said = {
            "name": name,
            "group": found.attributes.get("milepost.run.group"),
            "environment": {"resource": found.attributes},
        }
        told.insert(0, (told[0][0], "run.start", None, said))
    events: list[Event] = []
    for seq, (at, kind, step, values) in enumerate(told, start=first):
        place = step if step is not None or kind != "row" else seq
        events.append(Event(kind=kind, values=values, step=place, time_unix_nano=at, seq=seq))
    return events


def _read(body: bytes, encoding: str, kind: str, message: Any, signal: str) -> tuple[list[Found], int, str]:
    """What the resources of a request bring; how many points or records cannot be taken, and why."""
    data = unpack(body, encoding, MAX_DECODED)
    try:
        if kind == "application/json":
            json_format.Parse(data, message, ignore_unknown_fields=True, max_recursion_depth=50)
        else:
            message.ParseFromString(data)
    except (DecodeError, json_format.ParseError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise Problem(400, "invalid request", f"this is no OTLP {signal} request: {str(error)[:200]}") from None
    try:
        if signal == "metrics":
            return _metrics(message.resource_metrics)
        return _logs(message.resource_logs)
    except (InvalidBatch, ValueError, OverflowError) as error:
        raise Problem(400, "invalid request", str(error)[:200]) from None


def _metrics(resources: Iterable[Any]) -> tuple[list[Found], int, str]:
    found: list[Found] = []
    rejected, why = 0, ""
    for resource in resources:
        one = Found(_attributes(resource.resource.attributes))
        found.append(one)
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            shape = metric.WhichOneof("data")
            points = getattr(metric, shape).data_points if shape else ()
            if shape not in ("gauge", "sum", "histogram"):
                rejected += len(points)
                why = why or f"{shape} of {metric.name!r} is not taken; gauges, sums and histograms are"
                continue
            for point in points:
                _add_point(one, metric.name, shape, point)
    return found, rejected, why


def _add_point(found: Found, name: str, shape: str, point: Any) -> None:
    at = int(point.time_unix_nano) & (2**63 - 1)
    attributes = _attributes(point.attributes)
    if shape == "histogram":
        value: Any = _histogram(point)
    else:
        value = point.as_int if point.WhichOneof("value") == "as_int" else point.as_double
    for step in _STEPS:
        if _is_step(attributes.get(step)):
            found.steps[at] = int(attributes.pop(step))
    if name == "milepost.step":
        if _is_step(value):
            found.steps[at] = int(value)
        return
    if attributes:
        name += "{" + ",".join(f"{key}={value}" for key, value in sorted(attributes.items())) + "}"
    if 0 < len(name) <= 4096:
        found.rows.setdefault(at, {})[name] = value


def _is_step(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value and 0 <= value < 2**62


def _histogram(point: Any) -> dict[str, Any]:
    """As the media type Histogram has it. OTLP leaves out the two outer edges: the least and greatest value, where told."""
    bounds = list(point.explicit_bounds)
    low = point.min if point.HasField("min") else (bounds[0] if bounds else 0.0)
    high = point.max if point.HasField("max") else (bounds[-1] if bounds else 0.0)
    edges = [min([low, *bounds[:1]]), *bounds, max([high, *bounds[-1:]])]
    return {"_type": "histogram", "values": list(point.bucket_counts) or [point.count], "bins": edges}


def _logs(resources: Iterable[Any]) -> tuple[list[Found], int, str]:
    found: list[Found] = []
    rejected, why = 0, ""
    for resource in resources:
        one = Found(_attributes(resource.resource.attributes))
        found.append(one)
        for record in (record for scope in resource.scope_logs for record in scope.log_records):
            at = int(record.time_unix_nano or record.observed_time_unix_nano) & (2**63 - 1)
            attributes = _attributes(record.attributes)
            body = _value(record.body)
            if (record.event_name or attributes.get("event.name")) == "milepost.row":
                values = _row_of(body)
                if values is None:
                    rejected, why = rejected + 1, "the body of milepost.row is a JSON object or a map"
                    continue
                step = attributes.get("milepost.step", values.get("_step"))
                row = {key: value for key, value in values.items() if not key.startswith("_")}
                one.records.append((at, int(step or 0) if _is_step(step) else 0, row))
            else:
                text = body if isinstance(body, str) else msgspec.json.encode(body).decode()
                one.lines.append((at, f"{record.severity_text} {text}".strip()))
    return found, rejected, why


def _row_of(body: Any) -> dict[str, Any] | None:
    if isinstance(body, str):
        try:
            body = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError):
            return None
    if not isinstance(body, dict):
        return None
    return {str(key): _WORDS.get(value, value) if isinstance(value, str) else value for key, value in body.items()}


def _attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    """An AnyValue as a plain value."""
    shape = value.WhichOneof("value")
    if shape is None:
        return None
    inner = getattr(value, shape)
    if shape == "array_value":
        return [_value(each) for each in inner.values]
    if shape == "kvlist_value":
        return _attributes(inner.values)
    return inner.hex() if shape == "bytes_value" else inner


def _answer(kind: str, rejected: int, why: str, signal: str) -> Response:
    """Success, or partial success."""
    name = "rejectedDataPoints" if signal == "metrics" else "rejectedLogRecords"
    if kind == "application/json":
        told: Mapping[str, Any] = {"partialSuccess": {name: str(rejected), "errorMessage": why}} if rejected else {}
        return Response(msgspec.json.encode(told), media_type=kind)
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

    answer: Message
    if signal == "metrics":
        metrics = ExportMetricsServiceResponse()
        if rejected:
            metrics.partial_success.rejected_data_points, metrics.partial_success.error_message = rejected, why
        answer = metrics
    else:
        logs = ExportLogsServiceResponse()
        if rejected:
            logs.partial_success.rejected_log_records, logs.partial_success.error_message = rejected, why
        answer = logs
    return Response(answer.SerializeToString(), media_type=kind)
