"""Plans: what was learnt of the data that a program logs, so that the next call like it is quick.

A `Plan` is made the first time data of a shape is logged and holds what follows from the shape alone: the function that makes
the row, the schema announced in the journal and the start value of its checksum. `fastpath.py` stores calls by it.
"""

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, Final

from milepost.sdk.frame import INLINE, ROW, frame_seed
from milepost.sdk.metrics import Metrics
from milepost.sdk.native import Pattern, compiled
from milepost.sdk.shape import PLAIN, Builder, Shape, builder, layout, leaves, shape_of
from milepost.sdk.summary import Aggregate, Summary
from milepost.sdk.writer import Writer

MAX_PLANS: Final = 500
MAX_VARIANTS: Final = 16
"""Combinations of types for one set of keys that get plans."""
MAX_NAMES: Final = 20_000
"""Names of a row that a plan is made for; wider ones do not fit the quick way."""
_MAX_LAID_OUT: Final = 2000
"""Names of a row that has a layout for compiled code: it keeps room for two rows."""
_FLOAT: Final = b"\xcb"
_SHORT: Final = 11
"""Values of a row whose array needs a one-byte msgpack header (15 less the four numbers of the head)."""


class Plan(Pattern):
    """What follows from the shape of a call's data.

    top:          the keys of the data itself.
    take:         takes their values out of the data.
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
        "build", "checked", "direct", "keys", "laid_out", "markers", "nested", "next", "plain", "schema", "seed", "shape", "take",
        "top", "watched", "wide",
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
        self.top = top
        self.take = taker(top)
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
        # Aggregates are fed in Python.
        self.laid_out = compiled and top != () and not watched and len(keys) <= _MAX_LAID_OUT and self._lay_out()
        """Whether compiled code stores rows by it."""

    def _lay_out(self) -> bool:
        """Tell compiled code what rows look like; whether it takes them: not with names of 60,000 bytes, nor dicts 32 deep."""
        try:
            self.lay_out(self.seed, self.schema, layout(self.top, self.shape))
        except (ValueError, MemoryError):
            return False
        return True

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


def taker(keys: Sequence[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """What takes the values of these keys out of a dict, in this order. It raises KeyError where one is missing."""
    if len(keys) > 1:
        return itemgetter(*keys)
    return lambda data: tuple([data[key] for key in keys])


NO_PLAN: Final = Plan((), (), (), 0, 0, [])
"""Stands for none, where nobody called yet."""


class Plans:
    """The plans of one writer.

    by_keys: the first plan for each tuple of a data's own keys; others for the same keys, with values of other types, follow it.
    summary: reads the last row of each plan.
    """

    def __init__(self, writer: Writer, summary: Summary, metrics: Metrics) -> None:
        self.by_keys: dict[tuple[Any, ...], Plan] = {}
        self._writer = writer
        self._summary = summary
        self._metrics = metrics
        self._tried: dict[tuple[Any, ...], int] = {}
        """How often each set of keys took the long way: what has no plan after some tries gets none."""
        self._joint: dict[tuple[Plan, Plan], Plan | None] = {}

    def learn(self, data: dict[Any, Any], names: tuple[str, ...], nested: tuple[str, ...]) -> None:
        """Remember what follows from the shape of this data. names: of its values. nested: of its inner dicts."""
        if len(names) > MAX_NAMES:
            return
        top = tuple(data)
        tries = self._tried[top] = self._tried.get(top, 0) + 1
        if tries > MAX_VARIANTS or len(self._tried) > MAX_PLANS:
            return
        found = shape_of(data)
        if found is None or found[0] != names or self._needs_steps(names):
            return
        plan = self._make(top, names, found[1], nested)
        if plan is None:
            return
        first = self.by_keys.setdefault(top, plan)
        if first is not plan:
            if plan.shape in [known.shape for known in first.variants()]:
                return
            first.add(plan)
        self._summary.plans.append(plan)

    def joint(self, older: Plan, newer: Plan) -> Plan | None:
        """A plan for rows of two calls, or None where a name of one says something about a name of the other."""
        if (older, newer) not in self._joint and len(self._joint) < MAX_PLANS:
            self._joint[older, newer] = made = self._join(older, newer)
            if made is not None:
                self._summary.plans.append(made)
        return self._joint.get((older, newer))

    def clear(self) -> None:
        """Forget them: what followed from their keys has changed."""
        self.by_keys.clear()
        self._joint.clear()
        self._tried.clear()

    def _join(self, older: Plan, newer: Plan) -> Plan | None:
        names = {*older.keys, *newer.keys}
        above = {name[:at] for name in names for at, sign in enumerate(name) if sign == "."}
        if len(names) < len(older.keys) + len(newer.keys) or names & above:
            return None
        nested = tuple(dict.fromkeys(older.nested + newer.nested))
        return self._make((), older.keys + newer.keys, older.shape + newer.shape, nested)

    def _make(self, top: tuple[Any, ...], names: tuple[str, ...], shape: Shape, nested: tuple[str, ...]) -> Plan | None:
        """A plan for rows of these names; None when there are too many sets of names."""
        schema = self._writer.schema(names)
        if schema == INLINE:
            return None
        watched = [
            (at, aggregate)
            for at, name in enumerate(names, start=4)
            if (aggregate := self._summary.aggregate(name)) is not None
        ]
        return Plan(top, names, shape, schema, frame_seed(self._writer.seed, ROW, schema), watched, nested)

    def _needs_steps(self, keys: tuple[str, ...]) -> bool:
        """Whether rows of these keys get a step metric filled in."""
        if not self._metrics:
            return False
        found = [self._metrics.find(key) for key in keys]
        return any(metric is not None and metric.syncs_step and metric.step_metric not in keys for metric in found)
