"""What an OTLP request says, as rows, steps and lines of the runs that its resources stand for; and what of it cannot be taken.

Nothing is left out silently: each point or record that is not taken is counted under a reason.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from milepost.sdk.strict_json import jsonable
from milepost.server.nested import MAX_NESTED, is_too_deep
from milepost.server.otlp_histograms import NotTaken, exponential_histogram_of, histogram_of

MOST_NAME: Final = 4096
_STEPS: Final = ("step", "milepost.step")
_WORDS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_NO_VALUE: Final = 1
"""DataPointFlags: the point says that there is no value."""


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


class Rejected:
    """What cannot be taken: how many points or records by reason, and one of each by name."""

    def __init__(self) -> None:
        self.by_reason: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, reason: str, name: str, count: int = 1) -> None:
        """So many more for a reason."""
        if count:
            self.by_reason[reason] += count
            self._first.setdefault(reason, name)

    @property
    def total(self) -> int:
        """All of them."""
        return self.by_reason.total()

    def __str__(self) -> str:
        return "; ".join(f"{n} x {reason}, such as {self._first[reason]!r}" for reason, n in self.by_reason.items())


def metrics_of(resources: Iterable[Any]) -> tuple[list[Found], Rejected]:
    """What metrics bring, by resource."""
    found: list[Found] = []
    rejected = Rejected()
    for resource, one in _each(resources, found):
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            shape = metric.WhichOneof("data")
            points = getattr(metric, shape).data_points if shape else ()
            if shape == "summary":
                rejected.add("summary, which nobody can add up: send a histogram", metric.name, len(points))
                continue
            if not 0 < len(metric.name) <= MOST_NAME:
                text = f"name that has not 1 to {MOST_NAME:,} characters"
                rejected.add(text, metric.name[:40], len(points))
                continue
            for point in points:
                try:
                    _add_point(one, metric.name, str(shape), point)
                except NotTaken as error:
                    rejected.add(str(error), metric.name)
    return found, rejected


def _each(resources: Iterable[Any], found: list[Found]) -> Iterator[tuple[Any, Found]]:
    """Each resource with what is to be found of it, which is added to `found`."""
    for resource in resources:
        found.append(Found(_attributes(resource.resource.attributes)))
        yield resource, found[-1]


def _add_point(found: Found, name: str, shape: str, point: Any) -> None:
    if point.flags & _NO_VALUE:
        return  # it says that there is nothing to be taken
    at = _time(point.time_unix_nano)
    value = _value_of(point, shape)
    attributes = _attributes(point.attributes)
    for step in _STEPS:
        if _is_step(attributes.get(step)):
            found.steps[at] = int(attributes.pop(step))
    if name == "milepost.step":
        if not _is_step(value):
            raise NotTaken("milepost.step that is no step")
        found.steps[at] = int(value)
        return
    if attributes:
        name += "{" + ",".join(f"{key}={value}" for key, value in sorted(attributes.items())) + "}"
    if len(name) > MOST_NAME:
        raise NotTaken(f"name that has, with its attributes, more than {MOST_NAME:,} characters")
    row = found.rows.setdefault(at, {})
    if name in row:
        raise NotTaken("second point of one time, name and attributes")
    row[name] = value


def _value_of(point: Any, shape: str) -> Any:
    if shape == "histogram":
        return histogram_of(point)
    if shape == "exponential_histogram":
        return exponential_histogram_of(point)
    which = point.WhichOneof("value")
    if which is None:
        raise NotTaken("point without a value")
    return point.as_int if which == "as_int" else point.as_double


def _time(told: int) -> int:
    """Nanoseconds since 1970; now for a client that has no clock."""
    return (int(told) & (2**63 - 1)) or time.time_ns()


def _is_step(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value and 0 <= value < 2**62


def logs_of(resources: Iterable[Any]) -> tuple[list[Found], Rejected]:
    """What log records bring, by resource."""
    found: list[Found] = []
    rejected = Rejected()
    for resource, one in _each(resources, found):
        for record in (record for scope in resource.scope_logs for record in scope.log_records):
            at = _time(record.time_unix_nano or record.observed_time_unix_nano)
            attributes = _attributes(record.attributes)
            body = _value(record.body)
            name = record.event_name or attributes.get("event.name")
            if name == "milepost.row":
                values = _row_of(body)
                if is_too_deep(values):
                    rejected.add(f"milepost.row nested deeper than {MAX_NESTED} levels", str(body)[:40])
                    continue
                if values is None:
                    rejected.add("milepost.row whose body is no JSON object and no map", str(body)[:40])
                    continue
                step = attributes.get("milepost.step", values.get("_step"))
                row = {key: value for key, value in values.items() if not key.startswith("_")}
                one.records.append((at, int(step or 0) if _is_step(step) else 0, row))
            else:
                text = body if isinstance(body, str) else msgspec.json.encode(jsonable(body)).decode()
                one.lines.append((at, f"{record.severity_text} {text}".strip()))
    return found, rejected


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
