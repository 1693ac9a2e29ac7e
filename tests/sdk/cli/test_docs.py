"""docs/command-line.md names every command and every option."""

from collections.abc import Iterator
from pathlib import Path

import click

from milepost.sdk.cli import group


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            yield from commands(found, f"{name} {inner}")


def test_the_page_names_every_command_and_option(repository: Path) -> None:
    page = (repository / "docs" / "command-line.md").read_text(encoding="utf-8")

    for name, command in commands(group, "milepost"):
        assert name in page
        for parameter in command.params:
            options = [option for option in parameter.opts if isinstance(parameter, click.Option)]
            assert [option for option in options if f"`{option}" not in page and option != "--version"] == [], name
