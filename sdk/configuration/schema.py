"""The JSON Schema of the config file, made from the declarations; editors complete and check `milepost.yaml` with it.

`milepost.schema.json` in this package is its committed text. What a schema cannot say (a pipeline has `merge` once, which entry
points are installed, regular expressions) is left to `milepost config check`.
"""

import types
import typing
from pathlib import Path
from typing import Any, Literal

from milepost.sdk.configuration.declarations import Layout
from milepost.sdk.configuration.exporter_options import EXPORTERS
from milepost.sdk.configuration.option import Field, Section, file_fields
from milepost.sdk.configuration.processor_options import PROCESSORS

_REFERENCE = {"$ref": "#/$defs/reference"}
_ATTRIBUTE = {"type": ["string", "boolean", "number", "array"]}


def json_schema() -> dict[str, Any]:
    """The schema of a whole config file (JSON Schema, draft 2020-12)."""
    root = _section(Layout)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "milepost configuration file",
        **root,
        "required": ["file_format"],
        "$defs": {
            "reference": {
                "type": "string",
                "pattern": r"^\$\{[^}]+\}$",
                "description": "A value from the environment: ${NAME}, ${NAME:-default} or ${NAME:?message}.",
            },
            "attribute": {
                "type": "object",
                "required": ["name", "value"],
                "properties": {"name": {"type": "string"}, "value": _ATTRIBUTE},
                "additionalProperties": False,
            },
            "processor": _components(PROCESSORS, {}),
            "exporter": _components(EXPORTERS, {"processors": _list_of("#/$defs/processor")}),
        },
    }


def _section(section: type[Section], also: dict[str, Any] | None = None) -> dict[str, Any]:
    properties = {name: _field(field) for name, field in file_fields(section).items()}
    schema: dict[str, Any] = {
        "type": "object",
        "description": section.__doc__ or "",
        "properties": {**properties, **(also or {})},
        "additionalProperties": False,
    }
    if section.needs_one:
        schema["anyOf"] = [{"required": [name]} for name in section.needs_one]
    for name in section.together:
        others = [other for other in section.together if other != name]
        schema.setdefault("dependentRequired", {})[name] = others
    return schema


def _field(field: Field) -> dict[str, Any]:
    """The schema of one key. null always means its default."""
    option = field.option
    if option.components is not None:
        schema = _list_of(f"#/$defs/{option.components}")
    elif option.pairs:
        schema = _list_of("#/$defs/attribute")
    elif _is_section(field.type):
        switch = [{"type": "boolean"}] if "enabled" in file_fields(field.type) else []
        schema = {"anyOf": [_section(field.type), *switch, {"type": "null"}]}
    else:
        kind = _type(field.type, option.minimum)
        reference = [] if kind.get("type") == "string" else [_REFERENCE]
        default = str(field.default) if isinstance(field.default, Path) else field.default
        default = list(default) if isinstance(default, tuple) else default
        schema = {"anyOf": [kind, {"type": "null"}, *reference], "default": default}
    return {"description": option.doc, **schema} if option.doc else schema


def _list_of(reference: str) -> dict[str, Any]:
    return {"anyOf": [{"type": "array", "items": {"$ref": reference}}, {"type": "null"}]}


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _type(kind: Any, minimum: int | None) -> dict[str, Any]:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        kinds = [_type(k, minimum) for k in arguments if k is not type(None)]
        return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (list, tuple):
        return {"type": "array", "items": _type(arguments[0], minimum)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _type(arguments[1], minimum)}
    name = {str: "string", Path: "string", bool: "boolean", int: "integer", float: "number"}[kind]
    return {"type": name} if minimum is None else {"type": name, "minimum": minimum}


def _components(built_in: dict[str, type[Section]], also: dict[str, Any]) -> dict[str, Any]:
    """One-key mappings. Other names are allowed with any options: entry points of installed packages."""
    return {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "properties": {name: _options(section, also) for name, section in built_in.items()},
        "additionalProperties": {"type": ["object", "null"]},
    }


def _options(section: type[Section], also: dict[str, Any]) -> dict[str, Any]:
    schema = _section(section, also)
    return schema if section.needs_one else {"anyOf": [schema, {"type": "null"}]}
