"""Media page: the media values in rows. All are counted; made whole are those on the page that is asked for."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]


@dataclass(slots=True)
class MediaPage:
    """Some of the media in rows. total: how many there are; steps: which have some, rising; items: those of the page.

    An item has key, step, time, index (its place in a list), type, caption and value.
    """

    total: int = 0
    steps: list[int] = field(default_factory=list[int])
    items: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


def media_page(
    rows: Iterable[Row], keys: Sequence[str], offset: int, limit: int, fill: Callable[[Any], Any] = lambda value: value
) -> MediaPage:
    """The page of the media under some keys. fill: gives a value with what is known of its file."""
    page = MediaPage()
    steps: dict[int, None] = {}
    for row in rows:
        for key in keys:
            for item in _media_of(row, key):
                steps[row["_step"]] = None
                if offset <= page.total < offset + limit:
                    page.items.append(item)
                page.total += 1
    page.steps = sorted(steps)
    for item in page.items:
        item["value"] = fill(item["value"])
        caption = item["value"].get("caption")
        item["caption"] = caption if isinstance(caption, str) else None
    return page


def _media_of(row: Row, key: str) -> Iterator[dict[str, Any]]:
    """The media values under a key: one mapping, or several in a list."""
    value = row.get(key)
    several = value if isinstance(value, list) else [value]
    for index, each in enumerate(several):
        if isinstance(each, dict) and isinstance(each.get("_type"), str):
            yield {
                "key": key,
                "step": row["_step"],
                "time": row["_timestamp"],
                "index": index,
                "type": each["_type"],
                "caption": None,
                "value": each,
            }
