"""Redaction: what is hidden, what must stay readable, and that hostile text costs linear time."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.sdk.capture.redact import HIDDEN, redact_argv, redact_mapping, redact_text, secrets_in

GITHUB = "ghp_" + "a1B2" * 9
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-DEF_123"
MEGABYTE = 1 << 20


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("clone https://bob:hunter2@example.org/x.git", "hunter2"),
        ("clone https://ghtoken@example.org/x.git", "ghtoken"),
        ("postgresql+psycopg2://me:p@ss:w@db:5432/runs", "p@ss:w"),
        ("ssh://bob:hunter2@example.org/x", "hunter2"),
        ("Authorization: Bearer abc", "abc"),
        ("curl -H 'authorization: token abcd'", "abcd"),
        ("sent Bearer 0123456789abcdef0123", "0123456789abcdef0123"),
        ("sent Basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNzd29yZA=="),
        ("id AKIAIOSFODNN7EXAMPLE.", "AKIAIOSFODNN7EXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI/K7MDENG"),
        (f"using {GITHUB} now", GITHUB),
        ("github_pat_" + "A1" * 20, "A1" * 20),
        ("hf_" + "x" * 34, "x" * 34),
        ("sk-proj-" + "x" * 40, "x" * 40),
        ("sk-ant-api03-" + "x" * 40, "x" * 40),
        ("wandb_v1_" + "x" * 40, "x" * 40),
        ("glpat-" + "x" * 20, "x" * 20),
        ("xoxb-123456789012-abcdef", "123456789012"),
        (f"jwt {JWT}", "eyJzdWIiOiIxMjM0In0"),
        ('{"api_key": "abc", "lr": 0.1}', "abc"),
        (r"{\"api_key\": \"abcdef\"}", "abcdef"),
        ("info: password: opensesame", "opensesame"),
        ("password = 'open sesame'", "open sesame"),
        ('password="opensesame', "opensesame"),
        ("export WANDB_API_KEY=0123456789abcdef", "0123456789abcdef"),
        ("train --api-key opensesame --lr 0.1", "opensesame"),
        ("dbPassword: opensesame", "opensesame"),
        ("GET /x?token=0123456789abcdef&page=2", "0123456789abcdef"),
        ("GET /x?sp=r&sig=0123456789abcdef%3D&se=1", "0123456789abcdef"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----", "MIIE"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blb", "b3Blb"),
    ],
)
def test_a_secret_in_text_is_hidden(text: str, secret: str) -> None:
    redacted = redact_text(text)

    assert secret not in redacted
    assert HIDDEN in redacted


@pytest.mark.parametrize(
    "text",
    [
        "epoch 3: loss=0.5123 tokens/s=120000 max_tokens=4096 num_tokens: 77",
        "token: the  next_token: ' cat' pad_token: [PAD] eos_token=</s>",
        "git@github.com:owner/repository.git",
        "ssh://git@github.com/owner/repository.git",
        "https://example.org:8080/path?x=a@b",
        "commit 9c3205fd2b1c0b8f14b1b7f6e3b7d3c3c1d6f0aa",
        "a basic training in bearer roads",
        "--token-file tokens.txt --password-length 12",
        "author: me, keyboard: qwerty, key: value, monkey=1",
        "password: None, secret=null",
        "",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert redact_text(text) == text


def test_the_rest_of_the_text_stays_around_a_secret() -> None:
    text = "fetch https://me:pw@example.org/a?b=1 with --password=x and --lr=0.1"

    assert redact_text(text) == "fetch https://***@example.org/a?b=1 with --password=*** and --lr=0.1"


def test_hiding_twice_changes_nothing_more() -> None:
    once = redact_text(f"Authorization: Bearer abc, https://a:b@c/d, token={GITHUB}")

    assert redact_text(once) == once


def test_exact_values_of_secret_variables_are_hidden() -> None:
    environ = {
        "WANDB_API_KEY": "plainlookingvalue",
        "MY_PASSWORD": "short",
        "SSH_AUTH_SOCK": "/tmp/agent/socket.1",
        "GOOGLE_APPLICATION_CREDENTIALS": "/home/me/key.json",
        "PWD": "/home/me/project",
        "HOME": "/home/me",
    }

    secrets = secrets_in(environ)

    assert secrets == ["plainlookingvalue"]
    assert redact_text("sent plainlookingvalue to it", secrets) == "sent *** to it"


def test_argv_hides_values_of_secret_options_only() -> None:
    argv = [
        "train.py", "--password", "x", "--lr=1", "--token=abc", "--api-key", "-leading-dash", "wandb.api_key=z",
        "--token-file", "path", "-H", "Authorization: Bearer zz", "--use-auth", "--epochs", "3",
    ]  # fmt: skip

    assert redact_argv(argv) == [
        "train.py", "--password", "***", "--lr=1", "--token=***", "--api-key", "***", "wandb.api_key=***",
        "--token-file", "path", "-H", "Authorization: ***", "--use-auth", "--epochs", "3",
    ]  # fmt: skip


def test_a_mapping_hides_what_lies_under_secret_names_at_any_depth() -> None:
    settings: dict[str, Any] = {
        "lr": 0.1,
        "db": {"password": "x", "port": 5432, "url": "mysql://u:p@h/d"},
        "credentials": {"user": "me", "key": "abc"},
        "headers": [{"Authorization": "Bearer abc"}],
        "max_tokens": 4096,
        "pad_token": "[PAD]",
        "session_token": 17,
        "hf_token": "abc",
        "secret": None,
        "auth": True,
        "password": "",
    }

    assert redact_mapping(settings) == {
        "lr": 0.1,
        "db": {"password": "***", "port": 5432, "url": "mysql://***@h/d"},
        "credentials": "***",
        "headers": [{"Authorization": "***"}],
        "max_tokens": 4096,
        "pad_token": "[PAD]",
        "session_token": 17,
        "hf_token": "***",
        "secret": None,
        "auth": True,
        "password": "",
    }


def test_a_mapping_that_holds_itself_ends() -> None:
    settings: dict[str, Any] = {"a": 1}
    settings["self"] = settings

    assert "***" in str(redact_mapping(settings))


def test_the_given_mapping_is_not_changed() -> None:
    settings = {"db": {"password": "x"}}

    redact_mapping(settings)

    assert settings == {"db": {"password": "x"}}


@pytest.mark.parametrize(
    "piece",
    [
        "a", "://", "://a:", "a@://", "a=", "password=", 'password="', "'\"", "bearer ", "Basic aaaa", "eyJ",
        "eyJaaaaaaaa.", "-----BEGIN PRIVATE KEY-----", "-----BEGIN ", "@", "token ", "--token ", "-", "sk-",
        "key\t\t\t\t\t", "aA", " ", "\\\"'", "ghp_", "a.b-c_",
    ],
)  # fmt: skip
def test_hostile_text_costs_time_in_proportion_to_its_size(piece: str) -> None:
    """16 times the text may cost 16 times the time; a quadratic pattern would cost 256 times (and minutes)."""
    text = (piece * (MEGABYTE // len(piece) + 1))[:MEGABYTE] + " key ="

    def seconds(size: int) -> float:
        began = time.thread_time()
        redact_text(text[-size:])
        return time.thread_time() - began

    small = min(seconds(MEGABYTE // 16) for _ in range(3))
    large = seconds(MEGABYTE)

    assert large < 0.5 + 80 * small  # between the two, with room for a busy machine


@given(st.text())
def test_any_text_is_taken(text: str) -> None:
    assert isinstance(redact_text(text), str)
    assert isinstance(redact_argv(text.split(" ")), list)
    assert isinstance(redact_mapping({text: text}), dict)
