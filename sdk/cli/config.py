"""`milepost config`: check a config file, show what is in force, print the schema."""

import os
from pathlib import Path

import click

from milepost.sdk.cli import out
from milepost.sdk.cli.runs import json_option
from milepost.sdk.configuration import CheckReport, as_file, check, json_schema, load
from milepost.sdk.configuration.search import find_file


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Check a config file, show the settings in force, print the JSON Schema."""


@command.command("check", short_help="Check a config file; every mistake with its place.")
@click.argument("file", required=False)
@json_option
def check_command(file: str | None, as_json: bool) -> None:
    """Check FILE as milepost.init(config_file=FILE) would read it; by default, the file in force.

    Every mistake is shown with its place, the value, the rule and the nearest valid name. Exits with 1 when there is one.
    """
    path = _in_force() if file is None else Path(file)
    report = check(path) if path is not None else CheckReport(path=Path())
    if as_json:
        told = {"file": None if path is None else str(path), "ok": report.ok}
        out.say_json(
            told | {"errors": list(report.errors), "warnings": list(report.warnings), "effective": report.effective}
        )
    elif path is None:
        out.say("no config file is in force: the defaults and MILEPOST_* variables are")
    else:
        for text in report.errors:
            out.note(f"error: {text}")
        for text in report.warnings:
            out.note(f"warning: {text}")
        if report.ok:
            count = len(report.warnings)
            out.say(out.shown(f"{path}: correct{f', {count} warning' if count else ''}{'s' * (count > 1)}"))
        else:
            out.say(out.shown(f"{path}: {len(report.errors)} mistake{'s' * (len(report.errors) > 1)}"))
    click.get_current_context().exit(0 if report.ok else 1)


@command.command("show", short_help="Show the settings in force, secrets masked.")
@click.argument("file", required=False)
@click.option("--file", "also_file", metavar="FILE", help="The same as the argument.")
@json_option
def show_command(file: str | None, also_file: str | None, as_json: bool) -> None:
    """Show the settings as they would be with FILE; by default, those in force here.

    They are shown as a config file would say them, defaults included. Secrets are shown as ***.
    """
    settings = load(config_file=file or also_file)
    for warning in settings.warnings:
        out.note(f"warning: {warning}")
    values = as_file(settings)
    if as_json:
        out.say_json({"file": None if settings.file is None else str(settings.file), "settings": values})
        return
    import yaml  # 15 ms

    out.say(f"# file in force: {out.shown(str(settings.file)) if settings.file else 'none'}")
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)
    out.say(text.rstrip("\n"))


@command.command("schema", short_help="Print the JSON Schema of the config file.")
def schema_command() -> None:
    """Print the JSON Schema of the config file, with which editors complete and check milepost.yaml."""
    out.say_json(json_schema())


def _in_force() -> Path | None:
    found = find_file(None, os.environ, None)
    return None if found is None else found[0]
