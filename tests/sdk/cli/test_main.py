"""The command as a whole: help, exit codes, pipes, colours, hostile names."""

import io
import json
import os
import pty
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from milepost.sdk.cli import SUBCOMMANDS
from tests.sdk.cli.conftest import Command, console_script, log_run, script


def test_the_help_names_every_command_and_loads_none() -> None:
    outcome = script(
        "import sys, milepost.sdk.cli as cli\n"
        "try:\n    cli.main(['--help'])\n"
        "finally:\n    print(sorted({m.partition('.')[0] for m in sys.modules} & {'numpy', 'yaml', 'pandas', 'rich'}))"
    )

    assert outcome.stdout.endswith("[]\n")
    for name in SUBCOMMANDS:
        assert f"\n  {name} " in outcome.stdout


@pytest.mark.parametrize("name", [*SUBCOMMANDS, "config check", "config show", "config schema"])
def test_every_command_has_a_help(command: Command, name: str) -> None:
    code, out, err = command(*name.split(), "--help")

    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: milepost {name}")


def test_login_to_a_server_that_cannot_be_reached_could_not_be_done(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        monkeypatch.setattr("sys.stdin", io.StringIO("mp_key\n"))

        code, _, err = command("login", url)

    assert code == 1
    assert f"{url} cannot be reached" in err
    assert f"is the server up, and is this its address? It answers at {url}/healthz" in err
    assert not (Path.home() / ".config/milepost/credentials.json").exists()


def test_the_console_script_and_the_module_are_the_same_command() -> None:
    by_name = console_script("--version")
    by_module = subprocess.run(
        [sys.executable, "-m", "milepost", "--version"], capture_output=True, text=True, check=True
    )

    assert by_name.stdout == by_module.stdout == "milepost 0.1.0\n"


def test_wrong_usage_is_one_line_and_exit_code_2(command: Command) -> None:
    for arguments in (["nope"], ["ls", "--nope"], ["export"], ["export", "x", "--format", "xml"]):
        code, out, err = command(*arguments)

        assert (code, out) == (2, "")
        assert err.splitlines()[-1].startswith("error: ")


def test_a_command_that_is_not_there_names_the_one_that_may_have_been_meant(command: Command) -> None:
    assert "No such command 'shwo'. Did you mean 'show'?" in command("shwo").err
    code, _, err = command("zzz")
    assert code == 2
    assert "There are: ls, show, export" in err


def test_without_arguments_the_help_comes_with_exit_code_2(command: Command) -> None:
    code, _, err = command()

    assert code == 2
    assert err.startswith("Usage: milepost ")


def test_a_run_that_is_not_there_is_named_with_those_near_it(command: Command) -> None:
    log_run([{"loss": 1.0}], id="first", name="blue")

    code, out, err = command("show", "demo/frist", "--dir", "runs")

    assert (code, out) == (2, "")
    assert err == "error: no run 'demo/frist' in runs; near it: demo/first, first\n"


@pytest.mark.parametrize("name", ["ls", "show", "export", "sync", "doctor"])
def test_every_command_about_runs_takes_the_runs_directory(command: Command, name: str, tmp_path: Path) -> None:
    log_run([{"loss": 1.0}], id="one")
    log_run([{"loss": 1.0}], id="two")
    runs = Path("runs").rename(tmp_path / "elsewhere")
    run = [] if name == "ls" else ["two"]

    code, out, err = command(name, *run, "--dir", runs)
    assert code == 0
    assert "two" in out + err or name == "export"
    assert "demo/one" not in out + err or name == "ls"

    code, _, err = command(name, *run, "--dir", "nowhere")
    assert code == 2
    assert err.startswith(f"error: no runs directory at {Path('nowhere').absolute()}")

    assert "--dir DIR  " in command(name, "--help").out


def test_the_server_says_when_there_is_nothing_to_serve(command: Command) -> None:
    code, _, err = command("server", "--port", "0", "--runs", "nowhere")

    assert code == 2
    assert err.startswith("error: no runs directory at ")


def test_a_closed_pipe_ends_a_command_quietly() -> None:
    log_run([{f"metric{i}": float(i) for i in range(2000)}], id="wide")

    for arguments in (["ls", "runs", "--json"], ["show", "wide", "--dir", "runs"], ["export", "wide", "--dir", "runs"]):
        process = subprocess.Popen(
            [sys.executable, "-m", "milepost", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
        process.stderr.close()

        assert (process.wait(timeout=60), err) == (0, b"")


def test_a_full_disk_below_standard_output_is_an_error_and_no_traceback() -> None:
    log_run([{"loss": 1.0}])

    with open("/dev/full", "wb") as full:
        outcome = subprocess.run(
            [sys.executable, "-m", "milepost", "export", "demo/nope", "--dir", "runs"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert outcome.returncode == 2
        outcome = subprocess.run(
            [sys.executable, "-m", "milepost", "ls", "runs"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert outcome.returncode == 1
    assert outcome.stderr == "error: No space left on device\n"


def test_colours_go_to_a_terminal_unless_it_wants_none() -> None:
    log_run([{"loss": float(i)} for i in range(9)])

    assert "\x1b[" in on_a_terminal("show", "--dir", "runs")
    assert "\x1b[" not in on_a_terminal("show", "--dir", "runs", NO_COLOR="1")
    assert "\x1b[" not in console_script("show", "--dir", "runs").stdout


def on_a_terminal(*arguments: str, **variables: str) -> str:
    """What the command writes to a terminal of 80 columns."""
    main_end, other_end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "milepost", *arguments],
        stdout=other_end,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TERM": "xterm"} | variables,
    )
    os.close(other_end)
    written = bytearray()
    while True:
        try:
            piece = os.read(main_end, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        written += piece
    os.close(main_end)
    assert process.wait(timeout=60) == 0
    return written.decode()


def test_control_characters_in_names_and_keys_are_written_out(command: Command) -> None:
    evil = "evil\x1b]0;title\x07\n\x1b[31m"
    log_run([{evil: 1.0}, {evil: 2.0}], name=evil, notes=evil, config={evil: evil}, tags=[evil])

    for arguments in (["ls", "runs"], ["show", "--dir", "runs"], ["doctor", "runs"], ["sync", "runs"]):
        code, out, err = command(*arguments)

        assert code == 0
        assert "\x1b" not in out + err
        assert "\x07" not in out + err
    assert "evil\\x1b]0;title" in command("show", "--dir", "runs").out


def test_a_terminal_without_unicode_gets_plain_characters() -> None:
    log_run([{"loss": float(i), "größe": 1.0} for i in range(9)], name="modèle")

    outcome = console_script("show", "--dir", "runs", PYTHONIOENCODING="ascii")

    assert outcome.returncode == 0
    assert outcome.stdout.isascii()
    assert "mod\\xe8le" in outcome.stdout


def test_json_is_strict_also_where_a_value_is_nan(command: Command) -> None:
    log_run([{"loss": float("nan"), "gain": float("inf")}], config={"x": float("nan")})

    for arguments in (["ls", "runs", "--json"], ["show", "--dir", "runs", "--json"], ["doctor", "runs", "--json"]):
        told = command(*arguments).out

        json.loads(told, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
        assert arguments[0] == "doctor" or '"NaN"' in told


def test_the_runs_directory_is_the_one_that_init_would_use(command: Command) -> None:
    log_run([{"loss": 1.0}], dir="elsewhere", id="there")

    Path("milepost.yaml").write_text('file_format: "1.0"\ndir: elsewhere\n', encoding="utf-8")

    assert "demo/there" in command("ls").out
