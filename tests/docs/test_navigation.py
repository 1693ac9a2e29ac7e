"""Every page of the documentation can be reached, and what the documentation says of other files is there."""

import re
from pathlib import Path

import pytest

from scripts.docs_nav import SECTIONS, list_of_decisions, pages_in_order
from tests.docs.blocks import pages


def test_every_page_is_in_the_navigation(repository: Path) -> None:
    pages_in_order(repository / "docs")  # raises, with the names, when a page is not


def test_a_page_that_no_section_names_stops_the_build(tmp_path: Path) -> None:
    (tmp_path / "index.md").touch()
    (tmp_path / "forgotten.md").touch()

    with pytest.raises(ValueError, match=r"forgotten\.md.*docs_nav"):
        pages_in_order(tmp_path)


def test_every_page_of_the_navigation_is_there(repository: Path) -> None:
    named = {page for there in SECTIONS.values() for page in there}

    assert {page for page in named if not (repository / "docs" / page).exists()} == set()


def test_decisions_are_listed_by_number_with_their_titles(tmp_path: Path) -> None:
    (tmp_path / "decisions").mkdir()
    (tmp_path / "decisions" / "0002-second.md").write_text("# 2. Second things\n\nDate: ...\n")
    (tmp_path / "decisions" / "0001-first.md").write_text("# 1. First things\n")
    (tmp_path / "decisions" / "index.md").write_text("# Decisions\n")

    assert list_of_decisions(tmp_path) == "- [1. First things](0001-first.md)\n- [2. Second things](0002-second.md)"


def test_no_page_names_a_path_of_somebodys_machine(repository: Path) -> None:
    private = re.compile(r"(?<![\w~.-])/(?:root|home|Users|work|opt)/\w+")

    found = {
        f"{page.relative_to(repository)}: {match[0]}"
        for page in pages(repository)
        for match in private.finditer(page.read_text())
    }

    assert found == set()
