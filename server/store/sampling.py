"""A fair sample of rows that can only be read in order: counted first, then picked."""

from collections.abc import Callable, Iterator
from typing import Any

Row = dict[str, Any]


def evenly(pages: Callable[[], Iterator[list[Row]]], samples: int) -> tuple[list[Row], int]:
    """At most `samples` rows, evenly spaced, the first and the last among them; and how many there are."""
    total = sum(map(len, pages()))
    if total <= samples:
        return [row for page in pages() for row in page], total
    last = total - 1
    wanted = [last] if samples == 1 else [n * last // (samples - 1) for n in range(samples)]
    picked: list[Row] = []
    start, at = 0, 0
    for page in pages():
        while at < samples and wanted[at] < start + len(page):
            picked.append(page[wanted[at] - start])
            at += 1
        start += len(page)
    return picked, total
