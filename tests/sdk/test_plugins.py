"""Names in the config file become exporters and processors, and every mistake on the way says what to do."""

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from milepost.sdk import plugins, routing
from milepost.sdk.configuration.exporter_options import EXPORTERS
from milepost.sdk.configuration.option import fields
from milepost.sdk.configuration.processor_options import PROCESSORS
from milepost.sdk.errors import ConfigurationError, UsageError
from milepost.sdk.event import Event
from milepost.sdk.processors.filter import Filter

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a distribution with entry points of one group, and its module, on the import path."""

    def put(name: str, points: dict[str, str], *, module: str = "", code: str = "", kind: Any = "processor") -> None:
        folder = tmp_path / name
        information = folder / f"{name}-1.2.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        lines = [f"[{plugins.GROUPS[kind]}]", *(f"{key} = {value}" for key, value in points.items())]
        (information / "entry_points.txt").write_text("\n".join(lines) + "\n")
        if module:
            (folder / f"{module}.py").write_text(code)
        monkeypatch.syspath_prepend(folder)

    return put


def test_every_built_in_name_resolves() -> None:
    for name in plugins.BUILT_IN_PROCESSORS:
        assert callable(plugins.resolve("processor", name))
    for name in plugins.BUILT_IN_EXPORTERS:
        assert callable(plugins.resolve("exporter", name))


def test_options_of_the_config_file_become_keyword_arguments() -> None:
    keep = plugins.build("processor", "filter", {"include": ["a"]})
    assert isinstance(keep, Filter)
    assert keep(Event(kind="row", values={"a": 1, "b": 2})) == Event(kind="row", values={"a": 1})


def test_null_options_leave_every_default() -> None:
    assert callable(plugins.build("processor", "flatten", None))


def test_an_unknown_name_names_the_nearest_one_all_others_and_where_more_come_from() -> None:
    with pytest.raises(ConfigurationError) as caught:
        plugins.resolve("processor", "flaten")
    assert str(caught.value).startswith(
        "no processor is called 'flaten'; did you mean 'flatten'? There are: flatten, merge,"
    )
    assert 'the entry point group "milepost_processor"' in str(caught.value)


def test_an_unknown_option_names_the_nearest_one_and_all_others() -> None:
    with pytest.raises(ConfigurationError) as caught:
        plugins.build("processor", "filter", {"inclde": ["a"]})
    assert caught.value.errors == [
        "processor 'filter' has no option 'inclde'; did you mean 'include'? It accepts: include, exclude"
    ]


def test_a_message_begins_with_the_place_in_the_config_file() -> None:
    with pytest.raises(ConfigurationError) as caught:
        plugins.build("processor", "sample", {"every": 0}, where="milepost.yaml:7 processors[2].sample")
    assert caught.value.errors == [
        "milepost.yaml:7 processors[2].sample: sample: every must be a whole number of rows >= 1, not 0"
    ]


def test_the_config_file_declares_the_options_and_the_order_of_every_built_in() -> None:
    for name, section in {**PROCESSORS, **EXPORTERS}.items():
        factory = plugins.resolve("processor" if name in PROCESSORS else "exporter", name)
        assert set(fields(section)) <= set(inspect.signature(factory).parameters), name
        assert getattr(factory, "must_follow", section.must_follow) == section.must_follow, name
    assert set(PROCESSORS) == set(plugins.BUILT_IN_PROCESSORS)
    assert set(EXPORTERS) == set(plugins.BUILT_IN_EXPORTERS)


def test_a_missing_option_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"processor 'sample' needs 'every'\. It accepts: every"):
        plugins.build("processor", "sample")


def test_a_registered_name_is_found_listed_and_built(install: Install) -> None:
    code = "def make(factor=2):\n    return lambda event: event.with_values({'a': event.values['a'] * factor})\n"
    install("scaling", {"scale": "scaling_impl:make"}, module="scaling_impl", code=code)
    assert plugins.names("processor")[-1] == "scale"
    scale = plugins.build("processor", "scale", {"factor": 10})
    assert scale(Event(kind="row", values={"a": 1})).values == {"a": 10}


def test_listing_names_imports_nothing(install: Install) -> None:
    install(
        "exploding", {"boom": "exploding_impl:make"}, module="exploding_impl", code="raise SystemError('imported')\n"
    )
    assert "boom" in plugins.names("processor")


def test_a_built_in_name_cannot_be_taken(install: Install) -> None:
    install("hijack", {"filter": "os:getcwd"})
    assert plugins.resolve("processor", "filter") is Filter
    assert plugins.names("processor").count("filter") == 1


def test_processors_and_exporters_do_not_share_names(install: Install) -> None:
    install("elsewhere", {"queue": "queue:Queue"}, kind="exporter")
    with pytest.raises(ConfigurationError, match="no processor is called 'queue'"):
        plugins.resolve("processor", "queue")


def test_an_entry_point_that_cannot_be_imported_names_its_distribution_and_the_cause(install: Install) -> None:
    install("broken", {"bad": "broken_impl:make"}, module="broken_impl", code="import not_there_at_all\n")
    with pytest.raises(ConfigurationError) as caught:
        plugins.resolve("processor", "bad")
    assert str(caught.value) == (
        "processor 'bad' of broken 1.2 could not be imported from 'broken_impl:make': ModuleNotFoundError: "
        "No module named 'not_there_at_all'. Reinstall that distribution, or take the name out of the config file"
    )
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_name_that_two_distributions_claim_differently_is_an_error(install: Install) -> None:
    install("one", {"twin": "one_impl:make"})
    install("two", {"twin": "two_impl:make"})
    with pytest.raises(ConfigurationError, match=r"registered twice, by (one|two) 1\.2 .* uninstall one of them"):
        plugins.resolve("processor", "twin")


def test_an_entry_point_that_is_no_factory_is_refused(install: Install) -> None:
    install("constant", {"pi": "math:pi"})
    with pytest.raises(ConfigurationError, match=r"'pi' of constant 1\.2: 'math:pi' is no factory but 3\.14"):
        plugins.resolve("processor", "pi")


def test_a_processor_registered_in_place_of_its_factory_is_told_so(install: Install) -> None:
    install("plain", {"plain": "plain_impl:same"}, module="plain_impl", code="def same(event):\n    return event\n")
    with pytest.raises(
        ConfigurationError, match=r"needs 'event'.*An entry point names a factory, which is called with"
    ):
        plugins.build("processor", "plain")


def test_a_factory_that_returns_something_else_is_refused(install: Install) -> None:
    install("odd", {"odd": "odd_impl:make"}, module="odd_impl", code="def make():\n    return 'text'\n")
    with pytest.raises(ConfigurationError, match=r"must return a callable Event -> Event | None, not str"):
        plugins.build("processor", "odd")


def test_what_a_factory_raises_becomes_a_configuration_error_with_the_cause(install: Install) -> None:
    code = "def make(url):\n    raise OSError('no route')\n"
    install("failing", {"failing": "failing_impl:make"}, module="failing_impl", code=code)
    with pytest.raises(ConfigurationError, match="'failing' could not be made with url: OSError: no route") as caught:
        plugins.build("processor", "failing", {"url": "https://user:secret@example.org"})
    assert "secret" not in str(caught.value)


def test_an_error_of_milepost_from_a_factory_passes_unchanged(install: Install) -> None:
    code = "from milepost.sdk.errors import UsageError\ndef make():\n    raise UsageError('as it was')\n"
    install("usage", {"usage": "usage_impl:make"}, module="usage_impl", code=code)
    with pytest.raises(UsageError, match=r"^as it was$"):
        plugins.build("processor", "usage")


def test_a_plain_function_serves_as_an_exporter(install: Install) -> None:
    install(
        "quiet",
        {"quiet": "quiet_impl:make"},
        module="quiet_impl",
        code="def make():\n    return print\n",
        kind="exporter",
    )
    assert plugins.build("exporter", "quiet") is print


@pytest.mark.parametrize("name", plugins.BUILT_IN_EXPORTERS)
def test_routing_knows_by_name_what_a_built_in_exporter_is(name: str) -> None:
    """So that a program which names it need not import it."""
    factory = plugins.resolve("exporter", name)

    told = importlib.import_module(plugins.BUILT_IN_OPTIONS[name]) if name in plugins.BUILT_IN_OPTIONS else None
    for function in ("with_environment", "parts"):
        assert getattr(factory, function, None) is getattr(told, function, None)
    assert bool(getattr(factory, "network", False)) == (name in routing.NETWORK_EXPORTERS)
