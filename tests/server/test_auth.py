"""Every route, with every wrong key, gives nothing of anybody's."""

import functools
import os
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from milepost.server.app import create_app
from tests.server.conftest import ADMIN_KEY, Server, Start
from tests.server.sending import WRITER, event, row, send

PUBLIC = {"/healthz", "/readyz", "/openapi.json", "/api/v1/info", "/api/v1/login", "/{path:path}"}
SECRET = "sesame"


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


def test_a_key_of_another_project_sees_nothing(keys: Keys) -> None:
    with keys.server.client(keys.other) as client:
        for method, path in routes():
            if path.startswith(("/api/v1/keys", "/api/v1/events")):
                continue  # an admin of a project is none of the server; a stream has no end
            body = (
                {"runs": ["mine/r1"], "keys": ["loss"]}
                if path.endswith("/history")
                else {"runs": ["mine/r1"], "delete": True}
            )
            answer = client.request(method, path, json=body if method == "POST" else None)
            assert SECRET not in answer.text, (method, path)
            assert answer.status_code in (200, 400, 403, 404, 405, 415, 422), (method, path, answer.status_code)
        assert client.get("/api/v1/projects").json() == {"projects": []}
        assert client.post("/api/v1/keys", json={"scopes": ["admin"]}).status_code == 403
        assert client.get("/api/v1/keys").status_code == 403
        assert send(client, [row(9, {"a": 1})], project="mine").status_code == 403
    with keys.server.client(keys.good) as client:
        assert client.get("/api/v1/runs/mine/r1").json()["name"] == SECRET


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
        send(client, [row(1, {"a": 2.0})], run="edited")
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
