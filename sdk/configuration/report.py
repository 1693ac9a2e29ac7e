"""What a configuration comes to: `effective()` for a run to store, `as_file()` as a file says it, and `check()` of a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from milepost.sdk.configuration.declarations import Component, Layout, Settings
from milepost.sdk.configuration.exporter_options import EXPORTERS
from milepost.sdk.configuration.loading import load
from milepost.sdk.configuration.node import MASK, Secret, is_secret_name, without_password
from milepost.sdk.configuration.option import file_fields
from milepost.sdk.configuration.search import unsafe
from milepost.sdk.errors import ConfigurationError


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a config file, and what it comes to here and now.

    errors:    one text per mistake; none when the file can be used.
    warnings:  texts about what works but was hardly meant.
    effective: the settings in force with secrets masked; empty when there are errors.
    """

    path: Path
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    effective: dict[str, Any] = {}

    @property
    def ok(self) -> bool:
        """Whether `init()` would take the file."""
        return not self.errors


def check(path: str | Path, *, environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> CheckReport:
    """Read `path` as `init(config_file=path)` would, environment included; never raises for what is in the file."""
    try:
        settings = load(config_file=path, environ=environ, cwd=cwd)
    except ConfigurationError as error:
        return CheckReport(path=Path(path), errors=tuple(error.errors))
    warnings = list(settings.warnings)
    if settings.file is not None and (refusal := unsafe(settings.file, settings.file.stat())) is not None:
        warnings.append(refusal.replace(": found, but", ": would be refused when found by search:", 1))
    return CheckReport(path=Path(path), warnings=tuple(warnings), effective=as_file(settings))


def effective(settings: Settings) -> dict[str, Any]:
    """The settings as `settings=` would say them, defaults included, secrets as "***"; plain values for JSON or YAML."""

    def masked(name: str, value: Any) -> Any:
        return MASK if name in settings.hidden and value is not None else _plain(value, name)

    attributes = settings.resource.attributes
    found = {name: masked(name, getattr(settings, name)) for name in Layout.__struct_fields__}
    found["resource"] = {"attributes": [{"name": name, "value": masked(name, attributes[name])} for name in attributes]}
    return found


def as_file(settings: Settings) -> dict[str, Any]:
    """The same as a config file would say it: headers and other pairs as a list of {name, value}."""
    found = effective(settings)
    found["exporters"] = [
        {name: _listed(name, options)} for entry in found["exporters"] for name, options in entry.items()
    ]
    return found


def _listed(exporter: str, options: Any) -> Any:
    declared = EXPORTERS.get(exporter)
    if declared is None or not isinstance(options, dict):
        return options
    pairs = [
        key for key, field in file_fields(declared).items() if field.option.pairs and isinstance(options.get(key), dict)
    ]
    return options | {key: [{"name": name, "value": value} for name, value in options[key].items()] for key in pairs}


def _plain(value: Any, name: str) -> Any:
    """`value` of the key `name` in plain types."""
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, Component):
        return _component(value)
    if isinstance(value, msgspec.Struct):
        return {key: _plain(getattr(value, key), key) for key in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {str(key): _plain(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, name) for item in value]
    if isinstance(value, str):
        return MASK if is_secret_name(name) else without_password(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value) if isinstance(value, Path) else f"<{type(value).__name__}>"


def _component(component: Component) -> dict[str, Any]:
    if component.object is not None:
        return {component.name: f"<{type(component.object).__name__}>"}
    options = {key: _plain(value, key) for key, value in component.options.items()}
    if component.processors:
        options["processors"] = [_component(processor) for processor in component.processors]
    return {component.name: options or None}
