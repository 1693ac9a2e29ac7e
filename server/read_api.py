"""The read API: projects, runs, keys, history, rows, media, files. Everything is found by name in the store; no text of a
client becomes a path, a query of a database, or code.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Annotated, Any, Literal, cast

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import FileResponse, Response

from milepost.sdk.errors import RunNotFoundError, UsageError
from milepost.sdk.strict_json import jsonable
from milepost.server import downloads, models
from milepost.server.auth import Principal
from milepost.server.filters import FilterError, Test, check_column, compile_filter, names_field, sort_key
from milepost.server.forms import TYPES, VARY, form_of, packed
from milepost.server.grouping import MAX_COLUMNS, key_of
from milepost.server.inert import inert
from milepost.server.problems import Problem, bad_request, not_found
from milepost.server.records import KeyRecord, RunLine, RunRecord
from milepost.server.scoped import ScopedStore
from milepost.server.store import RowQuery, Store

router = APIRouter(prefix="/api/v1", tags=["read"])

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": models.ProblemModel, "description": "what was asked for cannot be answered"},
    404: {"model": models.ProblemModel, "description": "there is no such thing"},
    422: {"model": models.ProblemModel, "description": "the request is not of this form"},
}


def store_of(request: Request) -> Store:
    """The store, as far as whoever asks may see it."""
    store: Store = request.app.state.store
    principal: Principal | None = request.scope.get("principal")
    if principal is not None and principal.project is not None:
        scoped: Any = ScopedStore(store, principal.project)
        return cast(Store, scoped)
    return store


_FILES = ("application/octet-stream", "image/*", "audio/*", "video/*", "application/ogg")
_ROW_FORMS = ("json", "msgpack", "jsonl", "csv", "parquet", "arrow")

Stored = Annotated[Store, Depends(store_of)]
Offset = Annotated[int, Query(ge=0, le=2**53)]
Limit = Annotated[int, Query(ge=1, le=10_000)]
Search = Annotated[str, Query(max_length=1000, description="part of the name, without regard to case")]
WriterName = Annotated[
    str | None, Query(max_length=100, description='null: the lowest rank; a rank, the id of a writer, or "all"')
]


def json(value: Any) -> Response:
    """The value as JSON; NaN and the infinities as text."""
    return Response(msgspec.json.encode(jsonable(value)), media_type="application/json")


def described(model: type, forms: tuple[str, ...] = (), *, status: int = 200, **more: Any) -> dict[str, Any]:
    """What a route says of itself: its answer, which it writes by itself, also in other forms, and its errors."""
    answer: dict[str, Any] = {"model": model}
    errors = dict(ERRORS)
    if forms:
        answer["content"] = {TYPES[form].partition(";")[0]: {} for form in forms}
        errors[406] = {"model": models.ProblemModel, "description": "Accept names no form that there is"}
        errors[501] = {"model": models.ProblemModel, "description": "a form that needs pyarrow, which is not installed"}
    return {"response_model": None, "status_code": status, "responses": {status: answer, **errors}, **more}


def found_run(store: Store, project: str, run: str) -> RunRecord:
    """The run. Raises `Problem` 404."""
    try:
        return store.run(project, run)
    except RunNotFoundError as error:
        raise not_found("run", str(error)) from None


def of_project(store: Store, project: str) -> Sequence[RunLine]:
    """The runs of a project. Raises `Problem` 404 when there is none of that name."""
    runs = store.runs(project)
    if not runs and project not in store.projects():
        raise not_found("project", f"no project {project!r}")
    return runs


@router.get("/projects", **described(models.Projects))
def projects(store: Stored) -> Response:
    """All projects, by name."""
    found: list[dict[str, Any]] = []
    for name in store.projects():
        runs = store.runs(name)
        active = max((run.heartbeat or run.created for run in runs), default=None)
        running = sum(run.state == "running" for run in runs)
        found.append({"name": name, "runs": len(runs), "running": running, "last_activity": active})
    return json({"projects": found})


@router.get("/projects/{project}/runs", **described(models.RunPage))
def runs(
    store: Stored,
    project: str,
    filter: Annotated[str, Query(max_length=4096, description='such as: config.lr > 0.01 and tags has "a"')] = "",
    sort: Annotated[str, Query(max_length=4096, description="a field, config.NAME or summary.NAME")] = "created",
    order: Literal["asc", "desc"] = "desc",
    offset: Offset = 0,
    limit: Limit = 100,
    columns: Annotated[
        list[str] | None, Query(max_length=500, description="config.NAME, summary.NAME; repeat it; * for all")
    ] = None,
    by: Annotated[
        list[str] | None,
        Query(max_length=MAX_COLUMNS, description="tell each run's group by these columns, as /groups does"),
    ] = None,
    group_key: Annotated[str | None, Query(max_length=65_536, description="runs of this group only, see `by`")] = None,
) -> Response:
    """A page of the run table. Archived runs are left out unless the filter names `archived`."""
    try:
        test = compile_filter(filter)
        wanted = [name if name == "*" else check_column(name) for name in columns or []]
        sort_key(sort)
        for name in by or ():
            check_column(name)
    except FilterError as error:
        raise bad_request("invalid filter", str(error), at=error.at) from None
    if group_key is not None and not by:
        raise bad_request("invalid request", "group_key is that of a group by some columns; name them with `by`")
    found = matching(of_project(store, project), filter, test)
    if by and group_key is not None:
        found = [run for run in found if key_of(run, by) == group_key]
    page = in_order(found, sort, descending=order == "desc")[offset : offset + limit]
    version, _ = store.changes(2**62)
    told = [with_columns(run, wanted) for run in page]
    if by:
        for run, each in zip(page, told, strict=True):
            each["group_key"] = key_of(run, by)
    return json({"total": len(found), "offset": offset, "limit": limit, "version": version, "runs": told})


def matching(runs: Sequence[RunLine], filter: str, test: Test) -> list[RunLine]:
    """The runs that a filter lets through; archived ones only when it names `archived`."""
    found = [run for run in runs if test(run)]
    return found if names_field(filter, "archived") else [run for run in found if not run.archived]


def in_order(runs: Sequence[RunLine], sort: str, *, descending: bool) -> list[RunLine]:
    """The runs by a column; those that lack it come last either way. Raises `FilterError` where no run can have it."""
    key = sort_key(sort)
    there = [run for run in runs if run.value(sort) is not None]
    there.sort(key=key, reverse=descending)
    return [*there, *(run for run in runs if run.value(sort) is None)]


def with_columns(run: RunLine, wanted: Sequence[str]) -> dict[str, Any]:
    """A line of the run table."""
    told = run.as_json()
    if "*" in wanted:
        told["columns"] = run.columns()
    else:
        values = {name: run.value(name) for name in wanted}
        told["columns"] = {name: value for name, value in values.items() if value is not None}
    return told


@router.get("/projects/{project}/columns", **described(models.Columns))
def columns(store: Stored, project: str, search: Search = "", offset: Offset = 0, limit: Limit = 200) -> Response:
    """The columns that the runs of a project have, those that most runs have first."""
    counts: Counter[str] = Counter()
    kinds: dict[str, str] = {}
    wanted = search.casefold()
    for run in of_project(store, project):
        for name, value in run.columns().items():
            if wanted in name.casefold():
                counts[name] += 1
                if value is not None or name not in kinds:
                    kinds[name] = _kind(value)
    names = sorted(counts, key=lambda name: (-counts[name], name))
    page = [{"name": name, "kind": kinds[name], "runs": counts[name]} for name in names[offset : offset + limit]]
    return json({"total": len(names), "columns": page})


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    return "text" if isinstance(value, str) else "other"


@router.get("/projects/{project}/keys", **described(models.ProjectKeys))
def project_keys(
    store: Stored,
    project: str,
    search: Search = "",
    runs: Annotated[
        list[str] | None, Query(max_length=1000, description="ids of runs; repeat it; all when left out")
    ] = None,
    kind: Annotated[str | None, Query(max_length=100)] = None,
    offset: Offset = 0,
    limit: Limit = 1000,
) -> Response:
    """The keys that the runs of a project have, by name."""
    of_project(store, project)
    wanted = search.casefold()
    found = store.project_keys(project, runs)
    names = sorted(name for name, (of, _) in found.items() if wanted in name.casefold() and kind in (None, of))
    page = [{"key": name, "kind": found[name][0], "runs": found[name][1]} for name in names[offset : offset + limit]]
    return json({"total": len(names), "keys": page})


@router.get("/runs/{project}/{run}/keys", **described(models.Keys))
def run_keys(
    store: Stored,
    project: str,
    run: str,
    search: Search = "",
    kind: Annotated[str | None, Query(max_length=100)] = None,
    offset: Offset = 0,
    limit: Limit = 1000,
) -> Response:
    """The keys of a run in order of first sight, with their figures."""
    found_run(store, project, run)
    wanted = search.casefold()
    found: list[KeyRecord] = [
        each for each in store.keys(project, run) if wanted in each.key.casefold() and kind in (None, each.kind)
    ]
    page = [msgspec.structs.asdict(each) for each in found[offset : offset + limit]]
    return json({"total": len(found), "keys": page})


@router.get("/runs/{project}/{run}", **described(models.RunDetail))
def run_detail(store: Stored, project: str, run: str) -> Response:
    """A run with everything it says of itself."""
    record = found_run(store, project, run)
    details = store.details(project, run)
    return json({**record.as_json(), "config": record.config, "summary": record.summary, **details})


_ABOUT_ROWS = f"Exact rows: a page as JSON or msgpack, or all of them as a file.\n\n{downloads.__doc__}"


def _query(
    keys: list[str] | None,
    require: str,
    min_step: int | None,
    max_step: int | None,
    writer: str | None,
    superseded: bool,
) -> RowQuery:
    who = int(writer) if writer is not None and writer.isascii() and writer.isdigit() and len(writer) < 10 else writer
    return RowQuery(keys, require, min_step, max_step, who, superseded)


@router.get(
    "/runs/{project}/{run}/rows",
    **described(models.RowPage, ("msgpack", "jsonl", "csv", "parquet", "arrow"), description=_ABOUT_ROWS),
)
def rows(
    request: Request,
    store: Stored,
    project: str,
    run: str,
    keys: Annotated[list[str] | None, Query(max_length=1000, description="repeat it; whole rows when left out")] = None,
    require: Literal["all", "any"] = "all",
    min_step: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None,
    max_step: Annotated[int | None, Query(ge=0, le=2**63 - 1, description="not included")] = None,
    writer: WriterName = None,
    superseded: bool = False,
    format: Annotated[
        Literal["json", "msgpack", "jsonl", "csv", "parquet", "arrow"] | None,
        Query(description="what Accept asks for when left out"),
    ] = None,
    offset: Offset = 0,
    limit: Limit = 1000,
) -> Response:
    """Exact rows: a page as JSON or msgpack, or all of them as a file (jsonl, csv, parquet, arrow)."""
    record = found_run(store, project, run)
    query = _query(keys, require, min_step, max_step, writer, superseded)
    form = format or form_of(request, _ROW_FORMS)
    try:
        if form not in ("json", "msgpack"):
            return downloads.file_of(lambda: store.rows(project, run, query), record, form)
        flat = (row for page in store.rows(project, run, query, offset) for row in page)
        page = list(islice(flat, limit + 1))
    except UsageError as error:
        raise bad_request("invalid query", str(error)) from None
    told = {"rows": page[:limit], "next": offset + limit if len(page) > limit else None}
    if form == "msgpack":
        return Response(packed(told), headers=VARY, media_type=TYPES[form])
    answer = json(told)
    answer.headers.update(VARY)
    return answer


@router.get("/runs/{project}/{run}/media", **described(models.MediaPage))
def media(
    store: Stored,
    project: str,
    run: str,
    key: Annotated[list[str] | None, Query(max_length=100, description="repeat it; all media when left out")] = None,
    step: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None,
    offset: Offset = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Media values in order of rows."""
    found_run(store, project, run)
    names = key or [each.key for each in store.keys(project, run) if each.kind not in ("scalar", "text", "list")]
    if not names:
        return json({"total": 0, "offset": offset, "limit": limit, "steps": [], "items": []})
    found = store.media(project, run, names, step, offset, limit)
    items = [{**item, "url": _url_of(project, run, item["value"])} for item in found.items]
    told = {"total": found.total, "offset": offset, "limit": limit, "steps": found.steps, "items": jsonable(items)}
    return Response(msgspec.json.encode(told), media_type="application/json")  # steps: plain numbers, up to 100,000s


