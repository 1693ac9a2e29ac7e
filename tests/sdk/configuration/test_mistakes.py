"""Every mistake in a config file is one line that names file, line, path, value, rule and the nearest valid name."""

from pathlib import Path

import pytest

from milepost.sdk.configuration import check, load
from milepost.sdk.configuration.exporter_options import EXPORTERS
from milepost.sdk.errors import ConfigurationError

HEAD = 'file_format: "1.0"\n'
KEYS_OF_JOURNAL = "Valid: keep, max_bytes, min_free"

# What is written behind `file_format: "1.0"`, and the message.
MISTAKES: dict[str, tuple[str, str]] = {
    "unknown key": (
        "journal: {kep: all}",
        f'milepost.yaml:2: journal.kep: unknown key "kep"; did you mean "keep"? {KEYS_OF_JOURNAL}',
    ),
    "unknown key, nothing near": (
        "journal:\n  colour: blue",
        f'milepost.yaml:3: journal.colour: unknown key "colour"; {KEYS_OF_JOURNAL}',
    ),
    "unknown option of an exporter": (
        "exporters:\n  - console:\n  - file:\n      formt: jsonl",
        'milepost.yaml:5: exporters[1].file.formt: unknown key "formt"; did you mean "format"? Valid: format, processors',
    ),
    "option where there is none": (
        "processors:\n  - flatten:\n  - merge: {every: 2}",
        'milepost.yaml:4: processors[1].merge.every: unknown key "every"; Valid: none; it has no options',
    ),
    "wrong choice": (
        "mode: onlin",
        'milepost.yaml:2: mode: must be one of online, offline, disabled, not "onlin"; did you mean "online"?',
    ),
    "one choice": (
        "exporters: [{file: {format: parquet}}]",
        'milepost.yaml:2: exporters[0].file.format: must be jsonl, not "parquet"',
    ),
    "text for a number": (
        "finish: {timeout: 30s}",
        (
            'milepost.yaml:2: finish.timeout: must be a whole number of at least 0, not "30s"; durations are whole milliseconds: '
            "30000"
        ),
    ),
    "minutes for milliseconds": (
        "capture: {system_metrics: {interval: 1.5 min}}",
        (
            'milepost.yaml:2: capture.system_metrics.interval: must be a whole number of at least 100, not "1.5 min"; durations '
            "are whole milliseconds: 90000"
        ),
    ),
    "text for a size": (
        "journal: {max_bytes: 5s}",
        'milepost.yaml:2: journal.max_bytes: must be a whole number of at least 1, not "5s"',
    ),
    "a rule broken by what a variable may hold": (
        'project: "${TOK:-a}/x"',
        (
            "milepost.yaml:2: project: ${TOK}/x does not hold a valid value: it names a directory and must have 1 to 128 "
            "printable characters, none of # % / : ? \\, no dot in front and no space at its ends"
        ),
    ),
    "fraction for a whole number": (
        "finish: {timeout: 1.5}",
        "milepost.yaml:2: finish.timeout: must be a whole number of at least 0, not 1.5; durations are whole milliseconds",
    ),
    "true for a number": (
        "finish: {timeout: true}",
        "milepost.yaml:2: finish.timeout: must be a whole number of at least 0, not true",
    ),
    "number too small": (
        "exporters: [{console: {every: 0}}]",
        "milepost.yaml:2: exporters[0].console.every: must be at least 1, not 0",
    ),
    "number too large": (
        "resume_step: 99999999999999999999",
        "milepost.yaml:2: resume_step: must be less than 2**63, not 99999999999999999999",
    ),
    "number for a text": ("name: 7", "milepost.yaml:2: name: must be a text, not 7; put it in quotes"),
    "yes is a text": ("strict: yes", 'milepost.yaml:2: strict: must be true or false, not "yes"'),
    "text for a list": (
        "tags: baseline",
        'milepost.yaml:2: tags: must be a list, not "baseline"; write it as ["baseline"]',
    ),
    "number in a list of texts": ("tags: [a, 5]", "milepost.yaml:2: tags[1]: must be a text, not 5; put it in quotes"),
    "tag too long": ("tags: [" + "x" * 65 + "]", "milepost.yaml:2: tags[0]: must have 1 to 64 characters, not 65"),
    "text for a group": ("journal: all", 'milepost.yaml:2: journal: must be a mapping, not "all"'),
    "text for a switch": (
        "capture: {console: maybe}",
        'milepost.yaml:2: capture.console: must be true, false or a mapping, not "maybe"',
    ),
    "path in a project": (
        "project: ../../etc",
        'milepost.yaml:2: project: must not hold "/": it names a directory',
    ),
    "project that is a directory": ("project: ..", 'milepost.yaml:2: project: must not be "..": it names a directory'),
    "id with a colon": ('id: "a:b"', 'milepost.yaml:2: id: must not hold ":": it names a directory'),
    "empty id": ('id: " "', "milepost.yaml:2: id: must not be empty"),
    "unknown exporter": (
        "exporters:\n  - fil:",
        f'milepost.yaml:3: exporters[0].fil: unknown exporter "fil"; did you mean "file"? Valid: {", ".join(EXPORTERS)}',
    ),
    "exporter without a colon": (
        "exporters: [console]",
        'milepost.yaml:2: exporters[0]: must be a mapping of one exporter; write "- console:"',
    ),
    "two exporters in one entry": (
        "exporters:\n  - console:\n    file:",
        (
            "milepost.yaml:3: exporters[0]: must name one exporter, not 2 (console, file); "
            'options are indented below it, and the next one begins with its own "- "'
        ),
    ),
    "exporters as a mapping": (
        "exporters: {file: }",
        'milepost.yaml:2: exporters: must be a list of exporters, not a mapping; begin each entry with "- "',
    ),
    "an exporter twice": (
        "exporters:\n  - file:\n  - file:",
        "milepost.yaml:4: exporters[1].file: is named by exporters[0].file already; name each once",
    ),
    "options that are no mapping": (
        "exporters: [{console: 10}]",
        "milepost.yaml:2: exporters[0].console: must have a mapping of options, not 10",
    ),
    "no merge": (
        "processors: [{flatten: }]",
        'milepost.yaml:2: processors: must have "merge" once, not 0 times: it makes rows of calls; add "- merge:"',
    ),
    "merge twice": (
        "processors: [{merge: }, {merge: }]",
        'milepost.yaml:2: processors: must have "merge" once, not 2 times: it makes rows of calls',
    ),
    "an order that cannot work": (
        "processors:\n  - summarize:\n  - merge:",
        'milepost.yaml:3: processors[0].summarize: must stand behind "merge"; move it down',
    ),
    "a reference in quotes where a number is wanted": (
        'capture: {system_metrics: {interval: "${INTERVAL:-2000}"}}',
        (
            "milepost.yaml:2: capture.system_metrics.interval: must be a whole number of at least 100, not ${INTERVAL}; "
            "in quotes it is a text: write the key on a line of its own and ${...} without quotes"
        ),
    ),
    "flatten behind merge, which then knows no leaves": (
        "processors:\n  - merge:\n  - flatten:",
        'milepost.yaml:4: processors[1].flatten: must stand before "merge"; move it up',
    ),
    "a processor of the pipeline under an exporter": (
        "exporters: [{file: {processors: [{aggregate: {every: 2}}]}}]",
        (
            'milepost.yaml:2: exporters[0].file.processors[0].aggregate: "aggregate" holds rows back, '
            "which an exporter would miss after a crash; move it to the processors at the top of the file"
        ),
    ),
    "neither of two options": (
        "processors: [{merge: }, {aggregate: }]",
        'milepost.yaml:2: processors[1].aggregate: must have "every" or "interval"',
    ),
    "one of two that go together": (
        "processors: [{merge: }, {rename: {pattern: a}}]",
        'milepost.yaml:2: processors[1].rename: "pattern" and "replacement" go together, and "replacement" is missing',
    ),
    "wrong regular expression": (
        'processors: [{flatten: }, {redact: {patterns: ["("]}}, {merge: }]',
        (
            "milepost.yaml:2: processors[1].redact.patterns[0]: must be a regular expression: "
            "missing ), unterminated subpattern at position 0"
        ),
    ),
    "attributes as a mapping": (
        "resource: {attributes: {team: vision}}",
        "milepost.yaml:2: resource.attributes: must be a list of {name: ..., value: ...}, not a mapping",
    ),
    "attribute without a value": (
        "resource: {attributes: [{name: team}]}",
        'milepost.yaml:2: resource.attributes[0]: the key "value" is missing',
    ),
    "attribute twice": (
        "resource: {attributes: [{name: team, value: a}, {name: team, value: b}]}",
        "milepost.yaml:2: resource.attributes[1].value: this name is there twice; keep one",
    ),
    "attribute from nothing": (
        "resource: {attributes: [{name: team, value: '${TEAM}'}, {name: x, value: }]}",
        (
            "milepost.yaml:2: resource.attributes[1].value: must be a text, a number, true or false, "
            "or a list of one of these, not null"
        ),
    ),
    "reference that is none": (
        "name: ${1ST}",
        (
            'milepost.yaml:2: "${1ST}" is not a reference; '
            "write ${NAME}, ${NAME:-default} or ${NAME:?message}, and $$ for a plain $"
        ),
    ),
    "reference without an end": (
        'name: "${NAME"',
        (
            'milepost.yaml:2: "${NAME" has no closing brace; '
            "write ${NAME}, ${NAME:-default} or ${NAME:?message}, and $$ for a plain $"
        ),
    ),
    "variable that must be set": (
        "name: ${NOT_SET:?name your run}",
        "milepost.yaml:2: ${NOT_SET} must be set: name your run",
    ),
    "references inside a reference": (
        "name: ${A:-${B}}",
        'milepost.yaml:2: "${A:-..." holds another reference; they do not nest',
    ),
}


