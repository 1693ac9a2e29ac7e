"""Run what README.md and docs/ show, and write the output into them: python scripts/record.py [PAGE ...]

A block of output has a comment above it that says where it comes from:

    <!-- recorded: python train.py -->

The commands of a page run in order, in a directory that holds the titled blocks above them (`title="train.py"`) and the
examples. They run in a terminal, so what is shown is what a user sees, without the colours. Pictures are terminals too:
docs/images/show.svg is `milepost show` of the demo's run, as PICTURE says.
"""

import contextlib
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
COLUMNS = 80
PICTURE = (
    REPOSITORY / "docs" / "images" / "show.svg",
    [
        "python examples/digits.py",
        "milepost show --lines 8 -k train.loss -k train.accuracy -k val.loss -k val.accuracy",
    ],
    118,
)
_PLACE = re.compile(
    r"^<!-- recorded: (?P<command>.+?) -->\n+```(?P<language>\w*)\n(?P<output>.*?)^```$", re.MULTILINE | re.DOTALL
)
_TITLED = re.compile(r'^```\w+ .*?title="(?P<title>[^"]+)".*?\n(?P<code>.*?)^```$', re.MULTILINE | re.DOTALL)
_ERASED = re.compile(r"[^\n]*\r\x1b\[K")  # progress, which a slow machine shows, until the line was cleared
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def recorded(page: Path, skip: str | None = None) -> Iterator[tuple[str, str, str]]:
    """Each command of a page, with the output that the page shows, and what it prints now.

    skip: commands that hold this text are left out.
    """
    text = page.read_text(encoding="utf-8")
    found = [*_PLACE.finditer(text), *_TITLED.finditer(text)]
    if not any(match.re is _PLACE for match in found):
        return
    with workshop() as directory:
        for match in sorted(found, key=lambda match: match.start()):
            if match.re is _TITLED:
                (directory / match["title"]).write_text(match["code"], encoding="utf-8")
            elif skip is None or skip not in match["command"]:
                yield match["command"], match["output"], _ESCAPES.sub("", run(match["command"], directory))


def record(page: Path) -> int:
    """Write the output of its commands into a page; how many there were."""
    text, end = "", 0
    now = [output for _, _, output in recorded(page)]
    before = page.read_text(encoding="utf-8")
    for place, output in zip(_PLACE.finditer(before), now, strict=True):
        text += before[end : place.start("output")] + _block(place["command"], output)
        end = place.end("output")
    if now:
        page.write_text(text + before[end:], encoding="utf-8")
    return len(now)


def picture() -> Path:
    """Draw the picture anew; where it is."""
    from rich.console import Console
    from rich.text import Text

    path, commands, columns = PICTURE
    output = ""
    with workshop() as directory:
        for command in commands:
            output = run(command, directory, columns)
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(output.strip("\n")))
    svg = console.export_svg(title=commands[-1].partition(" --")[0])
    # Rich has the font loaded from another host, which we never do: the reader's own takes its place.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL).replace("Fira Code, monospace", "monospace")
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8")
    return path


@contextlib.contextmanager
def workshop() -> Iterator[Path]:
    """An empty directory that holds the examples."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place) / "you"
        directory.mkdir()
        (directory / "examples").symlink_to(REPOSITORY / "examples")
        yield directory


def run(command: str, directory: Path, columns: int = COLUMNS) -> str:
    """What a shell command prints in a terminal of that width, both streams. Raises RuntimeError when it fails."""
    main, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MILEPOST_", "OTEL_", "WANDB_"))}
    here = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PWD": str(directory),
        "TERM": "xterm-256color",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    process = subprocess.Popen(
        ["/bin/sh", "-c", command], cwd=directory, env=kept | here, stdin=subprocess.DEVNULL, stdout=end, stderr=end
    )
    os.close(end)
    output = b""
    with contextlib.suppress(OSError):  # the terminal's end when nobody writes to it any more
        while piece := os.read(main, 65536):
            output += piece
    os.close(main)
    text = output.decode().replace("\r\n", "\n").replace(str(directory), "~/work")
    text = _ERASED.sub("", text)
    if process.wait() != 0:
        raise RuntimeError(f"{command!r} failed:\n{text}")
    return text


def _block(command: str, output: str) -> str:
    lines = [line.rstrip() for line in output.strip("\n").splitlines()]
    return "\n".join([f"$ {command}", *lines]) + "\n"


def main(names: list[str]) -> None:
    """Record the named pages, or all of them and the picture."""
    pages = [Path(name) for name in names] or [REPOSITORY / "README.md", *sorted(REPOSITORY.glob("docs/**/*.md"))]
    for page in pages:
        if count := record(page):
            print(f"{page}: {count} recorded")
    if not names:
        print(picture())


if __name__ == "__main__":
    main(sys.argv[1:])
