"""What hinders a server for a while, or for good, is told as what it is, and leaves nothing half."""

import contextlib
import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from milepost.sdk import wire
from milepost.server.store import chunks
from milepost.server.store.reserve import Reserve
from tests.server.conftest import ADMIN_KEY, Server
from tests.server.sending import WRITER, event, row, rows_of, send, wait_until, wait_until_compacted
from tests.server.test_damage import figures, fill, spoil

Begin = Callable[[], Server]


def test_a_damaged_batch_is_healed_by_its_sender_in_whatever_pieces(data_server: Begin) -> None:
    server = data_server()
    fill(server, "bad")
    server.kill()
    spoil("UPDATE batch SET body = X'28B52FFD00'")

    with data_server().client(ADMIN_KEY) as client:
        assert client.get("/api/v1/runs/p/bad").json()["completeness"]["gaps"]
        start = event(0, "run.start", {"name": "named bad", "config": {"lr": 0.5}})
        for events in ([row(n, {"a": n}) for n in range(30, 60)], [start, *(row(n, {"a": n}) for n in range(1, 30))]):
            assert send(client, events, run="bad").status_code == 200
        assert [each["a"] for each in rows_of(client, "bad")] == list(range(1, 60))
        assert client.get("/api/v1/runs/p/bad").json()["completeness"]["gaps"] == []
        assert figures(client)["unreadable_batches"] == 0


def test_rows_that_a_damaged_batch_shared_with_another_are_not_doubled_when_it_is_healed(data_server: Begin) -> None:
    server = data_server()
    with server.client(ADMIN_KEY) as client:
        for first, last in ((0, 10), (5, 15)):
            assert send(client, [row(n, {"a": n}) for n in range(first, last)]).status_code == 200
    server.kill()
    spoil("UPDATE batch SET body = X'28B52FFD00' WHERE id = (SELECT MAX(id) FROM batch)")

    with data_server().client(ADMIN_KEY) as client:
        assert send(client, [row(n, {"a": n}) for n in range(5, 15)]).status_code == 200
        assert [each["a"] for each in rows_of(client)] == list(range(15))
        assert client.get("/api/v1/runs/p/r1").json()["rows"] == 15


def test_a_definition_counts_no_row_twice_that_came_behind_it(data_server: Begin) -> None:
    server = data_server()
    with server.client(ADMIN_KEY) as client:
        assert send(client, [row(n, {"a": n}) for n in range(10)]).status_code == 200
        assert send(client, [event(10, "metric", {"name": "a", "summary": "max"})]).status_code == 200
        assert send(client, [row(n, {"a": n}) for n in range(11, 60)]).status_code == 200
    server.kill()  # before what is known of the run was stored: the batches are taken in again, one after the other

    with data_server().client(ADMIN_KEY) as client:
        assert client.get("/api/v1/runs/p/r1").json()["rows"] == len(rows_of(client)) == 59


def test_more_points_than_fit_an_answer_are_refused_with_the_limit(data_server: Begin) -> None:
    with data_server().client(ADMIN_KEY) as client:
        keys = [f"k{n}" for n in range(120)]
        n = np.arange(20_000)
        column = {"f8": (n / 3).tobytes()}
        clocks = {"time": {"i8": (n + 10**18).tobytes()}, "runtime": {"i8": n.tobytes()}}
        group = wire.Group(keys=keys, seq=0, step={"i8": n.tobytes()}, values=[column] * len(keys), **clocks)
        batch = wire.WireBatch(writer=WRITER, first=0, last=19_999, project="p", groups=[group])
        headers = {"Content-Type": wire.MEDIA_TYPE, "Content-Encoding": "zstd"}
        assert client.post("/api/v1/runs/r1/batches", content=wire.encode(batch), headers=headers).status_code == 200

        asked: dict[str, Any] = {"runs": ["p/r1"], "keys": keys, "buckets": 20_000}
        refused = client.post("/api/v1/history", json=asked)
        assert (refused.status_code, refused.json()["title"]) == (400, "too many points")
        assert refused.json()["limit"] == client.get("/api/v1/info").json()["limits"]["points"] == 2_000_000
        assert client.post("/api/v1/history", json={**asked, "buckets": 2_000}).status_code == 200


