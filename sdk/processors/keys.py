"""Which keys a processor is about: globs over flat keys, matched once per key and remembered."""

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event

T = TypeVar("T")

ROW_COLUMNS: Final = frozenset({"_step", "_timestamp", "_runtime"})
"""The columns that every row has. No processor removes, renames or replaces them."""

REMEMBERED_KEYS: Final = 10_000

_SUMMARY_IN: Final = {"summary": "set", "run.finish": "summary"}
"""Where events that are no rows hold values of rows, under the same keys."""


class PerKey(dict[str, T]):
    """What `decide(key)` answers, asked once per key, at the price of a dict look-up afterwards.

    Holds at most 10,000 keys and starts afresh when more come, so that keys made in a loop cannot fill the memory.
    """

    def __init__(self, decide: Callable[[str], T]) -> None:
        super().__init__()
        self._decide = decide

    def __missing__(self, key: str) -> T:
        if len(self) >= REMEMBERED_KEYS:
            self.clear()
        answer = self[key] = self._decide(key)
        return answer


def in_summary(event: Event, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Event:
    """The event with the summary in it changed as rows are; any other event as it is.

    Processors of an exporter meet it: what they leave out of its rows, or rename in them, must not reach it at the run's end.
    """
    part = _SUMMARY_IN.get(event.kind, "")
    told = event.values.get(part)
    if not isinstance(told, dict):
        return event
    values = {**event.values, part: change(told)}
    if isinstance(deleted := values.get("delete"), list):
        values["delete"] = list(change(dict.fromkeys(deleted)))
    return event.with_values(values)


def matcher(globs: Iterable[str]) -> Callable[[str], object]:
    """A test for "one of the globs fits the whole key", truthy or not.

    Globs are those of `fnmatch.fnmatchcase`: `*` any run of characters, also across "/" and ".", `?` one character,
    `[abc]` one of these, `[!abc]` none of these. Case counts.
    """
    translated = "|".join(fnmatch.translate(glob) for glob in globs)
    return re.compile(translated).match if translated else lambda _key: None


def literal_prefix(glob: str) -> int:
    """How many characters stand before the first wildcard. Of several globs that fit, the longest prefix wins (S11)."""
    return next((place for place, character in enumerate(glob) if character in "*?["), len(glob))


def list_of_text(processor: str, option: str, value: object) -> list[str]:
    """`value` as a list of strings. Raises ConfigurationError for anything else, a lone string included."""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) and all(isinstance(x, str) for x in value):
        return [str(item) for item in value]
    hint = f"; write {option}: [{value!r}]" if isinstance(value, str) else ""
    raise ConfigurationError(f"{processor}: {option} must be a list of strings, not {value!r}{hint}")


def compiled(processor: str, option: str, pattern: object) -> re.Pattern[str]:
    """The regular expression `pattern`. Raises ConfigurationError that shows where it breaks."""
    if not isinstance(pattern, str):
        raise ConfigurationError(f"{processor}: {option} must be a regular expression, not {pattern!r}")
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigurationError(f"{processor}: {option} {pattern!r} is not a regular expression: {error}") from error
