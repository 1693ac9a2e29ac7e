"""Nodes against declarations: every value gets the type that its key declares, and every mistake becomes one line of text.

    milepost.yaml:12: exporters[1].file.formt: unknown key "formt"; did you mean "format"? Valid: format, processors

Nothing stops at the first mistake; what could not be read is left out, and the caller raises when there are any.
"""

import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from milepost.sdk.configuration import rules
from milepost.sdk.configuration.node import Node, Secret, is_secret, shown
from milepost.sdk.configuration.option import Field, Option, Section, file_fields

_SCALARS: dict[type, str] = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Path: "a path",
}
_UNITS: dict[str, int] = {
    **dict.fromkeys(("ms", "millis"), 1),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1000),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60_000),
    **dict.fromkeys(("h", "hour", "hours"), 3_600_000),
}
_MISSING = object()  # what reading gives when the key is left at its default, or was wrong


class TooManyMistakes(Exception):
    """Enough to show; a file of nonsense would take seconds to go through."""


class Mistakes:
    """The mistakes found so far, each a line of text.

    hidden: keys and attributes whose value came from a variable that is named like a secret.
    """

    limit = 100

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.hidden: set[str] = set()

    def add(self, node: Node, path: str, problem: str, place: str | None = None) -> None:
        """One mistake. `place` stands in for the node's, such as the place of a key."""
        self.say(": ".join(part for part in (place or node.place, path, problem) if part))

    def say(self, text: str) -> None:
        """One mistake, in full. Raises TooManyMistakes at the limit."""
        self.texts.append(text)
        if len(self.texts) >= self.limit:
            raise TooManyMistakes


ComponentReader = Callable[[Node, str, Literal["processor", "exporter"]], Any]


