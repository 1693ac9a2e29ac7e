"""Every route, with every wrong key, gives nothing of anybody's."""

import functools
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from milepost import server as server_package
from milepost.server.app import create_app
from milepost.server.auth import Keys as StoredKeys
from milepost.server.ingest import LIMITS
from tests.server.conftest import ADMIN_KEY, Server, Start
from tests.server.sending import WRITER, event, row, send

PUBLIC = {
    "/healthz",
    "/readyz",
    "/openapi.json",
    "/api/v1/info",
    "/api/v1/login",
    "/api/v1/logout",
    "/api/v1/docs",
    "/{path:path}",
}
SECRET = "sesame"

Begin = Callable[[], Server]


class Keys:
    """A server with one run in project "mine", and a key of each kind."""

    def __init__(self, server: Server) -> None:
        self.server = server
        with server.client(ADMIN_KEY) as admin:
            send(admin, [event(0, "run.start", {"name": SECRET}), row(1, {SECRET: 1.0})], project="mine")
            self.good = self.make(admin, ["read", "ingest"], "mine")
            self.other = self.make(admin, ["read", "ingest", "admin"], "other")
            self.short = self.make(admin, ["read", "ingest"], expires_in=0.01)
            self.reading = self.make(admin, ["read"])
            self.sending = self.make(admin, ["ingest"])
            self.revoked = self.make(admin, ["admin"])
            number = self.revoked.split("_")[1]
            assert admin.delete(f"/api/v1/keys/{number}").status_code == 200
        time.sleep(0.05)

    @staticmethod
    def make(admin: httpx.Client, scopes: list[str], project: str | None = None, **more: Any) -> str:
        answer = admin.post("/api/v1/keys", json={"scopes": scopes, "project": project, **more})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["key"])


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    data = tmp_path_factory.mktemp("auth") / "data"
    server = Server(["--data", str(data)], {**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY})
    yield Keys(server)
    server.kill()


