"""Nested: how deep a value of a client may be, and how large its whole numbers.

What is stored is walked again by everything that reads it, one call inside the other, so a value that is too deep to be read
would hide its run. What a program logs has 200 levels at the most (milepost.sdk.nesting), and a few around it.
"""

from collections.abc import Iterable
from typing import Any, Final

from milepost.sdk.wire import WireBatch
from milepost.server.store.parts import InvalidBatch

MAX_NESTED: Final = 256
_LOWEST: Final = -(2**63)
_HIGHEST: Final = 2**64 - 1


def check_values(batch: WireBatch, *, from_json: bool) -> None:
    """Raise `InvalidBatch` for a value that cannot be stored. from_json: its whole numbers may have any length."""
    for n, group in enumerate(batch.groups):
        for key, column in zip(group.keys, group.values, strict=False):
            if isinstance(column, list):
                _check(column, f"groups[{n}], {key[:80]!r}", from_json)
    for event in batch.events:
        _check([event.values], f"events, {event.kind[:80]!r} {event.seq}", from_json)


def is_too_deep(value: Any) -> bool:
    """Whether a value has more levels than can be stored."""
    level: list[Any] = [value]
    for _ in range(MAX_NESTED + 1):
        level = list(_below(level))
        if not level:
            return False
    return True


def _check(values: list[Any], where: str, from_json: bool) -> None:
    level = values
    for depth in range(MAX_NESTED + 2):
        if from_json and any(type(item) is int and not _LOWEST <= item <= _HIGHEST for item in level):
            text = "whole numbers have up to 64 bits; send a longer one with a decimal point, or as text"
            raise InvalidBatch(f"{where}: {text}")
        inner = [item for item in level if type(item) is dict or type(item) is list]
        if not inner:
            return
        if depth > MAX_NESTED:
            break
        level = list(_below(inner, every=from_json))
    raise InvalidBatch(f"{where}: nested deeper than {MAX_NESTED} levels")


def _below(values: Iterable[Any], *, every: bool = False) -> Iterable[Any]:
    """What stands in mappings and lists; without `every`, only those of it that hold something themselves."""
    for value in values:
        if type(value) is dict or type(value) is list:
            for item in value.values() if type(value) is dict else value:
                if every or type(item) is dict or type(item) is list:
                    yield item
