"""The user's config of a run: hyperparameters, set once, read as attributes or items.

Values become plain Python (tuples -> lists, numpy -> numbers); a value that was set changes only with
`update(..., allow_val_change=True)`; what cannot be stored raises and leaves the config as it was. An object of a class that
has no form here (a device, a dtype) is told as text, as in wandb: `config=vars(args)` often holds one. Nested dicts and lists
are plain ones; what is changed inside of them is stored with the next change of the config, and when the run ends.
"""

import dataclasses
import logging
import re
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping
from pathlib import Path
from typing import Any, Final

from milepost.sdk.encoding.refs import holds_payload
from milepost.sdk.errors import ConfigurationError, DataError
from milepost.sdk.frame import encode_payload
from milepost.sdk.nesting import Unloggable, check_nesting
from milepost.sdk.snapshot import snapshot
from milepost.sdk.text import shown, type_name
from milepost.sdk.values import leaf

logger = logging.getLogger("milepost")

_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")
_MAX_DEPTH: Final = 20


class ConfigError(ConfigurationError):
    """A config value that is set already, or cannot be stored."""


class RunConfig:
    """`run.config`. Reading a missing name raises KeyError (item) or AttributeError (attribute)."""

    def __init__(
        self, values: Mapping[str, Any] | None = None, changed: Callable[[dict[str, Any]], None] | None = None
    ) -> None:
        object.__setattr__(self, "_values", clean(values or {}))
        object.__setattr__(self, "_changed", changed)
        object.__setattr__(self, "_stored", _copy(self._values))

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):
            raise AttributeError(key)
        try:
            return object.__getattribute__(self, "_values")[key]
        except KeyError:
            raise AttributeError(
                f"the run's config has no {key!r}; it has: {', '.join(self._values) or 'nothing yet'}"
            ) from None

    def __setitem__(self, key: str, value: Any) -> None:
        self._set({key: value}, allow_val_change=False)

    def __setattr__(self, key: str, value: Any) -> None:
        self._set({key: value}, allow_val_change=False)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def keys(self) -> KeysView[str]:
        """The names."""
        return self.as_dict().keys()

    def items(self) -> ItemsView[str, Any]:
        """Names and values."""
        return self.as_dict().items()

    def get(self, key: str, default: Any = None) -> Any:
        """A value, or the default."""
        return self._values.get(key, default)

    def as_dict(self) -> dict[str, Any]:
        """A copy as nested dicts."""
        copied: dict[str, Any] = _copy(self._values)
        return copied

    def update(self, values: Any, allow_val_change: bool | None = None) -> None:
        """Set several: a dict, an argparse Namespace (anything with `__dict__`), or the path of a YAML file."""
        self._set(mapping(values), allow_val_change=bool(allow_val_change))

    def setdefaults(self, values: Any) -> dict[str, Any]:
        """Set only what is missing; the whole config."""
        new = {key: value for key, value in mapping(values).items() if key not in self._values}
        self._set(new, allow_val_change=False)
        return self.as_dict()

    def __repr__(self) -> str:
        return f"RunConfig({self._values!r})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, RunConfig):
            return bool(self._values == other._values)
        return bool(self._values == other)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def _set(self, values: Mapping[str, Any], *, allow_val_change: bool) -> None:
        new = clean(values)
        for key, value in new.items():
            if not allow_val_change and key in self._values and not _same(self._values[key], value):
                raise ConfigError(
                    f"config {key!r} is {shown(self._values[key])} already and cannot become {shown(value)}; "
                    f"use config.update({{{key!r}: ...}}, allow_val_change=True)"
                )
        self.store_changes()
        if self._changed is not None and new:
            self._changed(new)
        self._values.update(new)
        self._stored.update(_copy(new))

    def store_changes(self) -> None:
        """Store what was changed inside of values, as by `config["model"]["layers"] = 4`, which nothing tells."""
        if self._changed is None:
            return
        for key, value in list(self._values.items()):
            if not isinstance(value, dict | list):
                continue
            try:
                new = clean({key: value})
            except DataError as error:
                logger.warning(
                    "milepost: config %r was changed to what cannot be stored; it is as before: %s", key, error
                )
                self._values[key] = _copy(self._stored[key])
                continue
            if not _same(new[key], self._stored[key]):
                self._changed(new)
                self._stored[key] = new[key]


def mapping(values: Any) -> Mapping[str, Any]:
    """A config given as a dict, a Namespace, a dataclass instance, another run's config, or the path of a YAML file."""
    if isinstance(values, Mapping):
        return values
    if isinstance(values, (str, Path)):
        return _yaml(Path(values))
    if isinstance(values, RunConfig):
        return values.as_dict()
    if hasattr(values, "flag_values_dict"):  # absl's FLAGS
        flags: Mapping[str, Any] = values.flag_values_dict()
        return flags
    if hasattr(values, "__dict__") and not isinstance(values, type):
        return dict(vars(values))
    raise DataError(
        f"config must be a dict, an argparse Namespace or the path of a YAML file, got {type(values).__name__}: {values!r}"
    )


def _without_files(values: dict[str, Any]) -> dict[str, Any]:
    """The values. Raises DataError when one of them is a media value with a file."""
    for key, value in values.items():
        if holds_payload(value):
            raise DataError(f'"{key}" has a file, which a config cannot hold; log it, or set it in run.summary')
    return values


def clean(values: Mapping[str, Any]) -> dict[str, Any]:
    """Config values as they are stored: nested dicts of plain values."""
    try:
        return _without_files(snapshot(values, own_names=()))
    except DataError as error:
        refused = error
    try:
        check_nesting(values)
        return _without_files(snapshot(_told(values), own_names=()))
    except DataError as error:
        refused = error
    except Unloggable:
        pass
    text = str(refused).replace("log() ", "").replace("Nothing of this call was stored.", "The config is unchanged.")
    raise DataError(f"config: {text}")


def _told(value: Any, depth: int = 0) -> Any:
    """A value with the objects in it that have no form told otherwise: a mapping or dataclass as a dict, others as text."""
    if depth > _MAX_DEPTH:
        return value
    if isinstance(value, Mapping) and "_type" not in value:
        return {key: _told(item, depth + 1) for key, item in value.items()}
    if type(value) in (list, tuple):
        return [_told(item, depth + 1) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _told(getattr(value, field.name, None), depth + 1) for field in dataclasses.fields(value)}
    try:
        leaf(value)
    except Unloggable:
        if type(value).__module__ != "builtins":
            try:
                return _ADDRESS.sub("", str(value))
            except Exception:  # noqa: BLE001 - the value's own __str__ may raise anything
                return f"<{type_name(type(value))}>"
    return value


def _yaml(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        loaded = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"config file {path} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"config file {path} is not YAML: {error}") from None
    if not isinstance(loaded, dict):
        raise ConfigError(f"config file {path} must hold names and values, got {type(loaded).__name__}")
    # wandb's own files hold {"lr": {"value": 0.1, "desc": ...}}
    return {
        str(key): value["value"]
        if isinstance(value, dict) and "value" in value and set(value) <= {"value", "desc"}
        else value
        for key, value in loaded.items()
        if key != "wandb_version"
    }


def _same(one: Any, other: Any) -> bool:
    """Whether two clean values are equal; NaN equals NaN."""
    return bool(one == other) or encode_payload(one) == encode_payload(other)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
