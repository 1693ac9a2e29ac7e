"""Every `milepost` command line of the documentation names a command and options that are there."""

import functools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import blocks, pages

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = re.compile(r"^(?:\$ )?(?:\.venv/bin/)?milepost (?P<arguments>[a-z-].*)$", re.MULTILINE)
GROUPS = {"config"}  # commands that have commands of their own


def command_lines() -> dict[str, str]:
    """Place ("docs/operations.md:12") and arguments of every command line in a block, and of `milepost ...` in a sentence."""
    found: dict[str, str] = {}
    for page in pages(REPOSITORY):
        name = page.relative_to(REPOSITORY).as_posix()
        for block in blocks(page):
            if block.language in {"", "sh", "bash", "console", "text"}:
                for number, line in enumerate(block.code.splitlines()):
                    if match := COMMAND.match(line):
                        found[f"{name}:{block.line + number}"] = match["arguments"]
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"`milepost ([a-z][^`\n]*)`", text):
            found[f"{name}:{text.count(chr(10), 0, match.start()) + 1} {match[0]}"] = match[1]
    return found


@functools.cache
def help_of(command: tuple[str, ...]) -> str:
    """What `milepost COMMAND --help` prints; empty when there is no such command."""
    script = [sys.executable, "-c", "from milepost.sdk.cli import main; main()"]
    outcome = subprocess.run([*script, *command, "--help"], capture_output=True, text=True, check=False)
    return outcome.stdout if outcome.returncode == 0 else ""


@pytest.mark.parametrize(("place", "arguments"), command_lines().items(), ids=command_lines())
def test_the_command_and_its_options_are_there(place: str, arguments: str) -> None:
    words = shlex.split(arguments.split("#")[0].split("|")[0])
    command = tuple(words[: 2 if words[0] in GROUPS else 1])

    text = help_of(command)

    assert text, f"{place}: there is no command milepost {' '.join(command)}"
    unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in text]
    assert unknown == [], f"{place}: milepost {' '.join(command)} has no {unknown}"
