"""What the exporter `server` does when something on the way, or on the server, is against it."""

import contextlib
import hashlib
import http.server
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import milepost
from milepost.exporters.server import ServerExporter
from milepost.sdk.cli import main
from milepost.sdk.event import Event
from milepost.sdk.exporter import RunInfo
from milepost.sdk.testing import make_run
from tests.server.conftest import ADMIN_KEY, Server, data_server, start
from tests.server.sending import WRITER, event, row, rows_of, send

__all__ = ["data_server", "start"]

Begin = Callable[[], Server]


@contextlib.contextmanager
def damaging(
    url: str, times: int, free: threading.Event | None = None, states: list[int] | None = None
) -> Iterator[str]:
    """A proxy that changes a byte of the first so many pieces of files that pass. free: until it is set, no piece passes.

    states: what it answers itself to who asks what is stored of a writer, one after the other, before it asks the server.
    """
    left = [times]

    class Proxy(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            if self.command == "PATCH" and free is not None:
                free.wait(60)
            if self.command == "PATCH" and body and left[0] > 0:
                left[0] -= 1
                body = body[:-1] + bytes([body[-1] ^ 1])
            if states and self.command == "GET" and "/writers/" in self.path:
                self.send_response(states.pop(0))
                self.send_header("content-length", "0")
                self.end_headers()
                return
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")
            }
            answer = httpx.request(self.command, url + self.path, content=body, headers=headers, trust_env=False)
            self.send_response(answer.status_code)
            content = answer.content
            for name in ("content-type", "upload-offset"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = forward  # noqa: N815 - the names that http.server calls

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_address[1]}"
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()


def begin(url: str) -> Any:
    """A run that sends to a server from a thread of this program."""
    exporters = [{"server": {"url": url, "api_key": ADMIN_KEY}}]
    settings = {"exporters": exporters, "shipper": {"run_in": "thread"}}
    return milepost.init(project="p", dir="runs", id="r1", settings=settings)


def picture() -> milepost.Image:
    return milepost.Image(np.random.default_rng(1).integers(0, 255, (40, 40, 3), np.uint8))


def test_a_file_that_is_damaged_on_the_way_is_sent_again(data_server: Begin) -> None:
    server = data_server()
    with damaging(server.url, times=2) as url:
        begin(url)
        milepost.log({"picture": picture()})
        milepost.finish()

    with server.client(ADMIN_KEY) as client:
        (row,) = rows_of(client)
        found = client.get(f"/api/v1/runs/p/r1/files/{row['picture']['path']}")
    assert found.content == Path("runs/p/r1", row["picture"]["path"]).read_bytes()


def test_rows_do_not_wait_for_a_file_before_them(data_server: Begin) -> None:
    server = data_server()
    free = threading.Event()
    with damaging(server.url, times=0, free=free) as url, server.client(ADMIN_KEY) as client:
        begin(url)
        Path("film").write_bytes(b"long")
        milepost.save("film")
        for n in range(10):
            milepost.log({"n": n})
        until = time.monotonic() + 60
        while (client.get("/api/v1/runs/p/r1").json().get("rows") or 0) < 9:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert client.get("/api/v1/runs/p/r1/files").json()["files"] == []
        free.set()
        milepost.finish()
        assert [each["name"] for each in client.get("/api/v1/runs/p/r1/files").json()["files"]] == ["files/film"]


