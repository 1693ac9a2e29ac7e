"""rename: other names for keys, by list or by pattern.

keys {"acc": "accuracy"}                        {"acc": 0.9}         ->  {"accuracy": 0.9}
pattern "^val/", replacement "validation/"      {"val/loss": 0.7}    ->  {"validation/loss": 0.7}
"""

import logging
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event
from milepost.sdk.processor import HISTORY_KINDS
from milepost.sdk.processors.keys import REMEMBERED_KEYS, ROW_COLUMNS, PerKey, compiled, in_summary

log = logging.getLogger("milepost")


class Rename:
    """Give keys other names.

    keys:         mapping of old name to new name, whole flat keys. Comes first; the pattern is not tried on these.
    pattern:      regular expression, replaced wherever it is found in a key, as `re.sub` does.
    replacement:  what stands in its place; `\\1` and `\\g<name>` are the groups of `pattern`.
    Keys that start with "_" keep their names, unless `keys` names them; `_step`, `_timestamp` and `_runtime` always do.
    A pattern that would leave a key without a name leaves it as it is. When two keys of a row end with one name, the
    later one in the row wins, and the logger `milepost` warns once for that name.
    Stands behind `merge`, which tells dicts from dotted names by the names as logged. Behind `summarize`, the summary
    keeps the old names; under an exporter, its summary has the new ones.
    Raises ConfigurationError when neither keys nor pattern is given, pattern comes without replacement or the other way
    round, the pattern does not compile, or a name is empty or reserved.
    """

    must_follow: ClassVar[str] = "merge"

    def __init__(
        self, keys: Mapping[str, str] | None = None, pattern: str | None = None, replacement: str | None = None
    ) -> None:
        if not keys and pattern is None:
            raise ConfigurationError("rename: give keys, a mapping of old to new names, or pattern and replacement")
        if (pattern is None) != (replacement is None):
            missing = "pattern" if pattern is None else "replacement"
            raise ConfigurationError(f"rename: pattern and replacement go together; {missing} is missing")
        listed = _checked_names(keys or {})
        search = None if pattern is None else compiled("rename", "pattern", pattern)
        template = "" if replacement is None else replacement
        if search is not None:
            _check_template(search, template)

        def new_name(key: str) -> str:
            if key in listed:
                return listed[key]
            if search is None or key.startswith("_"):
                return key
            name = search.sub(template, key)
            return key if not name or name in ROW_COLUMNS else name

        self._name = PerKey(new_name)
        self._warned: set[str] = set()

    def __call__(self, event: Event) -> Event | None:
        """The event under its new keys, in the order they were logged."""
        if event.kind not in HISTORY_KINDS:
            return in_summary(event, self._renamed)
        values = event.values
        renamed = self._renamed(values)
        if len(renamed) < len(values):
            self._warn_of_collisions(values)
        elif list(renamed) == list(values):
            return event
        return event.with_values(renamed)

    def _renamed(self, values: Mapping[str, Any]) -> dict[str, Any]:
        name = self._name
        return {name[key]: value for key, value in values.items()}

    def _warn_of_collisions(self, values: Mapping[str, Any]) -> None:
        sources: dict[str, list[str]] = {}
        for key in values:
            sources.setdefault(self._name[key], []).append(key)
        for name, keys in sources.items():
            if len(keys) > 1 and name not in self._warned and len(self._warned) < REMEMBERED_KEYS:
                self._warned.add(name)
                log.warning(
                    "rename: %s all become %r; the value of %r, the last in the row, is kept. "
                    "Give them different names, or leave one out with the filter processor.",
                    ", ".join(map(repr, keys)),
                    name,
                    keys[-1],
                )


def _checked_names(keys: object) -> dict[str, str]:
    if not isinstance(keys, Mapping):
        raise ConfigurationError(f"rename: keys must be a mapping of old to new names, not {keys!r}")
    for old, new in keys.items():
        if not isinstance(old, str) or not isinstance(new, str) or not old or not new:
            raise ConfigurationError(f"rename: keys must map a name to a name, not {old!r} to {new!r}")
        if old in ROW_COLUMNS or new in ROW_COLUMNS:
            raise ConfigurationError(
                f"rename: cannot rename {old!r} to {new!r}: _step, _timestamp, _runtime are reserved"
            )
    return dict(keys)


def _check_template(search: re.Pattern[str], replacement: object) -> None:
    """Raise when the replacement is no text or names a group that the pattern lacks."""
    if not isinstance(replacement, str):
        raise ConfigurationError(f"rename: replacement must be text, not {replacement!r}")
    try:
        search.sub(replacement, "")  # the template is read before the search begins, so any subject will do
    except (re.error, IndexError) as error:
        raise ConfigurationError(
            f"rename: replacement {replacement!r} does not fit the pattern {search.pattern!r}: {error}"
        ) from error
