"""References to variables follow OpenTelemetry's specification."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.sdk.configuration import load
from milepost.sdk.configuration.declarations import Settings
from milepost.sdk.configuration.substitution import SubstitutionError, substitute
from milepost.sdk.configuration.yaml_reader import core_scalar, read_yaml

ENVIRON = {
    "STRING_VALUE": "value",
    "BOOL_VALUE": "true",
    "INT_VALUE": "1",
    "FLOAT_VALUE": "1.1",
    "HEX_VALUE": "0xdeadbeef",
    "INVALID_MAP_VALUE": "value\nkey:value",
    "DO_NOT_REPLACE_ME": "Never use this value",
    "REPLACE_ME": "${DO_NOT_REPLACE_ME}",
    "EMPTY": "",
    "VALUE_WITH_ESCAPE": "value$$",
}

# The table of the specification, in its order, then what milepost adds.
TABLE: list[tuple[str, object]] = [
    ("${STRING_VALUE}", "value"),
    ("${env:STRING_VALUE}", "value"),
    ("${BOOL_VALUE}", True),
    ("${INT_VALUE}", 1),
    ("${FLOAT_VALUE}", 1.1),
    ("${HEX_VALUE}", 3735928559),
    ('"${STRING_VALUE}"', "value"),
    ('"${BOOL_VALUE}"', "true"),
    ('"${INT_VALUE}"', "1"),
    ('"${FLOAT_VALUE}"', "1.1"),
    ('"${HEX_VALUE}"', "0xdeadbeef"),
    ("${INVALID_MAP_VALUE}", "value\nkey:value"),
    ("foo ${STRING_VALUE} ${FLOAT_VALUE}", "foo value 1.1"),
    ("${UNDEFINED_KEY:-fallback}", "fallback"),
    ("${UNDEFINED_KEY:-3}", 3),
    ("${EMPTY:-fallback}", "fallback"),
    ("${UNDEFINED_KEY}", None),
    ("${EMPTY}", None),
    ('"${UNDEFINED_KEY}"', ""),
    ("a${UNDEFINED_KEY}b", "ab"),
    ("${REPLACE_ME}", "${DO_NOT_REPLACE_ME}"),
    ("${VALUE_WITH_ESCAPE}", "value$$"),
    ("$${STRING_VALUE}", "${STRING_VALUE}"),
    ("$$${STRING_VALUE}", "$value"),
    ("$$$${STRING_VALUE}", "$${STRING_VALUE}"),
    ("$${STRING_VALUE:-fallback}", "${STRING_VALUE:-fallback}"),
    ("a $$ b", "a $ b"),
    ("a $ b", "a $ b"),
    ("cost $5", "cost $5"),
    ("${env:UNDEFINED_KEY:-x y}", "x y"),
    ("${UNDEFINED_KEY:-}", None),
    ("${STRING_VALUE:?must be there}", "value"),
]


def value_of(written: str) -> object:
    document, problems = read_yaml(f"key: {written}\n".encode(), "f", ENVIRON)
    assert document is not None
    assert problems == []
    return document.data["key"].data


@pytest.mark.parametrize(("written", "expected"), TABLE)
def test_a_reference_gives_what_the_specification_says(written: str, expected: object) -> None:
    found = value_of(written)

    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    "wrong",
    ["${1}", "${}", "${ A}", "${A }", "${A:}", "${A-b}", "${file:a}", "${A:+b}", "${env:}", "${A", "${A:-${B}}"],
)
def test_anything_else_in_braces_is_an_error(wrong: str) -> None:
    with pytest.raises(SubstitutionError, match=r"\$\{"):
        substitute(wrong, ENVIRON)


def test_keys_are_left_alone() -> None:
    document, _ = read_yaml(b"${STRING_VALUE}: 1", "f", ENVIRON)

    assert document is not None
    assert list(document.data) == ["${STRING_VALUE}"]


def test_a_variable_cannot_bring_in_structure() -> None:
    assert value_of("${INVALID_MAP_VALUE}") == "value\nkey:value"
    document, _ = read_yaml(b"key: ${X}", "f", {"X": "{a: 1}"})
    assert document is not None
    assert document.data["key"].data == "{a: 1}"


def test_a_text_key_takes_a_lone_reference_as_it_is_written() -> None:
    Path("milepost.yaml").write_text(
        'file_format: "1.0"\nid: ${SLURM_JOB_ID}\nnotes: ${YES}\ntags: ["${SLURM_JOB_ID}"]\n'
    )

    settings = load(environ={"SLURM_JOB_ID": "0042", "YES": "true"})

    assert (settings.id, settings.notes, settings.tags) == ("0042", "true", ("0042",))


def test_a_number_key_takes_a_lone_reference_as_a_number() -> None:
    text = (
        'file_format: "1.0"\nexporters: [{console: {every: 10}}]\nfinish:\n  timeout: ${MS:-250}\nstrict: ${STRICT}\n'
    )
    Path("milepost.yaml").write_text(text)

    settings = load(environ={"STRICT": "true"})

    assert (settings.finish.timeout, settings.strict) == (250, True)


def test_a_variable_that_is_not_set_leaves_the_default_and_is_warned_of() -> None:
    Path("milepost.yaml").write_text('file_format: "1.0"\nproject: ${PROJECT}\n')

    settings = load(environ={})

    assert settings.project == "uncategorized"
    assert settings.warnings == (
        (
            "milepost.yaml:2: project: ${PROJECT} is not set and counts as empty; "
            "give a default, ${PROJECT:-...}, or require it, ${PROJECT:?why}"
        ),
    )


NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="$"), max_size=20)
DEFAULTS = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="{}$"), max_size=12)


@given(st.lists(st.tuples(PLAIN, NAMES, DEFAULTS, st.text(max_size=8)), max_size=5), PLAIN)
def test_text_around_references_is_kept_and_values_are_not_read_again(
    parts: list[tuple[str, str, str, str]], end: str
) -> None:
    environ = {name: value for _, name, _, value in parts}
    text = "".join(f"{before}${{{name}:-{default}}}" for before, name, default, _ in parts) + end

    result = substitute(text, environ)

    assert result.text == "".join(before + (environ[name] or default) for before, name, default, _ in parts) + end
    assert result.shown == "".join(f"{before}${{{name}}}" for before, name, _, _ in parts) + end
    assert result.variables == tuple(name for _, name, _, _ in parts)


@given(st.text(max_size=40))
def test_doubling_every_dollar_keeps_any_text(text: str) -> None:
    assert substitute(text.replace("$", "$$"), {}).text == text


@given(st.text(st.sampled_from("${}:-?envAB_1 \n"), max_size=24))
def test_no_text_does_more_than_give_a_text_or_an_error(text: str) -> None:
    try:
        result = substitute(text, {"A": "1"})
    except SubstitutionError:
        assert "${" in text
    else:
        assert "${" not in result.text or "$$" in text


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("on", "on"), ("yes", "yes"), ("NO", "NO"), ("True", True), ("FALSE", False), ("~", None), ("", None),
        ("Null", None), ("007", 7), ("0o14", 12), ("0xFF", 255), ("-5", -5), ("1_000", "1_000"), ("1.", 1.0), (".5", 0.5),
        ("1e3", 1000.0), ("1e", "1e"), (".inf", float("inf")), ("-.INF", float("-inf")), ("12:30:45", "12:30:45"),
        ("2001-12-14", "2001-12-14"), ("=", "="), ("0b1", "0b1"), ("+.", "+."),
    ],
)  # fmt: skip
def test_plain_scalars_follow_the_core_schema_of_yaml_1_2(written: str, expected: object) -> None:
    found = core_scalar(written)

    assert (found, type(found)) == (expected, type(expected))


def test_an_alias_repeats_a_value_and_core_tags_are_followed() -> None:
    text = b'a: &a [x, !!str 5, ! 6]\nb: *a\nc: !!float 2\nd: !!null ""\n'

    document, problems = read_yaml(text, "f", {})

    assert document is not None
    assert [node.data for node in document.data["b"].data] == ["x", "5", "6"]
    assert (document.data["c"].data, document.data["d"].data, problems) == (2.0, None, [])


def test_settings_are_taken_as_they_are() -> None:
    settings: Settings = load(settings={"notes": "${HOME} $$"}, environ={"HOME": "/nowhere"})

    assert settings.notes == "${HOME} $$"