def test_a_picture_that_was_cut_short_is_set_aside_with_a_warning(
    data_server: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = data_server()
    monkeypatch.setenv("MILEPOST_API_KEY", ADMIN_KEY)
    monkeypatch.setenv("MILEPOST_URL", server.url)
    exporters = ["file", "server"]
    with milepost.init(project="p", dir="runs", id="r1", mode="offline", settings={"exporters": exporters}) as run:
        run.log({"picture": picture(), "n": 1})
    (file,) = Path("runs/p/r1/media").rglob("*.png")
    os.truncate(file, 100)

    script = "from milepost.sdk.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script, "sync", "runs"], check=False, capture_output=True, text=True)

    assert "is set aside, its row is sent: it has 100 bytes, and had " in done.stderr
    with server.client(ADMIN_KEY) as client:
        assert [row["n"] for row in rows_of(client)] == [1]


def test_a_file_that_never_arrives_whole_is_set_aside_with_a_warning_and_holds_up_no_row(
    data_server: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    server = data_server()
    with damaging(server.url, times=1000) as url:
        begin(url)
        milepost.log({"picture": picture(), "n": 1})
        milepost.log({"n": 2})
        milepost.finish()

    assert "is set aside, its row is sent: it was sent 3 times: the bytes have the SHA-256" in caplog.text
    with server.client(ADMIN_KEY) as client:
        assert [row["n"] for row in rows_of(client)] == [1, 2]
        assert client.get("/api/v1/runs/p/r1/media").json()["items"][0]["url"] is None


def test_a_run_that_is_deleted_while_its_program_logs_stays_deleted_and_its_rows_are_accounted_for(
    data_server: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    server = data_server()
    run = begin(server.url)
    with server.client(ADMIN_KEY) as client:
        for n in range(5):
            milepost.log({"n": n})
        run.flush()
        milepost.log({"n": 5, "picture": picture()})
        while not client.get("/api/v1/runs/p/r1").json().get("rows"):
            pass
        assert client.post("/api/v1/bulk", json={"runs": ["p/r1"], "delete": True}).json()["changed"] == 1
        for n in range(6, 20):
            milepost.log({"n": n})
        milepost.finish()
        assert client.get("/api/v1/runs/p/r1").status_code == 404
        assert client.get("/api/v1/projects").json() == {"projects": []}

    told = milepost.Api("runs").run("p/r1").accounting()["exporters"]["server"]
    rejected = told["rejected"]
    assert told["delivered"] + sum(rejected.values()) == 20
    assert any("410" in reason and "was deleted" in reason for reason in rejected)
    assert "was deleted" in caplog.text


def deleted_run(server: Server, tmp_path: Path, writer: str) -> tuple[RunInfo, list[Event]]:
    """A run that was deleted on the server, as a program sees it of which this is the writer; and what it tells of a file."""
    (tmp_path / "runs" / "demo" / "run1").mkdir(parents=True)
    (tmp_path / "runs" / "demo" / "run1" / "notes").write_bytes(b"content")
    sha256 = hashlib.sha256(b"content").hexdigest()
    with server.client(ADMIN_KEY) as client:
        assert send(client, [row(0, {"n": 1})], run="run1", project="demo").status_code == 200
        assert client.post("/api/v1/bulk", json={"runs": ["demo/run1"], "delete": True}).json()["changed"] == 1
    told = event(0, "file", {"path": "notes", "sha256": sha256, "size": 7})
    return make_run(tmp_path, writer=writer), [told]


def test_a_file_that_waits_for_the_rows_of_its_run_says_so_when_that_lasts(
    data_server: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = data_server()
    run, batch = deleted_run(server, tmp_path, "00000000000000bb")
    exporter = ServerExporter(server.url, ADMIN_KEY, signals=["files"])
    exporter.start(run, None)

    first = exporter.export(batch)
    monkeypatch.setattr("milepost.exporters.server.ROWS_FIRST_S", 0.0)
    lasting = exporter.export(batch)
    with server.client(ADMIN_KEY) as client:
        send(client, [row(1, {"n": 2})], run="run1", project="demo", writer=run.writer)
    then = exporter.export(batch)
    exporter.shutdown()

    assert (first.outcome, first.reason) == ("retry", "")
    assert lasting.outcome == "retry"
    why = "the run demo/run1 was deleted; its files are not taken before its rows begin anew"
    assert lasting.reason == f"{server.url}: {why}"
    assert then.outcome == "success"


@pytest.mark.parametrize("status", [401, 503])
def test_whether_a_run_was_deleted_is_not_guessed_when_the_server_does_not_tell(
    data_server: Begin, tmp_path: Path, status: int
) -> None:
    server = data_server()
    run, batch = deleted_run(server, tmp_path, WRITER)
    with damaging(server.url, times=0, states=[status]) as url:
        exporter = ServerExporter(url, ADMIN_KEY, signals=["files"])
        exporter.start(run, None)
        untold, told = exporter.export(batch), exporter.export(batch)
        exporter.shutdown()

    assert untold.outcome == "retry"
    assert f"{url} answers {status}" in untold.reason
    assert told.outcome == "success"  # this writer went with its run: the file is set aside


def test_files_that_wait_are_not_told_of_as_rows(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    begin("http://127.0.0.1:9")
    Path("notes").write_text("content")
    milepost.save("notes")
    for n in range(3):
        milepost.log({"n": n})
    milepost.finish(timeout=0.5)

    assert "3 rows of p/r1 are not delivered to server yet" in caplog.text
    assert (
        "not all files of p/r1 are delivered to server-files yet (http://127.0.0.1:9 cannot be reached" in caplog.text
    )
    assert (
        "server-files cannot deliver: http://127.0.0.1:9 cannot be reached: [Errno 111] Connection refused; files wait"
        in (caplog.text)
    )
    with pytest.raises(SystemExit):
        main(["doctor", "runs"])
    told = capsys.readouterr().out
    assert "to server-files (writer " in told
    assert "): 1 file waits" in told
    assert "p/r1: 3 rows are not delivered yet" in told
    assert "p/r1: 1 file is not delivered yet" in told
    books = milepost.Api("runs").run("p/r1").accounting()["exporters"]["server-files"]
    assert (books["logged"], books["pending"], books["filtered"]) == (3, 0, 3)


def test_nothing_is_said_of_files_where_there_are_none(caplog: pytest.LogCaptureFixture) -> None:
    begin("http://127.0.0.1:9")
    milepost.log({"n": 1})
    milepost.finish(timeout=0.5)

    assert "1 row of p/r1 is not delivered to server yet" in caplog.text
    assert "server-files" not in caplog.text
