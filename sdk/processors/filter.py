"""filter: keep or leave out keys by glob.

include ["train/*"]     {"train/loss": 0.5, "val/loss": 0.7}  ->  {"train/loss": 0.5}
exclude ["*/grad*"]     {"a/grad.w": 1.0, "a/loss": 0.5}      ->  {"a/loss": 0.5}
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event
from milepost.sdk.processor import HISTORY_KINDS, is_open
from milepost.sdk.processors.keys import ROW_COLUMNS, PerKey, in_summary, list_of_text, matcher


class Filter:
    """Keep the keys that `include` names and `exclude` does not.

    include:  list of globs over flat keys; None keeps every key.
    exclude:  list of globs over flat keys; wins over `include`.
    Globs are those of `fnmatch.fnmatchcase`: `*` also spans "/" and ".", case counts. Keys that start with "_" stay.
    A row that had values and is left with none is dropped, and counted as filtered; an empty row passes. An open row is
    never dropped: left without values it still says which step is open.
    Under an exporter, its summary has the same keys.
    Stands behind `merge`, because a dropped call would take the commit of its row with it.
    Raises ConfigurationError when neither is given, or one is not a list of strings.
    """

    must_follow: ClassVar[str] = "merge"

    def __init__(self, include: Sequence[str] | None = None, exclude: Sequence[str] | None = None) -> None:
        if not include and not exclude:
            raise ConfigurationError('filter: give include or exclude, a list of globs such as ["train/*"]')
        included = None if include is None else matcher(list_of_text("filter", "include", include))
        excluded = matcher(list_of_text("filter", "exclude", exclude or ()))

        def keep(key: str) -> bool:
            if key.startswith("_"):
                return True
            return (included is None or bool(included(key))) and not excluded(key)

        self._keep = PerKey(keep)

    def __call__(self, event: Event) -> Event | None:
        """The event with the kept keys; None when none of a row's own keys is left."""
        if event.kind not in HISTORY_KINDS:
            return in_summary(event, self._kept)
        values = event.values
        kept = self._kept(values)
        if len(kept) == len(values):
            return event
        if not is_open(event) and kept.keys() <= ROW_COLUMNS:
            return None
        return event.with_values(kept)

    def _kept(self, values: dict[str, Any]) -> dict[str, Any]:
        keep = self._keep
        return {key: value for key, value in values.items() if keep[key]}
