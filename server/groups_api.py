"""Groups: the runs of a project by the values of columns, with figures of each group; the run table in short."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from milepost.server import models
from milepost.server.filters import FilterError, check_column, compile_filter, sort_key
from milepost.server.grouping import MAX_COLUMNS, Group, groups_of
from milepost.server.problems import bad_request
from milepost.server.read_api import (
    Limit,
    Offset,
    Stored,
    described,
    in_order,
    json,
    matching,
    of_project,
    with_columns,
)

router = APIRouter(prefix="/api/v1", tags=["read"])


@router.get("/projects/{project}/groups", **described(models.GroupPage))
def groups(
    store: Stored,
    project: str,
    by: Annotated[
        list[str],
        Query(min_length=1, max_length=MAX_COLUMNS, description="a field, config.NAME or summary.NAME; repeat it"),
    ],
    columns: Annotated[
        list[str] | None, Query(max_length=100, description="figures of which: config.NAME, summary.NAME, a field")
    ] = None,
    filter: Annotated[str, Query(max_length=4096, description="as of the run table")] = "",
    sort: Annotated[
        str, Query(max_length=4096, description='"value", "runs", or one of columns: by its mean')
    ] = "value",
    order: Literal["asc", "desc"] = "asc",
    offset: Offset = 0,
    limit: Limit = 100,
    first: Annotated[int, Query(ge=0, le=100, description="so many runs of each group on the page")] = 0,
    run_sort: Annotated[str, Query(max_length=4096, description="which runs of a group come first")] = "created",
    run_order: Literal["asc", "desc"] = "desc",
) -> Response:
    """The groups of a project's runs: values, how many runs, a filter that finds them, and mean, min, max, std of columns."""
    try:
        test = compile_filter(filter)
        for name in (*by, *(columns or ())):
            check_column(name)
        sort_key(run_sort)
    except FilterError as error:
        raise bad_request("invalid filter", str(error), at=error.at) from None
    wanted = list(dict.fromkeys(columns or ()))
    if sort not in ("value", "runs", *wanted):
        raise bad_request("invalid sort", f'sort is "value", "runs" or one of columns, got {sort[:80]!r}')
    runs = matching(of_project(store, project), filter, test)
    found = _sorted(groups_of(runs, by), sort, descending=order == "desc")
    page: list[dict[str, Any]] = []
    shown = [name for name in wanted if name.startswith(("config.", "summary."))]
    for group in found[offset : offset + limit]:
        runs_first = in_order(group.runs, run_sort, descending=run_order == "desc")[:first] if first else []
        told_first = [{**with_columns(run, shown), "group_key": group.key} for run in runs_first]
        page.append({**group.as_json(by, wanted), "first": told_first})
    told = {"by": by, "total": len(found), "runs": len(runs), "offset": offset, "limit": limit}
    return json({**told, "groups": page})


def _sorted(found: list[Group], sort: str, *, descending: bool) -> list[Group]:
    """By what was asked for; groups without a figure of it come last either way."""
    if sort == "value":
        return found[::-1] if descending else found
    if sort == "runs":
        return sorted(found, key=lambda group: len(group.runs), reverse=descending)
    means: list[tuple[Any, Group]] = [(group.figures(sort)["mean"], group) for group in found]
    there = sorted((each for each in means if each[0] is not None), key=lambda each: each[0], reverse=descending)
    return [group for _, group in there] + [group for mean, group in means if mean is None]
