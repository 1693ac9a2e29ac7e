"""`milepost sync`: deliver what exporters have not delivered yet."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from milepost.sdk.api import Run
from milepost.sdk.cli import out
from milepost.sdk.cli.out import Cell, Column
from milepost.sdk.cli.runs import dir_option, find_runs, json_option, runs_dir
from milepost.sdk.configuration import Settings, load
from milepost.sdk.errors import ConfigurationError
from milepost.sdk.syncing import PATIENCE_S, Outcome, State, recover_settled, sync
from milepost.sdk.terminal import Style

_STYLES: Final[dict[State, Style]] = {
    "delivered": "good",
    "pending": "warn",
    "running": "accent",
    "busy": "warn",
    "refused": "bad",
}
_WORDS: Final = {"crashed": "crashed: its program is gone without finish()"}
_NAMED: Final = 5
_COLUMNS: Final = (
    Column("run"),
    Column("program"),
    Column("exporter"),
    Column("state"),
    Column("delivered", right=True),
    Column("pending", right=True),
    Column("filtered", right=True, drop=2),
    Column("rejected", right=True),
    Column("dropped", right=True, drop=1),
    Column("note", give=True),
)


@click.command()
@click.argument("target", required=False, metavar="[DIR_OR_RUN]")
@dir_option
@click.option("--to", metavar="NAME", help="Deliver to this exporter, of the config file in force or by its name.")
@click.option("--watch", is_flag=True, help="Go on until interrupted.")
@click.option("--interval", type=click.FloatRange(0.1), default=2.0, show_default=True, help="Seconds between looks.")
@click.option(
    "--timeout",
    type=click.FloatRange(0),
    default=PATIENCE_S,
    show_default=True,
    help="Seconds an exporter may go without taking anything.",
)
@json_option
def command(
    target: str | None,
    directory: str | None,
    to: str | None,
    watch: bool,
    interval: float,
    timeout: float,
    as_json: bool,
) -> None:
    """Deliver what is left of the runs in DIR_OR_RUN.

    First the rows that killed programs left in shared memory are put into their journals. Then each run's own exporters get
    what they have not had (console and memory are for the living program and are left out); so history.jsonl of a killed
    run becomes complete. Running programs deliver by themselves. An exporter is used as it was when the run began, at
    the address of then. With --to, the named exporter gets every run, with the options of the config file in force: so a run
    reaches a back end that has moved.

    What became of each run's program is told, too: "crashed" is one that is gone without finish().

    Exits with 1 when something could not be delivered.
    """
    left = False
    states: dict[str, str] = {}
    meant = target, directory
    try:
        left = _once(meant, to, timeout, as_json, states, closing=not watch)
        while watch:
            time.sleep(interval)
            left = _once(meant, to, timeout, as_json, states, closing=False)
    except KeyboardInterrupt:
        if not watch:
            raise
        out.note("")
    click.get_current_context().exit(1 if left else 0)


def _once(
    meant: tuple[str | None, str | None],
    to: str | None,
    timeout: float,
    as_json: bool,
    states: dict[str, str],
    *,
    closing: bool,
) -> bool:
    """Sync every run once and tell; whether something is left.

    meant: the argument and `--dir`. states: of the runs, as they were and then as they are.
    """
    target, directory = meant
    if directory is None and target is not None and Path(target).is_dir():
        directory, target = target, None
    recovered = recover_settled(runs_dir(directory))
    where, runs = find_runs(target, directory)
    in_force = _in_force(needed=to is not None)
    outcomes: list[Outcome] = []
    with out.progress("rows", 0) as advance:
        for run in reversed(runs):  # the oldest first
            outcomes += sync(run.dir, to=to, in_force=in_force, patience_s=timeout, moved=advance)
    turned = _turned(runs, states)
    if recovered and not as_json:
        out.note(f"{recovered} killed writer{'s' * (recovered > 1)} recovered from shared memory")
    joined = joined_by_run(outcomes)
    left = [outcome for outcome in joined if not outcome.settled]
    if as_json:
        if closing or turned or any(map(_tells, joined)):
            out.say_json(_as_json(where, recovered, joined, states))
        return bool(left)
    told = [outcome for outcome in joined if _tells(outcome) or (closing and outcome.state == "running")]
    if told:
        out.say(out.table(_COLUMNS, [_line(outcome, states.get(outcome.run, "")) for outcome in told]))
    for path in () if closing else turned:
        out.note(f"{path}: {_WORDS.get(states[path], states[path])}")
    if closing:
        rows = sum(outcome.delivered for outcome in joined)
        rest = f"; not settled: {len(left)}" if left else "; nothing is left to deliver"
        out.note(f"{len(runs):,} {'run' if len(runs) == 1 else 'runs'} in {where}: {rows:,} rows delivered{rest}")
        crashed = [run for run, state in states.items() if state == "crashed"]
        if crashed:
            more = f" and {len(crashed) - _NAMED:,} more" if len(crashed) > _NAMED else ""
            out.note(f"crashed, that is gone without finish(): {', '.join(crashed[:_NAMED])}{more}")
    return bool(left)


def _turned(runs: Sequence[Run], states: dict[str, str]) -> list[str]:
    """Bring `states` up to date; the runs whose program began or ended since they were last looked at."""
    before = dict(states)
    states.clear()
    states.update((run.path, run.state) for run in runs)
    return [run for run, state in states.items() if before.get(run) != state and "running" in (before.get(run), state)]


def joined_by_run(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The outcomes of all writers of a run as one per exporter; its state is the worst of theirs."""
    found: dict[tuple[str, str], Outcome] = {}
    order: Sequence[State] = ("delivered", "running", "busy", "pending", "refused")
    for outcome in outcomes:
        key = (outcome.run, outcome.exporter)
        before = found.setdefault(key, outcome)
        if before is outcome:
            continue
        worst = max(before, outcome, key=lambda each: order.index(each.state))
        found[key] = Outcome(
            run=outcome.run,
            writer=worst.writer,
            exporter=outcome.exporter,
            state=worst.state,
            delivered=before.delivered + outcome.delivered,
            filtered=before.filtered + outcome.filtered,
            rejected=_sum(before.rejected, outcome.rejected),
            dropped=_sum(before.dropped, outcome.dropped),
            pending=before.pending + outcome.pending,
            note=worst.note,
            waiting=worst.waiting,
        )
    return list(found.values())