def errors_of(text: str | bytes, **environ: str) -> list[str]:
    Path("milepost.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    return list(check("milepost.yaml", environ=environ).errors)


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_names_place_value_rule_and_what_is_valid(case: str) -> None:
    text, message = MISTAKES[case]

    assert errors_of(HEAD + text) == [message]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("project: a", 'milepost.yaml:1: file_format: missing; add file_format: "1.0"'),
        ("", 'milepost.yaml:1: file_format: missing; add file_format: "1.0"'),
        ("file_format: 1.0", "milepost.yaml:1: file_format: must be a text, not 1.0; put it in quotes"),
        ('file_format: "2.0"', 'milepost.yaml:1: file_format: must be "1.0", not "2.0"'),
        ("- a", "milepost.yaml:1: must be a mapping, not a list"),
        ("just text", 'milepost.yaml:1: must be a mapping, not "just text"'),
    ],
)
def test_a_file_names_its_format(text: str, message: str) -> None:
    assert errors_of(text) == [message]


def test_all_mistakes_are_found_at_once_and_in_one_error() -> None:
    Path("milepost.yaml").write_text(HEAD + "mode: on\njournal: {keep: none}\nexporters:\n  - fil:\n")

    with pytest.raises(ConfigurationError, match="4 mistakes in the configuration") as caught:
        load(arguments={"project": "a/b"})

    assert [text.split(": ")[0] for text in caught.value.errors] == [
        "milepost.yaml:2",
        "milepost.yaml:3",
        "milepost.yaml:5",
        "init()",
    ]
    assert all(text in str(caught.value) for text in caught.value.errors)


