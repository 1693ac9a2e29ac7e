"""`load()`: the settings in force, or every mistake at once.

Each key is taken from the first that says something: the arguments of `init()`, its `settings=`, MILEPOST_* variables, the config
file, OTEL_* variables, the default. Groups of keys are merged key by key, lists are taken whole, resource attributes by name.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from milepost.sdk.configuration import search
from milepost.sdk.configuration.components import Components
from milepost.sdk.configuration.declarations import Component, Layout, Settings
from milepost.sdk.configuration.environment import milepost_nodes, otel_attributes, parse_attributes, unknown_variables
from milepost.sdk.configuration.node import Node, node_of
from milepost.sdk.configuration.option import fields
from milepost.sdk.configuration.validation import Mistakes, TooManyMistakes, join, to_section
from milepost.sdk.errors import ConfigurationError


def load(
    *,
    config_file: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Settings:
    """The settings in force, checked as a whole before anything starts.

    config_file: the file to use; else one is searched for, see `search.py`.
    settings:    whatever a config file can say, as a mapping; `${...}` in it is plain text.
    arguments:   keyword arguments of `init()` by name; those that are None were not given.
    environ:     in place of `os.environ`; cwd: in place of the working directory.
    Raises ConfigurationError, whose `errors` are one text per mistake.
    """
    return _Loading(os.environ if environ is None else environ, cwd).run(config_file, settings, arguments)


class _Loading:
    """One call of `load()`: its mistakes and warnings."""

    def __init__(self, environ: Mapping[str, str], cwd: Path | None) -> None:
        self._environ = environ
        self._cwd = cwd
        self._mistakes = Mistakes()
        self._warnings: list[str] = []
        self._used_variables: frozenset[str] = frozenset()
        self._reader = Components(self._mistakes).reader

    def run(self, config_file: Any, settings: Any, arguments: Mapping[str, Any] | None) -> Settings:
        file = search.find_file(config_file, self._environ, self._cwd)
        levels: list[dict[str, Any]] = []
        try:
            levels.append(self._file(*file) if file is not None else {})
            levels.append(self._environment())
            levels.append(self._mapping(settings, "settings", "settings"))
            given_arguments = {name: value for name, value in (arguments or {}).items() if value is not None}
            levels.append(self._mapping(given_arguments, "init()", "argument"))
        except TooManyMistakes:
            self._mistakes.texts.append("and more; correct these first")
        if self._mistakes.texts:
            raise configuration_error(self._mistakes.texts)
        given: dict[str, Any] = {}
        for level in levels:
            _merge(given, level)
        self._warnings += unknown_variables(self._environ, self._used_variables)
        return self._settings(given, file[0] if file is not None else None)

    def _file(self, path: Path, named: bool) -> dict[str, Any]:
        from milepost.sdk.configuration.yaml_reader import SIZE_LIMIT_BYTES, YamlError, read_yaml  # imports PyYAML

        name = self._shown_path(path)
        data = search.read_file(path, named, SIZE_LIMIT_BYTES)
        try:
            document, problems = read_yaml(data, name, self._environ)
        except YamlError as error:
            raise configuration_error([f"{name}:{error.line}: {error}"]) from None
        if document is None:
            document = Node(data={}, place=f"{name}:1", source="file")
        self._look_at_references(document)
        self._mistakes.texts += problems
        if isinstance(document.data, dict) and "file_format" not in document.data:
            self._mistakes.add(document, "file_format", 'missing; add file_format: "1.0"', f"{name}:1")
        found = self._reader.section(document, Layout)
        version = found.get("file_format")
        if version not in ("1.0", None):
            self._warnings.append(
                f"{name}: file_format {version} is newer than 1.0, which this version of milepost reads"
            )
        if "dir" in found:
            found["dir"] = path.parent / search.expanded(found["dir"])
        _anchor(found, path.parent)
        return found

    def _look_at_references(self, document: Node) -> None:
        """Note the variables that the file uses, and warn of those that give nothing."""
        used: set[str] = set()
        for node, path in _walk(document, ""):
            used.update(node.variables)
            for name in node.unset:
                fix = f"give a default, ${{{name}:-...}}, or require it, ${{{name}:?why}}"
                self._warnings.append(f"{node.place}: {path}: ${{{name}}} is not set and counts as empty; {fix}")
        self._used_variables = frozenset(used)

    def _environment(self) -> dict[str, Any]:
        declared = fields(Settings)
        found: dict[str, Any] = {}
        for name, node in milepost_nodes(self._environ).items():
            found.update(self._reader.one(node, declared[name], ""))
        return found

    def _mapping(self, given: Any, place: str, source: Literal["settings", "argument"]) -> dict[str, Any]:
        if not given:
            return {}
        if not isinstance(given, Mapping):
            self._mistakes.texts.append(f"{place}: must be a mapping, not an object of type {type(given).__name__}")
            return {}
        try:
            node = node_of(given, place, source)
        except RecursionError:
            self._mistakes.texts.append(f"{place}: nested more than 64 deep, or without end")
            return {}
        found = self._reader.section(node, Layout)
        _anchor(found, self._cwd or Path())
        return found

    def _settings(self, given: dict[str, Any], file: Path | None) -> Settings:
        directory = search.expanded(given.get("dir", fields(Layout)["dir"].default))
        try:
            given["dir"] = Path(os.path.abspath((self._cwd or Path()) / directory))
        except OSError:
            raise configuration_error(["dir: the working directory was removed; give an absolute path"]) from None
        capture = given.get("capture", {})
        if capture.get("enabled") is False:
            off = {"enabled": False}
            given["capture"] = {**off, "environment": False, "git": False, "system_metrics": off, "console": off}
        given["resource"] = {"attributes": self._attributes(given)}
        extra = {name: given[name] for name in ("url", "api_key") if name in given}
        values = to_section(Layout, given)
        told: dict[str, Any] = {name: getattr(values, name) for name in Layout.__struct_fields__}
        exporters: tuple[Component, ...] = told["exporters"]
        if extra.get("url") and exporters and all(each.name != "server" for each in exporters):
            told["exporters"] = (*exporters, Component(name="server", where="MILEPOST_URL"))
        return Settings(
            **told,
            **extra,
            file=Path(os.path.abspath(file)) if file is not None else None,
            warnings=tuple(self._warnings),
            hidden=frozenset(self._mistakes.hidden),
        )

    def _attributes(self, given: dict[str, Any]) -> dict[str, Any]:
        resource = given.get("resource", {})
        project = given.get("project", fields(Layout)["project"].default)
        return {
            "service.name": project,
            **otel_attributes(self._environ, self._warnings),
            **(parse_attributes(resource.get("attributes_list", "")) or {}),
            **resource.get("attributes", {}),
        }

    def _shown_path(self, path: Path) -> str:
        """The path as messages show it: from the working directory when it lies below, else whole."""
        try:
            return str(path.relative_to(self._cwd or Path.cwd()))
        except (ValueError, OSError):
            return str(path)


def configuration_error(texts: list[str]) -> ConfigurationError:
    """The error that holds these mistakes."""
    if len(texts) == 1:
        return ConfigurationError(texts[0], texts)
    return ConfigurationError("\n  ".join([f"{len(texts)} mistakes in the configuration:", *texts]), texts)


def _anchor(found: Mapping[str, Any], base: Path) -> None:
    """Make the paths in the options of components absolute: another process, elsewhere, may be the one to open them."""

    def anchored(value: Any) -> Any:
        if isinstance(value, Path):
            return Path(os.path.abspath(base / search.expanded(value)))
        return {key: anchored(item) for key, item in value.items()} if isinstance(value, dict) else value

    for components in (found.get("processors", ()), found.get("exporters", ())):
        for component in components:
            if any(isinstance(value, Path | dict) for value in component.options.values()):
                component.options.update(anchored(component.options))


def _merge(into: dict[str, Any], level: Mapping[str, Any]) -> None:
    """Put a higher level over a lower one: mappings key by key, everything else as a whole."""
    for key, value in level.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _walk(node: Node, path: str) -> Iterator[tuple[Node, str]]:
    yield node, path
    if isinstance(node.data, dict):
        for key, below in node.data.items():
            yield from _walk(below, join(path, key))
    elif isinstance(node.data, list):
        for i, below in enumerate(node.data):
            yield from _walk(below, f"{path}[{i}]")
