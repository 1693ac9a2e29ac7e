"""The fast path: what the standard pipeline does to a call, in one pass over the values.

A `Plan` is made the first time data of a shape is logged and holds what follows from the shape alone: the function that makes
the row, the schema announced in the journal and the start value of its checksum. `Recorder.log` uses it. Everything else goes
through `Gather`, which flattens and converts in one pass; the names of a nested dict are put together once per shape.
"""

from collections.abc import Callable, Iterable
from struct import Struct
from types import GeneratorType
from typing import Any, Final

from milepost.sdk.frame import HEADER, HEADER_SIZE, MAGIC, ROW, SLICE, VERSION
from milepost.sdk.nesting import MAX_DEPTH, SCALARS
from milepost.sdk.ring import Block
from milepost.sdk.shape import PLAIN, Builder, Shape, builder, leaves
from milepost.sdk.summary import Aggregate
from milepost.sdk.values import leaf, text_key
from milepost.sdk.writer import Writer

MAX_PLANS: Final = 500
MAX_VARIANTS: Final = 16
MAX_NAMES: Final = 20_000
"""Names of a row that a plan is made for; wider ones do not fit the quick way."""
"""Combinations of types for one set of keys that get plans."""
_MAX_SHAPES: Final = 4096
_MAX_DIRECT: Final = 400
"""Values of a row whose checksum is taken in one go."""
MAX_PACKED: Final = 60_000
"""Payload bytes up to which a row takes the fast path; msgpack's array header is at most three bytes up to there."""
_FLOAT: Final = b"\xcb"
_SHORT: Final = 11
"""Values of a row whose array needs a one-byte msgpack header (15 less the four numbers of the head)."""
_INT_SIZES: Final = ((2**7, 1), (2**8, 2), (2**16, 3), (2**32, 5), (2**64, 9))
"""msgpack: whole numbers below a limit, and the bytes they take."""
_CLOCK: Final = 1 + 9
"""Bytes of an array's header and of a time in nanoseconds."""
_UNCHECKED: Final = frozenset((float, bool, type(None)))
_EASY: Final = SCALARS | {dict, list}
_MAX_DICTS: Final = 1_000_000
"""Inner dicts of one call that are walked here."""


class Plan:
    """What follows from the shape of a call's data.

    top:          the keys of the data itself, in a list to compare with.
    keys:         the flat names of its values.
    direct:       whether its values, all floats, are the row as they stand.
    build:        makes the row to encode, or None when the values do not fit the shape.
    checked:      the same, and it always checks.
    plain:        whether the data is a dict of the row's names and values as they stand.
    markers:      when all values are floats: the byte that starts a float, once per value; else empty, and `build` checks.
    schema, seed: of its frames.
    watched:      aggregates to feed, by position in the row.
    nested:       the names of its inner dicts.
    last:         the last row, [seq, time_ns, runtime_us, step, value, ...], from which the summary is read.
    next:         the plan for the same keys with values of other types, or None.
    """

    __slots__ = (
        "build", "checked", "direct", "keys", "last", "markers", "nested", "next", "plain", "schema", "seed", "shape", "top",
        "watched", "wide"
    )  # fmt: skip

    def __init__(
        self,
        top: tuple[str, ...],
        keys: tuple[str, ...],
        shape: Shape,
        schema: int,
        seed: int,
        watched: list[tuple[int, Aggregate]],
        nested: tuple[str, ...] = (),
    ) -> None:
        self.top: list[object] = list(top)
        self.keys = keys
        self.shape = shape
        self.schema = schema
        self.seed = seed
        self.watched = watched
        self.nested = nested
        self.last: list[Any] | None = None
        self.next: Plan | None = None
        floats = set(leaves(shape)) == {float}
        self.direct = floats and tuple not in map(type, shape)
        self.markers = _FLOAT * len(keys) if floats else b""
        self.build = builder(shape, checked=not floats)
        self.checked: Builder = _Later(self) if floats else self.build
        self.plain = PLAIN.issuperset(shape)
        self.wide = 2 if len(keys) > _SHORT else 0
        """Bytes that the array's header takes beyond one."""

    def watch(self, row: list[Any]) -> None:
        """Feed the aggregates that `define_metric` asked for."""
        for at, aggregate in self.watched:
            aggregate.add(row[at])

    def variants(self) -> list["Plan"]:
        """This plan and those that follow it."""
        found: list[Plan] = [self]
        plan = self.next
        while plan is not None:
            found.append(plan)
            plan = plan.next
        return found

    def add(self, other: "Plan") -> None:
        """Have another plan for the same keys. From now on each checks its own types, to tell them apart."""
        plans = self.variants()
        plans[-1].next = other
        for plan in (*plans, other):
            plan.direct, plan.markers = False, b""
            plan.build = plan.checked = builder(plan.shape, checked=True)


