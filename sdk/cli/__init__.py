"""The `milepost` command: one module per subcommand, imported when it is called, so that `milepost --help` is quick.

Exit codes: 0 done; 1 a problem was found, or the work could not be finished; 2 it cannot be done as it was asked for.
Results go to standard output; progress, warnings and errors to standard error. A closed pipe ends the command quietly.
"""

import difflib
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, NoReturn

import click

from milepost.sdk.errors import Error, UnreachableError
from milepost.sdk.terminal import printable

SUBCOMMANDS: Final = {
    "ls": "List runs, newest first: state, start, duration, rows, values.",
    "show": "Show one run: what ran, config, a chart per metric, summary.",
    "export": "Write a run's whole history as CSV, JSON lines or Parquet.",
    "sync": "Deliver what was not delivered yet, also of killed runs.",
    "doctor": "Check where every row is, and what this machine allows.",
    "config": "Check a config file, show settings, print the JSON Schema.",
    "login": "Keep the key of a milepost server.",
    "server": "Serve runs to a browser, and over HTTP.",
}
"""Each lives in the module of its name and is called `command` there."""


class _ReaderGone(Exception):
    """Whoever read the output has closed it, as `head` does."""


class _Commands(click.Group):
    """Finds subcommands by name; `--help` lists them without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in SUBCOMMANDS:
            return None
        command: click.Command = import_module(f"milepost.sdk.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], SUBCOMMANDS, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(SUBCOMMANDS)}."
            raise click.UsageError(f"{error.message} {hint}", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(SUBCOMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _ReaderGone from None


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="milepost", message="%(prog)s %(version)s")
def group() -> None:
    """Look at runs that milepost logged, hand them on, and check that nothing is missing.

    \b
    Runs are looked for in the directory that is named, else in MILEPOST_DIR, else in the `dir` of the
    config file in force, else in ./milepost-runs. Times are UTC.

    \b
    Exit codes:  0  done
                 1  a problem was found, or the work could not be finished
                 2  it cannot be done as it was asked for
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and end the process with its exit code. arguments: those of the process by default."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names and values hold characters that an ASCII terminal has not
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = group.main(arguments, prog_name="milepost", standalone_mode=False)
        for stream in filter(None, (sys.stdout,)):  # None in a process that was started without one
            stream.flush()
        return code if isinstance(code, int) else 0
    except click.Abort:
        return _complain("interrupted", 130)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.UsageError as error:
        if error.ctx is not None:
            click.echo(error.ctx.get_usage(), err=True)
        return _complain(error.format_message(), 2)
    except click.ClickException as error:
        return _complain(error.format_message(), error.exit_code)
    except UnreachableError as error:
        return _complain(str(error), 1)
    except Error as error:
        return _complain(str(error), 2)
    except (_ReaderGone, BrokenPipeError):
        _discard_output()
        return 0
    except OSError as error:
        return _complain(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error), 1)


def _discard_output() -> None:
    """Let what still is in the stream's buffer go nowhere; it would fail once more when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _complain(text: str, code: int) -> int:
    lines = [printable(line) for line in text.splitlines()] or [""]
    click.echo("error: " + "\n  ".join(line.strip() for line in lines), err=True)
    return code
