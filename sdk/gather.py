"""Gather: flattens the data of a call and converts its values in one pass; remembers the names of each shape of nested dict."""

from types import GeneratorType
from typing import Any, Final

from milepost.sdk.nesting import MAX_DEPTH, SCALARS
from milepost.sdk.values import leaf, text_key

_MAX_SHAPES: Final = 4096
_UNCHECKED: Final = frozenset((float, bool, type(None)))
_EASY: Final = SCALARS | {dict, list}
_MAX_DICTS: Final = 1_000_000
"""Inner dicts of one call that are walked here."""


class Gather:
    """Flattens and converts in one pass; remembers the names of each shape of nested dict."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, tuple[Any, ...]], tuple[str, ...]] = {}
        self._left = 0

    def __call__(self, data: dict[Any, Any]) -> tuple[dict[str, Any], list[str]] | None:
        """Flat names and values, and the names of inner dicts; None for what only the careful way can judge."""
        flat: dict[str, Any] = {}
        nested: list[str] = []
        self._left = _MAX_DICTS
        try:
            self._add(flat, nested, data, "", 0)
        except Exception:  # noqa: BLE001 - a key's or value's own methods may raise anything; the careful way says what
            return None
        return flat, nested

    def _add(self, flat: dict[str, Any], nested: list[str], data: dict[Any, Any], prefix: str, depth: int) -> bool:
        """Add the leaves of a dict; whether there were any."""
        shape = (prefix, tuple(data))
        names = self._names.get(shape)
        if names is None:
            names = self._remember(shape)
        kinds = set(map(type, data.values()))
        if kinds <= _UNCHECKED:
            flat.update(zip(names, data.values(), strict=True))
            return bool(names)
        for kind in kinds:
            if kind not in _EASY and (kind is GeneratorType or issubclass(kind, dict)):
                raise _Careful  # a generator can be read once only; a subclass of dict may answer with anything
        if dict not in kinds:
            for name, value in zip(names, data.values(), strict=True):
                flat[name] = value if type(value) is float else leaf(value)
            return True
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            raise _Careful
        found = False
        for name, value in zip(names, data.values(), strict=True):
            kind = type(value)
            if kind is float:
                flat[name] = value
            elif kind is dict and "_type" not in value:
                if not self._add(flat, nested, value, name + ".", depth + 1):
                    continue
                nested.append(name)
            else:
                flat[name] = leaf(value)
            found = True
        return found

    def _remember(self, shape: tuple[str, tuple[Any, ...]]) -> tuple[str, ...]:
        prefix, keys = shape
        if not all(type(key) is str and (prefix or key not in ("", "_step", "_runtime")) for key in keys):
            raise _Careful
        names = tuple([prefix + text_key(key) for key in keys])
        if len(self._names) < _MAX_SHAPES and len(keys) <= 100_000:
            self._names[shape] = names
        return names


class _Careful(Exception):
    """This data needs the careful way (`values.snapshot`), which names what is wrong with it."""