def test_rows_from_far_behind_are_those_that_a_walk_from_the_start_finds(data_server: Begin) -> None:
    with data_server().client(ADMIN_KEY) as client:
        for first in range(0, 20_000, 5_000):  # two sets of keys, one of them seldom
            events = [row(n, {"a": n} if n % 7 else {"b": n}) for n in range(first, first + 5_000)]
            assert send(client, events).status_code == 200
        wait_until_compacted(client)
        assert send(client, [row(n, {"a": n}) for n in range(20_000, 20_100)]).status_code == 200

        for offset in (1, 9_999, 17_000, 20_050):
            answer = client.get("/api/v1/runs/p/r1/rows", params={"offset": offset, "limit": 3}).json()
            assert [each["_step"] for each in answer["rows"]] == [offset, offset + 1, offset + 2]


def test_no_number_is_given_a_second_time(data_server: Begin) -> None:
    def last() -> list[int]:
        with contextlib.closing(sqlite3.connect("data/milepost.db")) as database:
            tables = ("run", "writer", "grp")
            return [database.execute(f"SELECT MAX(id) FROM {table}").fetchone()[0] for table in tables]

    with data_server().client(ADMIN_KEY) as client:
        numbers: list[list[int]] = []
        for writer in (WRITER, WRITER.replace("a", "b")):
            assert send(client, [row(n, {"a": n}) for n in range(5_000)], writer=writer).status_code == 200
            wait_until_compacted(client)
            numbers.append(last())
            assert client.post("/api/v1/bulk", json={"runs": ["p/r1"], "delete": True}).json()["changed"] == 1
        assert all(before < after for before, after in zip(*numbers, strict=True))


def cut(client: httpx.Client) -> list[dict[str, Any]]:
    """Rows of two sets of keys, in chunks and behind them."""
    rows = [{"a": n / 3, "t": f"text {n}"} if n % 5 else {"b": n} for n in range(14_000)]
    for first in range(0, 12_000, 3_000):
        assert send(client, [row(n, rows[n]) for n in range(first, first + 3_000)]).status_code == 200
    wait_until_compacted(client)
    return rows


def values(client: httpx.Client) -> list[dict[str, Any]]:
    return [{key: value for key, value in each.items() if key[0] != "_"} for each in rows_of(client)]


@pytest.mark.parametrize("key", [chunks.SEQ, chunks.STEP, 0, 1])
def test_damage_within_compacted_rows_is_healed_by_their_sender_in_whatever_pieces(
    data_server: Begin, key: int
) -> None:
    server = data_server()
    with server.client(ADMIN_KEY) as client:
        rows = cut(client)
    server.kill()
    group = "(SELECT id FROM grp WHERE keys LIKE '%a%')"
    spoil(f"UPDATE chunk SET body = X'02FF' WHERE level = 0 AND at = 4096 AND key = {key} AND grp = {group}")

    server = data_server()
    with server.client(ADMIN_KEY) as client:
        for first, last in ((8_000, 13_000), (0, 6_500), (6_400, 8_000)):
            answer = send(client, [row(n, rows[n]) for n in range(first, last)])
            assert answer.status_code == 200, answer.text
        wait_until(lambda: client.get("/api/v1/runs/p/r1").json()["rows"] == 13_000)
        assert values(client) == rows[:13_000]
        told = client.get("/api/v1/runs/p/r1").json()
        assert (told["completeness"]["gaps"], told["last_step"]) == ([], 12_999)
        assert figures(client)["unreadable_batches"] == 0
        wait_until_compacted(client)
        assert values(client) == rows[:13_000]
        curve = client.post("/api/v1/history", json={"runs": ["p/r1"], "keys": ["a"], "buckets": 100}).json()["series"][
            0
        ]
        assert sum(curve["count"]) == sum("a" in each for each in rows[:13_000])
    server.kill()  # what is known of the run is as it was
    with data_server().client(ADMIN_KEY) as client:
        assert client.get("/api/v1/runs/p/r1").json()["rows"] == 13_000
        assert send(client, [row(13_000, rows[13_000])]).json()["stored_through"] == 13_000