def _in_force(*, needed: bool) -> Settings | None:
    try:
        return load()
    except ConfigurationError as error:
        if needed:
            raise
        out.note(f"the settings in force are wrong and not used: {error.errors[0]}")
        return None


def _tells(outcome: Outcome) -> bool:
    """Whether there is anything to say of an outcome."""
    return not outcome.settled or bool(outcome.delivered or outcome.rejected or outcome.dropped)


def _line(outcome: Outcome, program: str) -> list[Cell | str]:
    reasons = [*outcome.rejected, *outcome.dropped]
    note = "; ".join(filter(None, [outcome.note, *reasons]))
    if outcome.state == "running" and not note:
        note = "its own process delivers"
    return [
        Cell(outcome.run, "bold"),
        Cell(program, out.STATES.get(program)),
        outcome.exporter,
        Cell(outcome.state, _STYLES[outcome.state]),
        f"{outcome.delivered:,}",
        outcome.waiting or f"{outcome.pending:,}",
        f"{outcome.filtered:,}",
        f"{sum(outcome.rejected.values()):,}",
        f"{sum(outcome.dropped.values()):,}",
        note,
    ]


def _as_json(where: Path, recovered: int, joined: Sequence[Outcome], states: Mapping[str, str]) -> dict[str, Any]:
    fields = ("run", "exporter", "state", "delivered", "pending", "filtered", "rejected", "dropped", "note")
    return {
        "dir": str(where.absolute()),
        "recovered_writers": recovered,
        "settled": all(outcome.settled for outcome in joined),
        "runs": dict(states),
        "exporters": [{field: getattr(outcome, field) for field in fields} for outcome in joined],
    }


def _sum(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {reason: one.get(reason, 0) + other.get(reason, 0) for reason in {**one, **other}}
