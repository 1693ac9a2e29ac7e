"""What is damaged on the server's disk keeps nothing else from being served, stored or compacted, and is told."""

import contextlib
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from milepost.sdk.event import Event
from milepost.sdk.wire import batch_of
from milepost.server.records import RunLine
from milepost.server.store import RowQuery
from milepost.server.store.ingest import Job
from milepost.server.store.live import LiveRun
from milepost.server.store.parts import Part, parts_of, pressed
from milepost.server.store.sqlite import SqliteStore
from tests.server.conftest import ADMIN_KEY, Server
from tests.server.sending import WRITER, event, row, rows_of, send, wait_until_compacted

Begin = Callable[[], Server]


def spoil(statement: str, *values: Any) -> None:
    """Change the database of the server that is stopped."""
    with contextlib.closing(sqlite3.connect("data/milepost.db")) as connection, connection:
        assert connection.execute(statement, values).rowcount > 0


def figures(client: httpx.Client) -> dict[str, float]:
    text = client.get("/metrics").text
    return {name: float(value) for name, value in re.findall(r"^milepost_server_(\w+) (\S+)$", text, re.MULTILINE)}


def fill(server: Server, *runs: str) -> None:
    with server.client(ADMIN_KEY) as client:
        for run in runs:
            start = event(0, "run.start", {"name": f"named {run}", "config": {"lr": 0.5}})
            assert send(client, [start, *(row(n, {"a": n}) for n in range(1, 50))], run=run).status_code == 200


WHAT = {
    "state": ("UPDATE run SET state = X'C1C1' WHERE name = 'bad'", 49),
    "edits": ("UPDATE run SET edits = '{' WHERE name = 'bad'", 49),
    "event": ("UPDATE event SET body = X'C1' WHERE writer = (SELECT id FROM writer WHERE run = 1)", 49),
    "batch": ("UPDATE batch SET body = X'28B52FFD00' WHERE writer = (SELECT id FROM writer WHERE run = 1)", 0),
}


@pytest.mark.parametrize("what", WHAT)
def test_a_server_starts_with_what_is_damaged_and_serves_all_else(data_server: Begin, what: str) -> None:
    server = data_server()
    fill(server, "bad", "good")
    server.kill()
    if what == "state":  # once the state is stored, batches are not read at the start
        data_server().stop()
    statement, left = WHAT[what]
    spoil(statement)

    with data_server().client(ADMIN_KEY) as client:
        good, bad = (client.get(f"/api/v1/runs/p/{run}").json() for run in ("good", "bad"))
        assert (good["rows"], good["name"], good["config"]) == (49, "named good", {"lr": 0.5})
        assert len(rows_of(client, "good")) == 49
        assert (bad["rows"], len(rows_of(client, "bad"))) == (left, left)
        assert (bad["summary"].get("a"), bad["last_step"]) == ((49, 49) if left else (None, None))
        if what == "batch":
            assert figures(client)["unreadable_batches"] == 1
            gap = {"writer": WRITER, "first": 0, "last": 49, "reason": "damaged on the server's disk"}
            assert (bad["completeness"]["gaps"], bad["completeness"]["damaged"]) == ([gap], 49)
        assert send(client, [row(50, {"a": 50})], run="bad").status_code == 200
        assert client.get("/api/v1/runs/p/bad").json()["rows"] == left + 1


def test_a_run_that_cannot_be_read_at_all_is_counted_and_can_be_deleted(data_server: Begin) -> None:
    server = data_server()
    fill(server, "bad", "good")
    server.stop()
    spoil("UPDATE writer SET attempt = 'x' WHERE run = 1")
    spoil("UPDATE run SET state = NULL WHERE id = 1")

    with data_server().client(ADMIN_KEY) as client:
        assert figures(client)["unreadable_runs"] == 1
        told = {each["id"]: each["unreadable"] for each in client.get("/api/v1/projects/p/runs").json()["runs"]}
        assert told["good"] is None
        assert "attempt" in told["bad"] or "Expected" in told["bad"]
        assert client.get("/api/v1/runs/p/bad").json()["unreadable"] == told["bad"]
        named = client.get("/api/v1/projects/p/runs", params={"filter": "not (unreadable == null)"}).json()["runs"]
        assert [each["id"] for each in named] == ["bad"]
        for part in ("keys", "rows", "media", "files"):
            answer = client.get(f"/api/v1/runs/p/bad/{part}")
            assert answer.status_code == 404, part
            assert "cannot be read" in answer.json()["detail"], part
        assert len(rows_of(client, "good")) == 49
        assert send(client, [row(50, {"a": 50})], run="bad").status_code == 200  # kept for whoever repairs it
        assert client.post("/api/v1/bulk", json={"runs": ["p/bad"], "delete": True}).json()["changed"] == 1
        assert figures(client)["unreadable_runs"] == 0


def test_a_damaged_batch_keeps_no_other_writer_from_being_compacted(data_server: Begin) -> None:
    server = data_server()
    fill(server, "bad")
    server.stop()
    spoil("UPDATE batch SET body = X'28B52FFD00', received = 0")

    with data_server().client(ADMIN_KEY) as client:
        send(client, [row(n, {"a": n}) for n in range(5000)], run="good")
        wait_until_compacted(client, "good")
        assert figures(client)["unreadable_batches"] == 1
        assert len(rows_of(client, "good")) == 5000


def job(run: str) -> Job:
    events = [Event(kind="row", values={"a": n}, step=n, seq=n, time_unix_nano=1) for n in range(5)]
    batch = batch_of(events, 0, 4, project="p", writer=WRITER)
    parts = parts_of(batch)
    batch.groups = [part.group() for part in parts]
    return Job("p", run, batch, parts, pressed(batch))


def test_what_cannot_be_taken_in_of_one_run_hides_nothing_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "data")
    taken = LiveRun.take
    failed: list[str] = []

    def take(live: LiveRun, writer: Any, parts: list[Part], events: Any, now: float) -> None:
        if live.name == "b" and not failed:
            failed.append(live.name)
            raise ZeroDivisionError("a defect")
        taken(live, writer, parts, events, now)

    monkeypatch.setattr(LiveRun, "take", take)
    done = [store.ingest.submit(job(run)) for run in "abc"]  # waiting together, so committed together
    store.ingest.start()
    try:
        assert [each.result(60).stored_through for each in done] == [4, 4, 4]
        assert failed
        assert {run.id: run.rows for run in store.runs("p")} == {"a": 5, "b": 5, "c": 5}
        assert [row["a"] for page in store.rows("p", "b", RowQuery()) for row in page] == list(range(5))
    finally:
        store.ingest.stop()


def test_an_edit_waits_for_the_table_outside_of_its_transaction(tmp_path: Path) -> None:
    """Who finds a damaged batch holds the table and writes: for an edit that waits for the table and may not be written beside,
    the two would wait for each other."""
    store = SqliteStore(tmp_path / "data")
    store.ingest.start()
    try:
        store.ingest.submit(job("a")).result(60)

        def changes(_: RunLine) -> dict[str, Any]:  # called with the table held
            with contextlib.closing(sqlite3.connect(store.database, timeout=0, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
            return {"tags": ["kept"]}

        store.edit("p", "a", changes)
        assert store.run("p", "a").tags == ["kept"]
    finally:
        store.ingest.stop()
