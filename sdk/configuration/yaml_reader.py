"""YAML text to nodes: the YAML 1.2 core schema, one document, nothing executed, and every size bounded.

The events of PyYAML's parser are put together here, with a list in place of recursion, because its composer keeps no line of a
key, takes the last of two equal keys, follows YAML 1.1 (`on` is true there), and can be made to recurse or expand without end.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from milepost.sdk.configuration.node import Node
from milepost.sdk.configuration.substitution import SubstitutionError, substitute

SIZE_LIMIT_BYTES = 1024 * 1024
DEPTH_LIMIT = 64
VALUE_LIMIT = 10_000
SUBSTITUTED_LIMIT = 4 * 1024 * 1024  # characters that references may bring in, all together

_CORE_TAGS = {f"tag:yaml.org,2002:{name}": name for name in ("str", "int", "float", "bool", "null", "map", "seq")}
# What YAML allows in a stream, less the byte order mark and the two special line ends.
_REFUSED_CHARACTER = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"[-+]?\.(inf|Inf|INF)")


class YamlError(ValueError):
    """A text that cannot be read. `line` counts from 1."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


def read_yaml(data: bytes, name: str, environ: Mapping[str, str]) -> tuple[Node | None, list[str]]:
    """The document in `data`, None when it is empty, and the texts of wrong references.

    name: what a place in the file begins with, as in "milepost.yaml:12".
    Raises YamlError for all that makes the rest unreadable.
    """
    text = _decode(data)
    builder = _Builder(name, environ)
    # libyaml is some twenty times faster and gives the same events; not every build of PyYAML has it.
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for event in yaml.parse(text, Loader=loader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise YamlError(line, f"not valid YAML: {error.problem or error.context}{_hint(text, line)}") from None
    except yaml.YAMLError as error:
        raise YamlError(1, f"not valid YAML: {type(error).__name__}") from None
    return builder.document, builder.problems


def core_scalar(text: str) -> Any:
    """What an unquoted scalar means in the YAML 1.2 core schema: null, bool, int, float, else the text itself."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if _INTEGER.fullmatch(text) and len(text) <= 4000:  # int() itself refuses more digits than 4300
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITY.fullmatch(text):
        return float(text.replace(".", ""))
    if text in (".nan", ".NaN", ".NAN"):
        return float("nan")
    return text


def _decode(data: bytes) -> str:
    if len(data) > SIZE_LIMIT_BYTES:
        raise YamlError(1, f"larger than {SIZE_LIMIT_BYTES // 1024} KiB, the most a config file may have")
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise YamlError(1, "begins with a byte order mark; save the file as UTF-8 without one")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise YamlError(line, f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8") from None
    bad = _REFUSED_CHARACTER.search(text)
    if bad is not None:
        code = f"U+{ord(bad[0]):04X}"
        what = {"U+0000": "a NUL character", "U+FEFF": "a byte order mark"}.get(code, f"the character {code}")
        raise YamlError(text.count("\n", 0, bad.start()) + 1, f"holds {what}, which YAML does not allow; remove it")
    return text


def _hint(text: str, line: int) -> str:
    lines = text.split("\n", line)
    broken = lines[line - 1] if len(lines) >= line else ""
    if re.search(r"[{\[][^\"']*\$\{", broken):
        return '; inside {...} and [...] a reference needs quotes: "${NAME}"'
    if "\t" in broken[: len(broken) - len(broken.lstrip())]:
        return "; indent with spaces, not tabs"
    return ""


class _Value(msgspec.Struct):
    """A value, or a mapping or list whose end has not come yet.

    values: how many it is with all below it, aliases expanded; height: levels below it, aliases expanded.
    key:    of an open mapping: the key that waits for its value.
    """

    node: Node
    line: int
    anchor: str | None
    values: int = 1
    height: int = 0
    key: str | None = None


class _Builder:
    """Takes parser events one by one and holds the document that they make."""

    def __init__(self, name: str, environ: Mapping[str, str]) -> None:
        self.document: Node | None = None
        self.problems: list[str] = []
        self._name = name
        self._environ = environ
        self._open: list[_Value] = []
        self._anchors: dict[str, _Value] = {}
        self._documents = 0
        self._substituted = 0

    def take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise YamlError(line, "a second document begins; a config file has one")
        elif isinstance(event, yaml.ScalarEvent):
            if self._expects_key():
                self._take_key(event, line)
            else:
                self._add(_Value(self._scalar(event, line), line, event.anchor))
        elif isinstance(event, yaml.AliasEvent):
            self._take_alias(str(event.anchor), line)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._take_start(event, line)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._add(self._open.pop())

    def _expects_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].node.data, dict) and self._open[-1].key is None

    def _take_key(self, event: Any, line: int) -> None:
        _check_tag(event.tag, line, "str")
        key = str(event.value)
        mapping = self._open[-1]
        if key in mapping.node.keys:
            first = mapping.node.keys[key].rpartition(":")[2]
            raise YamlError(line, f'key "{key[:60]}" is here twice, first on line {first}; keep one')
        if key == "<<":
            raise YamlError(line, 'merge keys ("<<") are not part of YAML 1.2; write the keys out')
        mapping.node.keys[key] = f"{self._name}:{line}"
        mapping.key = key

    def _take_start(self, event: Any, line: int) -> None:
        if self._expects_key():
            raise YamlError(line, "a mapping or list stands where a key should be; keys are plain texts")
        if len(self._open) >= DEPTH_LIMIT:
            raise YamlError(line, f"nested more than {DEPTH_LIMIT} deep")
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        _check_tag(event.tag, line, "map" if is_mapping else "seq")
        data: dict[str, Node] | list[Node] = {} if is_mapping else []
        # a fresh dict of keys: the node's default is shared
        node = Node(data=data, place=f"{self._name}:{line}", source="file", keys={})
        self._open.append(_Value(node, line, event.anchor))

    def _take_alias(self, anchor: str, line: int) -> None:
        if self._expects_key():
            raise YamlError(line, "an alias stands where a key should be; keys are plain texts")
        if any(held.anchor == anchor for held in self._open):
            raise YamlError(line, f"alias *{anchor[:40]} stands inside its own anchor")
        if anchor not in self._anchors:
            raise YamlError(line, f"alias *{anchor[:40]} has no anchor &{anchor[:40]} before it")
        self._add(msgspec.structs.replace(self._anchors[anchor], line=line, anchor=None))

    def _add(self, value: _Value) -> None:
        """Put a complete value where it belongs."""
        if value.anchor is not None:
            self._anchors[value.anchor] = value
        if not self._open:
            self.document = value.node
            return
        parent = self._open[-1]
        parent.values += value.values
        parent.height = max(parent.height, value.height + 1)
        if parent.values > VALUE_LIMIT:
            raise YamlError(value.line, f"more than {VALUE_LIMIT} values, aliases expanded; a config file holds less")
        if len(self._open) + value.height > DEPTH_LIMIT:
            raise YamlError(value.line, f"nested more than {DEPTH_LIMIT} deep, aliases expanded")
        if isinstance(parent.node.data, dict):
            parent.node.data[parent.key] = value.node
            parent.key = None
        else:
            parent.node.data.append(value.node)

    def _scalar(self, event: Any, line: int) -> Node:
        place = f"{self._name}:{line}"
        text = str(event.value)
        kind = _check_tag(event.tag, line, "str", "int", "float", "bool", "null")
        is_plain = bool(event.implicit[0]) and event.tag is None
        if "$" not in text:
            return Node(data=_typed(text, kind, is_plain, line), place=place, source="file")
        try:
            result = substitute(text, self._environ)
        except SubstitutionError as error:
            self.problems.append(f"{place}: {error}")
            return Node(data=None, place=place, source="file")
        self._substituted += len(result.text)
        if self._substituted > SUBSTITUTED_LIMIT:
            raise YamlError(line, f"references bring in more than {SUBSTITUTED_LIMIT} characters")
        retyped = is_plain and result.lone
        return Node(
            data=core_scalar(result.text) if retyped else _typed(result.text, kind, False, line),
            place=place,
            source="file",
            text=result.text if retyped and result.text else None,
            shown=result.shown if result.variables else None,
            variables=result.variables,
            unset=result.unset,
        )


def _typed(text: str, kind: str | None, is_plain: bool, line: int) -> Any:
    """The value of a scalar: by its tag, else by the core schema when it is plain, else the text."""
    if kind is None:
        return core_scalar(text) if is_plain else text
    if kind == "str":
        return text
    value = core_scalar(text)
    if kind == "float" and type(value) is int:
        return float(value)
    fits = {"int": int, "float": float, "bool": bool, "null": type(None)}[kind]
    if type(value) is not fits:
        raise YamlError(line, f"the value tagged !!{kind} is none")
    return value


def _check_tag(tag: str | None, line: int, *allowed: str) -> str | None:
    """The short name of a tag of the core schema, None when there is none. Anything else would name code to run."""
    if tag is None:
        return None
    if tag == "!":
        return allowed[0]
    kind = _CORE_TAGS.get(tag)
    if kind is None or kind not in allowed:
        shown = tag.replace("tag:yaml.org,2002:", "!!")
        raise YamlError(line, f"tag {shown[:60]} is not allowed here; a config file holds plain values only")
    return kind
