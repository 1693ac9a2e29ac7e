"""Views: what a screen of a project showed, under a name, for everybody who sees the project. Tables: see `schema`."""

import sqlite3
from dataclasses import dataclass, fields, replace
from typing import Any, Final

MOST: Final = 1_000
"""Views of one project."""


class NameTaken(Exception):
    """The owner has a view of that name already. id: of that one."""

    def __init__(self, number: str) -> None:
        super().__init__(number)
        self.id = number


class TooMany(Exception):
    """The project has `MOST` views."""


@dataclass(frozen=True, slots=True)
class View:
    """One view. owner_id: who may change it, a key's id or "user:NAME"; owner: the same in words.

    screen: "charts", "table" or "compare". query: of the address, without "?". standard: whether the project opens with it.
    """

    id: str
    project: str
    name: str
    owner_id: str
    owner: str
    screen: str
    query: str
    standard: bool
    created: float
    changed: float


_NAMES: Final = tuple(each.name for each in fields(View))
_SELECT: Final = f"SELECT {', '.join(_NAMES)} FROM view WHERE project = ?"  # noqa: S608 - the fields of the class


def _view(line: tuple[Any, ...]) -> View:
    found = View(*line)
    return replace(found, standard=bool(found.standard))


def views_of(connection: sqlite3.Connection, project: str) -> list[View]:
    """The views of a project, by name."""
    return [_view(line) for line in connection.execute(f"{_SELECT} ORDER BY name, created", (project,))]


def view_of(connection: sqlite3.Connection, project: str, number: str) -> View | None:
    """One of them; None when there is none of that id."""
    line = connection.execute(f"{_SELECT} AND id = ?", (project, number)).fetchone()
    return None if line is None else _view(line)


def store_view(connection: sqlite3.Connection, view: View) -> None:
    """Add a view, or put it in the place of the one with its id. Raises `NameTaken`, `TooMany`."""
    same = connection.execute(
        "SELECT id FROM view WHERE project = ? AND owner_id = ? AND name = ? AND id != ?",
        (view.project, view.owner_id, view.name, view.id),
    ).fetchone()
    if same is not None:
        raise NameTaken(str(same[0]))
    query = "SELECT COUNT(*) FROM view WHERE project = ? AND id != ?"
    if int(connection.execute(query, (view.project, view.id)).fetchone()[0]) >= MOST:
        raise TooMany
    if view.standard:
        connection.execute("UPDATE view SET standard = 0 WHERE project = ?", (view.project,))
    marks = ", ".join("?" * len(_NAMES))
    line = [getattr(view, name) for name in _NAMES]
    connection.execute(f"INSERT OR REPLACE INTO view ({', '.join(_NAMES)}) VALUES ({marks})", line)  # noqa: S608


def delete_view(connection: sqlite3.Connection, number: str) -> None:
    """Take it away."""
    connection.execute("DELETE FROM view WHERE id = ?", (number,))
