"""Every public name has a heading in the documentation."""

import re
from pathlib import Path

import pytest

import milepost
from tests.docs.blocks import pages


@pytest.fixture(scope="module")
def headings(repository: Path) -> set[str]:
    """Every identifier that stands in backticks in a heading of docs/: `init()` of "## `milepost.init()`"."""
    names: set[str] = set()
    for page in pages(repository):
        for heading in re.findall(r"^#+ .*$", page.read_text(encoding="utf-8"), re.MULTILINE):
            names.update(re.findall(r"`(?:milepost\.)?(\w+)", heading))
    return names


@pytest.mark.parametrize("name", milepost.__all__)
def test_every_public_name_has_a_heading(name: str, headings: set[str]) -> None:
    assert name in headings
