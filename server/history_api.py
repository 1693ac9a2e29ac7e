"""The route of curves: many keys of many runs in buckets along one axis; or, of grouped runs, their mean and band."""

import contextlib
import math
from collections.abc import Callable
from typing import Any, Final

import msgspec
import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from milepost.sdk.errors import RunNotFoundError
from milepost.sdk.strict_json import jsonable
from milepost.server import history, models
from milepost.server.filters import FilterError, check_column
from milepost.server.forms import TYPES, VARY, check_pyarrow, curves_as_arrow, curves_as_msgpack, form_of
from milepost.server.grouping import groups_of, mean_of
from milepost.server.problems import bad_request
from milepost.server.read_api import Stored, described
from milepost.server.records import RunRecord
from milepost.server.series import FloatArray
from milepost.server.store import Store

router = APIRouter(prefix="/api/v1", tags=["read"])

MAX_SERIES: Final = 2_000
"""Curves in one answer."""
MAX_POINTS: Final = 2_000_000
"""Buckets of all of them together."""

_WRITERS: Final[dict[str, Callable[[dict[str, Any]], bytes]]] = {
    "json": msgspec.json.encode, "msgpack": curves_as_msgpack, "arrow": curves_as_arrow,
}  # fmt: skip


@router.post("/history", **described(models.HistoryAnswer, ("msgpack", "arrow")))
def curves(request: Request, store: Stored, asked: models.HistoryRequest) -> Response:
    """Many keys of many runs in buckets along one axis, in one answer. group: the mean and band of runs that share a value."""
    if len(asked.runs) * len(asked.keys) > MAX_SERIES:
        text = f"{len(asked.runs)} runs x {len(asked.keys)} keys are more than {MAX_SERIES} curves; ask for fewer at a time"
        raise bad_request("too many curves", text, limit=MAX_SERIES)
    form = form_of(request, ("json", "msgpack", "arrow"))
    check_pyarrow(form)
    if asked.group is not None:
        _check_group(asked)
    watermarks: dict[str, str] = {}
    found: list[tuple[str, str, bool, history.Series]] = []
    missing: list[dict[str, str]] = []
    for path in dict.fromkeys(asked.runs):
        project, _, run = path.partition("/")
        try:
            watermarks[path] = store.watermark(project, run)
        except RunNotFoundError:
            missing += [{"run": path, "key": key, "why": "no such run"} for key in asked.keys]
            continue
        after = (asked.after or {}).get(path)
        if after is not None and not store.delta(project, run, after):
            after = None
        for key in dict.fromkeys(asked.keys):
            one = store.series(
                project,
                run,
                key,
                asked.x,
                until=watermarks[path],
                everyone=asked.writer == "all",
                after=after,
                rewound=asked.rewound,
            )
            if one is None:
                missing.append({"run": path, "key": key, "why": "no points"})
            else:
                found.append((path, key, after is not None, one))
    try:
        body = _in_buckets(asked, found, missing, watermarks)
    except OverflowError:
        raise bad_request("invalid range", f"range {asked.range} cannot be divided into buckets") from None
    if asked.group is not None:
        body["groups"] = _grouped(store, asked, body["series"])
        body["series"] = []
    return Response(_WRITERS[form](body), headers=VARY, media_type=TYPES[form])


def _in_buckets(
    asked: models.HistoryRequest,
    found: list[tuple[str, str, bool, history.Series]],
    missing: list[dict[str, str]],
    watermarks: dict[str, str],
) -> dict[str, Any]:
    extents = [extent for *_, one in found for extent in [one.extent()] if extent is not None]
    low, high = asked.range or (min((e[0] for e in extents), default=0.0), max((e[1] for e in extents), default=0.0))
    if not low <= high or (asked.range is not None and not -math.inf < low <= high < math.inf):
        raise bad_request(
            "invalid range", f"range must be [lowest, highest], finite numbers, got {list(asked.range or ())}"
        )
    on = history.Grid(asked.width, low, high) if asked.width else history.grid(low, high, asked.buckets)
    if (high - low) / on.width > 10 * max(asked.buckets, 20_000):
        raise bad_request("too many buckets", f"a width of {on.width} makes more than 200,000 buckets of this range")
    places = (high - low) / on.width
    most = sum(min(one.size(), int(places) + 2 if places < math.inf else 2) for *_, one in found)
    if most > MAX_POINTS:
        text = f"{len(found)} curves in these buckets are up to {most:,} points, and {MAX_POINTS:,} are given at once"
        raise bad_request(
            "too many points", f"{text}; ask for fewer runs or keys at a time, or fewer buckets", limit=MAX_POINTS
        )
    return {
        "x": asked.x,
        "width": on.width,
        "range": [low, high] if extents else None,
        "series": [
            {"run": path, "key": key, "delta": delta, **history.sampled(one, on)} for path, key, delta, one in found
        ],
        "missing": missing,
        "watermarks": watermarks,
    }


def _check_group(asked: models.HistoryRequest) -> None:
    try:
        check_column(str(asked.group))
    except FilterError as error:
        raise bad_request("invalid group", str(error)) from None
    if asked.after is not None:
        text = "the mean of a group cannot be continued: leave `after` out, and ask for the whole when rows came"
        raise bad_request("invalid request", text)


def _grouped(store: Store, asked: models.HistoryRequest, series: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One curve for each group and key, of the groups that have points."""
    records: list[RunRecord] = []
    for path in dict.fromkeys(each["run"] for each in series):
        project, _, run = path.partition("/")
        with contextlib.suppress(RunNotFoundError):  # deleted since its points were read
            records.append(store.run(project, run))
    told: list[dict[str, Any]] = []
    for group in groups_of(records, [str(asked.group)]):
        paths = {run.path for run in group.runs}
        for key in dict.fromkeys(asked.keys):
            own = [each for each in series if each["key"] == key and each["run"] in paths]
            if own:
                told.append(_mean(group.values[0], key, own, asked.buckets))
    return told


def _mean(value: Any, key: str, series: list[dict[str, Any]], places: int) -> dict[str, Any]:
    curves = [(np.array(each["x"], np.float64), np.array(each["mean"], np.float64)) for each in series]
    one = mean_of(curves, places)
    columns = {name: _or_null(getattr(one, name)) for name in ("x", "mean", "std")}
    return {
        "value": jsonable(value),
        "key": key,
        "runs": [each["run"] for each in series],
        **columns,
        "min": _or_null(one.low),
        "max": _or_null(one.high),
        "count": one.count.tolist(),
    }


def _or_null(values: FloatArray) -> list[float | None]:
    return [value if value - value == 0 else None for value in values.tolist()]
