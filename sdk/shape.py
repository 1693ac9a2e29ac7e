"""Shape: what the data of a call looks like, and a function that makes the row of every call that looks the same.

A shape has one entry per value: its type, or for an inner dict its keys and their shape. What has no entry of its own (lists,
arrays, dates, media, ...) takes the long way. `builder` writes the checks of a shape out as code, as dataclasses do it, since
a check in a loop costs as much as all the rest of a call.
"""

import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final

from milepost.sdk.frame import encode_payload
from milepost.sdk.values import INT_MAX, INT_MIN

Shape = tuple[Any, ...]
"""One entry per value: a type, or (keys, Shape) for a dict."""
Builder = Callable[[Iterable[Any], int, int, int, int], "list[Any] | None"]
"""(values, seq, time_ns, runtime_us, step) -> the row, or None when the values do not fit."""

MAX_COMPILED: Final = 100
"""Values up to which a builder is compiled; with more, a loop does."""
_MAX_DEPTH: Final = 20
PLAIN: Final = frozenset((float, int, str, bool, type(None)))
_OWN: Final = frozenset(("", "_step", "_runtime"))


class _Unlike(Exception):
    """The data has something that no shape has."""


def shape_of(data: dict[Any, Any]) -> tuple[tuple[str, ...], Shape] | None:
    """The flat names of the data's values and its shape; None for data that takes the long way."""
    names: list[str] = []
    try:
        shape = _shape(data, "", names, 0)
    except _Unlike:
        return None
    if len(set(names)) < len(names):  # {"a.b": 1, "a": {"b": 2}}: one name, two values
        return None
    if len(names) > MAX_COMPILED and not PLAIN.issuperset(leaves(shape)):
        return None
    return tuple(names), shape


def _shape(data: dict[Any, Any], prefix: str, names: list[str], depth: int) -> Shape:
    entries: list[Any] = []
    if depth > _MAX_DEPTH or (depth and not data) or "_type" in data:
        raise _Unlike
    for key, value in data.items():
        if type(key) is not str or (not depth and key in _OWN) or not (key.isascii() or key.isprintable()):
            raise _Unlike
        kind = type(value)
        if kind is dict:
            entries.append((tuple(value), _shape(value, f"{prefix}{key}.", names, depth + 1)))
        elif kind in PLAIN or _conversion(kind):
            names.append(prefix + key)
            entries.append(kind)
        else:
            raise _Unlike
    return tuple(entries)


def leaves(shape: Shape) -> list[type]:
    """The types of all values, in order."""
    found: list[type] = []
    for entry in shape:
        found += leaves(entry[1]) if type(entry) is tuple else [entry]
    return found


def _conversion(kind: type) -> str:
    """The builtin that makes a numpy scalar of this type plain, or "" for any other type."""
    if kind.__module__ != "numpy":
        return ""
    np = sys.modules["numpy"]
    if kind in (np.float16, np.float32, np.float64):
        return "float"
    if kind is np.bool_:
        return "bool"
    return "int" if kind in (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32) else ""


def layout(keys: tuple[str, ...], shape: Shape, prefix: str = "") -> list[tuple[str, str, Any, bytes]]:
    """A shape with the keys of its data as compiled code wants it: (key, kind, type or number of keys, name as msgpack) each, the
    keys of a dict right behind it. Kinds: f, i, b, s, n for values as they stand; F, I, B for numpy's; d for a dict."""
    items: list[tuple[str, str, Any, bytes]] = []
    for key, entry in zip(keys, shape, strict=True):
        if type(entry) is tuple:
            keys_below, shape_below = entry
            items.append((key, "d", len(keys_below), b""))
            items += layout(keys_below, shape_below, f"{prefix}{key}.")
            continue
        plain = entry in PLAIN
        letter = "n" if entry is type(None) else entry.__name__[0] if plain else _conversion(entry)[0].upper()
        items.append((key, letter, entry, encode_payload(prefix + key)))
    return items


@lru_cache(maxsize=1024)
def builder(shape: Shape, checked: bool) -> Builder:
    """The function that makes the rows of a shape.

    checked=False leaves out whether values are floats (all of them must be in the shape): the caller sees that elsewhere.
    """
    if len(leaves(shape)) > MAX_COMPILED:
        return _looped(shape, checked)
    lines = ["def build(values, seq, time_ns, runtime_us, step):"]
    space: dict[str, Any] = {}
    checks: list[str] = []
    items = _write(shape, "values", lines, checks, space, [0])
    if checked and checks:
        lines.append(f"    if not ({' and '.join(checks)}): return None")
    lines.append(f"    return [seq, time_ns, runtime_us, step, {', '.join(items)}]")
    exec("\n".join(lines), space)  # noqa: S102 - made of positions and names of builtins only
    made: Builder = space["build"]
    return made


def _write(
    shape: Shape, source: str, lines: list[str], checks: list[str], space: dict[str, Any], count: list[int]
) -> list[str]:
    """Write the lines that take the values of one dict apart; the expressions that put them into the row."""
    names = [f"v{count[0] + at}" for at in range(len(shape))]
    count[0] += len(shape)
    if names:
        lines.append(f"    ({', '.join(names)},) = {source}")
    items: list[str] = []
    for name, entry in zip(names, shape, strict=True):
        if type(entry) is tuple:
            keys = f"k{name}"
            space[keys] = list(entry[0])
            lines.append(f"    if type({name}) is not dict or [*{name}] != {keys}: return None")
            items += _write(entry[1], f"{name}.values()", lines, checks, space, count)
            continue
        convert = _conversion(entry)
        if entry in PLAIN:
            checks.append(f"{name} is None" if entry is type(None) else f"type({name}) is {entry.__name__}")
        else:
            space[f"t{name}"] = entry
            checks.append(f"type({name}) is t{name}")
        if entry is int:
            checks.append(f"{INT_MIN} <= {name} <= {INT_MAX}")
        items.append(f"{convert}({name})" if convert else name)
    return items


def _looped(shape: Shape, checked: bool) -> Builder:
    """The same for many values, in loops."""
    types = tuple(leaves(shape))
    ints = [at + 4 for at, kind in enumerate(types) if kind is int]
    plan = _steps(shape)

    def build(values: Iterable[Any], seq: int, time_ns: int, runtime_us: int, step: int) -> list[Any] | None:
        row = [seq, time_ns, runtime_us, step]
        if not _extend(row, values, plan):
            return None
        if checked and (tuple(map(type, row[4:])) != types or any(not INT_MIN <= row[at] <= INT_MAX for at in ints)):
            return None
        return row

    return build


_Steps = list["tuple[list[Any], _Steps] | None"] | None
"""How `_extend` walks a dict: None when it holds no dicts, else per value None for a leaf, or keys and steps for a dict."""


def _steps(shape: Shape) -> Any:
    if not any(type(entry) is tuple for entry in shape):
        return None
    return [(list(entry[0]), _steps(entry[1])) if type(entry) is tuple else None for entry in shape]


def _extend(row: list[Any], values: Iterable[Any], steps: Any) -> bool:
    """Add the leaves of a dict's values to the row; False when its dicts are not as expected."""
    if steps is None:
        row.extend(values)
        return True
    for value, expected in zip(values, steps, strict=True):
        if expected is None:
            row.append(value)
        elif type(value) is not dict or [*value] != expected[0] or not _extend(row, value.values(), expected[1]):
            return False
    return True
