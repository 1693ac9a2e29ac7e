"""`milepost config` checks and shows settings."""

import json
from pathlib import Path

import pytest
import yaml

from milepost.sdk.configuration import json_schema
from tests.sdk.cli.conftest import Command

GOOD = 'file_format: "1.0"\nproject: digits\nexporters:\n  - file:\n'
BAD = 'file_format: "1.0"\nprojekt: digits\nexporters:\n  - fil:\n'


def write(text: str, name: str = "milepost.yaml") -> None:
    Path(name).write_text(text, encoding="utf-8")


def test_a_correct_file_passes(command: Command) -> None:
    write(GOOD, "other.yaml")

    assert command("config", "check", "other.yaml") == (0, "other.yaml: correct\n", "")


def test_every_mistake_is_shown_with_its_place_and_exits_with_1(command: Command) -> None:
    write(BAD)

    code, out, err = command("config", "check")

    assert code == 1
    assert out.endswith("milepost.yaml: 2 mistakes\n")
    assert 'milepost.yaml:2: projekt: unknown key "projekt"; did you mean "project"?' in err
    assert 'milepost.yaml:4: exporters[0].fil: unknown exporter "fil"; did you mean "file"?' in err


def test_what_is_suspicious_is_a_warning(command: Command) -> None:
    write(GOOD + "name: ${NOT_SET}\n")

    code, out, err = command("config", "check", "milepost.yaml")

    assert (code, out) == (0, "milepost.yaml: correct, 1 warning\n")
    assert err.startswith("warning: milepost.yaml:5: name: ${NOT_SET} is not set")


def test_the_check_as_json(command: Command) -> None:
    write(BAD, "bad.yaml")
    write(GOOD, "good.yaml")

    bad = command("config", "check", "bad.yaml", "--json")
    good = command("config", "check", "good.yaml", "--json")

    assert (bad.code, good.code) == (1, 0)
    assert (json.loads(bad.out)["ok"], len(json.loads(bad.out)["errors"])) == (False, 2)
    assert json.loads(good.out)["effective"]["project"] == "digits"


def test_a_file_that_is_not_there_fails_the_check(command: Command) -> None:
    code, _, err = command("config", "check", "nowhere.yaml")

    assert code == 1
    assert "nowhere.yaml does not exist" in err


def test_without_a_file_the_defaults_pass(command: Command) -> None:
    code, out, _ = command("config", "check")

    assert code == 0
    assert out.startswith("no config file is in force")


def test_the_settings_in_force_are_shown_as_a_file_without_secrets(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_PASSWORD", "hunter2")
    write(GOOD + "notes: ${MY_PASSWORD}\n")

    code, out, _ = command("config", "show")

    assert code == 0
    assert "hunter2" not in out
    assert out.startswith("# file in force: ")
    shown = yaml.safe_load(out)
    assert (shown["project"], shown["notes"]) == ("digits", "***")
    assert json.loads(command("config", "show", "--json").out)["settings"] == shown


def test_settings_that_are_wrong_are_an_error(command: Command) -> None:
    write(BAD)

    code, out, err = command("config", "show")

    assert (code, out) == (2, "")
    assert err.startswith("error: 2 mistakes in the configuration:\n  milepost.yaml:2: ")


def test_the_schema_is_the_one_that_is_shipped(command: Command) -> None:
    assert json.loads(command("config", "schema").out) == json_schema()
