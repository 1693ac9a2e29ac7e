"""redact keeps secrets out of rows and leaves everything else as it was."""

from typing import Any

import pytest

from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event
from milepost.sdk.processors.redact import Redact

ADDRESS = r"[\w.]+@[\w.]+"


def redacted(processor: Redact, values: dict[str, Any]) -> dict[str, Any]:
    event = processor(Event(kind="row", values=values))
    assert event is not None
    return event.values


def test_the_value_of_a_matching_key_is_replaced_whatever_its_type() -> None:
    values = {"user.token": "abc", "token_count": 12, "tokens": ["a"], "loss": 0.5}
    assert redacted(Redact(keys=["*token*"]), values) == {
        "user.token": "***",
        "token_count": "***",
        "tokens": "***",
        "loss": 0.5,
    }


def test_patterns_replace_only_what_they_find() -> None:
    assert redacted(Redact(patterns=[ADDRESS]), {"note": "ask ann@example.org, then bob@example.org"}) == {
        "note": "ask ***, then ***"
    }


def test_patterns_reach_text_in_lists_and_mappings_at_any_depth() -> None:
    values = {"log": ["ok", ["ann@example.org", 1]], "table": {"_type": "table", "rows": [{"by": "ann@example.org"}]}}
    assert redacted(Redact(patterns=[ADDRESS]), values) == {
        "log": ["ok", ["***", 1]],
        "table": {"_type": "table", "rows": [{"by": "***"}]},
    }


def test_a_media_value_still_finds_its_file() -> None:
    image = {"_type": "image-file", "path": "media/ab12.png", "sha256": "ab12", "caption": "ab12"}
    assert redacted(Redact(patterns=["ab12"]), {"image": image}) == {"image": {**image, "caption": "***"}}


def test_the_replacement_is_taken_literally() -> None:
    assert redacted(Redact(patterns=["(secret)"], replacement=r"\1<gone>"), {"a": "secret!"}) == {"a": r"\1<gone>!"}


def test_a_row_without_secrets_is_the_same_object() -> None:
    event = Event(kind="row", values={"loss": 0.5, "note": "fine", "list": [1, "fine"], "none": None})
    assert Redact(keys=["token"], patterns=[ADDRESS])(event) is event


def test_the_row_that_came_in_is_not_changed() -> None:
    inner = ["ann@example.org"]
    event = Event(kind="row", values={"list": inner})
    Redact(patterns=[ADDRESS])(event)
    assert event.values == {"list": inner}
    assert inner == ["ann@example.org"]


def test_step_and_times_are_never_replaced() -> None:
    values = {"_timestamp": 1.0, "_own": 1}
    assert redacted(Redact(keys=["*"]), values) == {"_timestamp": 1.0, "_own": "***"}


def test_parts_are_redacted_and_other_kinds_pass_untouched() -> None:
    redact = Redact(keys=["token"])
    assert redact(Event(kind="part", values={"token": "abc"})) == Event(kind="part", values={"token": "***"})
    console = Event(kind="console", values={"token": "abc"})
    assert redact(console) is console


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give keys, such as .* or patterns"),
        ({"keys": "token"}, r"keys must be a list of strings, not 'token'; write keys: \['token'\]"),
        ({"patterns": ["(a"]}, r"patterns '\(a' is not a regular expression: missing \)"),
        ({"patterns": [3]}, r"patterns must be a list of strings, not \[3\]"),
        ({"keys": ["a"], "replacement": None}, "replacement must be text, not None"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Redact(**options)
