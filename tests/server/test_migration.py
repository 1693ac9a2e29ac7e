"""What an earlier version stored is there after an upgrade, and what is backed up under load is whole.

fixtures/first-migration.zip was made by the first version with a schema: two runs, one of them compacted, a file, a key.
fixtures/earlier-migrations.tar.xz by the last of each version since: the same, and a run that was deleted, one that is damaged, a
run of OTLP, a view, a session that was ended.
"""

import contextlib
import json
import math
import os
import shutil
import sqlite3
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from milepost.server.store.schema import MIGRATIONS
from tests.server.conftest import ADMIN_KEY, Server, Start
from tests.server.sending import WRITER, event, row, rows_of, send, wait_until_compacted
from tests.server.test_operation import command

Begin = Callable[[], Server]
KEY_OF_FIRST = "mp_llypwtvu_kVz0a80ywcNcRsQf3yIBmKPa8GlPIEYNgQKmXBu8CCw"


def version() -> int:
    with contextlib.closing(sqlite3.connect("data/milepost.db")) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def test_a_database_of_the_first_migration_is_opened_by_the_last(data_server: Begin) -> None:
    with zipfile.ZipFile(Path(__file__).with_name("fixtures") / "first-migration.zip") as archive:
        archive.extractall("data")
    assert version() == 1
    server = data_server()
    assert version() == len(MIGRATIONS) > 1

    with server.client(ADMIN_KEY) as client:
        told = client.get("/api/v1/runs/p/long").json()
        assert (told["name"], told["config"], told["tags"]) == ("the first", {"lr": 0.5}, ["old"])
        assert (told["rows"], told["summary"]) == (4999, {"loss": 1 / 4999, "n": 4999})
        assert [(r["n"], r["loss"]) for r in rows_of(client, "long")] == [(n, 1 / n) for n in range(1, 5000)]
        assert [r["a"] for r in rows_of(client, "fresh")] == list(range(20))
        file = client.get("/api/v1/runs/p/long/files/media/notes.txt")
        assert file.content == b"a file of the first version"
        assert send(client, [row(5000, {"loss": 0.0, "n": 5000})], run="long").status_code == 200
        assert send(client, [row(n, {"a": n}) for n in range(10, 30)], run="fresh").json()["duplicates"] == 10
        assert client.get("/api/v1/runs/p/long").json()["rows"] == 5000
    with server.client(KEY_OF_FIRST) as reader:
        assert reader.get("/api/v1/runs/p/long").status_code == 200
        assert reader.get("/metrics").status_code == 403


@pytest.mark.parametrize("earlier", range(2, len(MIGRATIONS)))
def test_a_database_of_every_other_migration_is_opened_by_the_last(data_server: Begin, earlier: int) -> None:
    with tarfile.open(Path(__file__).with_name("fixtures") / "earlier-migrations.tar.xz") as archive:
        archive.extractall(filter="data")
    shutil.move(f"v{earlier}", "data")
    assert version() == earlier
    server = data_server()
    assert version() == len(MIGRATIONS)

    with server.client(ADMIN_KEY) as client:
        told = client.get("/api/v1/runs/p/long").json()
        assert (told["name"], told["config"], told["rows"], told["tags"]) == ("the first", {"lr": 0.5}, 4999, ["old"])
        assert [(r["n"], r["loss"]) for r in rows_of(client, "long")] == [(n, 1 / n) for n in range(1, 5000)]
        assert client.get("/api/v1/runs/p/long/files/media/notes.txt").content == b"a file of an earlier version"
        assert [r["a"] for r in rows_of(client, "fresh")] == list(range(25))

        again = client.post("/v1/metrics", content=OTLP, headers={"Content-Type": "application/json"})
        assert again.status_code == 200
        assert count("taken") == (1 if earlier > 3 else 2)  # it is known since the fourth, and not stored twice
        assert count("ended") == 1
        if earlier > 2:
            assert [view["name"] for view in client.get("/api/v1/projects/p/views").json()["views"]] == ["mine"]
            gone = send(client, [row(20, {"a": 20})], run="gone", writer=f"{4:016x}")
            assert gone.status_code == 410

        gaps = client.get("/api/v1/runs/p/damaged").json()["completeness"]["gaps"]
        assert [(gap["first"], gap["last"]) for gap in gaps] == [(0, 19)]
        for first, last in ((10, 15), (0, 20)):
            healing = [row(n, {"a": n}) for n in range(first, last)]
            assert send(client, healing, run="damaged", writer=f"{7:016x}").status_code == 200
        assert [r["a"] for r in rows_of(client, "damaged")] == list(range(20))
        assert client.get("/api/v1/runs/p/damaged").json()["completeness"]["gaps"] == []

        assert send(client, [row(n, {"loss": 0.0, "n": n}) for n in range(5000, 9000)], run="long").status_code == 200
        assert send(client, [row(n, {"new": n}) for n in range(5000)], run="new").status_code == 200
        for run in ("long", "new"):
            wait_until_compacted(client, run)
        assert [r["n"] for r in rows_of(client, "long")] == list(range(1, 9000))
        assert [r["new"] for r in rows_of(client, "new")] == list(range(5000))
    with server.client(Path("data/key").read_text()) as reader:
        assert reader.get("/api/v1/runs/p/long").status_code == 200
        assert reader.get("/api/v1/keys").status_code == 403


