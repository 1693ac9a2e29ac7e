"""docs/decisions/: one number for each page, and no number twice."""

import re
from pathlib import Path


def test_decisions_are_numbered_without_a_hole_and_say_their_number(repository: Path) -> None:
    pages = sorted((repository / "docs" / "decisions").glob("[0-9]*.md"))

    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        first = page.read_text(encoding="utf-8").partition("\n")[0]
        assert re.match(rf"# {int(page.name[:4])}\. \w", first), page.name
