"""`milepost show`: one run on one page: what ran, its config, a line chart per metric, its summary."""

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final

import click

from milepost.sdk.cli import out
from milepost.sdk.cli.card import Card, card, count_rows, leaves
from milepost.sdk.cli.chart import chart
from milepost.sdk.cli.courses import Course, courses, definitions, matching
from milepost.sdk.cli.out import Cell, Column
from milepost.sdk.cli.runs import attempt_option, dir_option, find_run, json_option
from milepost.sdk.errors import UsageError
from milepost.sdk.reading.result import why_empty
from milepost.sdk.reading.run_files import dropped_calls
from milepost.sdk.reading.wish import Wish
from milepost.sdk.terminal import Screen, number, pad, plain, printable, width

_CHARTS_MAX: Final = 40
_VALUES_MAX: Final = 60
_POINTS_MAX: Final = 500
_BESIDE: Final = 54
"""Cells a chart needs to stand beside another."""
_WIDEST: Final = 100
_LINES: Final = 8
_GAP: Final = 4
_INDENT: Final = 2


@click.command()
@click.argument("run", required=False)
@dir_option
@click.option("--keys", "-k", multiple=True, metavar="GLOB", help="Only these metrics and values; may be repeated.")
@click.option(
    "--lines", type=click.IntRange(2, 60), default=_LINES, show_default=True, metavar="N", help="Height of a chart."
)
@attempt_option
@json_option
def command(
    run: str | None,
    directory: str | None,
    keys: tuple[str, ...],
    lines: int,
    attempt: int | None,
    as_json: bool,
) -> None:
    """Show RUN: "project/id", an id or name, or the path of its directory; the newest run of a runs directory or a
    project's folder; by default, the newest run.

    A metric is drawn over its steps, or over its step metric where define_metric named one. Of a large run, a sample is
    drawn, and the chart says so.
    """
    of = card(find_run(run, directory, attempt))
    metrics = definitions(of.selection)
    names = [
        name
        for name in matching(of.selection.keys(), keys)
        if (metric := metrics.find(name)) is None or not metric.hidden or name in keys
    ]
    if keys and not names and not matching(dict(leaves(of.summary)), keys):
        raise UsageError(why_empty(of.selection, Wish(keys), of.run.path))
    if as_json:
        out.say_json(_as_json(of, courses(of.selection, names, metrics, of.rows), keys))
        return
    drawn = names if keys else names[:_CHARTS_MAX]
    screen = out.screen()
    for line in [*_header(of, screen), *_config(of, screen)]:
        out.say(line)
    for line in _charts(courses(of.selection, drawn, metrics, of.rows), screen, lines):
        out.say(line)
    if len(drawn) < len(names):
        more = f"  {len(names) - len(drawn):,} more metrics; choose with --keys GLOB, for example --keys 'train.*'"
        out.say("\n" + screen.paint(more, "dim"))
    for line in _summary(of, keys, screen):
        out.say(line)
    out.say()


# What ran.


def _header(of: Card, screen: Screen) -> Iterator[str]:
    run = of.run
    mark = screen.paint("●" if screen.unicode else "*", out.STATES.get(of.state, "warn"))
    dot = " · " if screen.unicode else " | "
    facts = [
        screen.paint(printable(run.name), "bold"),
        printable(run.path),
        screen.paint(of.state, out.STATES.get(of.state, "warn")) + f" after {out.took(of.duration_s)}",
        "1 row" if of.rows == 1 else f"{of.rows:,} rows",
        *([f"attempt {of.reader.attempt} of {len(of.reader.attempts)}"] if len(of.reader.attempts) > 1 else []),
    ]
    yield ""
    yield f"  {mark} {dot.join(facts)}"
    yield ""
    for name, text in _facts(of):
        room = screen.width - 14 if screen.is_terminal else len(text) * 2
        yield f"  {screen.paint(pad(name, 8), 'dim')}  {screen.fit(printable(text), room)}"


def _facts(of: Card) -> Iterator[tuple[str, str]]:
    run, known = of.run, of.run.metadata
    started = f"{out.utc(run.created_unix_nano)} UTC, {out.took(time.time() - run.created_unix_nano / 1e9)} ago"
    yield "started", started
    for name, value in (("tags", ", ".join(run.tags)), ("group", run.group), ("job type", run.job_type)):
        if value:
            yield name, value
    if run.notes:
        yield "notes", run.notes
    start = next(iter(of.reader.events("run.start")), None)
    told = start.values if start is not None else {}
    places = [str(known.get("host") or told.get("host") or ""), f"pid {told['pid']}" if told.get("pid") else ""]
    python = known.get("python")
    version = python.get("version") if isinstance(python, dict) else python
    yield "host", ", ".join([*filter(None, places), *([f"Python {version}"] if version else [])]) or "not recorded"
    command_line = known.get("command")
    if command_line:
        yield "command", command_line if isinstance(command_line, str) else " ".join(map(str, command_line))
    if isinstance(git := known.get("git"), dict) and (text := _git(git)):
        yield "git", text
    ranks = sorted({writer.rank for writer in of.reader.members if writer.rank is not None})
    if len(ranks) > 1:
        yield "ranks", f"{len(ranks)} ({ranks[0]} to {ranks[-1]}); rank {ranks[0]} is shown"
    children = [writer for writer in of.reader.members if writer.parent and writer not in of.selection.writers]
    if children and (count := count_rows(of.reader.select("all")) - of.rows) and len(ranks) < 2:
        who = "1 child process" if len(children) == 1 else f"{len(children)} child processes"
        yield "writers", f"{who} logged {count:,} more rows; see them with export --writer all"
    if stale := dropped_calls(of.reader).get("stale_step"):
        yield "dropped", f"{stale:,} call{'s' * (stale != 1)} of log(): the step was behind the run's"
    yield "files", str(run.dir)


