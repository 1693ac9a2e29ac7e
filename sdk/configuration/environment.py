"""What environment variables say: MILEPOST_* above the config file, OTEL_* only where nothing else speaks.

The variables of milepost are declared beside the keys that they set (`declarations.py`). An empty variable counts as not set,
as OpenTelemetry has it.
"""

import typing
import urllib.parse
from collections.abc import Mapping
from typing import Any

from milepost.sdk.configuration.declarations import Settings
from milepost.sdk.configuration.node import Node
from milepost.sdk.configuration.option import environment_fields
from milepost.sdk.configuration.validation import clip, suggest

# Known, but not settings of a run: what must be known before a config file is read, and the first key of a milepost server.
OTHER_VARIABLES = {
    "MILEPOST_CONFIG_FILE": "The config file; /dev/null for none.",
    "MILEPOST_ADMIN_KEY": "Read by `milepost server` only.",
    "MILEPOST_NATIVE": "`0`: `log()` runs in Python alone, without its part in C. At installation: nothing is compiled.",
    "MILEPOST_SHM": "Where shared memory is mounted; `/dev/shm` when empty.",
    "MILEPOST_SILENT": "`true`: nothing is printed but warnings: no lines at the start, no rows, no page at the end.",
}


def milepost_nodes(environ: Mapping[str, str]) -> dict[str, Node]:
    """The keys that MILEPOST_ variables set, as nodes."""
    found: dict[str, Node] = {}
    for variable, field in environment_fields(Settings).items():
        text = environ.get(variable, "")
        if text:
            data: Any = text
            if typing.get_origin(field.type) is tuple:
                parts = [part.strip() for part in text.split(",")]
                data = [Node(data=part, place=variable, source="environment") for part in parts if part]
            if field.name == "resume" and text.lower() in ("true", "false"):
                data = text.lower() == "true"
            found[field.name] = Node(data=data, place=variable, source="environment")
    return found


def unknown_variables(environ: Mapping[str, str], used: frozenset[str]) -> list[str]:
    """One warning per MILEPOST_ variable that means nothing. `used`: variables that the config file refers to."""
    known = environment_fields(Settings).keys() | OTHER_VARIABLES.keys()
    return [
        f"{clip(name)}: no such variable, it has no effect{suggest(name, sorted(known), list_all=False)}"
        for name in environ
        if name.startswith("MILEPOST_") and name not in known and name not in used
    ]


def otel_attributes(environ: Mapping[str, str], warnings: list[str]) -> dict[str, Any]:
    """The resource attributes of OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME; the latter wins for `service.name`.

    A malformed list is left out as a whole, with a warning, as OpenTelemetry's resource specification rules.
    """
    found: dict[str, Any] = {}
    text = environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if text.strip():
        parsed = parse_attributes(text)
        if parsed is None:
            warnings.append(
                'OTEL_RESOURCE_ATTRIBUTES: must be "name=value" pairs joined by commas; all of it is left out'
            )
        else:
            found.update(parsed)
    if environ.get("OTEL_SERVICE_NAME"):
        found["service.name"] = environ["OTEL_SERVICE_NAME"]
    return found


def parse_attributes(text: str) -> dict[str, Any] | None:
    """`a=1,b=two%20words` as a mapping of texts; None when it is malformed."""
    found: dict[str, Any] = {}
    for pair in filter(str.strip, text.split(",")):
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            return None
        found[urllib.parse.unquote(name.strip())] = urllib.parse.unquote(value.strip())
    return found
