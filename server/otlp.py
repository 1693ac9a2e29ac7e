"""OTLP over HTTP: what any OpenTelemetry client sends, as runs with steps.

    POST /v1/metrics    POST /v1/logs        protobuf or JSON, under gzip or nothing

    project  milepost.project, else service.name          run  milepost.run.id, else service.instance.id, else service.name
    step     the attribute `step` or `milepost.step` of a point, or the gauge `milepost.step` of the same time; else the number
             of the row
    row      the points of one resource at one time; a key is the metric's name, with its other attributes in braces
    logs     records `milepost.row` are rows, exact; a run that has them does not show its metrics besides.
             Others are console lines

OTLP has no numbers, so they are given when rows are stored. A body that comes again within a day under one key is taken for a
retry, and what was stored of it is not stored again, also after the server was killed. Beyond that, rows arrive at least once.
An error is a google.rpc.Status in the form of the request: `otlp_errors`.

Source: OpenTelemetry Protocol specification, "OTLP/HTTP".
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from milepost.sdk import wire
from milepost.sdk.event import Event
from milepost.server.auth import Principal
from milepost.server.ingest import MAX_BODY, check_project, is_name, read_body, store_of_ingest, unpack
from milepost.server.intake import Room, one_at_a_time
from milepost.server.otlp_read import Found, Rejected, logs_of, metrics_of
from milepost.server.otlp_size import MAX_RESOURCES, check_size
from milepost.server.problems import Problem
from milepost.server.store.ingest import Busy, Conflict, Damaged, Deleted, Job, Locked, NoSpace, Numbered
from milepost.server.store.parts import InvalidBatch, parts_of, pressed

MAX_DECODED: Final = 32 << 20
LARGE_OTLP: Final = 1 << 20
"""Requests that take more are read one at a time: in memory they are fifty times as large."""
PROTOBUF: Final = "application/x-protobuf"
JSON: Final = "application/json"


class _Told(NamedTuple):
    """A row or a line without a number. time: nanoseconds since 1970."""

    time: int
    kind: str
    step: int | None
    values: dict[str, Any]


class Receiver:
    """Takes requests in. One for each app."""

    def __init__(self) -> None:
        self.rejected: Counter[tuple[str, str]] = Counter()
        """How many points or records were not taken, by signal and reason, since the start."""

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/v1/metrics", self.metrics, methods=["POST"]),
            Route("/v1/logs", self.logs, methods=["POST"]),
            Route("/v1/traces", self.traces, methods=["POST"]),
        ]

    async def metrics(self, request: Request) -> Response:
        """Take metrics in."""
        return await self._take(request, ExportMetricsServiceRequest(), "metrics")

    async def logs(self, request: Request) -> Response:
        """Take log records in."""
        return await self._take(request, ExportLogsServiceRequest(), "logs")

    async def traces(self, _: Request) -> Response:
        """Say that they are not taken: an SDK that is given one address for all signals sends them too."""
        raise Problem(
            404, "no such signal", "traces are not stored here, metrics and logs are; OTEL_TRACES_EXPORTER=none"
        )

    async def _take(self, request: Request, message: Any, signal: str) -> Response:
        store = store_of_ingest(request)
        principal: Principal | None = request.scope.get("principal")
        with Room() as room:
            body = await read_body(request, MAX_BODY, room)
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind not in (PROTOBUF, JSON):
                text = f"OTLP comes as application/x-protobuf or application/json, got {kind[:80]!r}"
                raise Problem(415, "unsupported media type", text)
            encoding = request.headers.get("content-encoding", "")
            data = await asyncio.to_thread(unpack, body, encoding, MAX_DECODED)
            room.take(len(data) if encoding else 0)
            threads = one_at_a_time if len(data) > LARGE_OTLP else None
            reading = asyncio.get_running_loop().run_in_executor(threads, _read, data, kind, message, signal)
            found, rejected = await reading
            for each in found:
                check_project(each.project, principal)
                if not is_name(each.project) or not is_name(each.run):
                    raise Problem(
                        400, "invalid resource", f"{each.project[:80]!r} / {each.run[:80]!r} cannot name a run"
                    )
            digest = hashlib.sha256(body + f"{signal} {principal.id if principal else ''}".encode()).digest()
            repeated: list[bool] = []
            try:
                for n, each in enumerate(found):
                    if told := _told(each):
                        job = _job(each, told, signal, digest[:20] + n.to_bytes(4, "big"))
                        repeated.append((await asyncio.wrap_future(store.ingest.submit(job))).repeated)
            except (Conflict, Deleted, InvalidBatch) as error:
                raise Problem(400, "invalid request", str(error)[:200]) from None
            except (Busy, Damaged, Locked, NoSpace) as error:
                status = 429 if isinstance(error, Busy) else 503
                raise Problem(status, "try again", str(error), headers={"Retry-After": "1"}) from None
            if not repeated or not all(repeated):
                self.rejected.update({(signal, reason): n for reason, n in rejected.by_reason.items()})
            return _answer(kind, rejected, signal)


def _job(found: Found, told: list[_Told], signal: str, mark: bytes) -> Job:
    """What one resource brings, to be numbered when it is stored."""
    writer = writer_of(found, signal)
    parent = "" if signal == "logs" else writer_of(found, "logs")

    def numbered(first: int, created: float) -> Numbered:
        events = _events(found, told, first, created)
        batch = wire.batch_of(events, first, events[-1].seq, project=found.project, writer=writer, parent=parent)
        parts = parts_of(batch)
        groups = [part.group() for part in parts]
        return batch, parts, pressed(wire.WireBatch(writer=writer, first=first, last=batch.last, groups=groups))

    head = wire.WireBatch(writer=writer, first=0, last=0, parent=parent, created=told[0].time)
    return Job(found.project, found.run, head, [], None, numbered, mark)


def writer_of(found: Found, signal: str) -> str:
    """The writer that stands for a signal of a resource: 16 hex digits."""
    told = f"{found.project}/{found.run}/{found.attributes.get('milepost.process.rank')}/{signal}"
    return hashlib.sha256(told.encode(errors="replace")).hexdigest()[:16]


def _told(found: Found) -> list[_Told]:
    """Rows and lines by time."""
    told = [_Told(at, "row", found.steps.get(at), values) for at, values in found.rows.items() if values]
    told += [_Told(at, "row", step, values) for at, step, values in found.records]
    told += [_Told(at, "console", None, {"stream": "log", "text": text}) for at, text in found.lines]
    told.sort(key=lambda each: each.time)
    return told


def _events(found: Found, told: list[_Told], first: int, created: float) -> list[Event]:
    """Numbered events: what the resource says at the beginning, then rows and lines by time. created: when the run was."""
    if first == 0:
        name = found.attributes.get("milepost.run.name") or found.run
        said = {
            "name": name,
            "group": found.attributes.get("milepost.run.group"),
            "environment": {"resource": found.attributes},
        }
        told = [_Told(told[0].time, "run.start", None, said), *told]
    events: list[Event] = []
    for seq, (at, kind, step, values) in enumerate(told, start=first):
        place = step if step is not None or kind != "row" else seq
        runtime_s = max(at / 1e9 - created, 0.0)
        events.append(Event(kind=kind, values=values, step=place, time_unix_nano=at, runtime_s=runtime_s, seq=seq))
    return events


def _read(data: bytes, kind: str, message: Any, signal: str) -> tuple[list[Found], Rejected]:
    """What the resources of a request bring, and which points or records cannot be taken."""
    check_size(data, None if kind == JSON else message.DESCRIPTOR)
    try:
        if kind == JSON:
            json_format.Parse(data, message, ignore_unknown_fields=True, max_recursion_depth=50)
        else:
            message.ParseFromString(data)
    except (DecodeError, json_format.ParseError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise Problem(400, "invalid request", f"this is no OTLP {signal} request: {str(error)[:200]}") from None
    several = message.resource_metrics if signal == "metrics" else message.resource_logs
    if len(several) > MAX_RESOURCES:
        text = f"{len(several):,} resources in one request; {MAX_RESOURCES:,} are taken"
        raise Problem(413, "too large", text, limit=MAX_RESOURCES)
    try:
        return metrics_of(message.resource_metrics) if signal == "metrics" else logs_of(message.resource_logs)
    except (InvalidBatch, ValueError, OverflowError) as error:
        raise Problem(400, "invalid request", str(error)[:200]) from None


def _answer(kind: str, rejected: Rejected, signal: str) -> Response:
    """Success, or partial success."""
    metrics = signal == "metrics"
    if kind == JSON:
        name = "rejectedDataPoints" if metrics else "rejectedLogRecords"
        partial: Mapping[str, Any] = {name: str(rejected.total), "errorMessage": str(rejected)}
        return Response(msgspec.json.encode({"partialSuccess": partial} if rejected.total else {}), media_type=kind)
    answer: Any = ExportMetricsServiceResponse() if metrics else ExportLogsServiceResponse()
    if rejected.total:
        setattr(answer.partial_success, "rejected_data_points" if metrics else "rejected_log_records", rejected.total)
        answer.partial_success.error_message = str(rejected)
    return Response(answer.SerializeToString(), media_type=kind)