def _url_of(project: str, run: str, value: dict[str, Any]) -> str | None:
    path = value.get("path")
    return file_url(project, run, path) if isinstance(path, str) else None


def file_url(project: str, run: str, name: str) -> str:
    """Where a file of a run is answered, relative to the server."""
    from urllib.parse import quote

    return f"/api/v1/runs/{quote(project, safe='')}/{quote(run, safe='')}/files/{quote(name)}"


@router.get("/runs/{project}/{run}/files", **described(models.Files))
def files(store: Stored, project: str, run: str) -> Response:
    """The files of a run, by name."""
    found_run(store, project, run)
    found = store.files(project, run)
    return json({"files": [{"name": n, "size": size, "url": file_url(project, run, n)} for n, size in found]})


@router.get(
    "/runs/{project}/{run}/files/{name:path}",
    response_model=None,
    response_class=Response,
    responses={200: {"content": {kind: {} for kind in _FILES}, "description": "its bytes"}, **ERRORS},
)
def file(store: Stored, project: str, run: str, name: str) -> FileResponse:
    """One file, inert: shown in place only when its first bytes are those of a picture, sound or video, else downloaded."""
    found_run(store, project, run)
    try:
        path = store.file(project, run, name)
    except (UsageError, RunNotFoundError) as error:
        raise not_found("file", str(error)) from None
    return inert(path, name)


