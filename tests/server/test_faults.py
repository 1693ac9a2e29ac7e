"""Faults beyond the scoreboard: kills within an upgrade, a backup, a deletion; a folder that cannot be written; a clock set back.

Nothing acknowledged is lost, nothing is doubled, and what cannot be done is said in so many words.
"""

import contextlib
import datetime
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
import time_machine

from milepost.server.store.compactor import compact
from milepost.server.store.schema import connect
from tests.reliability.faults import needs_root, read_only, small_disk
from tests.server.conftest import ADMIN_KEY, Server, Start
from tests.server.sending import WRITER, event, row, rows_of, send, wait_until
from tests.server.test_reliability import Writers, check, values

Begin = Callable[[], Server]
MIGRATE = """
import sys
from pathlib import Path
from milepost.server.store.schema import migrate
migrate(Path(sys.argv[1]))
"""


def contents(path: Path) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        tables = ("run", "writer", "span", "event", "batch", "grp", "chunk", "blob", "file", "api_key")
        return [each for table in tables for each in connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2")]


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.gate)])
def test_an_upgrade_that_is_killed_at_any_write_is_ended_by_the_next_start(tmp_path: Path, every: int) -> None:
    needs_root("kills at a system call")
    if shutil.which("strace") is None:
        pytest.skip("needs root: and strace")
    kept = tmp_path / "kept"
    with zipfile.ZipFile(Path(__file__).with_name("fixtures") / "first-migration.zip") as archive:
        archive.extractall(kept)
    before = contents(kept / "milepost.db")
    calls = "pwrite64,write,fdatasync,fsync,ftruncate,unlink"
    migrate = [sys.executable, "-c", MIGRATE]
    kills = 0
    for k in range(1, 1000, every):
        data = tmp_path / f"data-{k}"
        shutil.copytree(kept, data)
        database = data / "milepost.db"
        inject = f"inject={calls}:signal=SIGKILL:when={k}"
        path = f"{data}/milepost.db"
        paths = [option for name in (path, f"{path}-wal", f"{path}-shm") for option in ("-P", name)]
        strace = ["strace", "-f", "-qq", "-o", "/dev/null", *paths, "-e", f"trace={calls}", "-e", inject]
        done = subprocess.run([*strace, *migrate, str(database)], check=False, capture_output=True, text=True)
        if done.returncode == 0:
            break
        kills += 1
        assert done.returncode == -signal.SIGKILL, done.stderr
        subprocess.run([*migrate, str(database)], check=True)
        assert contents(database) == before
        shutil.rmtree(data)
    assert kills > 1
    print(f"killed at {kills} of the writes of an upgrade: nothing lost")


def test_a_compactor_that_is_killed_again_and_again_loses_and_doubles_nothing(data_server: Begin) -> None:
    server = data_server()
    load = Writers(3, 10**6)
    load.server = server
    kills = 0
    try:
        for _ in range(8):
            load.wait(random.uniform(0.1, 0.5))
            for child in psutil.Process(server.process.pid).children():
                if child.status() != psutil.STATUS_ZOMBIE:  # one of before that the server has not waited for yet
                    child.kill()
                    kills += 1
        acknowledged = load.stop()
        with server.client(ADMIN_KEY) as client:
            assert check(client, acknowledged, 10**6) == 0
    finally:
        load.stop()
    assert kills > 1


def test_a_second_server_on_a_data_directory_is_refused_and_disturbs_nobody(data_server: Begin) -> None:
    server = data_server()
    load = Writers(2, 2_000)
    load.server = server
    try:
        while min(load.acknowledged) < 2_000:
            with pytest.raises(AssertionError, match="is in use by another milepost server"):
                data_server()
            load.wait(0.1)
        with server.client(ADMIN_KEY) as client:
            assert check(client, load.stop(), 2_000) == 0
    finally:
        load.stop()


def test_a_run_whose_deletion_is_cut_short_is_whole_or_gone(data_server: Begin) -> None:
    runs = [f"run-{n}" for n in range(6)]
    server = data_server()
    for trial in range(3):
        with server.client(ADMIN_KEY) as client:
            for run in runs:
                assert send(client, [row(n, values(0, n)) for n in range(2_000)], run=run).status_code == 200
            told: dict[str, object] = {"runs": [f"p/{run}" for run in runs], "delete": True}

            def delete(client: httpx.Client = client, told: dict[str, object] = told) -> None:
                with contextlib.suppress(httpx.TransportError):
                    client.post("/api/v1/bulk", json=told)

            thread = threading.Thread(target=delete)
            thread.start()
            time.sleep(random.uniform(0.0, 0.03) * trial)
            server.kill()
            thread.join()
        server = data_server()
        with server.client(ADMIN_KEY) as client:
            left = {each["id"] for each in client.get("/api/v1/projects/p/runs").json().get("runs", [])}
            for run in runs:
                if run in left:
                    assert [each["n"] for each in rows_of(client, run)] == list(range(2_000))
                else:
                    assert client.get(f"/api/v1/runs/p/{run}").status_code == 404
                    late = send(client, [row(2_000, values(0, 2_000))], run=run)  # a writer that knows of nothing
                    assert late.status_code == 410
    with contextlib.closing(sqlite3.connect("data/milepost.db")) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_backup_is_whole_though_the_server_is_killed_and_an_older_one_stays_where_a_backup_is_killed(
    data_server: Begin, start: Start
) -> None:
    server = data_server()
    load = Writers(3, 10**6)
    load.server = server
    script = "from milepost.sdk.cli import main; main()"
    backup = [sys.executable, "-c", script, "server", "--data", "data", "--backup", "copy"]
    try:
        while min(load.acknowledged) < 500:
            load.wait(0.05)
        at = list(load.acknowledged)
        copying = subprocess.Popen(backup, stderr=subprocess.PIPE)
        load.wait(random.uniform(0.2, 0.6))
        load.server = None
        server.kill()
        _, said = copying.communicate(timeout=60)
        assert copying.returncode == 0, said
        acknowledged = load.stop()
    finally:
        load.stop()
    killed = subprocess.Popen(backup, stderr=subprocess.DEVNULL)
    time.sleep(random.uniform(0.2, 0.5))
    killed.kill()
    killed.wait()

    restored = start("--data", "copy", environment={**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY})
    with restored.client(ADMIN_KEY) as client:
        for writer, least in enumerate(at):
            assert least <= len(rows_of(client, f"w{writer}"))
        check(client, [0] * 3, 10**6)  # each row once
    with data_server().client(ADMIN_KEY) as client:
        assert check(client, acknowledged, 10**6) == 0


