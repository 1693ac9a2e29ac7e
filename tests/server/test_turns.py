"""What is asked for at once is done one after the other, each on what the one before left; and what the disk does not take."""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from milepost.sdk.errors import RunNotFoundError, UsageError
from milepost.server.app import create_app
from milepost.server.store import sqlite
from milepost.server.store.sqlite import SqliteStore
from tests.server.sending import row, rows_of, send
from tests.server.test_damage import job

VIEWS = "/api/v1/projects/p/views"


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "data")


@pytest.fixture
def client(store: SqliteStore) -> Iterator[httpx.Client]:
    """A client of a server in this process, whose store holds a run."""
    server = uvicorn.Server(uvicorn.Config(create_app(store), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        store.ingest.submit(job("old")).result(60)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as started:
            yield started
    finally:
        server.should_exit = True
        thread.join()


def together(store: SqliteStore, *asked: Callable[[], Any]) -> list[Any]:
    """What came of each, or its error: all are asked for, in this order, before the first is done."""
    gate = threading.Event()

    def outcome(ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(asked) + 1) as pool:
        held = pool.submit(store.ingest.call, lambda _: void(gate.wait(60)))
        done = []
        for ask in asked:
            done.append(pool.submit(outcome, ask))
            time.sleep(0.2)  # it waits in the queue
        gate.set()
        held.result(60)
        return [each.result(60) for each in done]


def void(_: object) -> None:
    """Drop a result."""


@pytest.mark.usefixtures("client")
def test_a_run_that_is_deleted_twice_takes_no_other_with_it(store: SqliteStore) -> None:
    def new() -> int:
        return store.ingest.submit(job("new")).result(60).stored_through

    def delete() -> None:
        store.delete("p", "old")

    first, sent, second = together(store, delete, new, delete)

    assert (first, sent) == (None, 4)
    assert isinstance(second, RunNotFoundError)
    assert [run.id for run in store.runs("p")] == ["new"]
    assert store.reading().execute("SELECT name FROM run").fetchall() == [("new",)]
    assert store.reading().execute("SELECT run FROM deleted").fetchall() == [("old",)]


@pytest.mark.usefixtures("client")
def test_the_number_of_a_run_never_comes_again(store: SqliteStore) -> None:
    numbers: list[int] = []
    for _ in range(3):
        store.ingest.submit(job("old")).result(60)
        numbers += store.reading().execute("SELECT id FROM run").fetchone()
        store.delete("p", "old")

    assert numbers == sorted(set(numbers))


def test_edits_made_at_once_are_all_kept(store: SqliteStore, client: httpx.Client) -> None:
    def edit(**what: Any) -> Callable[[], httpx.Response]:
        return lambda: client.post("/api/v1/bulk", json={"runs": ["p/old"], **what})

    together(store, edit(notes="n"), edit(add_tags=["a"]), edit(add_tags=["b"]), edit(remove_tags=["a"], name="x"))

    told = client.get("/api/v1/runs/p/old").json()
    assert (told["notes"], told["tags"], told["name"]) == ("n", ["b"], "x")


def test_a_view_that_is_deleted_does_not_come_back_by_a_change(store: SqliteStore, client: httpx.Client) -> None:
    number = client.post(VIEWS, json={"name": "a"}).json()["id"]

    _, changed = together(
        store,
        lambda: client.delete(f"{VIEWS}/{number}"),
        lambda: client.patch(f"{VIEWS}/{number}", json={"query": "x=epoch"}),
    )

    assert changed.status_code == 404
    assert client.get(VIEWS).json()["views"] == []


def test_a_change_of_a_view_does_not_take_the_default_back(store: SqliteStore, client: httpx.Client) -> None:
    first = client.post(VIEWS, json={"name": "a", "default": True}).json()["id"]
    second = client.post(VIEWS, json={"name": "b"}).json()["id"]

    together(
        store,
        lambda: client.patch(f"{VIEWS}/{second}", json={"default": True}),
        lambda: client.patch(f"{VIEWS}/{first}", json={"query": "x=epoch"}),
    )

    views = {view["id"]: (view["default"], view["query"]) for view in client.get(VIEWS).json()["views"]}
    assert views == {first: (False, "x=epoch"), second: (True, "")}


def test_what_a_full_disk_does_not_take_may_come_again(store: SqliteStore, client: httpx.Client) -> None:
    store.ingest.call(lambda connection: void(connection.execute("PRAGMA max_page_count = 1")))  # no page is added

    answers = [
        client.post(VIEWS, json={"name": "a", "query": "x" * 20_000}),
        client.post("/api/v1/bulk", json={"runs": ["p/old"], "notes": "x" * 9_000}),
    ]

    for refused in answers:
        assert (refused.status_code, refused.json()["title"]) == (507, "insufficient storage")
        assert refused.headers["retry-after"]
    assert client.get(VIEWS).json()["views"] == []
    assert not client.get("/api/v1/runs/p/old").json()["notes"]


@pytest.mark.usefixtures("client")
def test_a_run_with_all_the_files_it_may_have_takes_another_content_of_one(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sent(connection: sqlite3.Connection) -> None:
        for sha256 in ("a" * 64, "b" * 64):
            connection.execute("INSERT INTO blob VALUES (?, 1, 1)", (sha256,))
            connection.execute("INSERT INTO sent VALUES (?, 'p', 1)", (sha256,))

    store.ingest.call(sent)
    monkeypatch.setattr(sqlite, "MAX_FILES", 1)
    store.name_file("p", "old", "x", "a" * 64)
    store.name_file("p", "old", "x", "b" * 64)

    with pytest.raises(UsageError, match="more are not taken"):
        store.name_file("p", "old", "y", "a" * 64)
    assert store.reading().execute("SELECT path, sha256 FROM file").fetchall() == [("x", "b" * 64)]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that waits a moment only for a database that is held."""
    monkeypatch.setattr("milepost.server.store.ingest.LOCKED_S", 0.2)


@pytest.mark.usefixtures("impatient")
def test_a_database_that_somebody_else_holds_is_busy_and_not_broken(store: SqliteStore, client: httpx.Client) -> None:
    assert send(client, [row(n, {"a": n}) for n in range(5)]).status_code == 200
    with contextlib.closing(sqlite3.connect(store.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for answer in (
            send(client, [row(5, {"a": 5})]),
            client.post("/api/v1/bulk", json={"runs": ["p/r1"], "notes": "seen"}),
        ):
            assert (answer.status_code, answer.headers.get("retry-after")) == (503, "1"), answer.text
        other.execute("ROLLBACK")

    assert send(client, [row(5, {"a": 5})]).status_code == 200
    assert [each["a"] for each in rows_of(client)] == list(range(6))
