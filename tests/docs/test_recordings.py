"""What the documentation shows as output is what the commands print, but for names, times, places and measured numbers."""

import re
from pathlib import Path

import pytest

from scripts.record import recorded
from tests.docs.blocks import pages

REPOSITORY = Path(__file__).resolve().parents[2]
SHOWN = [page.relative_to(REPOSITORY).as_posix() for page in pages(REPOSITORY) if "<!-- recorded: " in page.read_text()]


def shape(output: str) -> list[str]:
    """The lines, with everything in them that differs between two runs of the same program replaced."""
    for pattern, word in (
        (r"^\$ .*\n", ""),  # the command, which only the page shows
        (r"\b[0-9a-f]{16}\b", "WRITER"),
        (r"(?<=/)[a-z0-9]{8}\b", "ID"),
        (r"\b[a-z]+-[a-z…]*[-\d…]*", "NAME"),
        (r"[\u2800-\u28ff▁-█]+", "CURVE"),
        (r"[-+]?\d[\d.,:e…+-]*( (s|min|h)\b)?", "NUMBER"),
        (r"[ \t]+", " "),
    ):
        output = re.sub(pattern, word, output, flags=re.MULTILINE)
    return [line.strip() for line in output.strip().splitlines()]


@pytest.mark.parametrize("name", SHOWN)
def test_the_output_on_a_page_is_what_its_commands_print(name: str) -> None:
    # An example has a test of its own. All before the first comparison: a generator left open leaves its directory behind.
    shown_and_now = list(recorded(REPOSITORY / name, skip="examples/"))

    for command, shown, now in shown_and_now:
        assert shape(now) == shape(shown), f"{command}: if this is meant, run: python scripts/record.py {name}"


def test_outputs_that_differ_in_words_have_another_shape() -> None:
    assert shape("$ x\n  loss 0.5  ▁▂  a-fox-3 2.0 s") == shape("loss 12  ▃▃▃▃  some-owl-12 0.1 s")
    assert shape("loss 0.5 failed") != shape("loss 0.5 finished")
