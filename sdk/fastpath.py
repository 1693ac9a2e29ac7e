"""The fast path: what the standard pipeline does to a call, in one pass over the values.

A `Plan` is made the first time a set of keys is logged and holds what follows from the keys alone: the schema announced in
the journal and the start value of its checksum. `Run.log` uses it when the types of the values are ones that travel as they
are. Everything else goes through `gather`, which flattens and converts in one pass; the names of a nested dict are put
together once per shape.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from struct import Struct
from types import GeneratorType
from typing import Any, Final

from milepost.sdk import values as conversion
from milepost.sdk.frame import HEADER, MAGIC, ROW, VERSION
from milepost.sdk.summary import Aggregate
from milepost.sdk.values import INT_MAX, INT_MIN, SCALARS

MAX_PLANS: Final = 500
MAX_TYPES: Final = 16
MAX_COMPILED: Final = 100
"""Keys up to which a row builder is compiled; with more, the time goes elsewhere."""
_MAX_SHAPES: Final = 4096
MAX_PACKED: Final = 4096
"""Payload bytes up to which a row takes the fast path: zlib.crc32 lets the GIL go above 5 KiB."""
_FLOAT: Final = b"\xcb"
_SHORT: Final = 11
"""Values of a row whose array needs a one-byte msgpack header (15 less the four numbers of the head)."""
_INT_SIZES: Final = ((2**7, 1), (2**8, 2), (2**16, 3), (2**32, 5), (2**64, 9))
"""msgpack: whole numbers below a limit, and the bytes they take."""
_UNCHECKED: Final = frozenset((float, bool, type(None)))
_PLANNED: Final = frozenset((float, int, str, bool))
_EASY: Final = SCALARS | {dict, list}
_MAX_NESTED: Final = 1_000_000

Types = tuple[type, ...]
Builder = Callable[[Iterable[Any], int, int, int, int], "list[Any] | None"]
"""(values, seq, time_ns, runtime_us, step) -> the row, or None when a value is not of the type it was compiled for."""


class Plan:
    """What follows from a set of keys.

    keys, names:  as logged; flat, none of them milepost's own; as a tuple and as a list.
    build:        makes the row to encode out of the values, or None when their types are new.
    markers:      when all values were floats: the byte that starts a float, once per value; else empty.
    schema, seed: of its frames.
    watched:      aggregates to feed, by position in the row.
    last:         the last row, [seq, time_ns, runtime_us, step, value, ...], from which the summary is read.
    """

    __slots__ = ("_builders", "build", "keys", "last", "markers", "names", "schema", "seed", "watched", "wide")

    def __init__(
        self, keys: tuple[str, ...], types: Types, schema: int, seed: int, watched: list[tuple[int, Aggregate]]
    ) -> None:
        self.keys = keys
        self.names = list(keys)
        self.schema = schema
        self.seed = seed
        self.watched = watched
        self.last: list[Any] | None = None
        self._builders: dict[Types, Builder] = {types: builder(types)}
        self.build = self._builders[types]
        self.markers = _FLOAT * len(types) if set(types) == {float} else b""
        self.wide = 2 if len(types) > _SHORT else 0
        """Bytes that the array's header takes beyond one."""

    def watch(self, row: list[Any]) -> None:
        """Feed the aggregates that `define_metric` asked for."""
        for at, aggregate in self.watched:
            aggregate.add(row[at])

    def allow(self, types: Types) -> None:
        """Take another combination of types for the same keys."""
        if types not in self._builders and len(self._builders) < MAX_TYPES:
            self._builders[types] = builder(types)
            known = list(self._builders.values())
            self.markers = b""
            self.build = lambda values, seq, time_ns, runtime_us, step: next(
                (row for build in known if (row := build(values, seq, time_ns, runtime_us, step)) is not None), None
            )


