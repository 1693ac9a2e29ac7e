"""Records: rows and events as log records of an OTLP request. The exact history: every row once, in order, all of it.

    row       event name `milepost.row`, its values as JSON text, its step, number and runtime as attributes
    others    `milepost.run.start`, `.config`, `.summary`, `.metric`, `.run.finish`, ...: what the event says, as JSON text
    console   `milepost.console`: the text itself

The body is text because the Collector's family turns a map that holds one NaN into an empty text. NaN and the infinities
are the texts "NaN", "Infinity" and "-Infinity". The event's name stands in an attribute too: not every store has a column
for it. Media are what their row says of them: path, sha256, type.

Source: opentelemetry-proto, logs/v1/logs.proto.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

import msgspec

from milepost.exporters.jsonl import finite
from milepost.exporters.otlp import wire
from milepost.exporters.otlp.resource import any_value, key_value
from milepost.sdk.batch import Rows, parts
from milepost.sdk.event import Event
from milepost.sdk.strict_json import encoded_lines, json_lines, jsonable

WANTS: Final = frozenset(
    (
        "row", "run.start", "run.finish", "environment", "config", "summary", "metric", "meta", "console", "alert", "rewind",
        "gap", "file", "sdk",
    )
)  # fmt: skip
"""All but system samples, which are metrics."""
INFO, WARN, ERROR = 9, 13, 17
_SEVERITIES: Final = {"INFO": INFO, "WARN": WARN, "WARNING": WARN, "ERROR": ERROR}
_times: Final = struct.Struct("<BQBQBB").pack
_ROW: Final = wire.text(12, "milepost.row") + key_value(6, "event.name", "milepost.row")
_STEP: Final = wire.text(1, "milepost.step")
_SEQ: Final = wire.text(1, "milepost.seq")
_NAME: Final = wire.text(1, "milepost.runtime")
_RUNTIME: Final = wire.tag(6, wire.BYTES) + wire.varint(len(_NAME) + 11) + _NAME + b"\x12\x09\x21"
"""An attribute up to its eight bytes of value."""
_pack_double: Final = struct.Struct("<d").pack


class Described(NamedTuple):
    """A log record in words, for encoders other than ours."""

    name: str
    severity: int
    body: str
    attributes: dict[str, Any]


def described(event: Event) -> Described:
    """What `RecordsEncoder` says of an event."""
    name = f"milepost.{event.kind}"
    values = event.values
    body = str(values.get("text", "")) if event.kind == "console" else json_lines([values])[:-1].decode()
    found: dict[str, Any] = {"event.name": name}
    if event.step is not None:
        found["milepost.step"] = event.step
    found["milepost.seq"] = event.seq
    if event.kind == "row":
        found["milepost.runtime"] = event.runtime_s
    found.update({f"milepost.{key}": value for key, value in _flat_attributes(event)})
    return Described(name, _severity(event), body, found)


class Records:
    """Log records of one batch.

    records: one LogRecord each, encoded.      seqs: the number of the row that it is, or None for another event.
    """

    def __init__(self, records: Sequence[Any], seqs: Sequence[int | None]) -> None:
        self.records = records
        self.seqs = seqs

    @property
    def count(self) -> int:
        """How many records there are."""
        return len(self.records)

    def halves(self) -> "tuple[Records, Records] | None":
        """The earlier and the later half; None for a single record."""
        if len(self.records) < 2:
            return None
        cut = len(self.records) // 2
        return Records(self.records[:cut], self.seqs[:cut]), Records(self.records[cut:], self.seqs[cut:])

    def row_ids(self) -> set[int]:
        """What tells the rows apart that are here."""
        return {seq for seq in self.seqs if seq is not None}


class RecordsEncoder:
    """Makes log records of events, and ExportLogsServiceRequest messages of those."""

    def __init__(self, resource: bytes, scope: bytes, body: Literal["json", "map"] = "json") -> None:
        self._resource = wire.message(1, resource)
        self._scope = wire.message(1, scope)
        self._map = body == "map"

    def select(self, batch: Sequence[Event]) -> Records:
        """The records of a batch."""
        records: list[bytes] = []
        seqs: list[int | None] = []
        for part in parts(batch):
            bodies = _bodies(part) if isinstance(part, Rows) and not self._map else None
            if isinstance(part, Rows) and bodies is not None:
                numbers, times, runtimes, steps = part.columns[:4]
                records.extend(map(_record, times, bodies, steps, numbers, runtimes))
                seqs.extend(numbers)
                continue
            for event in part:
                if event.kind == "row":
                    records.append(self._row(event))
                    seqs.append(event.seq)
                elif event.kind in WANTS:
                    records.append(self._other(event))
                    seqs.append(None)
        return Records(records, seqs)

    def encode(self, records: Records) -> bytes:
        """The request; of no records, an empty one."""
        if not records.records:
            return b""
        found = b"".join([wire.message(2, record) for record in records.records])
        return wire.message(1, self._resource + wire.message(2, self._scope + found))

    def _row(self, event: Event) -> bytes:
        if self._map:
            body = any_value(jsonable(event.values))
        else:
            text = json_lines([event.values])[:-1]
            body = b"\x0a" + wire.varint(len(text)) + text
        record = _record_of(event.time_unix_nano, body, event.step or 0, event.seq, event.runtime_s)
        return record + _trace(event) if event.trace_id else record

    def _other(self, event: Event) -> bytes:
        name = f"milepost.{event.kind}"
        values = event.values
        body = (
            wire.message(5, any_value(str(values.get("text", "")))) if event.kind == "console" else self._body(values)
        )
        about = b"".join(key_value(6, f"milepost.{key}", value) for key, value in _flat_attributes(event))
        return b"".join(
            (
                _clock(event.time_unix_nano, _severity(event)),
                body,
                wire.text(12, name),
                key_value(6, "event.name", name),
                _whole(_STEP, event.step) if event.step is not None else b"",
                _whole(_SEQ, event.seq),
                about,
                _trace(event) if event.trace_id else b"",
            )
        )

    def _body(self, values: dict[str, Any]) -> bytes:
        if self._map:
            return wire.message(5, any_value(jsonable(values)))
        text = json_lines([values])[:-1]
        return wire.message(5, wire.message(1, text))


def _record(time: int, text: bytes, step: int, seq: int, runtime_us: int) -> bytes:
    """The record of a row whose body is this text."""
    return _record_of(time, b"\x0a" + wire.varint(len(text)) + text, step, seq, runtime_us / 1e6)


def _record_of(time: int, body: bytes, step: int, seq: int, runtime_s: float) -> bytes:
    return b"".join(
        (
            _times(0x09, time, 0x59, time, 0x10, INFO),
            b"\x2a",
            wire.varint(len(body)),
            body,
            _ROW,
            _whole(_STEP, step),
            _whole(_SEQ, seq),
            _RUNTIME,
            _pack_double(runtime_s),
        )
    )


def _bodies(rows: Rows) -> list[bytes] | None:
    """The JSON of each row, made by the column; None for what only the other way can write."""
    record = _struct(rows.keys)
    if record is None:
        return None
    columns = rows.columns[4:]
    nones = None if all(map(finite, columns)) else sum(column.count(None) for column in columns)
    text = encoded_lines(list(map(record, *columns)), nones)
    return None if text is None else text.split(b"\n")[:-1]


@lru_cache(maxsize=64)
def _struct(keys: tuple[str, ...]) -> Callable[..., Any] | None:
    """A struct that JSON writes as a row of these names; None where the names do not allow it."""
    if not 0 < len(keys) <= 200:
        return None
    fields = [f"f{at}" for at in range(len(keys))]
    try:
        return msgspec.defstruct("Row", fields, rename=dict(zip(fields, keys, strict=True)), gc=False)
    except ValueError:  # quotes or control characters in a name
        return None


def _clock(time: int, severity: int) -> bytes:
    """Time, observed time and severity: the same for what is observed as it happens."""
    return _times(0x09, time, 0x59, time, 0x10, severity)


def _whole(key: bytes, value: int) -> bytes:
    """An attribute that is a whole number; `key` is its encoded name."""
    number = b"\x12" + _sized(b"\x18" + wire.varint(value))
    return b"\x32" + _sized(key + number)


def _sized(content: bytes) -> bytes:
    return wire.varint(len(content)) + content


def _trace(event: Event) -> bytes:
    """Trace and span, as captured inside log(), and whether the trace is sampled."""
    ids = wire.message(9, bytes.fromhex(event.trace_id)) + wire.message(10, bytes.fromhex(event.span_id))
    return wire.fixed32(8, event.trace_flags) + ids


def _severity(event: Event) -> int:
    values = event.values
    if event.kind == "alert":
        return _SEVERITIES.get(str(values.get("level", "WARN")).upper(), WARN)
    if event.kind == "run.finish":
        return ERROR if values.get("state") in ("failed", "crashed") else INFO
    return WARN if event.kind == "gap" else INFO


def _flat_attributes(event: Event) -> Iterable[tuple[str, str | int]]:
    """What one searches for: the state of a run, the stream of a line, the title of an alert."""
    names = {"run.finish": ("state", "exit_code"), "console": ("stream",), "alert": ("title", "level")}
    for name in names.get(event.kind, ()):
        value = event.values.get(name)
        if isinstance(value, str | int):
            yield name, value