@pytest.mark.parametrize(("level", "lost"), [(0, True), (1, False), (2, False)])
def test_damage_within_compacted_rows_is_set_aside_by_whoever_meets_it(
    data_server: Begin, level: int, lost: bool
) -> None:
    server = data_server()
    with server.client(ADMIN_KEY) as client:
        for first in range(0, 30_000, 5_000):
            assert send(client, [row(n, {"a": n / 3}) for n in range(first, first + 5_000)]).status_code == 200
        wait_until_compacted(client)
        spoil("UPDATE chunk SET body = X'02FF' WHERE level = ? AND at = 0 AND key = 0", level)

        def ask() -> httpx.Response:
            if not level:
                return client.get("/api/v1/runs/p/r1/rows", params={"limit": 3})
            return client.post(
                "/api/v1/history", json={"runs": ["p/r1"], "keys": ["a"], "buckets": 3 if level == 2 else 100}
            )

        answer = ask()
        assert (answer.status_code, answer.json()["title"]) == (503, "damaged")
        left = 30_000 - (chunks.ROWS if lost else 0)
        wait_until(lambda: ask().status_code == 200 and client.get("/api/v1/runs/p/r1").json()["rows"] == left)
        told = client.get("/api/v1/runs/p/r1").json()["completeness"]["gaps"]
        assert [(gap["first"], gap["last"]) for gap in told] == ([(0, chunks.ROWS - 1)] if lost else [])
        wait_until_compacted(client)
        assert [each["a"] for each in rows_of(client)] == [n / 3 for n in range(30_000 - left, 30_000)]


def test_a_damaged_chunk_keeps_later_rows_from_being_compacted_for_a_moment_only(data_server: Begin) -> None:
    with data_server().client(ADMIN_KEY) as client:
        assert send(client, [row(n, {"a": n}) for n in range(5_000)]).status_code == 200
        wait_until_compacted(client)
        spoil("UPDATE chunk SET body = X'03FF' WHERE level = 0 AND at = 4096 AND key = 0")
        assert send(client, [row(n, {"a": n}) for n in range(5_000, 10_000)]).status_code == 200
        wait_until_compacted(client)
        assert [each["a"] for each in rows_of(client)] == [*range(4_096), *range(5_000, 10_000)]
        assert client.get("/api/v1/runs/p/r1").json()["rows"] == 9_096


def test_a_batch_that_was_healed_before_a_kill_is_counted_once(data_server: Begin) -> None:
    server = data_server()
    fill(server, "bad")
    server.stop()
    spoil("UPDATE batch SET body = X'28B52FFD00'")
    events = [
        event(0, "run.start", {"name": "named bad", "config": {"lr": 0.5}}),
        *(row(n, {"a": n}) for n in range(1, 50)),
    ]
    server = data_server()
    with server.client(ADMIN_KEY) as client:
        assert send(client, events, run="bad").status_code == 200
    server.kill()
    with data_server().client(ADMIN_KEY) as client:
        assert client.get("/api/v1/runs/p/bad").json()["rows"] == len(rows_of(client, "bad")) == 49


def test_a_damaged_batch_is_counted_once_however_it_is_healed_and_kept_once(data_server: Begin) -> None:
    server = data_server()
    with server.client(ADMIN_KEY) as client:
        assert send(client, [row(n, {"a": n}) for n in range(100)]).status_code == 200
    server.kill()
    spoil("UPDATE batch SET body = X'28B52FFD00'")
    with data_server().client(ADMIN_KEY) as client:
        for n in (10, 20, 30):
            assert send(client, [row(n, {"a": n})]).status_code == 200
        told = client.get("/api/v1/runs/p/r1").json()["completeness"]["gaps"]
        assert [(gap["first"], gap["last"]) for gap in told] == [(0, 9), (11, 19), (21, 29), (31, 99)]
        assert figures(client)["unreadable_batches"] == 1
        assert send(client, [row(n, {"a": n}) for n in range(100)]).json()["duplicates"] == 3
        assert figures(client)["unreadable_batches"] == 0
        assert [each["a"] for each in rows_of(client)] == list(range(100))


