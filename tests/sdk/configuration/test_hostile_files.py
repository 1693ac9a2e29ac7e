"""A config file cannot run code, and cannot take more than a moment or some megabytes, whatever it holds."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from milepost.sdk.configuration import check, effective, load
from milepost.sdk.configuration.declarations import Layout
from milepost.sdk.configuration.option import file_fields
from milepost.sdk.errors import ConfigurationError

HOSTILE: dict[str, tuple[bytes, str]] = {
    "python object": (
        b"a: !!python/object/apply:os.system [touch owned]",
        ":1: tag !!python/object/apply:os.system is not",
    ),
    "python name": (b"a: 1\nb: !!python/name:os.system x", ":2: tag !!python/name:os.system is not allowed here"),
    "own tag": (b"a: !secret x", ":1: tag !secret is not allowed here"),
    "tag on a key": (b"!!int 5: x", ":1: tag !!int is not allowed here"),
    "tag that lies": (b"a: !!int x", ":1: the value tagged !!int is none"),
    "binary": (b"a: !!binary aGk=", ":1: tag !!binary is not allowed here"),
    "duplicate key": (b"a: 1\nb: 2\na: 3", ':3: key "a" is here twice, first on line 1; keep one'),
    "merge key": (b"a: &a {}\n<<: *a", ':2: merge keys ("<<") are not part of YAML 1.2'),
    "mapping as a key": (b"? {a: 1}\n: b", ":1: a mapping or list stands where a key should be"),
    "alias as a key": (b"a: &a x\n*a : b", ":2: an alias stands where a key should be"),
    "alias bomb": (
        b"a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 30)),
        ":5: more than 10000 values, aliases expanded",
    ),
    "alias into itself": (b"a: &a [*a]", ":1: alias *a stands inside its own anchor"),
    "alias to nothing": (b"a: *b", ":1: alias *b has no anchor &b before it"),
    "deep aliases": (
        b"a0: &a0 [x]\n" + b"".join(b"a%d: &a%d [[[[*a%d]]]]\n" % (n, n, n - 1) for n in range(1, 500)),
        "nested more than 64 deep, aliases expanded",
    ),
    "deep flow": (b"[" * 10_000, ":1: nested more than 64 deep"),
    "deep mappings": (b"{a: " * 10_000, ":1: nested more than 64 deep"),
    "deep block": (b"".join(b" " * n + b"a:\n" for n in range(1_200)), ":65: nested more than 64 deep"),
    "deep lists": (b"- " * 10_000 + b"x", ":1: nested more than 64 deep"),
    "many values": (b"a: [" + b"1," * 100_000 + b"]", ":1: more than 10000 values"),
    "many keys": (b"".join(b"k%d: 1\n" % n for n in range(50_000)), "more than 10000 values"),
    "50 MB": (b"a: b # " + b"x" * 50_000_000, ":1: larger than 1024 KiB"),
    "NUL": (b"a: 1\nb: \0", ":2: holds a NUL character, which YAML does not allow; remove it"),
    "control character": (b"a: \x1b[31m", ":1: holds the character U+001B, which YAML does not allow"),
    "byte order mark": (b"\xef\xbb\xbfa: 1", ":1: begins with a byte order mark; save the file as UTF-8 without one"),
    "byte order mark inside": ("a: 1\nb: \ufeff".encode(), ":2: holds a byte order mark"),
    "UTF-16": ("a: 1".encode("utf-16"), ":1: begins with a byte order mark"),
    "not UTF-8": (b"a: 1\nb: \xe9", ":2: byte 0xe9 is not UTF-8; save the file as UTF-8"),
    "two documents": (b"a: 1\n---\nb: 1", ":2: a second document begins; a config file has one"),
    "tab": (b"a:\n\tb: 1", "; indent with spaces, not tabs"),
    "unclosed": (b"a: [1", ":2: not valid YAML: "),
    "reference in braces": (b"a: {b: ${C}}", 'inside {...} and [...] a reference needs quotes: "${NAME}"'),
    "huge number": (b"resume_step: " + b"9" * 5_000, ":1: resume_step: must be a whole number"),
    "references that multiply": (
        b'a: "' + b"${BIG}" * 1_000 + b'"',
        ":1: references bring in more than 4194304 characters",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_a_clear_error_at_once(case: str) -> None:
    data, message = HOSTILE[case]
    Path("milepost.yaml").write_bytes(data)

    started = time.process_time()
    errors = check("milepost.yaml", environ={"BIG": "x" * 100_000}).errors
    spent_s = time.process_time() - started

    assert message in "\n".join(errors)
    assert not Path("owned").exists()
    assert spent_s < 1


@pytest.mark.parametrize("case", HOSTILE)
def test_the_slower_reader_without_libyaml_says_where_too(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, _ = HOSTILE[case]
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    Path("milepost.yaml").write_bytes(data)

    errors = check("milepost.yaml", environ={"BIG": "x" * 100_000}).errors

    assert errors[0].startswith("milepost.yaml:") or "milepost.yaml:1: " in errors[0]


def test_no_hostile_file_takes_100_megabytes() -> None:
    for number, (data, _) in enumerate(HOSTILE.values()):
        Path(f"{number}.yaml").write_bytes(data)
    program = (
        "import resource, sys\n"
        "from milepost.sdk.configuration import check, load\n"
        "load()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for name in sys.argv[1:]: assert check(name).errors, name\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )

    arguments = [f"{number}.yaml" for number in range(len(HOSTILE))]
    outcome = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | {"BIG": "x" * 100_000},
        capture_output=True,
        text=True,
        check=False,
    )

    assert outcome.returncode == 0, outcome.stderr
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    assert int(outcome.stdout) * unit_bytes < 100 * 1024 * 1024


@pytest.mark.parametrize("what", ["directory", "fifo"])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(what: str) -> None:
    path = Path("named.yaml")
    path.mkdir() if what == "directory" else os.mkfifo(path)

    assert check(path, environ={}).errors == ("named.yaml: not a regular file",)


YAML_PIECES = st.sampled_from(
    ["file_format", '"1.0"', ": ", ":", "\n", "\n  ", "\n  - ", "- ", "[", "]", "{", "}", ", ", "&a ", "*a", "!!str ", "!x ",
     "'", '"', "|\n", ">\n", "? ", "# c", "---\n", "${A}", "${B:?no}", "${", "$$", "exporters", "processors", "console", "file",
     "merge", "filter", "include", "resource", "attributes", "name", "value", "journal", "keep", "all", "null", "true", "1", "x"]
)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(st.binary(max_size=60), st.lists(YAML_PIECES, max_size=40).map(lambda pieces: "".join(pieces).encode()))
)
def test_any_file_is_taken_or_refused_with_a_place_and_never_crashes(data: bytes) -> None:
    Path("milepost.yaml").write_bytes(data)

    for error in check("milepost.yaml", environ={"A": "1"}).errors:
        assert re.match(r"milepost\.yaml:[0-9]+: ", error)


SECTIONS = st.sampled_from([*file_fields(Layout), "unknown"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["console", "merge", "file"]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(SECTIONS | st.text(max_size=5), below, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(SECTIONS, VALUES, max_size=4))
def test_any_settings_are_taken_or_refused_and_never_crash(given_settings: dict[str, object]) -> None:
    errors: list[str] = []
    try:
        json.dumps(effective(load(settings=given_settings, environ={})))
    except ConfigurationError as error:
        errors = error.errors

    assert all(text.startswith("settings: ") for text in errors[:100])