def _git(git: Mapping[str, Any]) -> str:
    commit, branch = str(git.get("commit") or "")[:10], str(git.get("branch") or "")
    parts = [part for part in (commit, branch) if part]
    if git.get("dirty") or git.get("diff_bytes"):
        size = git.get("diff_bytes")
        parts.append(
            f"with uncommitted changes ({size:,} bytes)" if isinstance(size, int) else "with uncommitted changes"
        )
    return " ".join(parts)


def _config(of: Card, screen: Screen) -> Iterator[str]:
    values = list(leaves(of.run.config))
    if values:
        yield ""
        yield from _listed("config", values, screen)


def _listed(title: str, values: Sequence[tuple[str, Any]], screen: Screen) -> Iterator[str]:
    """Names and values in two columns."""
    columns = [Column(title, give=True), Column("", give=True)]
    yield out.table(columns, [[name, Cell(plain(value), "bold")] for name, value in values[:_VALUES_MAX]], _INDENT)
    if len(values) > _VALUES_MAX:
        yield screen.paint(f"  and {len(values) - _VALUES_MAX:,} more, see --json", "dim")


# Its metrics.


def _charts(found: Sequence[Course], screen: Screen, lines: int) -> Iterator[str]:
    """All charts, as many beside each other as fit."""
    room = screen.width - _INDENT
    beside = max(1, (room + _GAP) // (_BESIDE + _GAP)) if len(found) > 1 else 1
    cells = max(min((room + _GAP) // beside - _GAP, _WIDEST), 24)
    for start in range(0, len(found), beside):
        blocks = [_titled(course, screen, cells, lines) for course in found[start : start + beside]]
        yield ""
        for parts in zip_longest(*blocks, fillvalue=" " * cells):
            yield (" " * _INDENT + (" " * _GAP).join(parts)).rstrip()


def _titled(course: Course, screen: Screen, cells: int, lines: int) -> list[str]:
    """A chart below its title; every line takes `cells`."""
    facts = [f"last {number(course.last)}"]
    if course.minimum is not None and course.maximum is not None and course.minimum < course.maximum:
        facts += [f"min {number(course.minimum)}", f"max {number(course.maximum)}"]
    about, strange = "  ".join(facts), f"  {course.strange:,} NaN/inf" if course.strange else ""
    about = screen.fit(about, max(cells - len(strange) - 10, 0))
    room = cells - width(about) - len(strange)
    name = pad(screen.fit_name(course.name, room - 2), room)
    block = [screen.paint(name, "bold") + screen.paint(about, "dim") + screen.paint(strange, "bad")]
    block += chart(course.points, screen, cells, lines)
    if course.sampled:
        text = f"{course.count:,} of {course.total_rows:,} rows drawn, evenly spaced"
        block.append(screen.paint(pad(screen.fit(text, cells), cells), "dim"))
    return block


def _summary(of: Card, keys: Sequence[str], screen: Screen) -> Iterator[str]:
    values = dict(leaves(of.summary))
    chosen = [(name, values[name]) for name in matching(values, keys)]
    if chosen:
        yield ""
        yield from _listed("summary", chosen, screen)


def _as_json(of: Card, found: Sequence[Course], keys: Sequence[str]) -> dict[str, Any]:
    summary = dict(leaves(of.summary))
    return of.as_json() | {
        "config": of.run.config,
        "metadata": of.run.metadata,
        "summary": {name: summary[name] for name in matching(summary, keys)},
        "metrics": {course.name: _course_as_json(course) for course in found},
    }


def _course_as_json(course: Course) -> dict[str, Any]:
    """A metric's figures, and at most `_POINTS_MAX` of its points, evenly spaced, the last always among them."""
    stride = max(1, -(-len(course.points.x) // _POINTS_MAX))
    points = list(zip(course.points.x, course.points.y, strict=True))
    return {
        "x_axis": course.points.x_name,
        "values": course.count,
        "sampled_from_rows": course.total_rows if course.sampled else None,
        "nan_or_infinite": course.strange,
        "first": course.first,
        "last": course.last,
        "min": course.minimum,
        "max": course.maximum,
        "points": points[::-1][::stride][::-1],
    }