@router.get("/runs/{project}/{run}/console", **described(models.Console))
def console(store: Stored, project: str, run: str, offset: Offset = 0, limit: Limit = 1000) -> Response:
    """The console output that was captured, in order."""
    found_run(store, project, run)
    events = islice(store.events(project, run, "console", offset), limit)
    page = [{"time": event["time"], **event["values"]} for event in events]
    return json({"lines": page, "next": offset + len(page)})


@router.post("/bulk", tags=["edit"], **described(models.BulkAnswer))
def bulk(request: Request, store: Stored, edit: models.BulkEdit) -> Response:
    """Name, tag, annotate, archive or delete (admin only) many runs at once."""
    if not store.writable:
        text = "a runs directory is served read only; change a run in its program, or send it to a server with --data"
        raise Problem(409, "read only", text)
    changed, missing = 0, list[str]()
    for path in dict.fromkeys(edit.runs):
        project, _, run = path.partition("/")
        try:
            if edit.delete:
                _check_admin(request)
                store.delete(project, run)
            else:
                store.edit(project, run, partial(_edits, edit))
        except RunNotFoundError:
            missing.append(path)
        else:
            changed += 1
    return json({"changed": changed, "missing": missing})


def _check_admin(request: Request) -> None:
    principal: Principal | None = request.scope.get("principal")
    if principal is None or not principal.may("admin"):
        raise Problem(403, "forbidden", "runs are deleted with a key that has the scope 'admin'")


def _edits(edit: models.BulkEdit, record: RunLine) -> dict[str, Any]:
    """What changes of a run."""
    changes: dict[str, Any] = {"name": edit.name, "notes": edit.notes, "archived": edit.archive}
    if edit.add_tags is not None or edit.remove_tags is not None:
        removed = set(edit.remove_tags or ())
        changes["tags"] = [tag for tag in dict.fromkeys([*record.tags, *(edit.add_tags or ())]) if tag not in removed]
    return {name: value for name, value in changes.items() if value is not None}
