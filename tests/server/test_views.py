"""Saved views: who may save, change and see them, and what a link to one gives."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.server.conftest import ADMIN_KEY, Server, Start
from tests.server.sending import row, send

VIEWS = "/api/v1/projects/p/views"


class People:
    """Clients of one server: an admin, two who log, one who reads, and one of another project."""

    def __init__(self, server: Server) -> None:
        self.admin = server.client(ADMIN_KEY)
        for project in ("p", "q"):
            send(self.admin, [row(0, {"a": 1.0})], project=project)
        self.ann = self._with(server, ["ingest", "read"], note="ann's laptop")
        self.bob = self._with(server, ["ingest", "read"])
        self.reader = self._with(server, ["read"])
        self.other = self._with(server, ["ingest", "read", "admin"], project="q")

    def _with(self, server: Server, scopes: list[str], **more: str) -> httpx.Client:
        made = self.admin.post("/api/v1/keys", json={"scopes": scopes, **more})
        return server.client(made.json()["key"])

    def close(self) -> None:
        for client in (self.admin, self.ann, self.bob, self.reader, self.other):
            client.close()


@pytest.fixture
def people(data_server: Callable[[], Server]) -> Iterator[People]:
    found = People(data_server())
    yield found
    found.close()


def test_a_view_is_saved_by_one_and_seen_by_all_of_the_project(people: People) -> None:
    query = 'q=config.lr > 0.01&keep=loss&name="<b>"'

    made = people.ann.post(VIEWS, json={"name": "paper", "screen": "table", "query": query})

    assert made.status_code == 201
    view = made.json()
    assert (view["own"], view["default"], view["query"], view["screen"]) == (True, False, query, "table")
    assert view["owner"].startswith("ann's laptop (")
    seen = people.reader.get(VIEWS).json()
    assert seen == {"views": [{**view, "own": False}], "writable": False}
    assert people.bob.get(f"{VIEWS}/{view['id']}").json() == {**view, "own": False}
    assert people.other.get(f"{VIEWS}/{view['id']}").status_code == 404
    assert people.other.get(VIEWS).status_code == 404
    assert people.other.get("/api/v1/projects/q/views").json()["views"] == []


def test_a_view_is_changed_by_its_owner_and_by_an_admin(people: People) -> None:
    number = people.ann.post(VIEWS, json={"name": "paper"}).json()["id"]

    refused = people.bob.patch(f"{VIEWS}/{number}", json={"name": "mine"})
    assert refused.status_code == 403
    assert "ann's laptop" in refused.json()["detail"]
    assert people.bob.delete(f"{VIEWS}/{number}").status_code == 403
    assert people.reader.post(VIEWS, json={"name": "x"}).status_code == 403
    assert people.other.delete(f"{VIEWS}/{number}").status_code == 404
    changed = people.ann.patch(f"{VIEWS}/{number}", json={"query": "x=epoch"}).json()
    assert (changed["name"], changed["query"]) == ("paper", "x=epoch")
    assert people.admin.delete(f"{VIEWS}/{number}").status_code == 200
    assert people.ann.get(f"{VIEWS}/{number}").status_code == 404


def test_one_view_is_the_one_that_a_project_opens_with(people: People) -> None:
    first = people.ann.post(VIEWS, json={"name": "a", "default": True}).json()
    second = people.ann.post(VIEWS, json={"name": "b"}).json()

    people.bob.patch(f"{VIEWS}/{second['id']}", json={"default": True})

    found = {view["id"]: view["default"] for view in people.reader.get(VIEWS).json()["views"]}
    assert found == {first["id"]: False, second["id"]: True}


def test_a_name_is_taken_once_by_each_owner(people: People) -> None:
    first = people.ann.post(VIEWS, json={"name": "paper"}).json()

    again = people.ann.post(VIEWS, json={"name": "paper"})

    assert (again.status_code, again.json()["id"]) == (409, first["id"])
    assert people.bob.post(VIEWS, json={"name": "paper"}).status_code == 201
    assert people.ann.post(VIEWS, json={"name": "", "query": ""}).status_code == 422
    assert people.ann.post("/api/v1/projects/none/views", json={"name": "a"}).status_code == 404


def test_views_outlive_the_server(data_server: Callable[[], Server]) -> None:
    server = data_server()
    with server.client(ADMIN_KEY) as client:
        send(client, [row(0, {"a": 1.0})])
        client.post(VIEWS, json={"name": "kept"})
    server.kill()

    with data_server().client(ADMIN_KEY) as client:
        assert [view["name"] for view in client.get(VIEWS).json()["views"]] == ["kept"]


def test_a_runs_directory_has_no_views_and_says_so(start: Start, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    with start("--runs", tmp_path).client() as client:
        refused = client.post(VIEWS, json={"name": "a"})

    assert refused.status_code == 409
    assert "read only" in refused.text
    assert "link" in refused.json()["detail"]
