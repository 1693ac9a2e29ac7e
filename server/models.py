"""Models: what requests and answers of the API look like; the OpenAPI file is made from them.

Answers are written by msgspec and only described here. Times are seconds since 1970 (UTC), durations seconds, sizes bytes.
NaN and the infinities travel as the texts "NaN", "Infinity" and "-Infinity".
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Json = Any


class ProblemModel(BaseModel):
    """An error, after RFC 9457. Further members may say more."""

    type: str
    title: str
    status: int
    detail: str


class Auth(BaseModel):
    """Who asks. user: the name that a proxy gave; scopes and project: what a valid key, or the user, may do and see."""

    required: bool
    user: str | None
    scopes: list[str]
    project: str | None


class Info(BaseModel):
    """The server. mode: "runs" (a directory is read) or "data" (a store of its own)."""

    name: Literal["milepost"]
    version: str
    api: int
    mode: Literal["runs", "data"]
    writable: bool
    features: list[str]
    limits: dict[str, int]
    auth: Auth


class Project(BaseModel):
    """A project: how many runs it has, how many of them run now, and when the last of them was begun or heard of."""

    name: str
    runs: int
    running: int
    last_activity: float | None


class Projects(BaseModel):
    """All projects, by name."""

    projects: list[Project]


class Run(BaseModel):
    """A run. columns: the values that were asked for, of those it has; group_key: of its group, where `by` was asked for.

    unreadable: why nothing else is told of it: what the server has of it is damaged; null of all others.
    """

    id: str
    project: str
    name: str
    state: Literal["running", "finished", "failed", "preempted", "crashed"]
    group: str | None
    job_type: str | None
    tags: list[str]
    notes: str | None
    created: float
    heartbeat: float | None
    finished: float | None
    duration: float | None
    rows: int
    last_step: int | None
    attempt: int
    archived: bool
    unreadable: str | None
    columns: dict[str, Json] | None = None
    group_key: str | None = None


class RunPage(BaseModel):
    """A page of the run table. total: how many runs the filter lets through; version: for /events."""

    total: int
    offset: int
    limit: int
    version: int
    runs: list[Run]


class Figures(BaseModel):
    """Of the finite numbers of a column: how many, mean, standard deviation (of all, not of a sample), least, greatest.

    shared: the value that all of the runs have, of whatever kind; null when they differ.
    """

    count: int
    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    shared: Json


class RunGroup(BaseModel):
    """Runs that share values. by: the values by column, null where there is none. runs: how many; states: of which kind.

    key: names the group to the run table, whatever its values are. filter: lets these runs through, together with the one that
    was asked with; null where the language cannot say it. first: the runs that were asked for.
    """

    key: str
    by: dict[str, Json]
    runs: int
    states: dict[str, int]
    filter: str | None
    columns: dict[str, Figures]
    first: list[Run]


class GroupPage(BaseModel):
    """A page of the groups. total: how many groups; runs: how many runs are in them."""

    by: list[str]
    total: int
    runs: int
    offset: int
    limit: int
    groups: list[RunGroup]


class RunDetail(Run):
    """A run with everything it says of itself.

    metadata: what ran: program, command, host, Python, packages, git. metrics: what define_metric said.
    completeness: logged, dropped and gaps. Over a directory, per exporter delivered, pending, filtered, rejected, dropped
    (rows). Of runs that are sent: stored, uncompacted (rows that wait for the compactor), damaged (rows that the server's disk
    does not give back; they are among the gaps until they come again), and lag: the seconds that the newest row of the last batch
    was old when it came, of the writer that is furthest behind.
    """

    config: dict[str, Json]
    summary: dict[str, Json]
    attempts: list[int]
    metadata: dict[str, Json]
    metrics: list[dict[str, Json]]
    writers: list[dict[str, Json]]
    completeness: dict[str, Json]


class Column(BaseModel):
    """A column of the run table: `config.NAME` or `summary.NAME`. kind: of most of its values. runs: how many have it."""

    name: str
    kind: Literal["number", "text", "bool", "other"]
    runs: int


class Columns(BaseModel):
    """Columns, those that most runs have first."""

    total: int
    columns: list[Column]


class ProjectKey(BaseModel):
    """A key of a project's runs. runs: how many have it."""

    key: str
    kind: str
    runs: int


class ProjectKeys(BaseModel):
    """Keys by name."""

    total: int
    keys: list[ProjectKey]


class Key(BaseModel):
    """A key of a run. kind: "scalar", "text", "list", or the `_type` of a mapping ("histogram", "image-file", ...)."""

    key: str
    kind: str
    count: int
    first_step: int | None
    last_step: int | None
    min: float | None
    max: float | None
    last: Json


class Keys(BaseModel):
    """Keys in order of first sight."""

    total: int
    keys: list[Key]