class Reader:
    """Reads nodes by declaration; `components` reads lists of processors and exporters."""

    def __init__(self, mistakes: Mistakes, components: ComponentReader) -> None:
        self._mistakes = mistakes
        self._components = components

    def section(self, node: Node, section: type[Section], path: str = "", also: tuple[str, ...] = ()) -> dict[str, Any]:
        """The keys that were given, with nested sections as mappings. null leaves a key at its default.

        also: keys that are valid here and were read elsewhere; messages name them.
        """
        given = node.data
        declared = file_fields(section)
        if isinstance(given, bool) and "enabled" in declared:
            return {"enabled": given}
        if given is None:
            return {}
        if not isinstance(given, Mapping):
            wanted = "true, false or a mapping" if "enabled" in declared else "a mapping"
            self._mistakes.add(node, path, f"must be {wanted}, not {shown(node)}{_unset(node)}")
            return {}
        found: dict[str, Any] = {}
        for key, value in given.items():
            at = join(path, key)
            field = declared.get(key)
            if field is None:
                place = node.keys.get(key)
                self._mistakes.add(value, at, f'unknown key "{clip(key)}"{suggest(key, [*declared, *also])}', place)
                continue
            found.update(self.one(value, field, at))
        self._check_companions(node, section, path)
        return found

    def one(self, node: Node, field: Field, path: str) -> dict[str, Any]:
        """The key of `field` with its value; nothing when it stays at its default or is wrong."""
        value = self._value(node, field, path)
        return {} if value is _MISSING else {field.name: value}

    def _value(self, node: Node, field: Field, path: str) -> Any:
        option = field.option
        if option.components is not None:
            return self._components(node, path, option.components) if node.data is not None else _MISSING
        if node.data is None:
            return _MISSING
        if option.pairs:
            return self._pairs(node, path, secret=option.secret)
        if isinstance(field.type, type) and issubclass(field.type, Section):
            return self.section(node, field.type, path)
        return self._typed(node, field.type, option, path, field.name)

    def _typed(self, node: Node, kind: Any, option: Option, path: str, name: str) -> Any:
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin in (typing.Union, types.UnionType):
            is_mapping = isinstance(node.data, dict)
            kinds = [k for k in arguments if k is not type(None)]
            fitting = next((k for k in kinds if (typing.get_origin(k) is dict) == is_mapping), kinds[0])
            return self._typed(node, fitting, option, path, name)
        if origin is Literal:
            return self._choice(node, arguments, path, name)
        if origin in (list, tuple):
            return self._list(node, arguments[0], option, path, name)
        if origin is dict:
            return self._mapping(node, arguments[1], option, path)
        value = self._scalar(node, kind, option, path, name)
        if value is _MISSING:
            return value
        problem = option.rule(value) if option.rule is not None else None
        if problem is not None:
            if node.variables:  # what is wrong may quote a value that came from a variable
                problem = f"{shown(node, name)} does not hold a valid value: {rules.in_words(option.rule)}"
            self._mistakes.add(node, path, problem)
            return _MISSING
        from_secret = is_secret(node)
        if isinstance(value, str) and (option.secret or (from_secret and path.startswith(("processors", "exporters")))):
            return Secret(value)
        if from_secret:
            self._mistakes.hidden.add(name)
        return value

    def _scalar(self, node: Node, kind: type, option: Option, path: str, name: str) -> Any:
        value = node.data
        if kind in (str, Path) and node.text is not None:
            value = node.text
        if kind is Path and isinstance(value, str) and value and "\0" not in value:
            return Path(value)
        if kind is float and type(value) is int:
            return float(value)
        if type(value) is not kind:
            wanted = _SCALARS[kind]
            if kind is int and option.minimum is not None:
                wanted += f" of at least {option.minimum}"
            hint = (
                "; put it in quotes" if kind is str and isinstance(value, int | float) and node.source == "file" else ""
            )
            hint = hint or _quoted(node) or _milliseconds(node, option)
            self._mistakes.add(node, path, f"must be {wanted}, not {shown(node, name)}{hint}{_unset(node)}")
            return _MISSING
        if option.minimum is not None and isinstance(value, int) and value < option.minimum:
            self._mistakes.add(node, path, f"must be at least {option.minimum}, not {shown(node, name)}")
            return _MISSING
        if isinstance(value, int) and value >= 2**63:
            self._mistakes.add(node, path, f"must be less than 2**63, not {shown(node, name)}")
            return _MISSING
        return value

    def _choice(self, node: Node, choices: tuple[str, ...], path: str, name: str) -> Any:
        value = node.text if node.text is not None else node.data
        if isinstance(value, str) and value in choices:
            return value
        if name == "resume" and isinstance(node.data, bool) and node.source != "file":  # as wandb's init has it
            return "auto" if node.data else _MISSING
        near = suggest(value, choices, list_all=False) if isinstance(value, str) and node.shown is None else ""
        wanted = f"must be {choices[0]}" if len(choices) == 1 else f"must be one of {', '.join(choices)}"
        self._mistakes.add(node, path, f"{wanted}, not {shown(node, name)}{near}")
        return _MISSING

    def _list(self, node: Node, kind: Any, option: Option, path: str, name: str) -> Any:
        items = node.data
        if isinstance(items, str) and node.source != "file":  # init(tags="baseline") is one tag
            items = [node]
        if not isinstance(items, list):
            hint = f"; write it as [{shown(node, name)}]" if isinstance(items, str) and node.shown is None else ""
            self._mistakes.add(node, path, f"must be a list, not {shown(node, name)}{hint}")
            return _MISSING
        read = [self._typed(item, kind, option, f"{path}[{i}]", name) for i, item in enumerate(items)]
        return [value for value in read if value is not _MISSING]

    def _mapping(self, node: Node, kind: Any, option: Option, path: str) -> Any:
        if not isinstance(node.data, dict):
            self._mistakes.add(node, path, f"must be a mapping, not {shown(node)}")
            return _MISSING
        read = {key: self._typed(item, kind, option, join(path, key), key) for key, item in node.data.items()}
        return {key: value for key, value in read.items() if value is not _MISSING}

    def _pairs(self, node: Node, path: str, *, secret: bool = False) -> Any:
        """OpenTelemetry's list of {name, value}; `settings=` and arguments may also give a plain mapping."""
        if isinstance(node.data, dict) and node.source != "file":
            pairs = [(key, item, f"{path}.{key}") for key, item in node.data.items()]
        elif isinstance(node.data, list):
            pairs = [pair for i, item in enumerate(node.data) if (pair := self._pair(item, f"{path}[{i}]")) is not None]
        else:
            self._mistakes.add(node, path, f"must be a list of {{name: ..., value: ...}}, not {shown(node)}")
            return _MISSING
        found: dict[str, Any] = {}
        for name, item, at in pairs:
            value = [below.data for below in item.data] if isinstance(item.data, list) else item.data
            if is_secret(item):
                self._mistakes.hidden.add(name)
            if not _is_attribute(value):
                wanted = "a text, a number, true or false, or a list of one of these"
                self._mistakes.add(item, at, f"must be {wanted}, not {shown(item, name)}{_unset(item)}")
            elif name in found:
                self._mistakes.add(item, at, "this name is there twice; keep one")
            else:
                found[name] = Secret(value) if secret and isinstance(value, str) else value
        return found

    def _pair(self, node: Node, path: str) -> tuple[str, Node, str] | None:
        if not isinstance(node.data, dict):
            self._mistakes.add(node, path, f"must be {{name: ..., value: ...}}, not {shown(node)}")
            return None
        for key in node.data.keys() - {"name", "value"}:
            problem = f'unknown key "{clip(key)}"{suggest(key, ("name", "value"))}'
            self._mistakes.add(node, join(path, key), problem, node.keys.get(key))
        for key in ("name", "value"):
            if key not in node.data:
                self._mistakes.add(node, path, f'the key "{key}" is missing')
                return None
        name = node.data["name"]
        if not isinstance(name.data, str) or not name.data:
            self._mistakes.add(name, f"{path}.name", f"must be a text, not {shown(name)}{_unset(name)}")
            return None
        if is_secret(name):
            self._mistakes.add(name, f"{path}.name", f"must not come from a secret, {shown(name)}: names are shown")
            return None
        return name.data, node.data["value"], f"{path}.value"

    def _check_companions(self, node: Node, section: type[Section], path: str) -> None:
        given = {name for name, value in node.data.items() if value.data not in (None, [], {})}
        if section.needs_one and given.isdisjoint(section.needs_one):
            names = " or ".join(f'"{name}"' for name in section.needs_one)
            self._mistakes.add(node, path, f"must have {names}")
        missing = [name for name in section.together if name not in given]
        if missing and not given.isdisjoint(section.together):
            both = " and ".join(f'"{name}"' for name in section.together)
            self._mistakes.add(node, path, f'{both} go together, and "{missing[0]}" is missing')


