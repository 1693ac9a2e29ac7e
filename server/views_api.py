"""Views over HTTP: list, save, change and delete what a screen of a project showed.

A view holds a screen and the query of its address, never an address: a link to it leads into the page and nowhere else.
Whoever may send rows may save views and change their own; those of others are changed by an admin. A server over a runs
directory reads only: it has no views, and the page keeps them in the browser.
"""

import secrets
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from milepost.server.auth import ANYBODY, Principal
from milepost.server.problems import Problem, not_found
from milepost.server.read_api import Stored, described, json, of_project
from milepost.server.store.sqlite import SqliteStore
from milepost.server.store.views import MOST, NameTaken, TooMany, View, delete_view, store_view, view_of, views_of

router = APIRouter(prefix="/api/v1/projects/{project}", tags=["views"])

Screen = Literal["charts", "table", "compare"]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Query = Annotated[str, Field(max_length=20_000)]


class ViewModel(BaseModel):
    """A saved view. query: of the address of its screen, without "?". default: the project opens with it.

    owner: who saved it; own: whether that is who asks, who may then change it.
    """

    id: str
    name: str
    owner: str
    own: bool
    screen: Screen
    query: str
    default: bool
    created: float
    changed: float


class Views(BaseModel):
    """The views of a project, by name. writable: whether who asks may save one."""

    views: list[ViewModel]
    writable: bool


class NewView(BaseModel):
    """A view to save."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    screen: Screen = "charts"
    query: Query = ""
    default: bool = False


class ViewChange(BaseModel):
    """What changes of a view; null: nothing."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    screen: Screen | None = None
    query: Query | None = None
    default: bool | None = None


def _writable(request: Request) -> SqliteStore:
    store: Any = request.app.state.store
    if not isinstance(store, SqliteStore):
        text = (
            "a runs directory is served read only; send the link of what you see, or keep views on a server with --data"
        )
        raise Problem(409, "read only", text)
    return store


def _asking(request: Request) -> Principal:
    principal: Principal | None = request.scope.get("principal")
    return ANYBODY if principal is None else principal


Writable = Annotated[SqliteStore, Depends(_writable)]
Asking = Annotated[Principal, Depends(_asking)]


def _told(view: View, who: Principal) -> dict[str, Any]:
    return {
        "id": view.id,
        "name": view.name,
        "owner": view.owner,
        "own": view.owner_id == who.id,
        "screen": view.screen,
        "query": view.query,
        "default": view.standard,
        "created": view.created,
        "changed": view.changed,
    }


def _owner(store: SqliteStore, who: Principal) -> str:
    """Who asks, in words: a user's name, or what the key is for."""
    if who.user is not None:
        return who.user
    line = store.reading().execute("SELECT note FROM api_key WHERE id = ?", (who.id,)).fetchone()
    return f"{line[0]} ({who.id})" if line is not None and line[0] else f"key {who.id}"


def _found(connection: sqlite3.Connection, project: str, number: str) -> View:
    view = view_of(connection, project, number)
    if view is None:
        raise not_found("view", f"no view of project {project!r} has the id {number[:80]!r}")
    return view


def _own(view: View, who: Principal) -> None:
    if view.owner_id != who.id and not who.may("admin"):
        raise Problem(403, "forbidden", f"{view.name!r} is a view of {view.owner}; save it under a name of your own")


def _store(store: SqliteStore, made: Callable[[sqlite3.Connection], View]) -> View:
    """Store the view that is made on the writing thread: nothing changes between what is read there and what is stored."""
    told: list[View] = []

    def work(connection: sqlite3.Connection) -> None:
        view = made(connection)
        told.append(view)
        store_view(connection, view)

    try:
        store.ingest.call(work)
    except NameTaken as error:
        text = f"you have a view {told[0].name!r} already: change it with PATCH, or take another name"
        raise Problem(409, "name taken", text, id=error.id) from None
    except TooMany:
        text = f"project {told[0].project!r} has {MOST:,} views; delete some that nobody needs"
        raise Problem(409, "too many views", text, limit=MOST) from None
    return told[0]


@router.get("/views", **described(Views))
def list_views(request: Request, store: Stored, who: Asking, project: str) -> Response:
    """The views of a project, by name; none of a server over a runs directory."""
    of_project(store, project)
    kept: Any = request.app.state.store
    found = views_of(kept.reading(), project) if isinstance(kept, SqliteStore) else []
    return json({"views": [_told(view, who) for view in found], "writable": store.writable and who.may("ingest")})


@router.post("/views", **described(ViewModel, status=201))
def save_view(store: Writable, seen: Stored, who: Asking, project: str, wanted: NewView) -> Response:
    """Save a view."""
    of_project(seen, project)
    now = time.time()
    number = secrets.token_hex(6)
    view = View(
        number, project, wanted.name, who.id, _owner(store, who), wanted.screen, wanted.query, wanted.default, now, now
    )
    _store(store, lambda _: view)
    answer = json(_told(view, who))
    answer.status_code = 201
    return answer


@router.get("/views/{view}", **described(ViewModel))
def one_view(store: Writable, seen: Stored, who: Asking, project: str, view: str) -> Response:
    """A view, as a link to it needs it."""
    of_project(seen, project)
    return json(_told(_found(store.reading(), project, view), who))


@router.patch("/views/{view}", **described(ViewModel))
def change_view(store: Writable, seen: Stored, who: Asking, project: str, view: str, change: ViewChange) -> Response:
    """Change a view of your own; an admin, of anybody. Whether a view is the default, everybody may say who may save one."""
    of_project(seen, project)
    given = {name: value for name, value in change.model_dump().items() if value is not None}
    if "default" in given:
        given["standard"] = given.pop("default")
    own = bool(set(given) - {"standard"})

    def changed(connection: sqlite3.Connection) -> View:
        found = _found(connection, project, view)
        if own:
            _own(found, who)
        return replace(found, **given, changed=time.time() if own else found.changed)

    return json(_told(_store(store, changed), who))


@router.delete("/views/{view}", **described(ViewModel))
def remove_view(store: Writable, seen: Stored, who: Asking, project: str, view: str) -> Response:
    """Delete a view of your own; an admin, of anybody."""
    of_project(seen, project)
    told: list[View] = []

    def work(connection: sqlite3.Connection) -> None:
        found = _found(connection, project, view)
        _own(found, who)
        delete_view(connection, found.id)
        told.append(found)

    store.ingest.call(work)
    return json(_told(told[0], who))