OTLP = (
    b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":'
    b'[{"name":"a","gauge":{"dataPoints":[{"timeUnixNano":"5","asDouble":0.5}]}}]}]}]}'
)


def count(table: str) -> int:
    with contextlib.closing(sqlite3.connect("data/milepost.db")) as connection:
        return int(connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])


class Load:
    """Writers that send until they are told to stop. acknowledged: how many rows of each were."""

    def __init__(self, server: Server, writers: int) -> None:
        self._stop = threading.Event()
        self.acknowledged = [0] * writers
        self._server = server
        self._threads = [threading.Thread(target=self._send, args=(writer,)) for writer in range(writers)]
        for thread in self._threads:
            thread.start()

    def _send(self, writer: int) -> None:
        with self._server.client(ADMIN_KEY) as client:
            while not self._stop.is_set():
                first = self.acknowledged[writer]
                rows = [row(n, {"n": n, "f": math.sin(n)}) for n in range(first, first + 100)]
                with contextlib.suppress(httpx.TransportError):
                    if send(client, rows, run=f"w{writer}", writer=f"{writer:016x}").status_code == 200:
                        self.acknowledged[writer] = first + 100

    def stop(self) -> list[int]:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return self.acknowledged


def history(client: httpx.Client, run: str) -> list[tuple[int, float]]:
    answer = client.get(f"/api/v1/runs/p/{run}/rows?format=jsonl")
    return [(each["n"], each["f"]) for each in map(json.loads, answer.text.splitlines())] if answer.text else []


def test_backups_made_under_load_hold_what_was_acknowledged_before_and_no_row_that_was_not_sent(
    data_server: Begin, start: Start
) -> None:
    server = data_server()
    load = Load(server, 4)
    at: list[int] = []
    for rows in (0, 500):
        while min(load.acknowledged) <= rows:
            time.sleep(0.01)
        at = list(load.acknowledged)
        assert command("server", "--data", "data", "--backup", "copy").returncode == 0
    final = load.stop()
    with server.client(ADMIN_KEY) as client:
        whole = [history(client, f"w{n}") for n in range(4)]

    restored = start("--data", "copy", environment={**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY})
    with restored.client(ADMIN_KEY) as client:
        copies = [history(client, f"w{n}") for n in range(4)]
        for n, copy in enumerate(copies):
            assert at[n] <= len(copy) <= final[n] + 100
            assert copy == whole[n][: len(copy)]
            told = client.get(f"/api/v1/runs/p/w{n}").json()
            assert (told["rows"], told["completeness"]["gaps"]) == (len(copy), [])
        more = [row(n, {"n": n, "f": math.sin(n)}) for n in range(final[0] + 100)]  # the restored server goes on
        assert send(client, more, run="w0", writer=f"{0:016x}").status_code == 200
        assert [n for n, _ in history(client, "w0")] == list(range(final[0] + 100))
    assert [len(each) for each in whole] == final
    assert all(each == [(n, math.sin(n)) for n in range(len(each))] for each in whole)


def test_a_run_that_an_older_exporter_sent_with_its_files_comes_again_with_references(data_server: Begin) -> None:
    """After an upgrade in the middle of a lost answer, the same row says otherwise of its picture, and is no conflict."""
    picture = {"_type": "image-file", "path": "media/x.png", "sha256": "0" * 64, "size": 1}
    with data_server().client(ADMIN_KEY) as client:
        assert send(client, [event(0, "run.start", {}), row(1, {"picture": picture})]).status_code == 200
        pending = row(1, {"picture": {"_type": "image-file", "_pending": f"{WRITER}-0"}})
        assert send(client, [pending, row(2, {"picture": picture})]).json()["duplicates"] == 1
        other = row(1, {"picture": {"_type": "audio-file", "_pending": f"{WRITER}-0"}})
        assert send(client, [other]).status_code == 409
