"""`make changelog` turns the fragments into a release."""

import datetime
from pathlib import Path

import pytest

from scripts.changelog import MARK, collect

DAY = datetime.date(2027, 1, 31)


@pytest.fixture
def project() -> Path:
    """A repository with a changelog that has one release, and two fragments."""
    root = Path.cwd()
    fragments = root / "docs" / "changelog.d"
    fragments.mkdir(parents=True)
    (fragments / "README.md").write_text("How to write a fragment.\n")
    (fragments / "step-behind.md").write_text("A step that is behind\nnames the step to use.\n")
    (fragments / "csv.md").write_text("`milepost export` writes csv.\n")
    (root / "CHANGELOG.md").write_text(f"# Changelog\n\n{MARK}\n## 0.1.0 (2026-12-01)\n\n- First release.\n")
    return root


def test_a_release_lists_the_fragments_above_the_release_before(project: Path) -> None:
    assert collect(project, "0.2.0", DAY) == 2

    assert (project / "CHANGELOG.md").read_text() == (
        f"# Changelog\n\n{MARK}\n## 0.2.0 (2027-01-31)\n\n- `milepost export` writes csv.\n"
        "- A step that is behind names the step to use.\n\n## 0.1.0 (2026-12-01)\n\n- First release.\n"
    )
    assert [path.name for path in (project / "docs" / "changelog.d").iterdir()] == ["README.md"]


@pytest.mark.parametrize("version", ["1.2", "v1.2.3", ""])
def test_a_version_that_is_none_changes_nothing(project: Path, version: str) -> None:
    before = (project / "CHANGELOG.md").read_text()

    with pytest.raises(ValueError, match=r"MAJOR\.MINOR\.PATCH"):
        collect(project, version, DAY)

    assert (project / "CHANGELOG.md").read_text() == before


def test_a_fragment_of_two_paragraphs_is_refused_by_name(project: Path) -> None:
    (project / "docs" / "changelog.d" / "long.md").write_text("One.\n\nTwo.\n")

    with pytest.raises(ValueError, match=r"long\.md"):
        collect(project, "0.2.0", DAY)


def test_a_release_of_nothing_is_refused(project: Path) -> None:
    collect(project, "0.2.0", DAY)

    with pytest.raises(ValueError, match="no fragment"):
        collect(project, "0.3.0", DAY)
