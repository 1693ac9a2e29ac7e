"""The reference page and the JSON Schema are fresh, and say the same as the check."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from milepost.sdk.configuration import as_file, check, effective, load
from milepost.sdk.configuration.declarations import Layout
from milepost.sdk.configuration.option import Section, file_fields
from milepost.sdk.configuration.schema import json_schema
from tests.sdk.configuration.test_mistakes import HEAD, MISTAKES

BEYOND_A_SCHEMA = {
    "a rule broken by what a variable may hold",
    "number too large",
    "tag too long",
    "path in a project",
    "project that is a directory",
    "id with a colon",
    "empty id",
    "unknown exporter",
    "exporter of a later version",
    "an exporter twice",
    "no merge",
    "merge twice",
    "an order that cannot work",
    "flatten behind merge, which then knows no leaves",
    "a reference in quotes where a number is wanted",
    "a processor of the pipeline under an exporter",
    "wrong regular expression",
    "attribute twice",
    "reference that is none",
    "reference without an end",
    "variable that must be set",
    "references inside a reference",
}


def complaints(document: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(json_schema())
    return [error.message for error in validator.iter_errors(document)]


def test_the_committed_page_and_schema_are_fresh(repository: Path) -> None:
    script = repository / "scripts" / "configuration_reference.py"

    outcome = subprocess.run(
        [sys.executable, script, "--check"], cwd=repository, capture_output=True, text=True, check=False
    )

    assert (outcome.stdout, outcome.stderr, outcome.returncode) == ("", "", 0)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_the_schema_takes_what_the_settings_come_to() -> None:
    settings = load(environ={}, settings={"exporters": [{"console": {"every": 5}}, {"file": {"processors": []}}]})

    assert complaints(effective(settings)) == []


def test_headers_are_shown_as_a_file_has_them() -> None:
    headers = [{"name": "team", "value": "vision"}]
    otlp = {"endpoint": "http://localhost:4318", "headers": headers}
    shown = as_file(load(environ={}, settings={"exporters": [{"otlp": otlp}]}))

    assert shown["exporters"][0]["otlp"]["headers"] == [{"name": "team", "value": "***"}]
    Path("milepost.yaml").write_text(json.dumps(shown))
    assert check("milepost.yaml", environ={}).errors == ()


def test_effective_settings_can_be_used_as_a_file() -> None:
    before = load(environ={}, settings={"tags": ["a"], "processors": ["flatten", "merge", {"aggregate": {"every": 2}}]})

    Path("milepost.yaml").write_text(json.dumps(effective(before)))

    assert effective(load(environ={})) == effective(before)


@pytest.mark.parametrize("case", sorted(set(MISTAKES) - BEYOND_A_SCHEMA - {"yes is a text"}))
def test_the_schema_refuses_what_the_check_refuses(case: str) -> None:
    assert complaints(yaml.safe_load(HEAD + MISTAKES[case][0])) != []


def test_the_examples_of_the_page_are_right(repository: Path) -> None:
    page = (repository / "docs" / "configuration.md").read_text()
    examples = [text for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "file_format" in text]

    assert examples
    for text in examples:
        Path("milepost.yaml").write_text(text)
        assert check("milepost.yaml", environ={}).errors == ()
        assert complaints(yaml.safe_load(text)) == []


def test_every_key_has_a_sentence() -> None:
    def below(section: type[Section]) -> list[str]:
        found: list[str] = []
        for field in file_fields(section).values():
            found.append(field.option.doc or (field.type.__doc__ or ""))
            if not field.option.doc:
                found += below(field.type)
        return found

    assert all(sentence.endswith(".") for sentence in below(Layout))
