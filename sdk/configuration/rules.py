"""Rules that a type cannot say: each takes a value of the right type and returns what is wrong with it, or None."""

import re
from collections.abc import Callable
from typing import Any

_NOT_IN_PROJECT = frozenset("/\\#?%:")
_NOT_IN_ID = frozenset("/\\#?%:;,'")
_NAME_LIMIT = 128  # a directory of this name, in UTF-8, stays within the 255 bytes of usual file systems; checked below
_TAG_LIMIT = 64


def project(text: str) -> str | None:
    """A project names a directory and a part of a URL."""
    return _directory_name(text, _NOT_IN_PROJECT)


def run_id(text: str) -> str | None:
    """A run id names a directory and a part of a URL."""
    return _directory_name(text, _NOT_IN_ID)


def tag(text: str) -> str | None:
    """A tag is a short text."""
    if 1 <= len(text) <= _TAG_LIMIT:
        return None
    return f"must have 1 to {_TAG_LIMIT} characters, not {len(text)}"


def not_empty(text: str) -> str | None:
    """A text with something in it."""
    return None if text else "must not be empty"


def regular_expression(text: str) -> str | None:
    """A pattern that Python's `re` compiles."""
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        return f"must be a regular expression: {error}"
    return None


def file_format(text: str) -> str | None:
    """Any 1.x; a newer minor version may hold keys that this version refuses by name."""
    return None if re.fullmatch(r"1\.[0-9]{1,4}", text) else f'must be "1.0", not "{text[:40]}"'


def attributes_list(text: str) -> str | None:
    """`name=value` pairs joined by commas."""
    for pair in filter(str.strip, text.split(",")):
        name, equals, _ = pair.partition("=")
        if not equals or not name.strip():
            return 'must be "name=value" pairs joined by commas'
    return None


def in_words(rule: Callable[[Any], str | None] | None) -> str:
    """What a rule asks for, without a word of the value that broke it."""
    found: str = _WORDS.get(rule, "it breaks the rule of this key")
    return found


def _names(refused: frozenset[str]) -> str:
    return (
        f"it names a directory and must have 1 to {_NAME_LIMIT} printable characters, none of {' '.join(sorted(refused))}, "
        "no dot in front and no space at its ends"
    )


_WORDS: dict[Any, str] = {
    project: _names(_NOT_IN_PROJECT),
    run_id: _names(_NOT_IN_ID),
    tag: f"it must have 1 to {_TAG_LIMIT} characters",
    not_empty: "it must not be empty",
    regular_expression: "it must be a regular expression",
    file_format: 'it must be "1.0"',
    attributes_list: 'it must be "name=value" pairs joined by commas',
}


def _directory_name(text: str, refused: frozenset[str]) -> str | None:
    if not text.strip():
        return "must not be empty"
    if text in (".", ".."):
        return f'must not be "{text}": it names a directory'
    if text != text.strip():
        return "must not begin or end with a space"
    bad = sorted({c for c in text if c in refused or not c.isprintable()})
    if bad:
        shown = ", ".join(f'"{c}"' if c.isprintable() else repr(c) for c in bad)
        return f"must not hold {shown}: it names a directory"
    if text.startswith("."):
        return "must not begin with a dot: it names a directory, which would be hidden"
    if len(text) > _NAME_LIMIT or len(text.encode("utf-8", "surrogateescape")) > 255:
        return f"must have at most {_NAME_LIMIT} characters (255 bytes), not {len(text)}"
    return None
