"""Wish: which rows of a run are asked for, and which of its rows no longer stand."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, Literal

from milepost.sdk.errors import UsageError

Row = dict[str, Any]
Wrap = Callable[[dict[str, Any]], Any]
"""What a value that is a mapping is turned into."""

ALWAYS: Final = frozenset(("_step", "_timestamp", "_runtime", "_writer", "_rank"))
"""Keys that every row has."""

LAST_STEP: Final = 2**63 - 1


def check_writer_form(writer: Any) -> None:
    """Raise `UsageError` for what cannot name writers."""
    if writer is not None and (isinstance(writer, bool) or not isinstance(writer, (int, str))):
        raise UsageError(f'writer must be None, "all", a rank or the id of a writer, got {writer!r}')


@dataclass(frozen=True, slots=True)
class Wish:
    """Which rows, and what of them.

    keys:       only rows that hold them ("all" of them or "any"), and nothing else of these rows; None for whole rows.
    along:      keys that are given too where a row holds them.
    low, high:  steps, low inclusive, high exclusive.
    superseded: rows that a later start of the run replaced are given too, marked `_superseded`.
    marked:     rows say their `_writer` (16 hex digits) and `_rank`.
    """

    keys: tuple[str, ...] | None = None
    along: tuple[str, ...] = ()
    require: Literal["all", "any"] = "all"
    low: int = 0
    high: int = LAST_STEP + 1
    superseded: bool = False
    marked: bool = False

    def takes(self, keys: Collection[str]) -> bool:
        """Whether a row that holds these keys is asked for."""
        if self.keys is None:
            return True
        held = [key in keys for key in self.keys if key not in ALWAYS]
        return not held or (all(held) if self.require == "all" else any(held))

    def trim(self, row: Row) -> Row:
        """The row with no more than what is asked for."""
        return row if self.keys is None else {key: row[key] for key in (*self.along, *self.keys) if key in row}

    @property
    def every_step(self) -> bool:
        """Whether no step is left out."""
        return self.low <= 0 and self.high > LAST_STEP


@dataclass(frozen=True, slots=True)
class Cut:
    """A rewind: rows numbered below `before` whose step is at least `step` were replaced by later ones."""

    before: int
    step: int
