"""Which setting wins, and what a run gets when nobody says anything."""

import os
import subprocess
import sys
from enum import StrEnum
from pathlib import Path

import msgspec
import numpy as np
import pytest

from milepost.sdk.configuration import Component, load
from milepost.sdk.configuration.declarations import Settings


def write(text: str, path: str = "milepost.yaml") -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text('file_format: "1.0"\n' + text)
    return Path(path)


def names(components: tuple[Component, ...]) -> list[str]:
    return [component.name for component in components]


def test_without_a_word_a_run_goes_to_console_and_file() -> None:
    settings = load(environ={})

    assert settings == Settings(
        dir=Path.cwd() / "milepost-runs", resource=type(settings.resource)(attributes={"service.name": "uncategorized"})
    )
    assert names(settings.processors) == ["flatten", "merge", "summarize"]
    assert names(settings.exporters) == ["console", "file"]
    assert (settings.file, settings.mode, settings.on_invalid) == (None, "online", "raise")
    assert (settings.capture.git, settings.capture.console.enabled) == (True, False)


def test_each_level_wins_over_the_ones_below_it() -> None:
    file = {"name": "file", "group": "file", "notes": "file", "job_type": "file"}
    write("".join(f"{key}: {value}\n" for key, value in file.items()))
    environ = {"MILEPOST_NAME": "variable", "MILEPOST_RUN_GROUP": "variable", "MILEPOST_NOTES": "variable"}
    mapping = {"name": "settings", "group": "settings"}

    settings = load(environ=environ, settings=mapping, arguments={"name": "argument", "notes": None})

    assert (settings.name, settings.group, settings.notes, settings.job_type) == (
        "argument",
        "settings",
        "variable",
        "file",
    )


def test_groups_are_merged_key_by_key_and_lists_taken_whole() -> None:
    write("journal: {keep: undelivered, max_bytes: 5}\ntags: [a, b]\nexporters: [{file: }, {memory: }]\n")

    settings = load(environ={}, settings={"journal": {"max_bytes": 7}, "tags": ["c"], "exporters": ["console"]})

    assert (settings.journal.keep, settings.journal.max_bytes) == ("undelivered", 7)
    assert settings.tags == ("c",)
    assert names(settings.exporters) == ["console"]


def test_null_leaves_a_key_at_its_default() -> None:
    write("journal:\nexporters:\nmode:\nring: {bytes: }\ntags: ~\n")

    settings = load(environ={})

    assert settings == msgspec.structs.replace(load(environ={}, config_file=os.devnull), file=settings.file)


@pytest.mark.parametrize(
    ("variable", "value", "key", "expected"),
    [
        ("MILEPOST_MODE", "offline", "mode", "offline"),
        ("MILEPOST_PROJECT", "digits", "project", "digits"),
        ("MILEPOST_RUN_ID", "17", "id", "17"),
        ("MILEPOST_NAME", "first", "name", "first"),
        ("MILEPOST_RUN_GROUP", "sweep", "group", "sweep"),
        ("MILEPOST_TAGS", "a, b,,c ", "tags", ("a", "b", "c")),
        ("MILEPOST_NOTES", "with words", "notes", "with words"),
        ("MILEPOST_RESUME", "allow", "resume", "allow"),
        ("MILEPOST_RESUME", "True", "resume", "auto"),
        ("MILEPOST_ON_INVALID", "placeholder", "on_invalid", "placeholder"),
        ("MILEPOST_URL", "http://127.0.0.1", "url", "http://127.0.0.1"),
        ("MILEPOST_API_KEY", "k", "api_key", "k"),
        ("MILEPOST_MODE", "", "mode", "online"),
    ],
)
def test_a_variable_sets_its_key(variable: str, value: str, key: str, expected: object) -> None:
    assert getattr(load(environ={variable: value}), key) == expected


def test_an_unknown_variable_brings_one_warning_unless_the_file_uses_it() -> None:
    write("notes: ${MILEPOST_WHATEVER:-none}\n")

    settings = load(environ={"MILEPOST_WHATEVER": "x", "MILEPOST_MODEL": "x", "MILEPOST_CONFIG_FILE": ""})

    assert settings.warnings == ('MILEPOST_MODEL: no such variable, it has no effect; did you mean "MILEPOST_MODE"?',)


def test_arguments_take_what_python_has() -> None:
    class Mode(StrEnum):
        OFFLINE = "offline"

    settings = load(
        environ={},
        arguments={
            "mode": Mode.OFFLINE,
            "tags": "baseline",
            "dir": Path("runs"),
            "resume": True,
            "resume_step": np.int64(5),
        },
    )

    assert (settings.mode, settings.tags, settings.resume, settings.resume_step) == (
        "offline",
        ("baseline",),
        "auto",
        5,
    )
    assert settings.dir == Path.cwd() / "runs"
    assert msgspec.json.encode(settings.mode) == b'"offline"'  # no longer an enum
    assert load(environ={}, arguments={"resume": False}).resume is None


