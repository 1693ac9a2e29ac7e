"""Nesting: whether a container can be followed to its end, before anything is unfolded."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, Final

SCALARS: Final = frozenset((float, int, str, bool, type(None)))
"""Types that travel as they are (ints within 64 bits, text that is valid Unicode)."""
MAX_DEPTH: Final = 200
MAX_UNFOLDED: Final = 10_000_000
"""Items of one value, its inner containers unfolded."""


class Unloggable(Exception):
    """Why one value cannot be logged; turned into a DataError or a placeholder by the caller, which knows the key."""


def check_nesting(value: Any, kinds: tuple[type, ...] = (dict, list, tuple, set, frozenset)) -> None:
    """Raise Unloggable for a container that holds itself, is nested too deeply, or unfolds into too many items.

    Two lists that hold each other twice unfold into 2**200 items before any limit of depth ends that, so each container is
    counted once, however often it stands in others.
    """
    known: dict[int, tuple[int, int]] = {}  # of containers that were counted: items once unfolded, and depth
    path: list[tuple[int, Iterator[Any]]] = [(id(value), _inner(value, kinds) or iter(()))]
    inside = {id(value)}
    items, depths = [0], [1]
    while path:
        for item in path[-1][1]:
            items[-1] += 1
            inner = None if type(item) in SCALARS else _inner(item, kinds)
            if inner is None:
                continue
            key = id(item)
            if key in inside:
                raise Unloggable("it holds itself")
            if len(path) + (known[key][1] if key in known else 1) > MAX_DEPTH:
                raise Unloggable(f"it is nested deeper than {MAX_DEPTH} levels")
            if key not in known:
                path.append((key, inner))
                inside.add(key)
                items.append(0)
                depths.append(1)
                break
            items[-1] += known[key][0]
            depths[-1] = max(depths[-1], known[key][1] + 1)
        else:
            key = path.pop()[0]
            inside.remove(key)
            total, depth = known[key] = items.pop(), depths.pop()
            if path:
                items[-1] += total
                depths[-1] = max(depths[-1], depth + 1)
            if total > MAX_UNFOLDED:
                raise Unloggable(f"it unfolds into more than {MAX_UNFOLDED} items")


def _inner(value: Any, kinds: tuple[type, ...]) -> Iterator[Any] | None:
    """What a container of these kinds holds; None for a leaf."""
    kind = type(value)
    for base in kinds:
        if issubclass(kind, base):
            return iter(dict.values(value)) if base is dict else base.__iter__(value)  # type: ignore[attr-defined]
    return None


def items_of(value: dict[Any, Any]) -> Iterable[tuple[Any, Any]]:
    """The items of a dict as they are, whatever its class makes of `items`."""
    return OrderedDict.items(value) if isinstance(value, OrderedDict) else dict.items(value)
