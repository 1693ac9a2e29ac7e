"""The fast path: what the standard pipeline does to a call, in one pass over the values.

A `Plan` is made the first time a set of keys is logged and holds what follows from the keys alone: the schema announced in
the journal and the start value of its checksum. `Run.log` uses it when the types of the values are ones that travel as they
are. Everything else goes through `gather`, which flattens and converts in one pass; the names of a nested dict are put
together once per shape.
"""

from typing import Any, Final

from milepost.sdk import values as conversion
from milepost.sdk.summary import Aggregate
from milepost.sdk.values import INT_MAX, INT_MIN, SCALARS, Unloggable

MAX_PLANS: Final = 500
MAX_TYPES: Final = 32
_MAX_SHAPES: Final = 4096
_UNCHECKED: Final = frozenset((float, bool, type(None)))
_PLANNED: Final = frozenset((float, int, str, bool))

Types = tuple[type, ...]


class Plan:
    """What follows from a set of keys.

    keys:       as logged; flat, none of them milepost's own.
    types:      of the values when the plan was made; `others` holds further combinations seen since.
    ints:       positions of ints, which may be too wide for 64 bits.
    schema, seed: of its frames.
    watched:    aggregates to feed, by position.
    last:       the last row, [seq, time_ns, runtime_us, step, value, ...], from which the summary is read.
    """

    __slots__ = ("ints", "keys", "last", "others", "schema", "seed", "types", "watched")

    def __init__(self, keys: tuple[str, ...], types: Types, schema: int, seed: int, watched: list[tuple[int, Aggregate]]) -> None:
        self.keys = keys
        self.types = types
        self.others: dict[Types, None] = {}
        self.ints = [at + 4 for at, kind in enumerate(types) if kind is int]
        self.schema = schema
        self.seed = seed
        self.watched = watched
        self.last: list[Any] | None = None

    def allow(self, types: Types) -> None:
        """Take another combination of types for the same keys."""
        if len(self.others) < MAX_TYPES:
            self.others[types] = None
            self.ints = sorted({*self.ints, *(at + 4 for at, kind in enumerate(types) if kind is int)})


def plannable(data: dict[Any, Any]) -> bool:
    """Whether rows of these keys and types can take the fast path: flat, plain values, no name of milepost's own."""
    return _PLANNED.issuperset(map(type, data.values())) and all(
        type(key) is str and key and key not in ("_step", "_runtime") for key in data
    )


def too_wide(row: list[Any], ints: list[int]) -> bool:
    """Whether one of the ints of a row has no 64-bit form."""
    for at in ints:
        value = row[at]
        if type(value) is int and not INT_MIN <= value <= INT_MAX:
            return True
    return False


class Gather:
    """Flattens and converts in one pass; remembers the names of each shape of nested dict."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, tuple[Any, ...]], tuple[str, ...]] = {}

    def __call__(self, data: dict[Any, Any]) -> tuple[dict[str, Any], list[str]] | None:
        """Flat names and values, and the names of inner dicts; None for what only the careful way can judge."""
        flat: dict[str, Any] = {}
        nested: list[str] = []
        try:
            self._add(flat, nested, data, "", 0)
        except (Unloggable, _Careful):
            return None
        return flat, nested

    def _add(self, flat: dict[str, Any], nested: list[str], data: dict[Any, Any], prefix: str, depth: int) -> None:
        shape = (prefix, tuple(data))
        names = self._names.get(shape)
        if names is None:
            names = self._remember(shape)
        kinds = set(map(type, data.values()))
        if kinds <= _UNCHECKED:
            flat.update(zip(names, data.values(), strict=True))
            return
        if dict not in kinds:
            for name, value in zip(names, data.values(), strict=True):
                flat[name] = value if type(value) is float else conversion.leaf(value)
            return
        if depth > conversion.MAX_DEPTH:
            raise _Careful
        for name, value in zip(names, data.values(), strict=True):
            kind = type(value)
            if kind is float:
                flat[name] = value
            elif kind is dict and "_type" not in value:
                nested.append(name)
                self._add(flat, nested, value, name + ".", depth + 1)
            elif kind not in SCALARS and isinstance(value, dict):
                raise _Careful
            else:
                flat[name] = conversion.leaf(value)

    def _remember(self, shape: tuple[str, tuple[Any, ...]]) -> tuple[str, ...]:
        prefix, keys = shape
        if not all(type(key) is str and (prefix or key not in ("", "_step", "_runtime")) for key in keys):
            raise _Careful
        names = tuple([prefix + conversion.text_key(key) for key in keys])
        if len(self._names) < _MAX_SHAPES and len(keys) <= 100_000:
            self._names[shape] = names
        return names


class _Careful(Exception):
    """This data needs the careful way (`values.snapshot`), which names what is wrong with it."""
