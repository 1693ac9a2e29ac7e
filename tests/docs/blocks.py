"""The fenced code blocks of a Markdown page, with their place, title and the comment above them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_OPENING = re.compile(r"^(?P<indent> *)(?P<fence>```+|~~~+) *(?P<language>[\w-]*)(?P<rest>.*)$")
_TITLE = re.compile(r'title="([^"]+)"')
_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>.+?) -->")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    line: of its first line of code, counted from 1.
    title: the name of a file, from `title="..."` behind the language; empty without one.
    not_run: the reason in a comment `<!-- not run: ... -->` right above the block; empty without one.
    """

    page: Path
    line: int
    language: str
    title: str
    not_run: str
    code: str


def blocks(page: Path) -> Iterator[Block]:
    """Every fenced block of the page, in order. Raises ValueError for one that is not closed."""
    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    above = ""
    while number < len(lines):
        opening = _OPENING.match(lines[number])
        if opening is None:
            if lines[number].strip():
                above = lines[number]
            number += 1
            continue
        start = number + 1
        end = start
        while end < len(lines) and lines[end].strip() != opening["fence"]:
            end += 1
        if end == len(lines):
            raise ValueError(f"{page}:{start}: this block is not closed with {opening['fence']}")
        title = _TITLE.search(opening["rest"])
        not_run = _NOT_RUN.search(above)
        code = "\n".join(line.removeprefix(opening["indent"]) for line in lines[start:end]) + "\n"
        yield Block(
            page, start + 1, opening["language"], title[1] if title else "", not_run["reason"] if not_run else "", code
        )
        above = ""
        number = end + 1


def pages(repository: Path) -> list[Path]:
    """README.md, CONTRIBUTING.md and every page of the documentation."""
    below = [path for path in (repository / "docs").rglob("*.md") if "changelog.d" not in path.parts]
    return [repository / "README.md", repository / "CONTRIBUTING.md", *sorted(below)]
