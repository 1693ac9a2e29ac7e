"""redact: put `***` where a value must not leave the program.

keys ["*token*"]            {"api_token": "abc", "loss": 0.5}     ->  {"api_token": "***", "loss": 0.5}
patterns ["[\\w.]+@[\\w.]+"]  {"note": "ask ann@example.org"}       ->  {"note": "ask ***"}
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event
from milepost.sdk.processor import HISTORY_KINDS
from milepost.sdk.processors.keys import ROW_COLUMNS, PerKey, compiled, in_summary, list_of_text, matcher

STORED_FILE_FIELDS: Final = frozenset({"_type", "path", "sha256"})
"""Fields of a media value that lead to its file. A pattern of hex digits must not cut that link."""

TEXTLESS: Final = frozenset({float, int, bool, type(None)})


class Redact:
    """Replace what must not be recorded.

    keys:         list of globs over flat keys (`*` also spans "/" and "."); the whole value of such a key is replaced,
                  whatever its type.
    patterns:     list of regular expressions; what they find in text is replaced, also inside lists and mappings. The
                  fields of a media value that lead to its file (`_type`, `path`, `sha256`) are left alone.
    replacement:  text that stands in its place, taken literally.
    `_step`, `_timestamp` and `_runtime` are never replaced. Only what is logged is looked at, and under an
    exporter the summary of it, not the config.
    Stands behind `flatten`, best right behind it: then no other processor sees the secret.
    Raises ConfigurationError when neither keys nor patterns is given, one is no list of strings, or a pattern does not
    compile.
    """

    must_follow: ClassVar[str] = "flatten"

    def __init__(self, keys: Sequence[str] = (), patterns: Sequence[str] = (), replacement: str = "***") -> None:
        if not keys and not patterns:
            raise ConfigurationError('redact: give keys, such as ["*token*"], or patterns, such as ["sk-[a-z0-9]+"]')
        if not isinstance(replacement, str):
            raise ConfigurationError(f"redact: replacement must be text, not {replacement!r}")
        secret = matcher(list_of_text("redact", "keys", keys))
        self._secret = PerKey(lambda key: key not in ROW_COLUMNS and bool(secret(key)))
        self._patterns = [
            compiled("redact", "patterns", pattern) for pattern in list_of_text("redact", "patterns", patterns)
        ]
        self._replacement = replacement
        self._literal: Callable[[object], str] = lambda _match: replacement

    def __call__(self, event: Event) -> Event | None:
        """The event with the replacements; the same event when there is nothing to replace."""
        if event.kind not in HISTORY_KINDS:
            return in_summary(event, lambda values: {**values, **self._redacted(values)})
        changed = self._redacted(event.values)
        return event.with_values({**event.values, **changed}) if changed else event

    def _redacted(self, values: dict[str, Any]) -> dict[str, Any]:
        """The replacements."""
        secret, clean = self._secret, self._clean
        changed: dict[str, Any] = {}
        for key, value in values.items():
            if secret[key]:
                changed[key] = self._replacement
            elif type(value) not in TEXTLESS:
                cleaned = clean(value)
                if cleaned is not value:
                    changed[key] = cleaned
        return changed

    def _clean(self, value: Any) -> Any:
        """`value` with the patterns replaced; the same object when they are not found."""
        if isinstance(value, str):
            cleaned = value
            for pattern in self._patterns:
                cleaned = pattern.sub(self._literal, cleaned)
            return value if cleaned == value else cleaned
        if isinstance(value, (list, tuple)):
            items = [self._clean(item) for item in value]
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        if isinstance(value, dict):
            keep = STORED_FILE_FIELDS if "_type" in value else frozenset[str]()
            fields = {key: item if key in keep else self._clean(item) for key, item in value.items()}
            return fields if any(fields[key] is not item for key, item in value.items()) else value
        return value
