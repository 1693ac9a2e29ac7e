"""The order of the documentation's pages, as a hook of mkdocs: start, use, extend, look up.

A page below docs/ that no section names stops the build, so that every page can be reached.
"""

from pathlib import Path
from typing import Any

SECTIONS: dict[str, list[str]] = {
    "Start": ["quickstart.md", "concepts.md", "coming-from-wandb.md"],
    "Use": [
        "reading-back.md",
        "command-line.md",
        "configuration.md",
        "processors.md",
        "operations.md",
        "captured.md",
    ],
    "Extend": ["writing-an-exporter.md", "writing-a-processor.md"],
    "Look up": ["api.md", "contributing.md"],
}


def pages_in_order(docs: Path) -> list[Any]:
    """The navigation in the form of mkdocs.yml, of the pages that are there; the decisions follow by number."""
    named = {page for pages in SECTIONS.values() for page in pages}
    decisions = sorted(path.relative_to(docs).as_posix() for path in docs.glob("decisions/*.md"))
    below = (path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))
    unnamed = [
        page for page in below if page not in {"index.md", *named, *decisions} and not page.startswith("changelog.d/")
    ]
    if unnamed:
        raise ValueError(f"{sorted(unnamed)}: name each page in a section of scripts/docs_nav.py")
    navigation: list[Any] = ["index.md"]
    for title, pages in SECTIONS.items():
        if there := [page for page in pages if (docs / page).exists()]:
            navigation.append({title: there})
    if decisions:
        navigation.append({"Decisions": decisions})
    return navigation


def on_config(config: Any) -> Any:
    """Called by mkdocs when it has read its configuration."""
    config["nav"] = pages_in_order(Path(config["docs_dir"]))
    return config
