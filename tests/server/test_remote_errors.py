"""What goes wrong between `milepost.Api(URL)` and a server is said in one sentence, with what to do."""

import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

import milepost
from milepost.sdk.reading.remote import Server as Remote
from tests.server.conftest import ADMIN_KEY, Server
from tests.server.sending import event, row, send
from tests.server.test_operation import send_file

RUN = {"id": "r", "project": "p", "created": 0.0}


class Odd(BaseHTTPRequestHandler):
    """Answers as something else than a milepost server does, by the first part of the address."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        if kind == "page":
            self.say(200, b"<html>hello</html>")
        elif kind == "none":
            self.say(404, b"<html>not here</html>")
        elif kind == "elsewhere":
            self.send_response(308)
            self.send_header("Location", "https://milepost.example.org/api/v1/projects")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path.endswith("/files/big"):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 500)
            self.close_connection = True
        elif self.path.endswith("/files"):
            self.say(200, msgspec.json.encode({"files": [{"name": "big", "size": 1000, "url": ""}]}))
        elif self.path.endswith("/whole"):
            self.say(200, msgspec.msgpack.encode({**RUN, "keys": ["a"]}))
        else:
            self.say(200, msgspec.json.encode(RUN))

    def do_POST(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        page = msgspec.msgpack.encode([{"_step": 0, "a": 1}])
        data = len(page).to_bytes(4, "big") + page
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        if self.path.startswith("/ends"):
            self.wfile.write(b"0\r\n\r\n")  # as a proxy ends an answer that it could not get whole
        self.close_connection = True

    def say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def odd() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Odd)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("page", "does not answer as a milepost server does; is it one"),
        ("none", r"does not answer as a milepost server does \(404\); is it one"),
        ("elsewhere", "sends on to 'https://milepost.example.org/api/v1/projects'; use that address"),
    ],
)
def test_another_server_is_recognised_as_one(odd: str, path: str, said: str) -> None:
    with pytest.raises(milepost.Error, match=said):
        milepost.Api(f"{odd}/{path}").projects()


@pytest.mark.parametrize("how", ["breaks", "ends"])
def test_rows_that_break_off_are_not_taken_for_all(odd: str, how: str) -> None:
    run = milepost.Api(f"{odd}/{how}").run("p/r")

    with pytest.raises(milepost.Error, match="broke off in the middle"):
        list(run.scan_history())
    with pytest.raises(milepost.Error, match="broke off in the middle"):
        run.history(pandas=False)


def test_a_file_that_breaks_off_leaves_nothing_behind(odd: str, tmp_path: Path) -> None:
    (file,) = milepost.Api(f"{odd}/x").run("p/r").files()

    with pytest.raises(milepost.Error, match="broke off in the middle"):
        file.download(tmp_path / "copy")
    assert list((tmp_path / "copy").iterdir()) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://no.such.host.invalid", "http://[", "http://a:b:c"])
def test_a_server_that_cannot_be_reached_is_named(url: str) -> None:
    with pytest.raises(milepost.Error, match=r"cannot be reached|is no address of a server"):
        milepost.Api(url).projects()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("remote") / "data"
    started = Server(["--data", str(data)], {**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY})
    with started.client(ADMIN_KEY) as client:
        for n in range(30):
            send(
                client,
                [event(0, "run.start", {"name": f"name-{n}"}), row(1, {"a": n})],
                run=f"r{n}",
                writer=f"{n:016x}",
            )
    yield started
    started.kill()


def test_a_key_that_is_wrong_expired_or_lacks_a_scope_is_told_from_one_that_is_missing(server: Server) -> None:
    with server.client(ADMIN_KEY) as admin:
        short = admin.post("/api/v1/keys", json={"scopes": ["read"], "expires_in": 0.01}).json()["key"]
        ingest = admin.post("/api/v1/keys", json={"scopes": ["ingest"]}).json()["key"]
    time.sleep(0.05)
    for key, said in (
        (None, "asks for a key: set MILEPOST_API_KEY"),
        ("mp_wrong_" + "x" * 30, "does not take this key; it is wrong, expired or revoked"),
        (short, "does not take this key; it is wrong, expired or revoked"),
        (ingest, "403: this key lacks the scope 'read'"),
    ):
        with pytest.raises(milepost.Error, match=said):
            milepost.Api(server.url, api_key=key).projects()


def test_the_key_of_one_server_is_not_sent_to_another(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_API_KEY", ADMIN_KEY)
    monkeypatch.setenv("MILEPOST_URL", f"{server.url}/")
    assert milepost.Api(server.url).projects() == ["p"]
    monkeypatch.setenv("MILEPOST_URL", "https://milepost.example.org")
    with pytest.raises(milepost.Error, match="asks for a key"):
        milepost.Api(server.url).projects()


def test_a_run_is_found_with_few_requests(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answer = Remote._answer

    def counted(self: Remote, method: str, path: str, **more: Any) -> Any:
        asked.append(path)
        return answer(self, method, path, **more)

    monkeypatch.setattr(Remote, "_answer", counted)
    api = milepost.Api(server.url, api_key=ADMIN_KEY)

    assert api.run("p/r7").listed("name") == "name-7"
    assert asked == ["/runs/p/r7"]
    asked.clear()
    assert api.run("name-7").id == "r7"
    assert len(asked) == 2  # the projects, and the runs of one


def test_a_large_file_is_fetched_a_little_at_a_time(server: Server, tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    with server.client(ADMIN_KEY) as client:
        send_file(client, "r1", content)
    (file,) = milepost.Api(server.url, api_key=ADMIN_KEY).run("p/r1").files()

    assert file.download(tmp_path / "copy").read_bytes() == content
    assert file.download(tmp_path / "copy", replace=True).stat().st_size == len(content)
