"""A program that sends to a server: what it logged is there, exactly once, through kills and outages on both sides."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest

import milepost
from milepost.exporters.server_files import Files
from milepost.sdk.event import Event
from milepost.sdk.exporter import RunInfo
from tests.server.conftest import ADMIN_KEY, Server, data_server, start
from tests.server.sending import rows_of

__all__ = ["data_server", "start"]

Begin = Callable[[], Server]

PROGRAM = """
import sys, time, milepost
run = milepost.init(project="p", dir="runs", id="r1", name="sent", config={"lr": 0.1}, tags=["t"])
milepost.define_metric("loss", summary="min")
for n in range(int(sys.argv[1])):
    milepost.log({"loss": 1 / (n + 1), "n": n, "nested": {"x": n % 3}, **({"text": "hello"} if n % 10 == 0 else {})})
    time.sleep(float(sys.argv[2]))
print("logged", flush=True)
if len(sys.argv) > 3:
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
milepost.finish()
"""


def environment(server: Server) -> dict[str, str]:
    return {**os.environ, "MILEPOST_URL": server.url, "MILEPOST_API_KEY": ADMIN_KEY}


def run_program(server: Server, rows: int, pause_s: float = 0.0, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(rows), str(pause_s), *more], env=environment(server), text=True
    )


def wait_for(what: Callable[[], Any], timeout_s: float = 60) -> Any:
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        found = what()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come about")


def test_two_variables_are_all_it_takes(data_server: Begin) -> None:
    server = data_server()

    assert run_program(server, 500).wait(100) == 0

    with server.client(ADMIN_KEY) as client:
        wait_for(lambda: client.get("/api/v1/runs/p/r1").status_code == 200)
        told = wait_for(
            lambda: next((t for t in [client.get("/api/v1/runs/p/r1").json()] if t["state"] == "finished"), None)
        )
        rows = rows_of(client)
    local = milepost.Api("runs").run("p/r1")
    assert rows == list(local.scan_history())
    assert (told["name"], told["tags"], told["config"], told["rows"]) == ("sent", ["t"], {"lr": 0.1}, 500)
    assert told["summary"] == {k: v for k, v in local.summary.items() if not k.startswith("_")}
    assert told["completeness"]["gaps"] == []
    assert local.accounting()["exporters"]["server"]["delivered"] == 500


def test_rows_arrive_once_when_the_server_is_killed_meanwhile(data_server: Begin) -> None:
    server = data_server()
    port = server.url.rpartition(":")[2]
    program = run_program(server, 3000, 0.001)
    with server.client(ADMIN_KEY) as client:
        wait_for(lambda: client.get("/api/v1/runs/p/r1").status_code == 200)
    server.kill()
    time.sleep(0.5)
    again = Server(["--data", "data", "--port", port], {**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY})
    try:
        assert program.wait(100) == 0
        with again.client(ADMIN_KEY) as client:
            wait_for(lambda: client.get("/api/v1/runs/p/r1").json()["state"] == "finished", 100)
            rows = rows_of(client)
    finally:
        again.kill()

    assert [row["n"] for row in rows] == list(range(3000))


def test_sync_sends_what_a_killed_program_left(data_server: Begin) -> None:
    server = data_server()
    assert run_program(server, 300, 0.0, "kill").wait(100) == -signal.SIGKILL
    script = "from milepost.sdk.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "sync", "runs"],
        env=environment(server),
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr + done.stdout
    with server.client(ADMIN_KEY) as client:
        wait_for(lambda: client.get("/api/v1/runs/p/r1").status_code == 200)
        wait_for(lambda: client.get("/api/v1/runs/p/r1").json()["rows"] == 300)
        assert [row["n"] for row in rows_of(client)] == list(range(300))


IDLE = """
import sys, milepost
milepost.init(project="p", dir="runs", id="r1")
milepost.log({"x": 1})
print("logged", flush=True)
sys.stdin.read()
"""


def test_a_run_whose_program_was_killed_is_crashed_at_once(data_server: Begin) -> None:
    server = data_server()
    program = subprocess.Popen([sys.executable, "-c", IDLE], env=environment(server), stdin=subprocess.PIPE)
    with server.client(ADMIN_KEY) as client:
        wait_for(lambda: client.get("/api/v1/runs/p/r1").json().get("rows") == 1)
        assert client.get("/api/v1/runs/p/r1").json()["state"] == "running"
        program.kill()
        program.communicate()
        wait_for(lambda: client.get("/api/v1/runs/p/r1").json()["state"] == "crashed")


def test_a_program_that_logs_nothing_is_heard_of(data_server: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    server = data_server()
    monkeypatch.setattr("milepost.sdk.delivery.BEAT_S", 0.2)
    exporters = [{"server": {"url": server.url, "api_key": ADMIN_KEY}}]
    milepost.init(project="p", dir="runs", id="r1", settings={"exporters": exporters, "shipper": {"run_in": "thread"}})
    milepost.log({"x": 1})
    milepost.log({"x": 2})
    with server.client(ADMIN_KEY) as client:
        wait_for(lambda: client.get("/api/v1/runs/p/r1").json().get("rows"))
        first = client.get("/api/v1/runs/p/r1").json()
        until = first["heartbeat"] + 1
        wait_for(lambda: client.get("/api/v1/runs/p/r1").json()["heartbeat"] > until)
        told = client.get("/api/v1/runs/p/r1").json()
        assert (told["state"], told["rows"]) == ("running", first["rows"])
    milepost.finish()


MEDIA = """
import numpy, milepost
milepost.init(project="p", dir="runs", id="r1")
for n in range(3):
    milepost.log({"picture": milepost.Image(numpy.full((4, 4, 3), n * 80, numpy.uint8), caption=f"c{n}")})