class Fast:
    """The plans in force. A call that changes what a plan may assume puts another object in this one's place."""

    __slots__ = ("head", "plan", "plans", "seq_limit", "time_limit")

    def __init__(self, plans: dict[tuple[Any, ...], Plan]) -> None:
        self.plans = plans
        self.plan: Plan = next(reversed(plans.values())) if plans else NO_PLAN
        """The plan used last."""
        self.head = 0
        """Bytes before the first value of a row's payload, up to number seq_limit and until the clock shows time_limit."""
        self.seq_limit = 0
        self.time_limit = 0

    def measure(self, seq: int, step: int, now: int, began: int) -> None:
        """Find `head` and its limits. On the fast path seq and step rise by one together. Clocks: monotonic nanoseconds."""
        found = [
            next(known for known in _INT_SIZES if number < known[0]) for number in (seq, step, (now - began) // 1000)
        ]
        self.head = 1 + 9 + sum(size for _, size in found)
        self.seq_limit = min(found[0][0], seq + found[1][0] - step)
        self.time_limit = began + found[2][0] * 1000


class _Packers(dict[int, Callable[..., None]]):
    """`Struct.pack_into` of a frame with a payload of so many bytes, made when first asked for.

    Its arguments: buffer, offset, ROW_START, payload bytes, crc, schema, payload.
    """

    def __missing__(self, size: int) -> Callable[..., None]:
        made = self[size] = Struct(f"<IIII{size}s").pack_into
        return made


packers: Final = _Packers()
ROW_START: Final = int.from_bytes(HEADER.pack(MAGIC, ROW, VERSION, 0, 0, 0)[:4], "little")
"""Magic, kind and version of a row's frame, as one number."""


@lru_cache(maxsize=1024)
def builder(types: Types) -> Builder:
    """A function that checks the types of a row's values and puts the row together.

    Written out per combination of types, as dataclasses do it, since a check in a loop costs as much as all the rest.
    """
    if len(types) > MAX_COMPILED:
        return _uncompiled(types)
    names = [f"v{at}" for at in range(len(types))]
    checks = [f"type({name}) is {kind.__name__}" for name, kind in zip(names, types, strict=True)]
    checks += [f"{INT_MIN} <= {name} <= {INT_MAX}" for name, kind in zip(names, types, strict=True) if kind is int]
    unpack = f"({', '.join(names)},) = values" if names else "pass"
    lines = [
        "def build(values, seq, time_ns, runtime_us, step):",
        f"    {unpack}",
        f"    if {' and '.join(checks) or True}:",
        f"        return [seq, time_ns, runtime_us, step, {', '.join(names)}]",
    ]
    space: dict[str, Any] = {}
    exec("\n".join(lines), space)  # noqa: S102 - made of positions and type names only
    made: Builder = space["build"]
    return made


def _uncompiled(types: Types) -> Builder:
    """The same for many keys, in loops."""
    ints = [at for at, kind in enumerate(types) if kind is int]

    def build(values: Iterable[Any], seq: int, time_ns: int, runtime_us: int, step: int) -> list[Any] | None:
        row = list(values)
        if tuple(map(type, row)) != types or any(not INT_MIN <= row[at] <= INT_MAX for at in ints):
            return None
        return [seq, time_ns, runtime_us, step, *row]

    return build


NO_PLAN: Final = Plan(("",), (), 0, 0, [])
"""Fits no call: an empty name is never planned."""


def plannable(data: dict[Any, Any]) -> bool:
    """Whether rows of these keys and types can take the fast path: flat, plain values, no name of milepost's own."""
    return _PLANNED.issuperset(map(type, data.values())) and all(
        type(key) is str and key and key not in ("_step", "_runtime") for key in data
    )


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
        except Exception:  # noqa: BLE001 - a key's or value's own methods may raise anything; the careful way says what
            return None
        return flat, nested

    def _add(self, flat: dict[str, Any], nested: list[str], data: dict[Any, Any], prefix: str, depth: int) -> bool:
        """Add the leaves of a dict; whether there were any."""
        shape = (prefix, tuple(data))
        names = self._names.get(shape)
        if names is None:
            names = self._remember(shape)
        kinds = set(map(type, data.values()))
        if kinds <= _UNCHECKED:
            flat.update(zip(names, data.values(), strict=True))
            return bool(names)
        for kind in kinds:
            if kind not in _EASY and (kind is GeneratorType or issubclass(kind, dict)):
                raise _Careful  # a generator can be read once only; a subclass of dict may answer with anything
        if dict not in kinds:
            for name, value in zip(names, data.values(), strict=True):
                flat[name] = value if type(value) is float else conversion.leaf(value)
            return True
        if depth > conversion.MAX_DEPTH or len(flat) > conversion.MAX_UNFOLDED or len(nested) > _MAX_NESTED:
            raise _Careful
        found = False
        for name, value in zip(names, data.values(), strict=True):
            kind = type(value)
            if kind is float:
                flat[name] = value
            elif kind is dict and "_type" not in value:
                if not self._add(flat, nested, value, name + ".", depth + 1):
                    continue
                nested.append(name)
            else:
                flat[name] = conversion.leaf(value)
            found = True
        return found

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