def routes() -> list[tuple[str, str]]:
    """Method and path of every route of the app, filled with the names of the run that is there."""
    store: Any = None
    names = {
        "project": "mine",
        "run": "r1",
        "writer": WRITER,
        "name:path": "run.json",
        "number": "first",
        "hash": "0" * 64,
        "path": "x",
        "path:path": "x",
    }
    app = create_app(store)
    every = [(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods]
    every += [
        (method, route.path) for route in app.routes if isinstance(route, Route) for method in route.methods or ()
    ]
    fill = functools.partial(re.sub, r"\{([^}]+)\}", lambda match: names.get(match[1], "run.json"))
    return sorted({(method, fill(path)) for method, path in every if path not in PUBLIC})


@pytest.mark.parametrize("kind", ["none", "wrong", "malformed", "short", "revoked", "as-query", "basic"])
def test_no_route_answers_without_a_valid_key(keys: Keys, kind: str) -> None:
    given = {
        "wrong": f"Bearer {ADMIN_KEY[:-1]}b",
        "malformed": "Bearer mp_;_" + "%00" * 9,
        "short": f"Bearer {keys.short}",
        "revoked": f"Bearer {keys.revoked}",
        "basic": "Basic YXBpOng=",
    }
    headers = {"Authorization": given[kind]} if kind in given else {}
    query = f"?api_key={ADMIN_KEY}&key={ADMIN_KEY}" if kind == "as-query" else ""
    walked = routes()
    assert len(walked) > 20
    with keys.server.client() as client:
        for method, path in walked:
            answer = client.request(method, path + query, headers=headers)
            assert answer.status_code == 401, (method, path, answer.text)
            assert SECRET not in answer.text


def test_what_everybody_may_ask_for_holds_nothing_of_anybody(keys: Keys) -> None:
    static = Path(server_package.__file__).with_name("static")
    files = [f"/{path.relative_to(static).as_posix()}" for path in static.rglob("*") if path.is_file()]
    public = [path for path in PUBLIC if "{" not in path]
    tricks = ["/", "/mine/r1", "/../data/secret", "/..%2f..%2fdata%2fmilepost.db", "//etc/passwd", "/assets/../secret"]
    with keys.server.client() as client:
        for path in (*public, *files, *tricks):
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"):
                answer = client.request(method, path, json={} if method in ("POST", "PUT", "PATCH") else None)
                assert SECRET.encode() not in answer.content, (method, path)
                assert answer.status_code < 500, (method, path)
                if method not in ("GET", "HEAD") and not path.startswith("/api/v1/log"):
                    assert answer.status_code in (401, 405, 422), (method, path, answer.status_code)


WITHOUT_DATA: dict[tuple[str, str], Any] = {
    ("GET", "/api/v1/projects"): {"projects": []},
    ("GET", "/api/v1/limits"): LIMITS,
    ("HEAD", "/api/v1/limits"): None,
    ("POST", "/api/v1/history"): None,
    ("POST", "/api/v1/bulk"): {"changed": 0, "missing": ["mine/r1"]},
}
"""What a key of another project may ask, and what it is told. Everything else is 401, 403 or 404."""


def test_a_key_of_another_project_sees_nothing(keys: Keys) -> None:
    bodies: dict[str, Any] = {
        "/api/v1/history": {"runs": ["mine/r1"], "keys": ["a"]},
        "/api/v1/bulk": {"runs": ["mine/r1"], "delete": True},
        "/api/v1/runs/mine/r1/read": {},
        "/api/v1/projects/mine/views": {"name": "taken", "query": ""},
        "/api/v1/projects/mine/views/run.json": {"name": "taken"},
        f"/api/v1/runs/r1/writers/{WRITER}/heartbeat": {"project": "mine"},
        "/api/v1/runs/r1/files/x": {"project": "mine", "sha256": "0" * 64, "size": 1},
    }
    walked: set[tuple[str, str]] = set()
    with keys.server.client(keys.other) as client:
        for method, path in routes():
            if path == "/api/v1/events":
                continue  # a stream has no end: below
            walked.add((method, path))
            body = bodies.get(path)
            if path == "/api/v1/runs/r1/batches":
                answer = send(client, [row(9, {"a": 1})], project="mine")
            elif path.startswith("/v1/"):
                answer = client.post(path, json=otlp_of("mine"))
            else:
                answer = client.request(method, path, params={"project": "mine", "by": "config.lr"}, json=body)
            assert SECRET not in answer.text, (method, path)
            if (method, path) not in WITHOUT_DATA:
                assert answer.status_code in (401, 403, 404, 405), (method, path, answer.status_code, answer.text)
            elif WITHOUT_DATA[method, path] is not None:
                assert answer.json() == WITHOUT_DATA[method, path]
        curves = client.post("/api/v1/history", json=bodies["/api/v1/history"]).json()
        assert curves["series"] == []
        assert curves["missing"] == [{"run": "mine/r1", "key": "a", "why": "no such run"}]
        with client.stream("GET", "/api/v1/events", params={"after": 0, "project": "mine"}) as stream:
            assert SECRET not in next(stream.iter_text())
        assert client.post("/api/v1/keys", json={"scopes": ["admin"]}).status_code == 403
        assert client.get("/api/v1/keys").status_code == 403
    assert {("POST", "/v1/metrics"), ("POST", "/v1/logs"), ("GET", "/metrics")} < walked
    with keys.server.client(keys.good) as client:
        assert client.get("/api/v1/runs/mine/r1").json()["name"] == SECRET
        assert client.get("/api/v1/runs/mine/r1").json()["rows"] == 1


def otlp_of(project: str) -> dict[str, Any]:
    """A request of each signal that would go to a project."""
    attributes = [{"key": "milepost.project", "value": {"stringValue": project}}]
    point = {"timeUnixNano": "1", "asInt": "1"}
    metric = {"name": "a", "gauge": {"dataPoints": [point]}}
    record = {"timeUnixNano": "1", "body": {"stringValue": "x"}}
    resource = {"attributes": attributes}
    return {
        "resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}],
        "resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record]}]}],
    }


def test_scopes_are_kept_apart(keys: Keys) -> None:
    with keys.server.client(keys.reading) as reader:
        assert reader.get("/api/v1/runs/mine/r1").status_code == 200
        assert send(reader, [row(2, {"a": 1})], project="mine").status_code == 403
        assert reader.post("/api/v1/bulk", json={"runs": ["mine/r1"], "name": "x"}).status_code == 403
        assert reader.post("/api/v1/keys", json={"scopes": ["admin"]}).status_code == 403
    with keys.server.client(keys.sending) as sender:
        assert sender.get("/api/v1/runs/mine/r1").status_code == 403
        assert sender.get("/api/v1/projects").status_code == 403
        assert send(sender, [row(2, {"a": 1})], project="mine").status_code == 200
        assert sender.post("/api/v1/bulk", json={"runs": ["mine/r1"], "delete": True}).status_code == 403


def test_a_browser_trades_its_key_for_a_cookie_that_other_sites_cannot_use(keys: Keys) -> None:
    with keys.server.client() as browser:
        assert browser.post("/api/v1/login", json={"key": "mp_wrong_" + "x" * 30}).status_code == 401
        answer = browser.post("/api/v1/login", json={"key": keys.good})
        assert "httponly" in answer.headers["set-cookie"].lower()
        assert "samesite=lax" in answer.headers["set-cookie"].lower()
        assert browser.get("/api/v1/runs/mine/r1").status_code == 200
        session = browser.cookies["milepost_session"]
        for others in ("a/b=1", "caf\u00e9=1", "no pair", 'json={"a": 1}'):  # cookies of other programs on this machine
            headers = {b"Cookie": f"{others}; milepost_session={session}".encode()}
            assert (
                httpx.get(f"{keys.server.url}/api/v1/runs/mine/r1", headers=headers, trust_env=False).status_code == 200
            )
        edit = {"runs": ["mine/r1"], "add_tags": ["seen"]}
        assert browser.post("/api/v1/bulk", json=edit, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert browser.post("/api/v1/bulk", json=edit, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200
        assert browser.get("/api/v1/runs/mine/r1").json()["tags"] == ["seen"]
    with keys.server.client() as forger:
        forger.cookies.set("milepost_session", "first.99999999999." + "0" * 64)
        assert forger.get("/api/v1/projects").status_code == 401


def test_who_logs_out_is_out_also_with_a_copy_of_the_cookie_and_after_a_restart(data_server: Begin) -> None:
    server = data_server()
    with server.client() as browser, server.client() as other:
        for each in (browser, other):
            assert each.post("/api/v1/login", json={"key": ADMIN_KEY}).status_code == 200
        copy = browser.cookies["milepost_session"]
        out = "/api/v1/logout"
        assert browser.post(out, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert browser.get("/api/v1/projects").status_code == 200
        assert browser.post(out, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 204
        assert browser.cookies.get("milepost_session") is None
        assert browser.post(out).status_code == 204
        browser.cookies.set("milepost_session", copy)
        assert browser.get("/api/v1/projects").status_code == 401
        assert other.get("/api/v1/projects").status_code == 200
        kept = other.cookies["milepost_session"]
    server.stop()
    with data_server().client() as browser:
        for session, status in ((copy, 401), (kept, 200)):
            browser.cookies.set("milepost_session", session)
            assert browser.get("/api/v1/projects").status_code == status
            browser.cookies.clear()


def test_another_first_key_ends_the_sessions_of_the_one_before(start: Start) -> None:
    server = start("--data", "data", environment={**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY})
    with server.client() as browser:
        assert browser.post("/api/v1/login", json={"key": ADMIN_KEY}).status_code == 200
        session = browser.cookies["milepost_session"]
    server.stop()
    with start("--data", "data", environment={**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY + "b"}).client() as browser:
        browser.cookies.set("milepost_session", session)
        assert browser.get("/api/v1/projects").status_code == 401


def test_a_stream_ends_when_the_key_it_was_opened_with_is_revoked(keys: Keys) -> None:
    with keys.server.client(ADMIN_KEY) as admin:
        key = keys.make(admin, ["read"])
        with keys.server.client(key) as reader, reader.stream("GET", "/api/v1/events") as stream:
            lines = stream.iter_lines()
            assert next(lines) == ": milepost"
            assert admin.delete(f"/api/v1/keys/{key.split('_')[1]}").status_code == 200
            for _ in lines:  # until it ends
                pass


def test_figures_of_the_whole_server_are_for_keys_of_all_projects(keys: Keys) -> None:
    with keys.server.client(keys.reading) as reader, keys.server.client(keys.good) as bound:
        assert reader.get("/metrics").status_code == 200
        assert bound.get("/metrics").status_code == 403


def test_edits_and_deletion(keys: Keys) -> None:
    with keys.server.client(ADMIN_KEY) as client:
        send(client, [row(1, {"a": 1.0})], run="edited")
        edit = {
            "runs": ["p/edited", "p/none"],
            "name": "new",
            "notes": "n",
            "add_tags": ["x", "y"],
            "remove_tags": ["x"],
            "archive": True,
        }
        assert client.post("/api/v1/bulk", json=edit).json() == {"changed": 1, "missing": ["p/none"]}
        told = client.get("/api/v1/runs/p/edited").json()
        assert (told["name"], told["notes"], told["tags"], told["archived"]) == ("new", "n", ["y"], True)
        assert client.get("/api/v1/projects/p/runs").json()["total"] == 0
        assert client.get("/api/v1/projects/p/runs?filter=archived").json()["total"] == 1
        assert client.post("/api/v1/bulk", json={"runs": ["p/edited"], "delete": True}).json()["changed"] == 1
        assert client.get("/api/v1/runs/p/edited").status_code == 404
        assert send(client, [row(2, {"a": 2.0})], run="edited").status_code == 410
        send(client, [row(0, {"a": 2.0})], run="edited")
        assert client.get("/api/v1/runs/p/edited").json()["rows"] == 1


def test_without_a_key_from_outside_one_is_made_and_shown_once(start: Start) -> None:
    server = start("--data", "data")
    key = next(re.search(r"mp_\w+_[\w-]+", line) for line in server.said if "admin key" in line)
    assert key is not None
    with server.client(key[0]) as client:
        assert client.get("/api/v1/keys").json()["keys"][0]["scopes"] == "admin ingest read"
    server.stop()
    again = start("--data", "data")

    assert not any("mp_" in line for line in again.said)
    with again.client(key[0]) as client:
        assert client.get("/api/v1/projects").status_code == 200


def test_a_directory_served_without_keys_answers_only_to_this_machines_names(start: Start) -> None:
    os.mkdir("runs")
    with start("--runs", "runs").client() as client:
        assert client.get("/api/v1/projects", headers={"Host": "evil.example"}).status_code == 421
        assert client.get("/api/v1/projects", headers={"Host": "localhost:1"}).status_code == 200


def test_a_directory_is_not_served_to_others_without_a_key(start: Start) -> None:
    os.mkdir("runs")
    with pytest.raises(AssertionError, match="set MILEPOST_ADMIN_KEY"):
        start("--runs", "runs", "--host", "0.0.0.0")
    server = start("--runs", "runs", "--host", "0.0.0.0", environment={**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY})
    server.url = server.url.replace("0.0.0.0", "127.0.0.1")
    with server.client() as client:
        assert client.get("/api/v1/projects").status_code == 401
    with server.client(ADMIN_KEY) as client:
        assert client.get("/api/v1/projects").status_code == 200


def test_two_servers_do_not_share_a_data_directory(start: Start) -> None:
    start("--data", "data")

    with pytest.raises(AssertionError, match="in use by another milepost server"):
        start("--data", "data")


def test_servers_that_make_a_secret_at_once_have_the_same(tmp_path: Path) -> None:
    """Two servers of one user over runs directories have one secret: what one of them gave out holds for the other."""
    first = "mp_first_" + "b" * 40
    for trial in range(20):
        secret = tmp_path / str(trial) / "secret"
        together = threading.Barrier(8)

        def begin(secret: Path = secret, together: threading.Barrier = together) -> tuple[StoredKeys, str]:
            together.wait(60)
            keys = StoredKeys(secret, None, first)
            principal = keys.check(first)
            assert principal is not None
            return keys, keys.session(principal)

        with ThreadPoolExecutor(8) as pool:
            begun = [each.result(60) for each in [pool.submit(begin) for _ in range(8)]]
        for keys, _ in begun:
            assert all(keys.of_session(session) is not None for _, session in begun)
        assert [each.name for each in secret.parent.iterdir()] == ["secret"]
