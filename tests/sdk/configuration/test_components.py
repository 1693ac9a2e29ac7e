"""Names of installed packages are taken as components, without importing them; declared options are those of the built-ins."""

import inspect
from pathlib import Path

import pytest

from milepost.sdk.configuration import effective, load
from milepost.sdk.configuration.exporter_options import EXPORTERS
from milepost.sdk.configuration.option import Section, file_fields
from milepost.sdk.configuration.processor_options import PROCESSORS
from milepost.sdk.errors import ConfigurationError
from milepost.sdk.plugins import BUILT_IN_EXPORTERS, BUILT_IN_PROCESSORS, resolve


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution whose module raises when it is imported."""
    site = tmp_path / "site"
    metadata = site / "milepost_slack-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: milepost-slack\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[milepost_exporter]\nslack = milepost_slack:Exporter\n[milepost_processor]\nsmooth = milepost_slack:Smooth\n"
    )
    (site / "milepost_slack.py").write_text("raise SystemError('imported')\n")
    monkeypatch.syspath_prepend(str(site))


@pytest.mark.usefixtures("installed")
def test_a_component_of_a_package_is_known_by_its_metadata_alone() -> None:
    text = (
        'file_format: "1.0"\n'
        "exporters:\n"
        "  - slack:\n"
        '      url: "${SLACK_URL}"\n'
        "      headers: [{name: authorization, value: 'Bearer ${SLACK}'}]\n"
        "      nested: {deep: [1, 2.5, true, null, yes]}\n"
        "      api_key: abc\n"
        "      processors: [{smooth: {window: 5}}]\n"
        "processors: [{flatten: }, {merge: }, {smooth: }]\n"
    )
    Path("milepost.yaml").write_text(text)

    settings = load(environ={"SLACK_URL": "https://example.org", "SLACK": "s"})

    slack = settings.exporters[0]
    assert slack.options == {
        "url": "https://example.org",
        "headers": [{"name": "authorization", "value": "Bearer s"}],
        "nested": {"deep": [1, 2.5, True, None, "yes"]},
        "api_key": "abc",
    }
    assert (slack.processors[0].name, slack.processors[0].options) == ("smooth", {"window": 5})
    assert effective(settings)["exporters"] == [
        {
            "slack": {
                "url": "https://example.org",
                "headers": [{"name": "***", "value": "***"}],
                "nested": {"deep": [1, 2.5, True, None, "yes"]},
                "api_key": "***",
                "processors": [{"smooth": {"window": 5}}],
            }
        }
    ]


@pytest.mark.usefixtures("installed")
def test_a_name_of_a_package_is_suggested_too() -> None:
    with pytest.raises(ConfigurationError, match=r'unknown exporter "slak"; did you mean "slack"\?'):
        load(environ={}, arguments={"exporters": ["slak"]})


@pytest.mark.parametrize(
    ("kind", "built_in", "declared"),
    [("processor", BUILT_IN_PROCESSORS, PROCESSORS), ("exporter", BUILT_IN_EXPORTERS, EXPORTERS)],
)
def test_what_can_be_built_and_what_is_declared_are_the_same_names(
    kind: str, built_in: dict[str, str], declared: dict[str, object]
) -> None:
    assert set(built_in) == set(declared), kind


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_processor_takes_the_options_that_are_declared(name: str) -> None:
    factory = resolve("processor", name)
    parameters = inspect.signature(factory).parameters

    assert set(file_fields(PROCESSORS[name])) <= set(parameters)
    assert getattr(factory, "must_follow", None) in {None, PROCESSORS[name].must_follow}
    for field in file_fields(PROCESSORS[name]).values():
        default = parameters[field.name].default
        if default is not inspect.Parameter.empty and default is not None and field.default is not None:
            assert default == field.default or (not default and not field.default)


@pytest.mark.parametrize("name", EXPORTERS)
def test_an_exporter_takes_the_options_that_are_declared(name: str) -> None:
    parameters = inspect.signature(resolve("exporter", name)).parameters

    for field in file_fields(EXPORTERS[name]).values():
        default = parameters[field.name].default
        if isinstance(field.default, Section):
            assert default is None
        else:
            assert default == field.default or (not default and not field.default)
