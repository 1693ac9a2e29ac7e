"""Scoped: a store as the holder of one project's key sees it. Other projects are not there."""

from collections.abc import Sequence
from typing import Any

from milepost.sdk.errors import RunNotFoundError
from milepost.server.records import RunLine
from milepost.server.store import Change, Store


class ScopedStore:
    """A store of which only one project is there. What is not about a project is not passed on."""

    def __init__(self, store: Store, project: str) -> None:
        self._store = store
        self._project = project
        self.writable = store.writable

    def projects(self) -> list[str]:
        """The project, when it holds runs."""
        return [project for project in self._store.projects() if project == self._project]

    def runs(self, project: str) -> Sequence[RunLine]:
        """Its runs; none of another project."""
        return self._store.runs(project) if project == self._project else []

    def project_keys(self, project: str, runs: Sequence[str] | None) -> dict[str, tuple[str, int]]:
        """Its keys; none of another project."""
        return self._store.project_keys(project, runs) if project == self._project else {}

    def changes(self, after: int) -> tuple[int, list[Change] | None]:
        """What changed in it."""
        version, changes = self._store.changes(after)
        return version, None if changes is None else [change for change in changes if change.project == self._project]

    def __getattr__(self, name: str) -> Any:
        """A method about one run."""
        method = getattr(self._store, name)
        if name not in _ABOUT_A_RUN:
            raise AttributeError(name)

        def checked(project: str, run: str, *arguments: Any, **more: Any) -> Any:
            if project != self._project:
                raise RunNotFoundError(f"no run {run!r} in project {project!r}")
            return method(project, run, *arguments, **more)

        return checked


_ABOUT_A_RUN = frozenset(
    (
        "run", "details", "keys", "series", "watermark", "delta", "rows", "media", "sample", "summary", "events", "files", "file",
        "edit", "delete",
    )
)  # fmt: skip