class _Later:
    """The checked function of a plan, made when it is first called."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __call__(self, values: Iterable[Any], seq: int, time_ns: int, runtime_us: int, step: int) -> list[Any] | None:
        made = self._plan.checked = builder(self._plan.shape, checked=True)
        return made(values, seq, time_ns, runtime_us, step)


class Fast:
    """The plans in force, and all that a call needs of the one used last in one place, since a call that follows other work
    finds none of it in the processor's caches. Whoever changes what a plan may assume puts another object in this one's place.

    live:       False once that was done.
    seq, shift: the number of the next row, and its step less that number: both rise by one with each row.
    began:      when the run began, on the monotonic clock.
    block, buffer, end: where rows go, and its size.
    direct:     whether the plan's values, all floats, are the row as they stand; only then does the rest hold:
    top, markers, seed, schema: of that plan.
    head, length, size, pack: bytes before the first value of a row's payload, of all of it, of its frame, and the function that
                stores such a frame; until the clock shows `limit`.
    """

    __slots__ = (
        "began", "block", "buffer", "direct", "end", "head", "length", "limit", "live", "markers", "pack", "plan", "plans",
        "schema", "seed", "seen", "seq", "shift", "size", "top", "writer",
    )  # fmt: skip

    def __init__(self, plans: dict[tuple[Any, ...], Plan], writer: Writer, block: Block, step: int, began: int) -> None:
        self.plans = plans
        self.live = True
        self.writer = writer
        self.seq = seq = writer.seq
        self.shift = step - seq
        self.began = began
        self.block = block
        self.buffer = block.buffer
        self.end = block.size
        self.direct = False
        self.plan = NO_PLAN
        self.seen = NO_PLAN
        """The plan of the call before: two calls alike make it the one to expect."""
        self.limit = 0
        self.head = 0

    def use(self, plan: Plan) -> None:
        """Expect calls of this plan."""
        self.plan = self.seen = plan
        self.top = plan.top
        self.markers = plan.markers
        self.seed = plan.seed
        self.schema = plan.schema
        self.limit = 0
        self.direct = plan.direct and not plan.watched and len(plan.keys) <= _MAX_DIRECT

    def measure(self, now: int) -> None:
        """Find `head` and how long it is. On the fast path no row takes less than 100 ns."""
        seq = self.seq
        found = _sizes(seq, seq + self.shift, (now - self.began) // 1000)
        head = _CLOCK + sum(size for _, size in found) + self.plan.wide
        length = head + 9 * len(self.plan.keys)
        size = HEADER_SIZE + length
        pack = packers[length]
        rows_left = min(found[0][0] - seq, found[1][0] - seq - self.shift)
        limit = min(self.began + found[2][0] * 1000, now + rows_left * 100)
        if self.seq == seq:  # else a call came in between, and measured for itself; from here on none can
            self.head = head
            self.length = length
            self.size = size
            self.pack = pack
            self.limit = limit


def all_floats(plan: Plan, row: list[Any], payload: bytes) -> bool:
    """Whether the values of a wide row are floats, as its plan has it; read off the payload, see `Recorder.log`."""
    head = _CLOCK + sum(size for _, size in _sizes(row[0], row[3], row[2])) + plan.wide
    return payload[head::9] == plan.markers


def _sizes(*numbers: int) -> list[tuple[int, int]]:
    """Of each whole number the limit up to which others take as many bytes, and how many."""
    return [next(known for known in _INT_SIZES if number < known[0]) for number in numbers]


class _Packers(dict[int, Callable[..., None]]):
    """`Struct.pack_into` of a frame with a payload of so many bytes, made when first asked for.

    Its arguments: buffer, offset, ROW_START, payload bytes, crc, schema, payload.
    """

    def __missing__(self, size: int) -> Callable[..., None]:
        made = Struct(f"<IIII{size}s").pack_into
        if size <= SLICE:
            self[size] = made
        return made


packers: Final = _Packers()
ROW_START: Final = int.from_bytes(HEADER.pack(MAGIC, ROW, VERSION, 0, 0, 0)[:4], "little")
"""Magic, kind and version of a row's frame, as one number."""


NO_PLAN: Final = Plan((), (), (), 0, 0, [])
"""Fits no call: no key of a dict equals an object that nobody else has."""
NO_PLAN.top = [object()]


class Gather:
    """Flattens and converts in one pass; remembers the names of each shape of nested dict."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, tuple[Any, ...]], tuple[str, ...]] = {}
        self._left = 0

    def __call__(self, data: dict[Any, Any]) -> tuple[dict[str, Any], list[str]] | None:
        """Flat names and values, and the names of inner dicts; None for what only the careful way can judge."""
        flat: dict[str, Any] = {}
        nested: list[str] = []
        self._left = _MAX_DICTS
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
                flat[name] = value if type(value) is float else leaf(value)
            return True
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
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
                flat[name] = leaf(value)
            found = True
        return found

    def _remember(self, shape: tuple[str, tuple[Any, ...]]) -> tuple[str, ...]:
        prefix, keys = shape
        if not all(type(key) is str and (prefix or key not in ("", "_step", "_runtime")) for key in keys):
            raise _Careful
        names = tuple([prefix + text_key(key) for key in keys])
        if len(self._names) < _MAX_SHAPES and len(keys) <= 100_000:
            self._names[shape] = names
        return names


class _Careful(Exception):
    """This data needs the careful way (`values.snapshot`), which names what is wrong with it."""