class HistoryRequest(BaseModel):
    """Which curves, and how.

    runs: "project/run_id" each. keys: names. x: _step, _timestamp, _runtime or any key (rows that hold both).
    buckets: about how many intervals. range: lowest and highest x, both included; null for all.
    width: the width of a bucket, in place of buckets: answers of one width fit together.
    after: per run the watermark of an earlier answer: only what was logged since then.
    writer: null for the lowest rank, "all" for every writer.
    rewound: the rows that a resumed run took back, in place of those that count.
    group: a field, config.NAME or summary.NAME: one curve for the runs that share its value, in `groups` in place of `series`.
    """

    model_config = ConfigDict(extra="forbid")

    runs: list[str] = Field(min_length=1, max_length=500)
    keys: list[str] = Field(min_length=1, max_length=500)
    x: str = Field("_step", min_length=1, max_length=4096)
    buckets: int = Field(500, ge=1, le=20_000)
    range: tuple[float, float] | None = None
    width: float | None = Field(None, gt=0, allow_inf_nan=False)
    after: dict[str, str] | None = None
    writer: Literal["all"] | None = None
    rewound: bool = False
    group: str | None = Field(None, min_length=1, max_length=4096)


class Aggregated(BaseModel):
    """What was done to the points.

    exact: each point stands for itself. points: how many there are in the range. buckets: how many stand in the answer.
    block_points: 1, or 64 or 4096 where blocks of so many consecutive points were put whole into the bucket of their first.
    """

    exact: bool
    points: int
    buckets: int
    block_points: int
    text: str


class Curve(BaseModel):
    """One series as columns of equal length.

    x: of the last point of each bucket. min, max, mean, last: over finite values; null where there are none.
    count: points, NaN and infinities included. marks: x and count of "nan", "inf", "-inf", where there are any.
    delta: only what came after the watermark; false when everything is in the answer (also when `after` was given and rows
    have been taken back since: forget what you had).
    """

    run: str
    key: str
    delta: bool
    x: list[float]
    min: list[float | None]
    max: list[float | None]
    mean: list[float | None]
    last: list[float | None]
    count: list[int]
    marks: dict[str, list[tuple[float, int]]]
    aggregated: Aggregated


class GroupCurve(BaseModel):
    """One key of the runs of a group, as columns of equal length.

    value: what the runs share, null for those that have none. runs: those that have points.
    x: places of their buckets, at most about as many as `buckets`. mean, min, max, std: over the runs' means of buckets, in
    straight lines between them; null where no run has a value. count: runs that have one.
    """

    value: Json
    key: str
    runs: list[str]
    x: list[float]
    mean: list[float | None]
    std: list[float | None]
    min: list[float | None]
    max: list[float | None]
    count: list[int]


class HistoryAnswer(BaseModel):
    """Curves on one grid.

    width: of a bucket; bucket i is i * width <= x < (i + 1) * width. range: of x in the answer, null without points.
    missing: what was asked for and has no points. watermarks: per run, for `after`.
    """

    x: str
    width: float
    range: tuple[float, float] | None
    series: list[Curve]
    missing: list[dict[str, str]]
    watermarks: dict[str, str]
    groups: list[GroupCurve] | None = None


class RowPage(BaseModel):
    """Rows as they were logged, with _step, _timestamp and _runtime. next: the offset of the next page, null at the end."""

    rows: list[dict[str, Json]]
    next: int | None


class MediaItem(BaseModel):
    """A media value of a row. url: its file, null for values that stand in the row itself (histograms)."""

    key: str
    step: int | None
    time: float
    index: int
    type: str
    caption: str | None
    url: str | None
    value: dict[str, Json]


class MediaPage(BaseModel):
    """Media in order of rows. steps: every step that has some, of the keys asked for."""

    total: int
    offset: int
    limit: int
    steps: list[int]
    items: list[MediaItem]


class FileItem(BaseModel):
    """A file of a run."""

    name: str
    size: int
    url: str


class Files(BaseModel):
    """A run's files, by name."""

    files: list[FileItem]


class ConsoleLine(BaseModel):
    """Console output. stream: "stdout" or "stderr"."""

    time: float
    stream: str
    text: str


class Console(BaseModel):
    """Console output in order. next: the offset of what comes after it."""

    lines: list[ConsoleLine]
    next: int


Tag = Annotated[str, Field(min_length=1, max_length=1000)]


class BulkEdit(BaseModel):
    """A change of many runs at once. runs: "project/run_id" each; what is null stays."""

    model_config = ConfigDict(extra="forbid")

    runs: list[str] = Field(min_length=1, max_length=10_000)
    name: str | None = Field(None, min_length=1, max_length=1000)
    notes: str | None = Field(None, max_length=100_000)
    add_tags: list[Tag] | None = Field(None, max_length=100)
    remove_tags: list[str] | None = Field(None, max_length=100)
    archive: bool | None = None
    delete: bool | None = None


class BulkAnswer(BaseModel):
    """How many runs were changed, and those that are not there."""

    changed: int
    missing: list[str]
