"""The summary of a run: one value per name, last by default, aggregates where `define_metric` asked for them.

Rules: a row counts once it is committed; None never changes an entry; a
value set by hand stays until it is set by hand again; NaN poisons min, max and mean; text and booleans have no aggregates.
Rows cost nothing here until somebody looks: the fast path leaves each plan's last row, and `collect` puts them together.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, Protocol

from milepost.sdk.metrics import Metric, Metrics

_CLOCKS: Final = frozenset(("_step", "_timestamp", "_runtime"))


class LastRow(Protocol):
    """The last row of one set of keys, as a plan of the fast path leaves it."""

    keys: tuple[str, ...]
    last: list[Any] | None
    """[seq, time_ns, runtime_us, step, value, ...] or None when no row came yet."""


class Aggregate:
    """Running min, max, mean, first and last of one name."""

    __slots__ = ("count", "first", "largest", "last", "smallest", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.smallest: float | int = math.inf
        self.largest: float | int = -math.inf
        self.first: Any = None
        self.last: Any = None

    def add(self, value: Any) -> None:
        """Take one logged value in."""
        if value is None:
            return
        if self.first is None:
            self.first = value
        self.last = value
        kind = value.__class__  # not type(value): a call would let another thread in, and there is no lock
        if kind is not float and kind is not int:
            return
        self.count += 1
        self.total += value
        if value != value:
            self.smallest = self.largest = value
        if value < self.smallest:
            self.smallest = value
        if value > self.largest:
            self.largest = value

    def result(self, metric: Metric) -> dict[str, Any]:
        """The aggregates that a definition asks for; those without a number yet are left out."""
        best = self.smallest if metric.goal != "maximize" else self.largest
        have = {"first": self.first, "last": self.last, "copy": self.last}
        if self.count:
            have |= {"min": self.smallest, "max": self.largest, "mean": self.total / self.count, "best": best}
        return {name: have[name] for name in metric.summary if have.get(name) is not None}


class Summary:
    """The live summary's state; flat names in, flat or nested values out. Not locked: the run calls it under its lock."""

    def __init__(self, metrics: Metrics, base: Mapping[str, Any] | None = None) -> None:
        self.metrics = metrics
        self._entries: dict[str, tuple[int, Any]] = {path: (-1, value) for path, value in (base or {}).items()}
        self._recent: dict[tuple[str, ...], tuple[int, Mapping[str, Any]]] = {}
        self._locked: dict[str, Any] = {}
        self._deleted: dict[str, int] = {}
        self._aggregates: dict[str, Aggregate] = {}
        self.plans: list[LastRow] = []
        """Filled by the fast path."""

    def add_row(self, seq: int, values: Mapping[str, Any]) -> None:
        """Take a committed row in."""
        if None in values.values():
            self._settle()
            self._entries.update({path: (seq, value) for path, value in values.items() if value is not None})
        else:
            self._recent[tuple(values)] = (seq, values)
            if len(self._recent) > 100:
                self._settle()
        if self._aggregates or self.metrics:
            for path, value in values.items():
                aggregate = self.aggregate(path)
                if aggregate is not None:
                    aggregate.add(value)

    def aggregate(self, path: str) -> Aggregate | None:
        """The running aggregate of a name whose definition asks for one, else None."""
        kept = self._aggregates.get(path)
        if kept is None and self.metrics:
            metric = self.metrics.find(path)
            if metric is not None and metric.summary and set(metric.summary) - {"none", "copy"}:
                kept = self._aggregates[path] = Aggregate()
        return kept

    def replay(self, paths: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
        """Count the aggregates of these names anew from all rows so far (a definition that came after logging)."""
        for path in paths:
            self._aggregates.pop(path, None)
        wanted = [(path, aggregate) for path in paths if (aggregate := self.aggregate(path)) is not None]
        if wanted:
            for row in rows:
                for path, aggregate in wanted:
                    aggregate.add(row.get(path))

    def set(self, path: str, value: Any) -> None:
        """Set by hand: `log` no longer changes this name."""
        below = path + "."
        for other in [other for other in self._locked if other.startswith(below) or path.startswith(other + ".")]:
            del self._locked[other]
        self._locked[path] = value
        self._deleted.pop(path, None)

    def delete(self, path: str, seq: int) -> None:
        """Remove a name, or all below it; a later row brings an unlocked one back."""
        below = path + "."
        for other in [path, *self.collect()]:
            if other == path or other.startswith(below):
                self._deleted[other] = seq
                self._locked.pop(other, None)
                self._aggregates.pop(other, None)

    def absorb(self) -> None:
        """Take over what the plans know, so that they can be dropped."""
        self._settle()
        self.plans.clear()

    def _settle(self) -> None:
        """Take over what recent rows and plans know; the plans go on."""
        self._take(self._entries)
        self._recent.clear()

    def _take(self, entries: dict[str, tuple[int, Any]]) -> None:
        """Bring entries up to date with the last row of each set of keys."""
        rows: list[tuple[int, Iterable[tuple[str, Any]]]] = [
            (seq, values.items()) for seq, values in self._recent.values()
        ]
        rows += [
            (plan.last[0], zip(plan.keys, plan.last[4:], strict=True)) for plan in self.plans if plan.last is not None
        ]
        for seq, items in rows:
            for path, value in items:
                if value is not None and seq >= entries.get(path, (-2,))[0]:
                    entries[path] = (seq, value)

    def begin(self) -> None:
        """Go on as the summary of another writer, whose numbers start at 0."""
        self.absorb()
        self._entries = {
            path: (-1, value) for path, (seq, value) in self._entries.items() if seq > self._deleted.get(path, -2)
        }
        self._deleted.clear()

    def rebase(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Start from these rows, keeping definitions and what was set by hand (a resumed run that went back)."""
        self.plans.clear()
        self._recent.clear()
        self._aggregates.clear()
        self._entries.clear()
        self._deleted.clear()
        for number, row in enumerate(rows):
            self.add_row(number, {path: value for path, value in row.items() if path not in _CLOCKS})
        self.begin()

    def step_metrics(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The step metrics that a row lacks, with their last values, 0 before there was one (define_metric, step_sync)."""
        missing: dict[str, Any] = {}
        for path in values if self.metrics else ():
            metric = self.metrics.find(path)
            if (
                metric is not None
                and metric.syncs_step
                and metric.step_metric is not None
                and metric.step_metric not in values
            ):
                missing[metric.step_metric] = self.latest(metric.step_metric, 0)
        return missing

    def latest(self, path: str, default: Any) -> Any:
        """The last value logged under a name."""
        self.absorb_recent()
        found = self._entries.get(path, (-2, default))
        for plan in self.plans:
            if plan.last is not None and path in plan.keys and plan.last[0] >= found[0]:
                found = (plan.last[0], plan.last[4 + plan.keys.index(path)])
        return found[1]

    def absorb_recent(self) -> None:
        """Take over what recent rows say, leaving the plans alone."""
        for seq, values in sorted(self._recent.values(), key=lambda row: row[0]):
            self._entries.update({path: (seq, value) for path, value in values.items()})
        self._recent.clear()

    def state(self) -> dict[str, Any]:
        """Everything but the definitions, as plain values that `restore` takes: what a server stores of a run."""
        self.absorb()
        aggregates = {
            path: [each.count, each.total, each.smallest, each.largest, each.first, each.last]
            for path, each in self._aggregates.items()
        }
        return {
            "entries": {path: list(entry) for path, entry in self._entries.items()},
            "locked": dict(self._locked),
            "deleted": dict(self._deleted),
            "aggregates": aggregates,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave. The definitions are those of now."""
        self._entries = {path: (seq, value) for path, (seq, value) in state.get("entries", {}).items()}
        self._locked = dict(state.get("locked", {}))
        self._deleted = dict(state.get("deleted", {}))
        for path, figures in state.get("aggregates", {}).items():
            kept = self._aggregates[path] = Aggregate()
            kept.count, kept.total, kept.smallest, kept.largest, kept.first, kept.last = figures

    def known(self) -> AbstractSet[str]:
        """Every name that a row has brought."""
        return set(self._entries).union(*self._recent, *(plan.keys for plan in self.plans if plan.last is not None))

    def collect(self) -> dict[str, Any]:
        """The summary as flat names and values; aggregates are mappings such as {"max": 3}."""
        entries = dict(self._entries)
        self._take(entries)
        out: dict[str, Any] = {}
        for path, (seq, value) in entries.items():
            if seq <= self._deleted.get(path, -2):
                continue
            metric = self.metrics.find(path) if self.metrics else None
            if metric is None or not metric.summary or metric.summary == ("copy",):
                out[path] = value
            elif "none" not in metric.summary:
                aggregate = self._aggregates.get(path)
                result = aggregate.result(metric) if aggregate is not None else {}
                if result:
                    out[path] = result
        for path, value in self._locked.items():
            below = path + "."
            for other in [other for other in out if other.startswith(below) or path.startswith(other + ".")]:
                del out[other]
            out[path] = value
        return out


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names as nested dicts. Where a name is both a value and the start of another, the longer stays dotted."""
    out: dict[str, Any] = {}
    for path in sorted(flat, key=lambda path: path.count(".")):
        parts = path.split(".")
        place = out
        for at, part in enumerate(parts[:-1]):
            inner = place.setdefault(part, {})
            if not isinstance(inner, dict) or ".".join(parts[: at + 1]) in flat:
                place[".".join(parts[at:])] = flat[path]
                break
            place = inner
        else:
            place[parts[-1]] = flat[path]
    return out


def paths(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The leaves of a value set by hand: dicts without `_type` are walked, an empty one is a leaf."""
    if isinstance(value, dict) and value and "_type" not in value:
        for key, inner in value.items():
            yield from paths(f"{prefix}.{key}", inner)
    else:
        yield prefix, value
