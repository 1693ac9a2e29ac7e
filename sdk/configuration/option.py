"""Option: what is said about one key of the config file, beside its name, type and default.

`declarations.py` writes each key once, as an annotated field of a `Section`. Validation, the JSON Schema, the reference page
and the environment variables are all read from that one line.
"""

import functools
import typing
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import msgspec

AttributeValue = str | bool | int | float | list[Any]
"""What an attribute or a header may be, as in OpenTelemetry."""


class Option(msgspec.Struct, frozen=True):
    """The doc sentence of a key, its limits, and where else it can be set.

    doc:         empty for a group of keys, whose class says it.
    minimum:     smallest number allowed.
    rule:        says what is wrong with a value of the right type, or None.
    environment: the MILEPOST_ variable that sets the key.
    pairs:       written as a list of {name, value} mappings, as OpenTelemetry writes attributes.
    components:  a list of one-key mappings, each naming a component of this kind.
    secret:      never shown.
    in_file:     False for what a config file cannot say (secrets and the like that only the environment holds).
    """

    doc: str = ""
    minimum: int | None = None
    rule: Callable[[Any], str | None] | None = None
    environment: str | None = None
    pairs: bool = False
    components: Literal["processor", "exporter"] | None = None
    secret: bool = False
    in_file: bool = True


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """One mapping of the config file; each field is a key.

    needs_one:   keys of which at least one is given.
    together:    keys that are given together or not at all.
    must_follow: of a processor: the one that stands before it in a pipeline.
    must_precede: of a processor: the one that cannot stand before it.
    A section with a key `enabled` can also be written as true or false. Every key has a default.
    """

    needs_one: ClassVar[tuple[str, ...]] = ()
    together: ClassVar[tuple[str, ...]] = ()
    must_follow: ClassVar[str | None] = None
    must_precede: ClassVar[str | None] = None


class Field(NamedTuple):
    """One key of a section, read back from its declaration."""

    name: str
    type: Any
    option: Option
    default: Any


@functools.cache
def fields(section: type[Section]) -> dict[str, Field]:
    """The keys that `section` declares, by name, in order."""
    found: dict[str, Field] = {}
    for base in section.__bases__:
        if issubclass(base, Section):
            found.update(fields(base))
    defaults = section()
    # not typing.get_type_hints and msgspec.structs.fields: they cost a millisecond, and every init() is here
    for name, annotation in section.__annotations__.items():
        kind, *notes = typing.get_args(annotation) or (annotation,)
        option = next((note for note in notes if isinstance(note, Option)), None)
        if option is not None:
            found[name] = Field(name, kind, option, getattr(defaults, name))
    return found


@functools.cache
def file_fields(section: type[Section]) -> dict[str, Field]:
    """The keys of `section` that a config file can hold."""
    return {name: field for name, field in fields(section).items() if field.option.in_file}


@functools.cache
def environment_fields(section: type[Section]) -> dict[str, Field]:
    """The keys of `section` that a MILEPOST_ variable sets, by variable."""
    return {f.option.environment: f for f in fields(section).values() if f.option.environment is not None}
