"""Node: a value with the place it was written at, before anything is known about what it should be.

The config file, `settings=`, the arguments of `init()` and environment variables all become nodes, so that one validation
serves them and each mistake can say where it stands. Secrets stop here: a value that came from `${NAME}` is shown as such.
"""

import operator
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, SupportsIndex

import msgspec

# Texts, not compiled: a run without a config file never needs them, and compiling takes a millisecond of its init().
_HIDDEN_NAMES = (
    r"(?i)token|secret|passw|pwd|credential|authorization|cookie|signature|dsn"
    r"|(api|access|private|account|auth)[-_.]?key"
)
_HIDDEN_VARIABLES = r"(?i)token|secret|passw|pwd|pass$|credential|auth(?!or)|cookie|dsn|key"
_USER_IN_URL = r"(?<=://)[^/\s]+(?=@)"
_SHOWN_LIMIT = 60
_DEPTH_LIMIT = 64

MASK = "***"


class Secret(str):
    """A text that is never shown: `repr()` gives a mask, and msgspec refuses to encode it. `str()` has the text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"'{MASK}'"


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A value, mapping or list, and where it stands.

    data:      a mapping of nodes, a list of nodes, or one value.
    place:     "milepost.yaml:12", "settings", "init()", or the name of a variable.
    source:    which of these it is; decides what may be given (an object only in `init()`).
    keys:      of a mapping from a file: the place of each key.
    text:      of an unquoted `${NAME}`: its text, for where a text is wanted although it reads like a number.
    shown:     what stands for the value in messages, when it came from a variable: its `${NAME}`.
    variables: the variables it came from.
    unset:     those of them that are not set and have no default.
    """

    data: Any
    place: str
    source: Literal["file", "settings", "argument", "environment"]
    keys: dict[str, str] = {}
    text: str | None = None
    shown: str | None = None
    variables: tuple[str, ...] = ()
    unset: tuple[str, ...] = ()


def node_of(value: Any, place: str, source: Literal["settings", "argument"], depth: int = 0) -> Node:
    """The node of a plain Python value; what is no mapping, list or scalar stays as it is.

    Raises RecursionError for what is nested more than 64 deep, as what holds itself is.
    """
    if depth > _DEPTH_LIMIT:
        raise RecursionError
    if isinstance(value, Mapping):
        value = {str(key): node_of(item, place, source, depth + 1) for key, item in value.items()}
    elif isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes | bytearray):
        value = [node_of(item, place, source, depth + 1) for item in value]
    elif isinstance(value, str | Path):  # an enum of texts is the text
        value = str.__str__(value) if isinstance(value, str) else str(value)
    elif isinstance(value, SupportsIndex) and not isinstance(value, bool):  # numpy's whole numbers too
        value = operator.index(value)
    return Node(data=value, place=place, source=source)


def plain(node: Node, *, secret: bool = False) -> Any:
    """The value without its places; texts that are secret by name or variable become `Secret`.

    secret: whether the key that holds this value makes all below it secret.
    """
    data = node.data
    if isinstance(data, dict):
        held = {k: plain(v, secret=secret or is_secret_name(k)) for k, v in data.items()}
        pair = data.get("name")
        if pair is not None and isinstance(pair.data, str) and is_secret_name(pair.data) and "value" in data:
            held["value"] = plain(data["value"], secret=True)
        return held
    if isinstance(data, list):
        return [plain(item, secret=secret) for item in data]
    if isinstance(data, str) and (secret or is_secret(node)):
        return Secret(data)
    return data


def is_secret_name(name: str) -> bool:
    """Whether a key of this name usually holds a secret. All values under `headers` count as secrets."""
    return name in ("headers", "headers_list") or re.search(_HIDDEN_NAMES, name) is not None


def is_secret(node: Node) -> bool:
    """Whether the value came from a variable whose name says that it is a secret."""
    return any(re.search(_HIDDEN_VARIABLES, name) for name in node.variables)


def shown(node: Node, name: str = "") -> str:
    """The value as a message may show it; `name` is the key that holds it."""
    data = node.data
    if node.shown is not None:
        return node.shown
    if isinstance(data, dict):
        return "a mapping"
    if isinstance(data, list):
        return "a list"
    if data is None:
        return "null"
    if isinstance(data, bool):
        return "true" if data else "false"
    if is_secret_name(name):
        return f'"{MASK}"'
    if isinstance(data, int | float):
        return "a number of many digits" if isinstance(data, int) and data.bit_length() > 128 else str(data)
    if isinstance(data, str):
        text = without_password(data)
        text = text if text.isprintable() else repr(text)[1:-1]
        return f'"{text[:_SHOWN_LIMIT]}…"' if len(text) > _SHOWN_LIMIT else f'"{text}"'
    return f"an object of type {type(data).__name__}"


def without_password(text: str) -> str:
    """The text with the user and password of any URL in it masked."""
    return re.sub(_USER_IN_URL, MASK, text)
