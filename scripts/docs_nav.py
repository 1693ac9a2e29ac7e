"""The order of the documentation's pages, as a hook of mkdocs: start, use, extend, look up; and the list of decisions.

A page below docs/ that no section names stops the build, so that every page can be reached.
"""

from pathlib import Path
from typing import Any

SECTIONS: dict[str, list[str]] = {
    "Start": ["quickstart.md", "concepts.md", "coming-from-wandb.md"],
    "Use": [
        "web-page.md",
        "media.md",
        "reading-back.md",
        "tables-and-charts.md",
        "command-line.md",
        "configuration.md",
        "processors.md",
        "operations.md",
        "captured.md",
        "server-operations.md",
        "proxy-users.md",
    ],
    "Send to": [
        "opentelemetry.md",
        "stacks/collector.md",
        "stacks/prometheus.md",
        "stacks/victoriametrics.md",
        "stacks/clickhouse.md",
        "stacks/loki.md",
    ],
    "Extend": ["writing-an-exporter.md", "writing-a-processor.md", "writing-a-media-type.md"],
    "Look up": [
        "api.md",
        "server-api.md",
        "performance.md",
        "server-performance.md",
        "reliability.md",
        "contributing.md",
    ],
}

_INDEX = "decisions/index.md"
_LIST = "<!-- the list of decisions: scripts/docs_nav.py puts it here -->"


def pages_in_order(docs: Path) -> list[Any]:
    """The navigation in the form of mkdocs.yml, of the pages that are there; the decisions follow by number."""
    named = {page for pages in SECTIONS.values() for page in pages}
    decisions = [path.relative_to(docs).as_posix() for path in _decisions(docs)]
    below = (path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))
    unnamed = [
        page
        for page in below
        if page not in {"index.md", _INDEX, *named, *decisions} and not page.startswith("changelog.d/")
    ]
    if unnamed:
        raise ValueError(f"{sorted(unnamed)}: name each page in a section of scripts/docs_nav.py")
    navigation: list[Any] = [{"Home": "index.md"}]
    for title, pages in SECTIONS.items():
        if there := [page for page in pages if (docs / page).exists()]:
            navigation.append({title: there})
    if decisions:
        navigation.append({"Decisions": [*([_INDEX] if (docs / _INDEX).exists() else []), *decisions]})
    return navigation


def list_of_decisions(docs: Path) -> str:
    """Markdown: a line for each decision, by number, with its title as a link."""
    titles = {path: path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for path in _decisions(docs)}
    return "\n".join(f"- [{title}]({path.name})" for path, title in titles.items())


def _decisions(docs: Path) -> list[Path]:
    return sorted(docs.glob("decisions/[0-9]*.md"))


def on_config(config: Any) -> Any:
    """Called by mkdocs when it has read its configuration."""
    config["nav"] = pages_in_order(Path(config["docs_dir"]))
    return config


def on_page_markdown(markdown: str, *, config: Any, **_: Any) -> str:
    """Called by mkdocs for each page."""
    return markdown.replace(_LIST, list_of_decisions(Path(config["docs_dir"])))
