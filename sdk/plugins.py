"""Exporters and processors by name: first the built-in ones, then what installed distributions register.

A distribution registers a factory under an entry point group, in its pyproject.toml:

    [project.entry-points.milepost_processor]
    smooth = "milepost_smooth:Smooth"

The name in the config file is the entry point's name, and the options under it are the factory's keyword arguments.
Modules are imported when their name is chosen, so an exporter that nobody uses costs nothing.
"""

import contextlib
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from milepost.sdk.errors import ConfigurationError, Error

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Kind = Literal["exporter", "processor"]

BUILT_IN_PROCESSORS: Final[Mapping[str, str]] = {
    "flatten": "milepost.sdk.processors.flatten:Flatten",
    "merge": "milepost.sdk.processors.merge:Merge",
    "summarize": "milepost.sdk.processors.summarize:Summarize",
    "filter": "milepost.sdk.processors.filter:Filter",
    "rename": "milepost.sdk.processors.rename:Rename",
    "sample": "milepost.sdk.processors.sample:Sample",
    "aggregate": "milepost.sdk.processors.aggregate:Aggregate",
    "redact": "milepost.sdk.processors.redact:Redact",
    "encode_media": "milepost.sdk.processors.encode_media:EncodeMedia",
}
BUILT_IN_EXPORTERS: Final[Mapping[str, str]] = {
    "console": "milepost.exporters.console:ConsoleExporter",
    "file": "milepost.exporters.file:FileExporter",
    "memory": "milepost.exporters.memory:MemoryExporter",
    "otlp": "milepost.exporters.otlp.exporter:OtlpExporter",
    "opentelemetry": "milepost.exporters.opentelemetry:OpenTelemetryExporter",
    "prometheus_remote_write": "milepost.exporters.prometheus_remote_write:PrometheusRemoteWriteExporter",
    "server": "milepost.exporters.server:ServerExporter",
}
BUILT_IN_OPTIONS: Final[Mapping[str, str]] = {
    "otlp": "milepost.exporters.otlp.options",
    "opentelemetry": "milepost.exporters.opentelemetry_options",
    "server": "milepost.exporters.server_options",
}
"""Modules with what classes of these exporters say of options, so that a program need not load the exporters themselves."""
GROUPS: Final[Mapping[Kind, str]] = {"exporter": "milepost_exporter", "processor": "milepost_processor"}
MEDIA_GROUP: Final = "milepost_media"
"""The entry point group of media types: the name is that under `milepost`, the value a class as `milepost.media.base` has it."""
BUILT_IN: Final[Mapping[Kind, Mapping[str, str]]] = {"exporter": BUILT_IN_EXPORTERS, "processor": BUILT_IN_PROCESSORS}


def names(kind: Kind) -> list[str]:
    """Every name that a config file can use: the built-in ones in their order, then the registered. Imports none."""
    return list(dict.fromkeys([*BUILT_IN[kind], *sorted(_registered(kind))]))


def resolve(kind: Kind, name: str) -> Callable[..., Any]:
    """The factory called `name`. A built-in name cannot be taken by a distribution.

    Raises ConfigurationError when nothing has that name, two distributions claim it, or it cannot be imported.
    """
    if place := BUILT_IN[kind].get(name):
        module, _, attribute = place.partition(":")
        factory: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
        return factory
    candidates = _registered(kind).get(name, [])
    if not candidates:
        raise ConfigurationError(_unknown(kind, name))
    if len({point.value for point in candidates}) > 1:
        claims = " and ".join(f"{_distribution(point)} ({point.value})" for point in candidates)
        raise ConfigurationError(f"{kind} {name!r} is registered twice, by {claims}; uninstall one of them")
    return _load(kind, candidates[0])


def media_named(name: str) -> Any:
    """The media type that an installed distribution registers under a name, or None."""
    from importlib.metadata import entry_points

    points = list(entry_points(group=MEDIA_GROUP, name=name))
    return points[0].load() if points else None


def media_type(type_name: str) -> Any:
    """The media type of an installed distribution whose values have this `_type`, or None."""
    from importlib.metadata import entry_points

    for point in entry_points(group=MEDIA_GROUP):
        try:
            found = point.load()
        except Exception:  # noqa: BLE001, S112 - foreign code; its values then open as plain files
            continue
        if getattr(found, "type_name", None) == type_name:
            return found
    return None


