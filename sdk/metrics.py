"""Metric definitions: what `define_metric` said of a name or a glob, and which definition holds for a name."""

from typing import Any, Final

import msgspec

from milepost.sdk.errors import Error
from milepost.sdk.text import clean_text

AGGREGATES: Final = ("min", "max", "mean", "last", "first", "best", "copy", "none")


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One definition.

    name:         a metric's name, or a glob with one `*` at the end.
    step_metric:  the metric that is its x axis.
    step_sync:    whether rows that hold the metric but not its step metric get the step metric's last value.
    summary:      which aggregates stand in the summary, of min, max, mean, last, first, best, copy, none.
    hidden:       not shown in charts and not sent as a metric; the data stay.
    goal:         "minimize" or "maximize", for "best".
    """

    name: str
    step_metric: str | None = None
    step_sync: bool | None = None
    summary: tuple[str, ...] = ()
    hidden: bool | None = None
    goal: str | None = None

    @property
    def is_glob(self) -> bool:
        """Whether the name ends in an unescaped `*`."""
        return self.name.endswith("*")

    @property
    def syncs_step(self) -> bool:
        """Whether the step metric is filled in."""
        return self.step_metric is not None and self.step_sync is not False

    def as_values(self) -> dict[str, Any]:
        """What the event "metric" says of it."""
        return {
            "name": self.name,
            "step_metric": self.step_metric,
            "step_sync": self.step_sync,
            "hidden": self.hidden,
            "summary": list(self.summary),
            "goal": self.goal,
        }

    def merged(self, newer: "Metric") -> "Metric":
        """This definition with what a newer one says on top."""
        said = {field: value for field in self.__struct_fields__ if (value := getattr(newer, field)) not in (None, ())}
        return msgspec.structs.replace(self, **said)


def parse(
    name: Any,
    step_metric: Any,
    step_sync: Any,
    hidden: Any,
    summary: Any,
    goal: Any,
    overwrite: Any = None,
    *,
    escaped: bool = True,
) -> Metric:
    r"""A definition from the arguments of `define_metric`. Raises `Error` that names the argument, its value and the rule.

    escaped: whether names may hold `\.` for a dot; those of a stored definition are flat names already.
    """
    flat = plain if escaped else clean_text
    if not isinstance(name, str) or not name:
        raise Error(f"define_metric() name must be non-empty text, got {name!r}")
    if "*" in name[:-1]:
        raise Error(f'define_metric() name {name!r}: "*" is only allowed at the end, as in "train/*"')
    if isinstance(step_metric, Metric):
        step_metric = step_metric.name
    if step_metric is not None and (not isinstance(step_metric, str) or not step_metric or "*" in step_metric):
        raise Error(f"define_metric() step_metric must be a metric's name without *, got {step_metric!r}")
    for argument, value in (("step_sync", step_sync), ("hidden", hidden), ("overwrite", overwrite)):
        if value is not None and not isinstance(value, bool):
            raise Error(f"define_metric() {argument} must be True or False, got {value!r}")
    if summary is not None and not isinstance(summary, str):
        raise Error(f'define_metric() summary must be text such as "min,max", got {summary!r}')
    wanted = tuple(word.strip() for word in summary.split(",") if word.strip()) if summary else ()
    for word in wanted:
        if word not in AGGREGATES:
            raise Error(f"define_metric() summary {word!r} is unknown; valid: {', '.join(AGGREGATES)}")
    if goal is not None and goal not in ("minimize", "maximize"):
        raise Error(f'define_metric() goal must be "minimize" or "maximize", got {goal!r}')
    return Metric(
        name=flat(name),
        step_metric=None if step_metric is None else flat(step_metric),
        step_sync=step_sync,
        summary=wanted,
        hidden=hidden,
        goal=goal,
    )


def plain(name: str) -> str:
    """The flat name a definition means: an escaped dot is a dot (both read `a.b`)."""
    return clean_text(name.replace("\\.", "."))


class Metrics:
    """All definitions of a run. An exact name beats a glob; of several globs the one with the longest prefix wins."""

    def __init__(self) -> None:
        self._exact: dict[str, Metric] = {}
        self._globs: dict[str, Metric] = {}

    def define(self, metric: Metric, overwrite: bool = False) -> Metric:
        """Add a definition, or merge it into the one of its name; the result."""
        kept = self._globs if metric.is_glob else self._exact
        older = None if overwrite else kept.get(metric.name)
        kept[metric.name] = metric if older is None else older.merged(metric)
        return kept[metric.name]

    def defined(self, name: str) -> Metric | None:
        """The definition of this very name or glob."""
        return self._exact.get(name) or self._globs.get(name)

    def find(self, name: str) -> Metric | None:
        """The definition that holds for a name. Names that start with `_` match no glob."""
        exact = self._exact.get(name)
        if exact is not None or name.startswith("_"):
            return exact
        fitting = [glob for glob in self._globs if name.startswith(glob[:-1])]
        return self._globs[max(fitting, key=len)] if fitting else None

    def __bool__(self) -> bool:
        return bool(self._exact or self._globs)

    def __iter__(self) -> Any:
        return iter([*self._exact.values(), *self._globs.values()])