def suggest(name: str, valid: Iterable[str], list_all: bool = True) -> str:
    """The nearest valid name, and all of them, as the end of a message."""
    import difflib  # only a mistake needs it

    names = list(valid)
    by_lower = {valid_name.lower(): valid_name for valid_name in names}
    near = difflib.get_close_matches(name[:100].lower(), by_lower, n=1, cutoff=0.6)
    text = f'; did you mean "{by_lower[near[0]]}"?' if near else ""
    if not list_all:
        return text
    return f"{text or ';'} Valid: {', '.join(names) if names else 'none; it has no options'}"


def join(path: str, key: str) -> str:
    """The path of a key below `path`."""
    return f"{path}.{clip(key)}" if path else clip(key)


def clip(text: str) -> str:
    """A key as a message shows it: one line of bounded length."""
    line = text if text.isprintable() else repr(text)[1:-1]
    return line if len(line) <= 80 else line[:80] + "…"


def _quoted(node: Node) -> str:
    """Why `"${NAME}"` is no number where `${NAME}` may be one, as the end of a message."""
    if not node.variables or node.text is not None or not isinstance(node.data, str) or node.data == "":
        return ""
    return "; in quotes it is a text: write the key on a line of its own and ${...} without quotes"


def _milliseconds(node: Node, option: Option) -> str:
    """What a duration such as "5s" is in milliseconds, as the end of a message."""
    if "illisecond" not in option.doc or node.shown is not None or not isinstance(node.data, str | float):
        return ""
    found = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([a-z]+)\s*", str(node.data))
    factor = _UNITS.get(found[2]) if found is not None else None
    if found is None or factor is None:
        return "; durations are whole milliseconds"
    return f"; durations are whole milliseconds: {round(float(found[1]) * factor)}"


def _unset(node: Node) -> str:
    return "".join(f"; ${{{name}}} is not set" for name in node.unset)


def _is_attribute(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str | bool | int | float) for item in value)
    return isinstance(value, str | bool | int | float)


def to_section(section: type[Section], given: Mapping[str, Any]) -> Section:
    """The record of what was given, defaults for the rest. `given` was read by `Reader.section`."""
    values: dict[str, Any] = {}
    for name, field in file_fields(section).items():
        if name in given:
            value = given[name]
            if isinstance(field.type, type) and issubclass(field.type, Section):
                values[name] = to_section(field.type, value)
            else:
                values[name] = tuple(value) if isinstance(field.default, tuple) else value
    return section(**values)