def test_a_data_directory_that_cannot_be_written_is_refused_by_name(data_server: Begin) -> None:
    data_server().stop()
    with read_only(Path("data")), pytest.raises(AssertionError) as refused:
        data_server()

    said = str(refused.value)
    assert "Traceback" not in said
    assert "data" in said
    assert "read-only" in said.lower()


CLOCK = """
import datetime, signal, sys, time_machine
def jump(*_):
    time_machine.travel(datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1), tick=True).start()
signal.signal(signal.SIGUSR1, jump)
from milepost.sdk.cli import main
main()
"""


@pytest.fixture
def jumping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers whose clock goes back by a day at SIGUSR1."""
    monkeypatch.setattr("tests.server.conftest.SCRIPT", CLOCK)


@pytest.mark.usefixtures("jumping")
def test_a_clock_that_is_set_back_by_a_day_stalls_nothing(data_server: Begin) -> None:
    server = data_server()
    with server.client(ADMIN_KEY) as client:
        assert send(client, [event(0, "run.start", {}), row(1, {"n": 1})]).status_code == 200
        server.process.send_signal(signal.SIGUSR1)
        for n in range(2, 200):
            assert send(client, [row(n, {"n": n})]).status_code == 200
        beat = client.post(f"/api/v1/runs/r1/writers/{WRITER}/heartbeat", json={"project": "p", "alive": True})
        assert beat.status_code == 204
        told = client.get("/api/v1/runs/p/r1").json()
        assert told["heartbeat"] < time.time() - 80_000
        assert (told["state"], told["rows"], told["completeness"]["gaps"]) == ("running", 199, [])
        assert [each["n"] for each in rows_of(client)] == list(range(1, 200))
    server.kill()
    with data_server().client(ADMIN_KEY) as client:
        assert [each["n"] for each in rows_of(client)] == list(range(1, 200))


def test_rows_that_were_taken_in_before_the_clock_was_set_back_are_compacted(data_server: Begin) -> None:
    server = data_server()
    with server.client(ADMIN_KEY) as client:
        assert send(client, [row(n, {"n": n}) for n in range(100)]).status_code == 200
    server.stop()
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    with contextlib.closing(connect(Path("data/milepost.db"))) as connection:
        with time_machine.travel(yesterday, tick=True):
            compact(connection)
        assert compacted(connection) == 100
    with data_server().client(ADMIN_KEY) as client:
        assert [each["n"] for each in rows_of(client)] == list(range(100))


def compacted(connection: sqlite3.Connection) -> int:
    (rows,) = connection.execute("SELECT COALESCE(SUM(rows), 0) FROM grp").fetchone()
    return int(rows)


def test_a_run_can_be_deleted_on_a_disk_that_is_completely_full(start: Start, tmp_path: Path) -> None:
    needs_root("mounts a small disk")
    environment = {**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY}
    with small_disk(tmp_path / "small", 96 << 20) as disk:
        server = start("--data", disk / "data", environment=environment)
        with server.client(ADMIN_KEY) as client:
            for run in ("kept", "deleted"):
                assert send(client, [row(n, values(0, n)) for n in range(5_000)], run=run).status_code == 200
            wait_until((disk / "data" / "reserve").exists)
        server.stop()  # its log goes with it: whatever it writes from here on needs room
        server = start("--data", disk / "data", environment=environment)
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
        with server.client(ADMIN_KEY) as client:
            more = [row(5_000, values(0, 5_000))]
            assert send(client, more, run="kept").status_code == 507
            deleted = client.post("/api/v1/bulk", json={"runs": ["p/deleted"], "delete": True})
            assert (deleted.status_code, deleted.json()["changed"]) == (200, 1)
            assert send(client, more, run="kept").status_code == 200
            assert [each["n"] for each in rows_of(client, "kept")] == list(range(5_001))
            assert client.get("/api/v1/runs/p/deleted").status_code == 404
        server.kill()
