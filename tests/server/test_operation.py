"""What somebody who runs a server relies on: backup, keys kept for a user, figures, a full disk."""

import fcntl
import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import milepost
from milepost.sdk.credentials import credentials_file, stored_key
from milepost.server.store.sweep import backup_lock
from tests.server.conftest import ADMIN_KEY, Server, Start
from tests.server.sending import event, row, rows_of, send

Begin = Callable[[], Server]


def command(*arguments: str, told: str = "") -> subprocess.CompletedProcess[str]:
    script = "from milepost.sdk.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], input=told, capture_output=True, text=True, check=False
    )


def test_a_backup_made_while_the_server_runs_is_a_data_directory(data_server: Begin, start: Start) -> None:
    server = data_server()
    with server.client(ADMIN_KEY) as client:
        send(client, [row(n, {"a": n}) for n in range(5000)])
        done = command("server", "--data", "data", "--backup", "copy")
        send(client, [row(n, {"a": n}) for n in range(5000, 5010)])
    again = command("server", "--data", "data", "--backup", "copy")

    assert (done.returncode, again.returncode) == (0, 0), done.stderr
    copy = start("--data", "copy", environment={**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY})
    with copy.client(ADMIN_KEY) as client:
        assert [r["a"] for r in rows_of(client)] == list(range(5010))


def test_a_backup_overwrites_nothing_else(data_server: Begin) -> None:
    data_server()
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("x")

    done = command("server", "--data", "data", "--backup", "mine")

    assert done.returncode == 2
    assert "holds other things" in done.stderr
    assert os.listdir("mine") == ["thesis.txt"]


def send_file(client: httpx.Client, run: str, content: bytes, project: str = "p") -> Path:
    """Send a content as a file of a run; where the server has it."""
    sha256 = hashlib.sha256(content).hexdigest()
    headers = {"Upload-Offset": "0", "Upload-Length": str(len(content))}
    sent = client.patch(f"/api/v1/blobs/sha256/{sha256}", params={"project": project}, content=content, headers=headers)
    assert sent.status_code == 200, sent.text
    named = {"project": project, "sha256": sha256, "size": len(content)}
    assert client.put(f"/api/v1/runs/{run}/files/media/x.bin", json=named).status_code == 200
    return Path("data/blobs", sha256[:2], sha256)


def test_contents_go_with_the_last_run_that_refers_to_them(data_server: Begin) -> None:
    server = data_server()
    with server.client(ADMIN_KEY) as client:
        for run in ("one", "two", "kept"):
            send(client, [row(1, {"a": 1})], run=run)
        alone, shared = send_file(client, "one", b"alone"), send_file(client, "two", b"shared")
        assert send_file(client, "kept", b"shared") == shared
        fresh = b"nobody named it yet"
        headers = {"Upload-Offset": "0", "Upload-Length": str(len(fresh))}
        name = hashlib.sha256(fresh).hexdigest()
        client.patch(f"/api/v1/blobs/sha256/{name}?project=p", content=fresh, headers=headers).raise_for_status()
        for path in (alone, shared):
            os.utime(path, (1e9, 1e9))
        Path("data/uploads/left").write_bytes(b"x")
        os.utime("data/uploads/left", (1e9, 1e9))

        assert client.post("/api/v1/bulk", json={"runs": ["p/one", "p/two"], "delete": True}).json()["changed"] == 2
        until = time.monotonic() + 60
        while (alone.exists() or Path("data/uploads/left").exists()) and time.monotonic() < until:
            time.sleep(0.05)
        assert not alone.exists()
        assert not Path("data/uploads/left").exists()
        assert shared.exists()
        assert Path("data/blobs", name[:2], name).exists()
        assert client.get("/api/v1/runs/p/kept/files/media/x.bin").content == b"shared"
        assert client.head(f"/api/v1/blobs/sha256/{alone.name}?project=p").status_code == 404
        send(client, [row(1, {"a": 1})], run="again")
        assert send_file(client, "again", b"alone").read_bytes() == b"alone"


def test_nothing_is_removed_while_a_backup_is_made(data_server: Begin) -> None:
    server = data_server()
    with server.client(ADMIN_KEY) as client, backup_lock(Path("data"), fcntl.LOCK_SH) as held:
        assert held
        send(client, [row(1, {"a": 1})], run="one")
        path = send_file(client, "one", b"needed by the backup")
        os.utime(path, (1e9, 1e9))
        client.post("/api/v1/bulk", json={"runs": ["p/one"], "delete": True}).raise_for_status()
        time.sleep(1)
        assert path.exists()


