"""Records: what a store says of projects, runs and keys. None of it needs a single point to be read."""

from collections.abc import Iterator, Mapping
from sys import intern
from typing import Any, Final

import msgspec

from milepost.sdk.metrics import AGGREGATES
from milepost.server.packed import Packed

FIELDS: Final = (
    "id", "project", "name", "state", "group", "job_type", "tags", "notes", "created", "heartbeat", "finished",
    "duration", "rows", "last_step", "attempt", "archived", "unreadable",
)  # fmt: skip
"""What a run can be filtered and sorted by, besides `config.*` and `summary.*`."""

TIMES: Final = frozenset(("created", "heartbeat", "finished"))
_NOTHING: Final = Packed({})


class RunLine(msgspec.Struct, kw_only=True):
    """One run as the table shows it.

    state:     "running", "finished", "failed", "preempted" or "crashed".
    created, heartbeat, finished:  seconds since 1970, UTC; heartbeat: when something of it was last seen.
    duration:  seconds; None when nothing tells.
    rows, last_step:  of the writers that speak for the run.
    unreadable: why nothing else is told of it: what the server has of it is damaged; None of all others.
    """

    id: str
    project: str
    name: str
    state: str = "running"
    group: str | None = None
    job_type: str | None = None
    tags: list[str] = []
    notes: str | None = None
    created: float = 0.0
    heartbeat: float | None = None
    finished: float | None = None
    duration: float | None = None
    rows: int = 0
    last_step: int | None = None
    attempt: int = 1
    archived: bool = False
    unreadable: str | None = None
    _packed: Packed = _NOTHING

    @property
    def path(self) -> str:
        """ "project/run_id"."""
        return f"{self.project}/{self.id}"

    def columns(self) -> dict[str, Any]:
        """The values of config and summary under dotted names, `config.lr`, `summary.val.acc`."""
        return self._packed.unpacked()

    def value(self, column: str) -> Any:
        """A field, or a value of config or summary; None when it has none."""
        if column.startswith(("config.", "summary.")):
            return self._column(column)
        return getattr(self, column)

    def _column(self, column: str) -> Any:
        return self._packed.get(column)

    def as_json(self) -> dict[str, Any]:
        """The fields, without config and summary."""
        return {name: getattr(self, name) for name in FIELDS}


class RunRecord(RunLine, kw_only=True):
    """One run: its line, and config and summary, nested."""

    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    _columns: dict[str, Any] | None = None

    def columns(self) -> dict[str, Any]:
        """As of the line; made once."""
        if self._columns is None:
            found = {intern(f"config.{name}"): value for name, value in leaves(self.config)}
            found.update((intern(f"summary.{name}"), value) for name, value in leaves(self.summary))
            self._columns = found
        return self._columns

    def _column(self, column: str) -> Any:
        return self.columns().get(column)

    def line(self) -> RunLine:
        """The line alone, in a tenth of the memory."""
        return RunLine(**self.as_json(), _packed=Packed(self.columns()))


class KeyRecord(msgspec.Struct, kw_only=True, gc=False):
    """One key of a run. A server knows a million of them; none is in a cycle, so the garbage collector leaves them alone.

    kind:  "scalar", "text", "histogram", "image-file", ...: the `_type` of its last mapping; "system" for system metrics.
    count: rows that hold it with a value other than None.
    min, max, last: of scalars, over finite values; last as logged (NaN and infinities too).
    """

    key: str
    kind: str
    count: int = 0
    first_step: int | None = None
    last_step: int | None = None
    min: float | None = None
    max: float | None = None
    last: Any = None


def leaves(nested: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings under dotted names; media stay whole, aggregates are names of their own."""
    for key, value in nested.items():
        if isinstance(value, Mapping) and value and "_type" not in value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def is_aggregate(value: Any) -> bool:
    """Whether a summary value is a set of aggregates such as {"min": 1}."""
    return isinstance(value, Mapping) and bool(value) and set(value) <= set(AGGREGATES)