def test_a_file_of_nonsense_ends_after_a_hundred_mistakes() -> None:
    errors = errors_of(HEAD + "".join(f"key_{number}: 1\n" for number in range(9_000)))

    assert len(errors) == 101
    assert errors[-1] == "and more; correct these first"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (
            "MILEPOST_MODE",
            "onlin",
            'MILEPOST_MODE: must be one of online, offline, disabled, not "onlin"; did you mean "online"?',
        ),
        ("MILEPOST_PROJECT", "a/b", 'MILEPOST_PROJECT: must not hold "/": it names a directory'),
        ("MILEPOST_RUN_ID", "..", 'MILEPOST_RUN_ID: must not be "..": it names a directory'),
        ("MILEPOST_RESUME", "perhaps", 'MILEPOST_RESUME: must be one of allow, must, never, auto, not "perhaps"'),
        ("MILEPOST_ON_INVALID", "ignore", None),
        ("MILEPOST_TAGS", "a," + "b" * 65, None),
    ],
)
def test_a_wrong_variable_is_an_error_that_names_it(variable: str, value: str, message: str | None) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(environ={variable: value})

    assert str(caught.value) == message or (message is None and str(caught.value).startswith(f"{variable}"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mode": "onlin"}, 'mode: must be one of online, offline, disabled, not "onlin"; did you mean "online"?'),
        ({"tags": [1]}, "tags[0]: must be a text, not 1"),
        ({"journal": {"keep": 1}}, "journal.keep: must be one of all, undelivered, not 1"),
        ({"exporters": [object()]}, "exporters[0]: must be a mapping of one exporter, not an object of type object"),
        ({"exporters": [dict]}, "exporters[0]: must be an object, not the class dict; write dict()"),
        ({"dir": "a\0b"}, 'dir: must be a path, not "a\\x00b"'),
    ],
)
def test_settings_and_arguments_are_held_to_the_same_rules(given: dict[str, object], message: str) -> None:
    for level, place in (("settings", "settings"), ("arguments", "init()")):
        with pytest.raises(ConfigurationError) as caught:
            load(**{level: given}, environ={})  # type: ignore[arg-type]

        assert caught.value.errors == [f"{place}: {message}"]


def test_settings_that_hold_themselves_are_an_error() -> None:
    loop: dict[str, object] = {}
    loop["journal"] = loop

    with pytest.raises(ConfigurationError, match="nested more than 64 deep, or without end"):
        load(settings=loop, environ={})
    with pytest.raises(ConfigurationError, match="must be a mapping, not an object of type int"):
        load(settings=5, environ={})  # type: ignore[arg-type]
