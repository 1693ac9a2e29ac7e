"""Resource: who speaks. What tells one run from another stands here, once per request, and not on every point.

`service.name` is the project unless the config file or OpenTelemetry's variables say otherwise (Prometheus makes it `job`);
`service.instance.id` is the run, or one rank of it (`instance`), because OTLP wants one writer per stream. It is ours even
where a platform sets it per machine: two runs on one machine would write into the same series.
"""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from milepost.exporters.otlp import wire
from milepost.sdk.configuration.node import MASK
from milepost.sdk.exporter import RunInfo

logger = logging.getLogger("milepost")


def instance_id(run: RunInfo) -> str:
    """The run's id; of one rank, and of a child process that logs, with what makes it one of its own."""
    parts = [run.id]
    if run.rank is not None:
        parts.append(f"rank-{run.rank}")
    if run.parent or (run.rank is None and not run.primary):
        parts.append(run.writer)
    return "-".join(parts)


def attributes(run: RunInfo, detectors: Sequence[str] = ()) -> dict[str, Any]:
    """The resource's attributes. What detectors find gives way to what the config file says, and that to milepost's own."""
    own = {
        "service.instance.id": instance_id(run),
        "milepost.project": run.project,
        "milepost.run.id": run.id,
        "milepost.run.name": run.name,
        "milepost.run.group": run.group,
        "milepost.process.rank": run.rank,
    }
    host = {"host.name": run.host} if run.host else {}
    given = {
        "service.name": run.project,
        "telemetry.sdk.name": "milepost",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": version(),
        **host,
        **detected(detectors),
        **{name: value for name, value in run.resource.items() if value is not None and value != MASK},
    }
    return {**given, **{name: value for name, value in own.items() if value is not None}}


def detected(names: Sequence[str]) -> dict[str, Any]:
    """What OpenTelemetry's resource detectors of these names find; one that fails is said once and left out.

    They run where the exporter runs, which is the same machine. `process` describes the process that exports, not the one
    that logs, and `otel` repeats variables that are read already: both are left out.
    """
    wanted = [*names, *os.environ.get("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "").split(",")]
    found: dict[str, Any] = {}
    for name in dict.fromkeys(word.strip() for word in wanted):
        if name in ("", "otel", "process"):
            continue
        try:
            found.update(_detect(name))
        except Exception as error:  # noqa: BLE001 - detectors are foreign code, and they ask machines that may not answer
            logger.warning("milepost: resource detector %r found nothing: %s: %s", name, type(error).__name__, error)
    return found


def _detect(name: str) -> Mapping[str, Any]:
    from importlib.metadata import entry_points

    if name == "*":
        points = [*entry_points(group="opentelemetry_resource_detector")]
    else:
        points = [*entry_points(group="opentelemetry_resource_detector", name=name)]
    if not points:
        raise LookupError("no installed package registers it")
    found: dict[str, Any] = {}
    for point in points:
        if point.name not in ("otel", "process"):
            found.update(point.load()().detect().attributes)
    return found


def version() -> str:
    """The version of milepost."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    try:
        return version_of("milepost")
    except PackageNotFoundError:  # a checkout on the path, without an install
        return "0"


# opentelemetry/proto/common/v1/common.proto and resource.proto


def encoded(found: Mapping[str, Any]) -> bytes:
    """A Resource message."""
    return b"".join(key_value(1, name, value) for name, value in found.items())


def scope() -> bytes:
    """The InstrumentationScope message of everything that milepost sends."""
    return wire.text(1, "milepost") + wire.text(2, version())


def key_value(field: int, name: str, value: Any) -> bytes:
    """A KeyValue in a field of its own."""
    return wire.message(field, wire.text(1, name) + wire.message(2, any_value(value)))


def any_value(value: Any) -> bytes:
    """An AnyValue: texts, numbers, booleans, lists and mappings; None is a value that is not set."""
    if isinstance(value, str):
        return wire.message(1, wire.utf8(value))
    if isinstance(value, bool):
        return wire.tag(2, wire.VARINT) + wire.varint(value)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return wire.tag(3, wire.VARINT) + wire.varint(value)
    if isinstance(value, float):
        return wire.double(4, value)
    if isinstance(value, Mapping):
        return wire.message(6, b"".join(key_value(1, str(key), item) for key, item in value.items()))
    if isinstance(value, Iterable):
        return wire.message(5, b"".join(wire.message(1, any_value(item)) for item in value))
    return b"" if value is None else wire.message(1, wire.utf8(f"{value:#x}" if isinstance(value, int) else str(value)))