milepost.finish()
"""


def test_media_arrive_with_their_rows(data_server: Begin) -> None:
    server = data_server()
    subprocess.run([sys.executable, "-c", MEDIA], env=environment(server), check=True)

    with server.client(ADMIN_KEY) as client:
        wait_for(lambda: client.get("/api/v1/runs/p/r1").status_code == 200)
        page = wait_for(
            lambda: next((p for p in [client.get("/api/v1/runs/p/r1/media").json()] if p["total"] == 3), None)
        )
        for item in page["items"]:
            answer = client.get(item["url"])
            assert answer.headers["content-type"] == "image/png"
            assert answer.content == Path("runs/p/r1", item["value"]["path"]).read_bytes()
            same = client.get(f"/api/v1/blobs/sha256/{item['value']['sha256']}")
            assert same.content == answer.content
    assert [item["caption"] for item in page["items"]] == ["c0", "c1", "c2"]


INNER = """
import numpy, milepost
def picture(n):
    return milepost.Image(numpy.full((4, 4, 3), 10 + n, numpy.uint8))
run = milepost.init(project="p", dir="runs", id="r1")
box = {"position": {"minX": 0, "maxX": 1, "minY": 0, "maxY": 1}, "class_id": 1}
marked = milepost.Image(numpy.zeros((4, 4, 3), numpy.uint8), boxes={"b": {"box_data": [box]}},
                        masks={"m": {"mask_data": numpy.eye(4, dtype=int)}})
table = milepost.Table(columns=["one", "several"], data=[[picture(3), [picture(4), picture(5)]]])
growing = milepost.Table(columns=["n"], log_mode="INCREMENTAL")
for n in range(2):
    growing.add_data(n)
    milepost.log({"list": [picture(1), picture(2)], "marked": marked, "table": table, "growing": growing})
run.summary["best"] = picture(6)
milepost.finish()
"""


def test_files_inside_lists_masks_and_tables_arrive_too(data_server: Begin) -> None:
    server = data_server()
    subprocess.run([sys.executable, "-c", INNER], env=environment(server), check=True)
    folder = Path("runs/p/r1")
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.glob("media/**/*.*")}

    with server.client(ADMIN_KEY) as client:
        wait_for(lambda: client.get("/api/v1/runs/p/r1").status_code == 200)
        wait_for(lambda: client.get("/api/v1/runs/p/r1").json()["state"] == "finished")
        found = {path: client.get(f"/api/v1/runs/p/r1/files/{path}") for path in files}

    assert len(files) == 12
    assert {path: answer.content for path, answer in found.items() if answer.status_code == 200} == files


@pytest.mark.parametrize("url", [None, "", "milepost.example.org", "ftp://x", "http://user:pw@x", "http://x?y=1"])
def test_an_address_that_is_none_is_refused_with_what_it_should_be(url: str | None) -> None:
    from milepost.exporters.server import ServerExporter

    with pytest.raises(milepost.Error, match=r"server: url is"):
        ServerExporter(url)


PENDING = """
import numpy, sys, milepost
milepost.init(project="p", dir="runs", id="r1")
noise = numpy.random.default_rng(1).integers(0, 255, (700, 700, 3), numpy.uint8)
for n in range(20):
    milepost.log({"n": n, "picture": milepost.Image(noise + n)})
