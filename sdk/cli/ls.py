"""`milepost ls`: one line per run."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from milepost.sdk.cli import out
from milepost.sdk.cli.card import Card, card, leaves
from milepost.sdk.cli.courses import matching
from milepost.sdk.cli.out import Cell, Column
from milepost.sdk.cli.runs import dir_option, find_runs, json_option
from milepost.sdk.errors import RunNotFoundError
from milepost.sdk.terminal import plain

_VALUES = 2
_COLUMNS = (
    Column("run"),
    Column("name", give=True, drop=2),
    Column("state"),
    Column("started (UTC)"),
    Column("took", right=True, drop=1),
    Column("rows", right=True),
    Column("step", right=True, drop=3),
    Column("values", give=True),
)


@click.command()
@click.argument("target", required=False, metavar="[DIR]")
@dir_option
@click.option("--project", "-p", metavar="NAME", help="Only the runs of this project.")
@click.option("--keys", "-k", multiple=True, metavar="GLOB", help="Show these summary values; may be repeated.")
@click.option("--limit", "-n", type=click.IntRange(min=1), metavar="N", help="Only the newest so many.")
@json_option
def command(
    target: str | None,
    directory: str | None,
    project: str | None,
    keys: tuple[str, ...],
    limit: int | None,
    as_json: bool,
) -> None:
    """List the runs of DIR, newest first.

    DIR is a runs directory or the folder of one project; by default, the directory that milepost.init() would use. The
    last column holds two values of each run's summary (aggregates of define_metric first, then what was
    logged first), or the values that --keys names.
    """
    if target is not None and directory is not None:
        raise click.UsageError("give the directory once: as DIR or as --dir DIR")
    where, runs = find_runs(target, directory)
    chosen = [run for run in runs if project in (None, run.project, run.dir.parent.name)]
    if runs and not chosen:
        known = ", ".join(sorted({run.project for run in runs}))
        raise RunNotFoundError(f"no project {project!r} in {where}; it has: {known}")
    cards: list[Card] = []
    with out.progress("reading runs", len(chosen[:limit])) as advance:
        for run in chosen[:limit]:
            cards.append(card(run))
            advance(1)
    if as_json:
        out.say_json([each.as_json() for each in cards])
    elif cards:
        out.say(out.table(_COLUMNS, [_line(each, keys) for each in cards]))
    else:
        out.note(f"no runs in {where}")


def _line(of: Card, keys: Sequence[str]) -> list[Cell | str]:
    run = of.run
    values = [f"{key} {plain(value)}" for key, value in _values(of, keys)]
    return [
        Cell(run.path, "bold"),
        run.name,
        Cell(of.state, out.STATES.get(of.state)),
        out.utc(run.created_unix_nano),
        out.took(of.duration_s),
        f"{of.rows:,}",
        "-" if of.last_step is None else str(of.last_step),
        "  ".join(values),
    ]


def _values(of: Card, keys: Sequence[str]) -> list[tuple[str, Any]]:
    known = dict(leaves(of.summary))
    if keys:
        return [(key, known[key]) for key in matching(known, keys)]
    asked_for = [key for key, value in known.items() if isinstance(value, Mapping) and "_type" not in value]
    in_order = of.selection.keys()
    numbers = [key for key in in_order if type(known.get(key)) in (int, float)]
    return [(key, known[key]) for key in [*asked_for, *numbers][:_VALUES]]
