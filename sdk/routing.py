"""Routing: from the exporters of the settings to routes, each with a name of its own, and where they run.

    in the program    console, file, memory, and whatever was given to init() as an object
    in the shipper    exporters that speak to other machines (class attribute `network = True`), unless they are objects, or
                      `shipper: {run_in: thread}`

An exporter of several signals has several routes, one cursor each: `otlp` becomes `otlp-metrics` and `otlp-logs`, `server`
becomes `server`, for rows, and `server-files`.
"""

import importlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from milepost.sdk.configuration import Component
from milepost.sdk.exporter import CallableExporter, Exporter
from milepost.sdk.plugins import BUILT_IN_EXPORTERS, BUILT_IN_OPTIONS, build, resolve
from milepost.sdk.processor import check_exporter_processors
from milepost.sdk.route import Route

NETWORK_EXPORTERS: Final = frozenset(("otlp", "prometheus_remote_write", "opentelemetry", "server"))
"""The built-in ones, known by name: importing them costs the program memory that belongs in the shipper."""


def named(components: Iterable[Component]) -> dict[str, Component]:
    """Components by the name of their route: two of one kind get their own cursors, `otlp` and `otlp-2`."""
    found: dict[str, Component] = {}
    seen: dict[str, int] = {}
    for component in components:
        name = route_name(component.name)
        seen[name] = seen.get(name, 0) + 1
        found[name if seen[name] == 1 else f"{name}-{seen[name]}"] = component
    return found


def route_name(name: str) -> str:
    """A name that can be part of a file's: the cursor's."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:64].lstrip(".") or "exporter"


def is_network(component: Component) -> bool:
    """Whether an exporter speaks to another machine. Raises ConfigurationError for one that is not there."""
    if component.object is not None:
        return bool(getattr(component.object, "network", False))
    if component.name in NETWORK_EXPORTERS or component.name in BUILT_IN_EXPORTERS:
        return component.name in NETWORK_EXPORTERS
    return bool(getattr(resolve("exporter", component.name), "network", False))


def completed(component: Component, environ: Mapping[str, str] = os.environ) -> Component:
    """The component with what its options leave open filled from variables of the environment, where its class reads some.

    So the run stores what was in force, and the shipper, which has another environment, makes the same exporter.
    """
    fill = _says(component, "with_environment")
    return component if fill is None else msgspec.structs.replace(component, options=fill(component.options, environ))


def parts_of(name: str, component: Component) -> dict[str, Component]:
    """The routes of one component by name: one, or one for each signal."""
    split = _says(component, "parts")
    found: Mapping[str, Mapping[str, Any]] = split(component.options) if split is not None else {}
    if not found:
        return {name: component}
    return {
        f"{name}-{suffix}" if suffix else name: msgspec.structs.replace(component, options=dict(options))
        for suffix, options in found.items()
    }


def wanted_by(component: Component) -> tuple[str, ...]:
    """The kinds of events that a route's exporter takes when it takes no rows; known of built-in ones before they are made."""
    tell = _says(component, "wanted")
    return () if tell is None else tuple(tell(component.options))


def _says(component: Component, name: str) -> Any:
    """What an exporter's class says of options under this name, or for a built-in one its module; None when it says nothing."""
    if component.object is not None:
        return None
    if component.name in BUILT_IN_EXPORTERS:
        place = BUILT_IN_OPTIONS.get(component.name)
        return None if place is None else getattr(importlib.import_module(place), name, None)
    return getattr(resolve("exporter", component.name), name, None)


def routes_of(name: str, component: Component) -> list[Route]:
    """The routes of one component, made from its options. Raises ConfigurationError when they are wrong."""
    return [_route(each, part) for each, part in parts_of(name, component).items()]


def _route(name: str, component: Component) -> Route:
    exporter = (
        component.object
        if component.object is not None
        else build("exporter", component.name, component.options, component.where)
    )
    if not isinstance(exporter, Exporter) and not hasattr(exporter, "export"):
        exporter = CallableExporter(exporter)
    processors = [
        inner.object if inner.object is not None else build("processor", inner.name, inner.options, inner.where)
        for inner in component.processors
    ]
    check_exporter_processors(component.name, processors)
    return Route(name, exporter, processors)


def absolute(value: Any, base: Path) -> Any:
    """Options with every relative path made absolute: the shipper has another working directory."""
    if isinstance(value, Mapping):
        return {key: absolute(item, base) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [absolute(item, base) for item in value]
    return base / value.expanduser() if isinstance(value, Path) else value