def test_login_keeps_a_key_that_is_right_for_the_user_alone(data_server: Begin) -> None:
    server = data_server()
    wrong = command("login", server.url, told="mp_wrong_" + "x" * 30 + "\n")
    right = command("login", server.url, told=ADMIN_KEY + "\n")

    assert wrong.returncode == 2
    assert "does not know this key" in wrong.stderr
    assert right.returncode == 0, right.stderr
    assert credentials_file().stat().st_mode & 0o077 == 0
    assert ADMIN_KEY not in right.stdout + right.stderr
    assert milepost.Api(server.url).projects() == []
    assert command("login", server.url, "--forget").returncode == 0
    assert stored_key(server.url) is None
    with pytest.raises(milepost.Error, match="asks for a key"):
        milepost.Api(server.url).projects()


def test_figures_for_prometheus(data_server: Begin) -> None:
    with data_server().client(ADMIN_KEY) as client:
        send(client, [row(n, {"a": n, "b": n}) for n in range(10)])
        send(client, [row(n, {"a": n, "b": n}) for n in range(10)])
        text = client.get("/metrics").text

    told = dict(re.findall(r"^(milepost_\w+) (\S+)$", text, re.MULTILINE))
    assert told["milepost_server_rows_total"] == "10"
    assert told["milepost_server_points_total"] == "20"
    assert told["milepost_server_duplicates_total"] == "10"
    assert told["milepost_server_runs"] == "1"


def test_a_full_disk_acknowledges_nothing_and_reading_goes_on(start: Start, tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], check=False, capture_output=True
    ).returncode:
        pytest.skip("needs root: a file system of 3 MiB")
    try:
        server = start("--data", place / "data", environment={**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY})
        with server.client(ADMIN_KEY) as client:
            taken, refused = 0, None
            while taken < 200_000:
                answer = send(client, [row(n, {"a": os.urandom(40).hex()}) for n in range(taken, taken + 1000)])
                if answer.status_code != 200:
                    refused = answer
                    break
                taken += 1000
            assert refused is not None
            assert refused.status_code == 507
            assert "retry-after" in refused.headers
            assert taken
            assert len(client.get("/api/v1/runs/p/r1/rows?format=jsonl").text.splitlines()) == taken
            assert client.get("/api/v1/runs/p/r1").json()["rows"] == taken
        server.kill()
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_events_that_make_no_sense_keep_no_server_from_starting_again(data_server: Begin) -> None:
    odd: list[tuple[str, dict[Any, Any]]] = [
        ("config", {"deleted": 5}),
        ("config", {"set": {5: 1}}),
        ("summary", {"delete": 7}),
        ("metric", {"name": "a", "summary": [7]}),
        ("run.finish", {"state": "finished", "summary": {5: 1}}),
    ]
    server = data_server()
    with server.client(ADMIN_KEY) as client:
        for n, (kind, values) in enumerate(odd):
            assert send(client, [event(0, kind, values), row(1, {"a": n})], run=f"odd{n}").status_code == 200
        before = [client.get(f"/api/v1/runs/p/odd{n}").json()["rows"] for n in range(len(odd))]
    server.kill()

    with data_server().client(ADMIN_KEY) as client:
        after = [client.get(f"/api/v1/runs/p/odd{n}").json()["rows"] for n in range(len(odd))]

    assert before == after == [1] * len(odd)


def test_a_database_of_a_newer_milepost_is_refused_by_name(start: Start) -> None:
    import sqlite3

    start("--data", "data").stop()
    connection = sqlite3.connect("data/milepost.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(AssertionError, match="has version 99"):
        start("--data", "data")


def test_on_an_empty_machine_the_command_alone_is_a_server_of_its_own_and_stays_one(start: Start) -> None:
    server = start()
    key = re.search(r"the first admin key, shown this once: (mp_\S+)", "".join(server.said))
    assert key is not None
    with server.client(key[1]) as client:
        assert send(client, [row(1, {"a": 1})]).status_code == 200
    server.stop()
    Path("milepost-runs").mkdir()

    with start().client(key[1]) as client:
        assert [each["a"] for each in rows_of(client)] == [1]
    Path("milepost-data").rename("elsewhere")
    with start().client() as client:
        assert client.get("/api/v1/info").json()["mode"] == "runs"


def test_a_file_that_is_no_database_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "milepost.db").write_text("x" * 5000)

    for more in (("--port", "0"), ("--backup", "copy")):
        done = command("server", "--data", str(tmp_path), *more)
        assert done.returncode == 2
        assert re.fullmatch(r"error: .*milepost\.db .*: file is not a database; .*\n", done.stderr), done.stderr


def test_a_page_that_is_open_does_not_hold_up_the_end(start: Start, tmp_path: Path) -> None:
    server = start("--runs", tmp_path)
    with server.client() as client, client.stream("GET", "/api/v1/events") as stream:
        next(stream.iter_lines())
        server.stop()

    assert "".join(server.said[1:]) == ""