print("logged", flush=True)
sys.stdin.read()
milepost.finish()
"""


def begun_and_encoding_nothing(server: Server) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A program that logs pictures and sends them, and its encoders, which are suspended."""
    program = subprocess.Popen(
        [sys.executable, "-c", PENDING],
        env=environment(server),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    encoders = wait_for(lambda: encoders_of(program.pid))
    for encoder in encoders:
        encoder.suspend()
    return program, encoders


def test_rows_arrive_at_once_and_their_media_when_they_are_encoded(data_server: Begin) -> None:
    """While the encoder's process is stopped, rows arrive that say their file is not here yet."""
    server = data_server()
    program, encoders = begun_and_encoding_nothing(server)
    try:
        with server.client(ADMIN_KEY) as client:
            wait_for(lambda: client.get("/api/v1/runs/p/r1").json().get("rows") == 20)
            waiting = [item for item in client.get("/api/v1/runs/p/r1/media").json()["items"] if item["url"] is None]
            assert waiting
            assert all("_pending" in item["value"] and item["type"] == "image-file" for item in waiting)
            remote = milepost.Api(server.url, api_key=ADMIN_KEY).run("p/r1")
            with pytest.raises(milepost.Error, match="not encoded yet; read the row again"):
                list(remote.scan_history())[-1]["picture"].open()
            for encoder in encoders:
                encoder.resume()
            program.communicate()
            wait_for(lambda: [i["url"] for i in client.get("/api/v1/runs/p/r1/media").json()["items"]].count(None) == 0)
            same_as_local(client, server)
    finally:
        for encoder in encoders:
            if encoder.is_running():
                encoder.resume()
        program.kill()
        program.wait()


def encoders_of(pid: int) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "milepost.sdk.encoding.process" in " ".join(process.cmdline()):
                found.append(process)
    return found


def same_as_local(client: httpx.Client, server: Server) -> None:
    """The server gives rows, summary and files as the run directory does."""
    remote, local = milepost.Api(server.url, api_key=ADMIN_KEY).run("p/r1"), milepost.Api("runs").run("p/r1")
    rows = list(remote.scan_history())
    assert rows == list(local.scan_history())
    assert len(rows) == 20
    assert remote.summary["picture"] == local.summary["picture"]
    for row in rows:
        with row["picture"].open() as file:
            assert file.read() == Path("runs/p/r1", row["picture"]["path"]).read_bytes()
    keys = {key["key"]: key for key in client.get("/api/v1/runs/p/r1/keys").json()["keys"]}
    assert keys["picture"]["last"]["path"] == rows[-1]["picture"]["path"]


def test_media_of_a_program_that_was_killed_after_their_rows_arrive_too(data_server: Begin) -> None:
    server = data_server()
    program, encoders = begun_and_encoding_nothing(server)
    with server.client(ADMIN_KEY) as client:
        wait_for(lambda: client.get("/api/v1/runs/p/r1").json().get("rows") == 20)
        program.kill()
        program.communicate()
        for encoder in encoders:
            encoder.kill()
        assert [i["url"] for i in client.get("/api/v1/runs/p/r1/media").json()["items"]].count(None) > 0
        wait_for(
            lambda: [i["url"] for i in client.get("/api/v1/runs/p/r1/media").json()["items"]].count(None) == 0, 120
        )
        same_as_local(client, server)


class OfTheFirstVersion(msgspec.Struct, forbid_unknown_fields=False):
    """What the first server wanted to be told of a file."""

    project: str
    sha256: str
    size: int


def test_a_server_of_an_earlier_day_takes_the_files_of_a_newer_program(tmp_path: Path) -> None:
    taken: list[OfTheFirstVersion] = []

    def first(request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            taken.append(msgspec.json.decode(request.content, type=OfTheFirstVersion))
        return httpx.Response(404 if request.method == "HEAD" else 200, headers={"Upload-Offset": "0"})

    sha256, events = _file(tmp_path)
    with httpx.Client(transport=httpx.MockTransport(first), base_url="http://server") as client:
        assert Files(_run(tmp_path)).send(client, events) is None
    assert [(each.project, each.sha256, each.size) for each in taken] == [("p", sha256, 5)]


def test_a_file_that_an_older_server_cannot_take_waits_for_a_newer_one(tmp_path: Path) -> None:
    def older(request: httpx.Request) -> httpx.Response:
        return httpx.Response(404 if request.method == "HEAD" else 415, headers={"Upload-Offset": "0"})

    with httpx.Client(transport=httpx.MockTransport(older), base_url="http://server") as client:
        refused = Files(_run(tmp_path)).send(client, _file(tmp_path)[1])
    assert refused is not None
    assert refused.status_code == 415


def _run(directory: Path) -> RunInfo:
    return RunInfo(id="r1", project="p", name="r1", dir=directory, writer="0" * 16)


def _file(directory: Path) -> tuple[str, list[Event]]:
    file = directory / "media" / "x.txt"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"hello")
    sha256 = hashlib.sha256(b"hello").hexdigest()
    return sha256, [Event(kind="file", values={"path": "media/x.txt", "sha256": sha256, "size": 5})]
