"""Plans: what was learnt of the data that a program logs, so that the next call like it is quick."""

from typing import Any

from milepost.sdk.fastpath import MAX_NAMES, MAX_PLANS, MAX_VARIANTS, Plan
from milepost.sdk.frame import INLINE, ROW, frame_seed
from milepost.sdk.metrics import Metrics
from milepost.sdk.shape import Shape, shape_of
from milepost.sdk.summary import Summary
from milepost.sdk.writer import Writer


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