def build(kind: Kind, name: str, options: Mapping[str, Any] | None = None, where: str = "") -> Any:
    """The exporter or processor called `name`, made by its factory from the options of the config file.

    options:  keyword arguments of the factory; None, as an empty mapping, leaves every option at its default.
    where:    the place in the config file, with which messages then begin.
    Raises ConfigurationError when the name cannot be resolved, an option is unknown or missing, or the factory refuses
    the values; errors of milepost that the factory raises itself pass unchanged.
    """
    with _said_of(where):
        return _build(kind, name, dict(options or {}))


def check(kind: Kind, name: str, options: Mapping[str, Any] | None = None, where: str = "") -> None:
    """Hold options against the factory's signature without calling it: for what is made in another process.

    Raises ConfigurationError as `build` does.
    """
    with _said_of(where):
        _check_options(kind, name, resolve(kind, name), dict(options or {}))


@contextlib.contextmanager
def _said_of(where: str) -> Iterator[None]:
    """Errors begin with the place in the config file."""
    try:
        yield
    except ConfigurationError as error:
        if not where:
            raise
        texts = [f"{where}: {text}" for text in error.errors]
        raise ConfigurationError("\n".join(texts), texts) from error


def _build(kind: Kind, name: str, given: dict[str, Any]) -> Any:
    factory = resolve(kind, name)
    _check_options(kind, name, factory, given)
    try:
        built = factory(**given)
    except Error:
        raise
    except Exception as error:
        told = f" with {', '.join(given)}" if given else ""
        raise ConfigurationError(f"{kind} {name!r} could not be made{told}: {_text(error)}") from error
    if not callable(built) and not (kind == "exporter" and callable(getattr(built, "export", None))):
        wanted = (
            "a callable Event -> Event | None" if kind == "processor" else "an object with export(batch), or a callable"
        )
        raise ConfigurationError(f"{kind} {name!r}: its factory must return {wanted}, not {type(built).__name__}")
    return built


def _registered(kind: Kind) -> dict[str, list["EntryPoint"]]:
    # Imported here: the module costs several milliseconds, and a run of built-in parts never needs it.
    from importlib.metadata import entry_points

    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUPS[kind]):
        found.setdefault(point.name, []).append(point)
    return found


def _load(kind: Kind, point: "EntryPoint") -> Callable[..., Any]:
    try:
        factory = point.load()
    except Error:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"{kind} {point.name!r} of {_distribution(point)} could not be imported from {point.value!r}: "
            f"{_text(error)}. Reinstall that distribution, or take the name out of the config file"
        ) from error
    if not callable(factory):
        raise ConfigurationError(
            f"{kind} {point.name!r} of {_distribution(point)}: {point.value!r} is no factory but {factory!r:.60}"
        )
    called: Callable[..., Any] = factory
    return called


def _check_options(kind: Kind, name: str, factory: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Hold the options against the factory's signature first, so that a TypeError raised inside it is its own."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return  # written in C without a signature: the call itself will tell
    by_keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    accepted = {parameter.name: parameter for parameter in parameters if parameter.kind in by_keyword}
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    errors = [
        f"{kind} {name!r} has no option {option!r}{_nearest(option, accepted)} {_accepts(accepted)}"
        for option in given
        if option not in accepted and not takes_any
    ]
    missing = [o for o, p in accepted.items() if p.default is inspect.Parameter.empty and o not in given]
    if missing:
        errors.append(
            f"{kind} {name!r} needs {', '.join(map(repr, missing))}. {_accepts(accepted)}{_hint(kind, missing)}"
        )
    if errors:
        raise ConfigurationError("\n".join(errors), errors)


def _hint(kind: Kind, missing: list[str]) -> str:
    if missing not in (["event"], ["batch"]):
        return ""
    shape = "lambda: function" if kind == "processor" else "lambda: exporter"
    return f". An entry point names a factory, which is called with the options and returns the {kind} ({shape})"


def _unknown(kind: Kind, name: str) -> str:
    known = names(kind)
    return (
        f"no {kind} is called {name!r}{_nearest(name, known)} There are: {', '.join(known)}. "
        f'Others come with a distribution that registers the entry point group "{GROUPS[kind]}": is it installed here?'
    )


def _nearest(name: object, known: Mapping[str, object] | list[str]) -> str:
    import difflib  # only here: it costs milliseconds

    close = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else "."


def _accepts(accepted: Mapping[str, object]) -> str:
    return f"It accepts: {', '.join(accepted)}" if accepted else "It takes no options"


def _distribution(point: "EntryPoint") -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unnamed distribution"


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
