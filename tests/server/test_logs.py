"""What a server writes of its work: enough to find a request again, and nothing of anybody's."""

import asyncio
import io
import json
import logging
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from milepost.server.app import create_app
from milepost.server.logs import MOST_WAITING, Logs
from milepost.server.store.directory import DirectoryStore
from tests.server.conftest import ADMIN_KEY, Start
from tests.server.sending import row, send

ENVIRONMENT = {**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY}
SECRET = "sesame"


def test_every_request_is_a_line_of_json_that_says_nothing_of_anybodys(start: Start) -> None:
    server = start("--data", "data", "--log-level", "info", "--log-format", "json", environment=ENVIRONMENT)
    with server.client(ADMIN_KEY) as client:
        sent = send(client, [row(1, {SECRET: 1.0})], run=SECRET, project=SECRET)
        client.get(f"/api/v1/projects/{SECRET}/runs", params={"filter": f'name == "{SECRET}"'})
        client.get("/api/v1/runs/a/b", headers={"X-Request-Id": "from-nginx.1"})
        client.get("/api/v1/projects", headers={"Authorization": f"Bearer mp_{SECRET}_{'x' * 30}"})
        client.get(f"/{SECRET}.js", headers={"X-Request-Id": 'odd "'})
        with client.stream("GET", "/api/v1/events"):
            pass
    server.stop()

    lines = [json.loads(line) for line in server.said]
    assert SECRET not in "".join(server.said)
    assert ADMIN_KEY not in "".join(server.said)
    assert lines[0]["message"].startswith("serving data at http://127.0.0.1:")
    found = [line for line in lines if line["logger"] == "milepost.server.requests"]
    assert [(line["method"], line["route"], line["status"], line["who"]) for line in found] == [
        ("POST", "/api/v1/runs/{run}/batches", 200, "first"),
        ("GET", "/api/v1/projects/{project}/runs", 200, "first"),
        ("GET", "/api/v1/runs/{project}/{run}", 404, "first"),
        ("GET", None, 401, None),
        ("GET", "/{path:path}", 200, "first"),
        ("GET", "/api/v1/events", 200, "first"),
    ]
    assert found[0]["request_id"] == sent.headers["X-Request-Id"]
    assert found[0]["bytes_in"] == int(sent.request.headers["content-length"])
    assert found[0]["bytes_out"] == len(sent.content)
    assert found[0]["client"] == "127.0.0.1"
    assert found[0]["ms"] > 0
    assert found[2]["request_id"] == "from-nginx.1"
    assert re.fullmatch("[0-9a-f]{16}", found[4]["request_id"])
    assert {line["level"] for line in found} == {"info"}


def test_lines_for_people_are_the_default_and_requests_are_not_in_it(start: Start) -> None:
    quiet = start("--data", "quiet", environment=ENVIRONMENT)
    with quiet.client(ADMIN_KEY) as client:
        client.get("/api/v1/projects")
    quiet.stop()
    told = start("--data", "told", "--log-level", "info", environment=ENVIRONMENT)
    with told.client(ADMIN_KEY) as client:
        number = client.get("/api/v1/projects").headers["X-Request-Id"]
    told.stop()

    assert len(quiet.said) == 1
    (line,) = told.said[1:]
    what = r"GET /api/v1/projects 200 \S+ ms, 0 bytes in, \d+ out, first, 127.0.0.1, "
    pattern = rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{{3}} info    {what}"
    assert re.fullmatch(f"{pattern}{number}\n", line)


def test_a_first_key_is_not_put_into_a_log_of_json(start: Start) -> None:
    server = start("--data", "data", "--log-format", "json")
    path = Path("data/first-admin-key")

    with server.client(path.read_text().strip()) as client:
        assert client.get("/api/v1/keys").status_code == 200
    assert path.stat().st_mode & 0o077 == 0
    assert "mp_" not in "".join(server.said)


def test_a_mistake_of_the_server_is_a_problem_with_a_number_that_the_log_has(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(DirectoryStore):
        def projects(self) -> list[str]:
            raise ZeroDivisionError(SECRET)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(Broken(tmp_path)))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/api/v1/projects")

    answer = asyncio.run(ask())

    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert SECRET not in answer.text
    assert answer.headers["X-Request-Id"] in answer.json()["detail"]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.__dict__["facts"]["request_id"] == answer.headers["X-Request-Id"]
    assert record.exc_info is not None


class Slow(io.StringIO):
    """A stream whose reader does nothing until it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def write(self, text: str) -> int:
        self.go_on.wait(60)
        return super().write(text)


@pytest.fixture
def untouched() -> Iterator[None]:
    """The loggers as they were."""
    kept = {name: logging.getLogger(name) for name in ("milepost", "uvicorn")}
    before = {name: (list(one.handlers), one.propagate, one.level) for name, one in kept.items()}
    yield
    for name, one in kept.items():
        one.handlers[:], one.propagate, one.level = before[name]
        one.setLevel(before[name][2])


@pytest.mark.usefixtures("untouched")
def test_a_log_that_nobody_reads_holds_up_nothing_and_what_is_left_out_is_counted() -> None:
    stream = Slow()
    logs = Logs("info", "text", stream)
    log = logging.getLogger("milepost.server")
    for n in range(MOST_WAITING + 500):
        log.info("milepost: number %d", n)
    stream.go_on.set()
    while "number 100\n" not in stream.getvalue():
        time.sleep(0.001)
    log.info("the last")
    logs.stop()

    lines = stream.getvalue().splitlines()
    left_out = [re.search(r"([\d,]+) records were left out", line) for line in lines]
    (told,) = [int(found[1].replace(",", "")) for found in left_out if found]
    assert len(lines) - 2 + told == MOST_WAITING + 500
    assert lines[-1].endswith("info    the last")