def test_damage_that_cuts_a_download_off_is_set_aside_for_the_next(data_server: Begin) -> None:
    with data_server().client(ADMIN_KEY) as client:
        for first in (0, 6_000):
            assert send(client, [row(n, {"a": n}) for n in range(first, first + 6_000)]).status_code == 200
        wait_until_compacted(client)
        spoil("UPDATE chunk SET body = X'02FF' WHERE level = 0 AND at = 4096 AND key = 0")

        def whole() -> int:
            try:
                return len(client.get("/api/v1/runs/p/r1/rows", params={"format": "jsonl"}).text.splitlines())
            except httpx.RemoteProtocolError:
                return -1

        assert whole() == -1
        wait_until(lambda: whole() == 12_000 - chunks.ROWS)


def test_damaged_numbers_of_media_are_counted_again_from_the_rows(data_server: Begin) -> None:
    with data_server().client(ADMIN_KEY) as client:
        media = {"_type": "image-file", "path": "x.png", "sha256": "0" * 64, "size": 1, "format": "png"}
        for first in (0, 4_500):
            events = [row(n, {"img": media} if n % 100 == 0 else {"img": [n]}) for n in range(first, first + 4_500)]
            assert send(client, events).status_code == 200
        wait_until_compacted(client)
        spoil("UPDATE chunk SET body = X'C1' WHERE level = 3 AND at = 4096")

        def damaged() -> int:
            with contextlib.closing(sqlite3.connect("data/milepost.db")) as database:
                query = "SELECT COUNT(*) FROM chunk WHERE level = 3 AND body = X'C1'"
                return int(database.execute(query).fetchone()[0])

        assert client.get("/api/v1/runs/p/r1/media", params={"key": "img"}).json()["total"] == 90
        wait_until(lambda: damaged() == 0)
        told = client.get("/api/v1/runs/p/r1").json()
        assert (told["rows"], told["completeness"]["gaps"]) == (9_000, [])
        assert client.get("/api/v1/runs/p/r1/media", params={"key": "img"}).json()["total"] == 90


@pytest.mark.parametrize("asked_before", [True, False])
def test_chunks_that_are_gone_are_told_as_a_gap_and_healed_by_their_sender(
    data_server: Begin, asked_before: bool
) -> None:
    with data_server().client(ADMIN_KEY) as client:
        rows = cut(client)[:12_000]
        group = "(SELECT id FROM grp WHERE keys LIKE '%a%')"
        spoil(f"DELETE FROM chunk WHERE level = 0 AND at = 4096 AND grp = {group}")

        def told() -> Any:
            return client.get("/api/v1/runs/p/r1").json()

        if asked_before:
            assert client.get("/api/v1/runs/p/r1/rows", params={"limit": 10_000}).status_code == 503
            wait_until(lambda: told()["rows"] == 12_000 - chunks.ROWS)
            assert told()["completeness"]["damaged"] == chunks.ROWS
            assert len(told()["completeness"]["gaps"]) == 1
        for first in (0, 6_000):
            answer = send(client, [row(n, rows[n]) for n in range(first, first + 6_000)])
            assert answer.status_code == 200, answer.text
        wait_until(lambda: told()["rows"] == 12_000)
        assert values(client) == rows
        assert told()["completeness"]["gaps"] == []


def test_room_that_cannot_be_kept_for_deletions_takes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, offset: int, size: int) -> None:
        os.truncate(descriptor, size // 2)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    Reserve(tmp_path).keep()
    assert list(tmp_path.glob("reserve*")) == []
