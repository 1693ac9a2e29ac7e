"""What `history` and `scan_history` give back: rows that say whether they are all of them, and why there may be none."""

import difflib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

from milepost.sdk.errors import UsageError
from milepost.sdk.reading.history import Selection
from milepost.sdk.reading.rows import ALWAYS, Row, Wish

logger = logging.getLogger("milepost")


class QueryError(UsageError, ValueError):
    """An argument of `history()` or `scan_history()` that cannot be answered."""


class History(list[Row]):
    """Rows as a list of dicts.

    total_rows:  how many rows there are.
    sampled:     whether this is only a sample of them.
    note:        the same as a sentence, and for an empty history why it is empty; "" when there is nothing to say.
    """

    def __init__(self, rows: Iterable[Row] = (), total_rows: int | None = None, note: str = "") -> None:
        super().__init__(rows)
        self.total_rows = len(self) if total_rows is None else total_rows
        self.sampled = len(self) < self.total_rows
        self.note = note


class HistoryScan:
    """Every row, read as it is iterated; each iteration begins anew and sees what was logged since."""

    def __init__(
        self, select: Callable[[], Selection], wish: Wish, wrap: Callable[[dict[str, Any]], Any], run: str
    ) -> None:
        self._select = select
        self._wish = wish
        self._wrap = wrap
        self._run = run

    def __iter__(self) -> Iterator[Row]:
        selection = self._select()
        nothing = True
        for page in selection.pages(self._wish, self._wrap):
            nothing = nothing and not page
            yield from page
        if nothing and self._wish.keys:
            logger.warning("milepost: %s", why_empty(selection, self._wish, self._run))

    def __repr__(self) -> str:
        return f"<every row of {self._run}>"


def wish(
    keys: Sequence[str] | None = None,
    x_axis: str | None = None,
    require: str = "all",
    min_step: int | None = None,
    max_step: int | None = None,
    *,
    superseded: bool = False,
    marked: bool = False,
) -> Wish:
    """The arguments of the public calls, checked. Raises `QueryError` that names the argument, its value and the rule."""
    if require not in ("all", "any"):
        raise QueryError(f'require must be "all" (rows that hold all keys) or "any", got {require!r}')
    if keys is not None and (not isinstance(keys, (list, tuple)) or not all(isinstance(key, str) for key in keys)):
        raise QueryError(f'keys must be a list of names such as ["loss", "val.accuracy"], got {keys!r}')
    if x_axis is not None and not isinstance(x_axis, str):
        raise QueryError(f'x_axis must be a name such as "_step" or "epoch", got {x_axis!r}')
    for name, step in (("min_step", min_step), ("max_step", max_step)):
        if step is not None and not _is_whole(step):
            raise QueryError(f"{name} must be a step (a whole number) or None, got {step!r}")
    mode: Literal["all", "any"] = "any" if require == "any" else "all"
    asked = tuple(dict.fromkeys(keys)) if keys else None
    along: tuple[str, ...] = ()
    if asked is not None and x_axis is not None and x_axis not in asked:
        along = (x_axis,)
        if mode == "all" and x_axis not in ALWAYS:
            asked, along = (x_axis, *asked), ()
    low = 0 if min_step is None else min_step
    high = {} if max_step is None else {"high": max_step}
    return Wish(asked, along, mode, low, superseded=superseded, marked=marked, **high)


def check_name(selection: Selection, name: str, argument: str, run: str) -> None:
    """Raise `QueryError` for a name that no row has, with those near it. A run without rows has nothing to say."""
    known = selection.keys()
    if name in ALWAYS or name in known or not known or selection.has_inline_keys:
        return
    near = difflib.get_close_matches(name, [*known, *ALWAYS], 3, 0.5) or known[:3]
    raise QueryError(f"{argument}={name!r}: no row of {run} has that name; near it: {', '.join(map(repr, near))}")


def check_count(name: str, count: Any) -> None:
    """Raise `QueryError` unless it is a number of rows."""
    if not _is_whole(count) or count < 1:
        raise QueryError(f"{name} must be a whole number of rows, at least 1, got {count!r}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def why_empty(selection: Selection, wish: Wish, run: str) -> str:
    """A sentence on why no row was found."""
    known = [*selection.keys(), *ALWAYS]
    asked = wish.keys or ()
    if not known[: -len(ALWAYS)]:
        return f"{run} has no rows yet"
    unknown = [key for key in asked if key not in known]
    if unknown and not selection.has_inline_keys:
        told: list[str] = []
        for key in unknown:
            candidates = known if key.startswith("_") else known[: -len(ALWAYS)]
            near = (
                difflib.get_close_matches(key, candidates, 3, 0.5) or [k for k in known if k.startswith(f"{key}.")][:3]
            )
            hint = f" (near it: {', '.join(map(repr, near))})" if near else ""
            told.append(f"{key!r} was never logged{hint}")
        return f"no row of {run}: {'; '.join(told)}"
    names = ", ".join(map(repr, asked))
    if len(asked) > 1 and wish.require == "all":
        return f'no row of {run} holds all of {names}: they were logged in different rows; use require="any"'
    return f"no row of {run} holds {names} in these steps"


def frame_of(history: History, columns: Sequence[str] | None) -> Any:
    """The rows as a pandas DataFrame, or the history itself where pandas is not installed.

    `.attrs["sampled"]` is {"rows": all there are, "samples": those given}, or None when these are all; `.attrs["note"]` says it.
    """
    try:
        import pandas
    except ImportError:
        return history
    table = pandas.DataFrame(list(history), columns=None if columns is None else pandas.Index(columns))
    table.attrs["sampled"] = {"rows": history.total_rows, "samples": len(history)} if history.sampled else None
    table.attrs["note"] = history.note
    return table
