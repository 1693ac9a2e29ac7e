"""Move the fragments of docs/changelog.d into CHANGELOG.md, as a new release: python scripts/changelog.py 1.2.3"""

import datetime
import re
import sys
from pathlib import Path

MARK = "<!-- releases, the newest first; scripts/changelog.py adds them here -->\n"


def collect(repository: Path, version: str, date: datetime.date) -> int:
    """Write the release and remove its fragments; returns how many there were.

    Raises ValueError for a version that is not MAJOR.MINOR.PATCH, without fragments, and for one that is not a single
    paragraph.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ValueError(f"{version!r} is not a version; write MAJOR.MINOR.PATCH, such as 1.2.3")
    fragments = sorted(path for path in (repository / "docs" / "changelog.d").glob("*.md") if path.name != "README.md")
    if not fragments:
        raise ValueError("docs/changelog.d holds no fragment: there is nothing to release")
    lines = [f"- {_sentence(path)}" for path in fragments]
    changelog = repository / "CHANGELOG.md"
    before, mark, after = changelog.read_text(encoding="utf-8").partition(MARK)
    if not mark:
        raise ValueError(f"CHANGELOG.md has lost its mark; put this line above the newest release: {MARK.strip()}")
    release = f"\n## {version} ({date.isoformat()})\n\n" + "\n".join(lines) + "\n"
    changelog.write_text(before + mark + release + after, encoding="utf-8")
    for path in fragments:
        path.unlink()
    return len(fragments)


def _sentence(path: Path) -> str:
    text = path.read_text(encoding="utf-8").strip()
    if not text or "\n\n" in text:
        raise ValueError(f"{path.name} is not one sentence; split it into one file per change")
    return " ".join(text.split())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Name the version: make changelog VERSION=1.2.3")
    try:
        moved = collect(Path(__file__).resolve().parent.parent, sys.argv[1], datetime.datetime.now(datetime.UTC).date())
    except ValueError as error:
        sys.exit(str(error))
    print(f"CHANGELOG.md: {sys.argv[1]} with {moved} changes. Next: set version in pyproject.toml, then commit both.")