def test_objects_and_names_may_be_given_for_exporters_and_processors() -> None:
    def double(event: object) -> object:
        return event

    class Sink:
        name = "sink"

        def export(self, batch: object) -> None: ...

    sink = Sink()
    settings = load(
        environ={},
        arguments={
            "processors": ["flatten", double, "merge"],
            "exporters": [sink, {"console": {"every": 5, "processors": [double]}}],
        },
    )

    assert names(settings.processors) == ["flatten", "double", "merge"]
    assert settings.processors[1].object is double
    assert names(settings.exporters) == ["sink", "console"]
    assert settings.exporters[0].object is sink
    assert settings.exporters[1].options == {"every": 5}
    assert settings.exporters[1].processors[0].object is double
    assert names(load(environ={}, arguments={"exporters": "file"}).exporters) == ["file"]


def test_a_component_says_where_it_was_written() -> None:
    write("exporters:\n  - console:\n  - file:\n      processors:\n        - filter: {include: [a]}\n")

    exporter = load(environ={}).exporters[1]

    assert exporter.where == "milepost.yaml:4 exporters[1].file"
    assert exporter.processors == (
        Component(
            name="filter", options={"include": ["a"]}, where="milepost.yaml:6 exporters[1].file.processors[0].filter"
        ),
    )


def test_a_directory_in_a_file_starts_at_that_file() -> None:
    file = write("dir: runs\n", "conf/milepost.yaml")

    assert load(environ={}, config_file=file).dir == Path.cwd() / "conf" / "runs"
    assert load(environ={"MILEPOST_DIR": "other"}, config_file=file).dir == Path.cwd() / "other"
    assert load(environ={}, config_file=file).file == Path.cwd() / "conf" / "milepost.yaml"


def test_a_switch_turns_off_one_capture_or_all() -> None:
    one = load(environ={}, settings={"capture": {"system_metrics": False, "console": True}}).capture
    none = load(environ={}, settings={"capture": False}).capture

    assert (one.environment, one.system_metrics.enabled, one.console.enabled) == (True, False, True)
    assert (none.environment, none.git, none.system_metrics.enabled, none.console.enabled) == (False,) * 4


def test_a_newer_minor_format_is_read_with_a_warning() -> None:
    Path("milepost.yaml").write_text('file_format: "1.3"\n')

    assert "file_format 1.3 is newer than 1.0" in load(environ={}).warnings[0]


def test_opentelemetrys_variables_fill_only_what_is_left_open() -> None:
    write(
        "project: digits\nresource: {attributes: [{name: team, value: vision}], attributes_list: 'team=x,room=5%2C6'}\n"
    )
    environ = {
        "OTEL_SERVICE_NAME": "service",
        "OTEL_RESOURCE_ATTRIBUTES": "team=other,host.name=a%20b,service.name=lost",
    }

    assert load(environ={}).resource.attributes == {"service.name": "digits", "team": "vision", "room": "5,6"}
    assert load(environ=environ).resource.attributes == {
        "service.name": "service",
        "team": "vision",
        "host.name": "a b",
        "room": "5,6",
    }
    named = load(environ=environ, settings={"resource": {"attributes": {"service.name": "mine", "n": 5}}})
    assert (named.resource.attributes["service.name"], named.resource.attributes["n"]) == ("mine", 5)


def test_a_malformed_list_of_attributes_is_left_out_with_a_warning() -> None:
    settings = load(environ={"OTEL_RESOURCE_ATTRIBUTES": "a=1,b"})

    assert settings.resource.attributes == {"service.name": "uncategorized"}
    assert "OTEL_RESOURCE_ATTRIBUTES" in settings.warnings[0]


def test_without_a_file_only_msgspec_is_imported() -> None:
    program = (
        "import sys, msgspec; before = set(sys.modules)\n"
        "from milepost.sdk.configuration import load\n"
        "load(arguments={'project': 'digits', 'tags': ['a']})\n"
        "print(sorted({m.partition('.')[0] for m in set(sys.modules) - before} - sys.stdlib_module_names))\n"
        "print([m for m in ('difflib', 'importlib.metadata', 'subprocess') if m in sys.modules])\n"
    )

    outcome = subprocess.run([sys.executable, "-Sc", PATHS + program], capture_output=True, text=True, check=False)

    assert (outcome.stdout, outcome.stderr) == ("['milepost']\n[]\n", "")


# Without the site module nothing but this program imports anything; the paths of the parent find the packages.
PATHS = f"import sys; sys.path[:0] = {sys.path!r}\n"
