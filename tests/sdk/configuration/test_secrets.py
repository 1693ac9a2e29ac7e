"""What came from the environment, or is named like a secret, is in no message and in no report."""

import json
from pathlib import Path

import msgspec
import pytest

from milepost.sdk.configuration import check, effective, load

SECRET = "hunter2-hunter2"


def report_on(text: str, **environ: str) -> str:
    Path("milepost.yaml").write_text('file_format: "1.0"\n' + text)
    report = check("milepost.yaml", environ=environ)
    return "\n".join([*report.errors, *report.warnings, json.dumps(report.effective)])


@pytest.mark.parametrize(
    "text",
    [
        "mode: ${TOKEN}",
        "mode: x${TOKEN}y",
        "project: a/${TOKEN}",
        "id: ${TOKEN}:${TOKEN}",
        "finish: {timeout: '${TOKEN}'}",
        "journal: ${TOKEN}",
        "tags: ${TOKEN}",
        "tags: ['${TOKEN}']",
        "notes: ${TOKEN}",
        "notes: Bearer ${env:TOKEN}",
        "exporters: ['${TOKEN}']",
        "exporters: [{console: '${TOKEN}'}]",
        "exporters: [{console: {every: '${TOKEN}'}}]",
        "resource: {attributes: [{name: a, value: '${TOKEN}'}]}",
        "resource: {attributes: [{name: '${TOKEN}', value: []}, {name: '${TOKEN}', value: 1}]}",
        "resource: {attributes_list: '${TOKEN}'}",
        "processors: [{flatten: }, {redact: {patterns: ['(${TOKEN}']}}, {merge: }]",
        "processors: [{flatten: }, {redact: {patterns: ['${TOKEN}']}}, {merge: }]",
        f"name: ${{UNSET_TOKEN:-{SECRET}}}",
        f"resource: {{attributes: [{{name: api_key, value: {SECRET}}}]}}",
        f"exporters: [{{server: {{url: 'https://me:{SECRET}@example.org', api_key: {SECRET}}}}}]",
        f"mode: https://me:{SECRET}@example.org",
        f"name: https://me:{SECRET}@example.org",
    ],
)
def test_no_message_and_no_report_holds_a_secret(text: str) -> None:
    assert SECRET not in report_on(text, TOKEN=SECRET)


def test_a_message_shows_the_reference_in_place_of_the_value() -> None:
    assert "mode: must be one of online, offline, disabled, not ${TOKEN}" in report_on(
        "mode: ${TOKEN:-x}", TOKEN=SECRET
    )


def test_other_values_are_shown() -> None:
    report = report_on("project: ${PROJECT:-digits}\nname: ${AUTHOR}\n", AUTHOR="ann")

    assert '"project": "digits"' in report
    assert '"name": "ann"' in report


def test_a_key_of_the_server_is_no_part_of_the_record_that_is_stored() -> None:
    settings = load(environ={"MILEPOST_API_KEY": SECRET})

    assert settings.api_key == SECRET
    assert SECRET not in json.dumps(effective(settings))
    assert SECRET not in repr(settings)


def test_what_a_run_stores_about_itself_is_plain_text() -> None:
    Path("milepost.yaml").write_text('file_format: "1.0"\nname: ${RUN_TOKEN}\ntags: ["${RUN_TOKEN}"]\n')

    settings = load(environ={"RUN_TOKEN": SECRET})

    assert msgspec.json.decode(msgspec.json.encode({"name": settings.name, "tags": settings.tags})) == {
        "name": SECRET,
        "tags": [SECRET],
    }
