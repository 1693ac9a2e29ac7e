"""References: how a row speaks of a file that is not encoded yet, and how its final words are filled in.

    in the program    {"_type": "image-file", "width": 4, "_payload": <Payload>}
    in the journal    {"_type": "image-file", "width": 4, "_pending": "9f0c...-17"}          the 17th payload of writer 9f0c...
    as it is read     {"_type": "image-file", "width": 4, "path": "media/...", "sha256": "...", "size": 99}

What the encoder found out stands in an event of kind "media" of the same journal: {"number": 17, "path": ..., ...}, or
{"number": 17, "error": "why there is no file"}.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from milepost.media.base import MARK, NAME, PATH, Payload

PENDING: Final = "_pending"
PENDING_PATH: Final = "_pending_path"
PENDING_NAME: Final = "_pending_name"
_PLACES: Final = {MARK: PENDING, PATH: PENDING_PATH, NAME: PENDING_NAME}
_REF: Final = re.compile(r"([0-9a-f]{16})-(\d{1,18})", re.ASCII)
MAX_DEPTH: Final = 220

Facts = Mapping[str, Any]
"""What is known of an encoded payload: path, sha256, size, and what the encoder added; or error."""
Lookup = Callable[[str], Facts | None]
"""Facts of a reference; None while it is not encoded."""


class MediaLeaf(dict[str, Any]):
    """A converted media value whose payloads are not stored yet. `made` counts them, so that rows without cost nothing."""

    made = 0
    __slots__ = ()


_DEEP: Final = frozenset((dict, list, MediaLeaf))


def ref(writer: str, number: int) -> str:
    """The reference of a payload."""
    return f"{writer}-{number}"


def parsed(text: Any) -> tuple[str, int] | None:
    """(writer, number) of a reference; None for anything else."""
    found = _REF.fullmatch(text) if isinstance(text, str) else None
    return None if found is None else (found[1], int(found[2]))


def holds_payload(value: Any) -> bool:
    """Whether there is a payload anywhere in a converted value."""
    kind = type(value)
    if kind is dict or kind is MediaLeaf:
        if Payload in map(type, value.values()):
            return True
        return any(holds_payload(item) for item in value.values() if type(item) in _DEEP)
    if kind is list:
        return any(holds_payload(item) for item in value)
    return kind is Payload


def stored(value: Any, number_of: Callable[[Payload], str]) -> Any:
    """A converted value with references in place of its payloads. number_of stores one and gives its reference."""
    kind = type(value)
    if kind is dict or kind is MediaLeaf:
        return {
            _PLACES.get(key, key): number_of(item)
            if type(item) is Payload
            else stored(item, number_of)
            if type(item) in _DEEP
            else item
            for key, item in value.items()
        }
    if kind is list:
        return [stored(item, number_of) for item in value]
    return number_of(value) if kind is Payload else value


def refs(value: Any) -> set[str]:
    """Every reference in a stored value."""
    found: set[str] = set()
    _collect(value, found, 0)
    return found


def _collect(value: Any, found: set[str], depth: int) -> None:
    if depth > MAX_DEPTH:
        return
    if type(value) is dict:
        for key in (PENDING, PENDING_PATH, PENDING_NAME):
            if key in value and parsed(value[key]) is not None:
                found.add(value[key])
        for item in value.values():
            if type(item) is dict or type(item) is list:
                _collect(item, found, depth + 1)
    elif type(value) is list:
        for item in value:
            if type(item) is dict or type(item) is list:
                _collect(item, found, depth + 1)


def filled(value: Any, lookup: Lookup) -> Any:
    """A stored value with what is known filled in; a reference that is not encoded yet stays."""
    if type(value) is list:
        return [filled(item, lookup) if type(item) is dict or type(item) is list else item for item in value]
    if type(value) is not dict:
        return value
    for key, field in ((PENDING_PATH, "path"), (PENDING_NAME, "name")):
        if key in value and parsed(value[key]) is not None:
            facts = lookup(value[key])
            if facts is None:
                return value
            path = facts.get("path")
            return path.rpartition("/")[2] if field == "name" and isinstance(path, str) else path
    whole: dict[str, Any] = {}
    for key, item in value.items():
        if key == PENDING and parsed(item) is not None:
            facts = lookup(item)
            if facts is None:
                whole[key] = item
            else:
                whole.update((name, fact) for name, fact in facts.items() if name != "number")
        else:
            whole[key] = filled(item, lookup) if type(item) is dict or type(item) is list else item
    return whole
