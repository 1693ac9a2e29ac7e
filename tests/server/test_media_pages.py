"""Pages of media: what a run has under some keys, counted without reading it."""

import contextlib
import sqlite3
from collections.abc import Callable
from typing import Any

import httpx

from tests.server.conftest import ADMIN_KEY, Server
from tests.server.sending import row, send, wait_until_compacted


def test_a_page_of_media_is_the_same_from_batches_chunks_and_both(data_server: Callable[[], Server]) -> None:
    def picture(n: int) -> dict[str, Any]:
        return {"_type": "image-file", "path": f"media/{n}.png", "sha256": f"{n:064x}", "caption": f"picture {n}"}

    def values(n: int) -> dict[str, Any]:
        both = {"a": picture(n), "b": [picture(-n), {"no": "media"}, picture(n)], "loss": n / 3}
        return both if n % 3 == 0 else {"b": "text", "loss": 1.0} if n % 3 == 1 else {"a": None, "loss": n}

    rows = [row(n, values(n), step=n // 2) for n in range(9_000)]
    expected = [
        (key, n // 2, index, f"picture {number}")
        for n in range(0, 9_000, 3)
        for key, index, number in (("a", 0, n), ("b", 0, -n), ("b", 2, n))
    ]

    def page(client: httpx.Client, **asked: Any) -> tuple[Any, ...]:
        told = client.get("/api/v1/runs/p/r1/media", params={"key": ["a", "b"], **asked}).json()
        return (
            told["total"],
            told["steps"],
            [tuple(i[n] for n in ("key", "step", "index", "caption")) for i in told["items"]],
        )

    def check(client: httpx.Client, count: int) -> None:
        some = [each for each in expected if each[1] * 2 < count]
        steps = sorted({each[1] for each in some})
        for offset in (0, 1, 4_095, len(some) - 5, len(some) + 3):
            assert page(client, offset=offset, limit=7) == (len(some), steps, some[offset : offset + 7])
        assert page(client, step=300) == (3, [300], [each for each in some if each[1] == 300])
        only = client.get("/api/v1/runs/p/r1/media", params={"key": "a", "limit": 1}).json()
        assert only["total"] == len(some) // 3

    with data_server().client(ADMIN_KEY) as client:
        assert send(client, rows[1_000:4_000]).status_code == 200
        assert send(client, rows[:1_000]).status_code == 200  # out of order
        check(client, 4_000)
        wait_until_compacted(client)
        check(client, 4_000)
        assert send(client, rows[4_000:]).status_code == 200
        check(client, 9_000)
        wait_until_compacted(client)
        with contextlib.closing(sqlite3.connect("data/milepost.db")) as database, database:
            assert database.execute("DELETE FROM chunk WHERE level = 3 AND at = 0").rowcount  # of before there were any
        check(client, 9_000)
