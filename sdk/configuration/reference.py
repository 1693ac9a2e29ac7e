"""The tables of `docs/configuration.md`, made from the declarations, in Markdown."""

import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from milepost.sdk.configuration.declarations import Layout, Settings
from milepost.sdk.configuration.environment import OTHER_VARIABLES
from milepost.sdk.configuration.exporter_options import EXPORTERS
from milepost.sdk.configuration.option import Field, Section, environment_fields, file_fields
from milepost.sdk.configuration.processor_options import PROCESSORS


def keys_at_the_top() -> str:
    """The keys that are no group of their own."""
    return _table(f for f in file_fields(Layout).values() if not is_section(f.type))


def groups() -> str:
    """One heading and table for each group of keys."""
    return "\n".join(
        text
        for field in file_fields(Layout).values()
        if is_section(field.type)
        for text in _group(field.name, field.type)
    )


def components(kind: Literal["processor", "exporter"]) -> str:
    """One heading and table for each built-in component."""
    built_in = PROCESSORS if kind == "processor" else EXPORTERS
    texts = [text for name, section in built_in.items() for text in _component(name, section)]
    return "\n".join(texts)


def variables() -> str:
    """The table of MILEPOST_ variables."""
    rows = [
        f"| `{variable}` | {f'`{field.name}`' if field.option.in_file else field.option.doc} |"
        for variable, field in environment_fields(Settings).items()
    ]
    rows += [f"| `{variable}` | {doc} |" for variable, doc in OTHER_VARIABLES.items()]
    return "\n".join(["| variable | sets |", "| --- | --- |", *rows])


def is_section(kind: Any) -> bool:
    """Whether a key holds a group of keys."""
    return isinstance(kind, type) and issubclass(kind, Section)


def _group(path: str, section: type[Section]) -> list[str]:
    own = [field for field in file_fields(section).values() if not is_section(field.type)]
    nested = [field for field in file_fields(section).values() if is_section(field.type)]
    switch = (
        [f"`{path}: true` and `{path}: false` set `enabled` alone.", ""] if "enabled" in file_fields(section) else []
    )
    texts = [f"### {path}", "", section.__doc__ or "", "", *switch, _table(own), ""]
    for field in nested:
        texts += _group(f"{path}.{field.name}", field.type)
    return texts


def _component(name: str, section: type[Section]) -> list[str]:
    texts = [f"### {name}", "", section.__doc__ or "", ""]
    fields = list(file_fields(section).values())
    plain = [field for field in fields if not is_section(field.type)]
    texts += [_table(plain), ""] if fields else ["No options.", ""]
    for field in fields:
        if is_section(field.type):
            texts += _nested(field, fields)
    if section.needs_one:
        names = " or ".join(f"`{key}`" for key in section.needs_one)
        texts += [f"Needs {names}." if len(section.needs_one) > 1 else f"{names} is required.", ""]
    return texts


def _nested(field: Field, outer: list[Field]) -> list[str]:
    """A group of keys inside a component: its table, or the names of keys that the component itself has too."""
    own = list(file_fields(field.type).values())
    around = {each.name for each in outer}
    text = f"`{field.name}`: {field.type.__doc__}"
    if {each.name for each in own} <= around:
        return [f"{text} It takes {', '.join(f'`{each.name}`' for each in own)}.", ""]
    return [text, "", _table(own), ""]


def _table(fields: Iterable[Field]) -> str:
    rows = [f"| `{f.name}` | {_words(f)} | {_default(f)} | {f.option.doc} |" for f in fields]
    return "\n".join(["| key | value | default | |", "| --- | --- | --- | --- |", *rows])


def _words(field: Field) -> str:
    if field.option.components is not None:
        return f"list of {field.option.components}s"
    if field.option.pairs:
        return "list of {name, value}"
    words = _type_words(field.type)
    return words if field.option.minimum in (None, 0) else f"{words}, at least {field.option.minimum}"


def _type_words(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return ", or ".join(_type_words(k) for k in arguments if k is not type(None))
    if origin is Literal:
        return " \\| ".join(f"`{value}`" for value in arguments)
    if origin in (list, tuple):
        return f"list of {_several(arguments[0])}"
    if origin is dict:
        return f"mapping to {_type_words(arguments[1])}"
    return {str: "text", Path: "path", bool: "true or false", int: "whole number", float: "number"}[kind]


def _several(kind: Any) -> str:
    """The words for the items of a list: their type in the plural, or the values that they may have."""
    if typing.get_origin(kind) is Literal:
        return " and ".join(f"`{value}`" for value in typing.get_args(kind))
    return f"{_type_words(kind)}s"


def _default(field: Field) -> str:
    value = field.default
    if field.option.components is not None:
        return ", ".join(f"`{component.name}`" for component in value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    if isinstance(value, list | tuple | dict):
        return "none" if not value else f"`{value}`"
    return f"`./{value}`" if isinstance(value, Path) else f"`{value}`"
