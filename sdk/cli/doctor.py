"""`milepost doctor`: where every row of every run is, what is damaged, and what this machine lets milepost promise."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from milepost.sdk.accounting import LIVE_ONLY, Account, account, logged_rows, stored_cursors, trimmed_rows
from milepost.sdk.api import Run
from milepost.sdk.cli import out
from milepost.sdk.cli.cost import tell
from milepost.sdk.cli.machine import Finding, examine
from milepost.sdk.cli.out import Cell, Column
from milepost.sdk.cli.runs import dir_option, find_runs, json_option
from milepost.sdk.cursor import Cursor
from milepost.sdk.errors import RunNotFoundError
from milepost.sdk.keeper import PROMISES
from milepost.sdk.reader import Problem, WriterReader
from milepost.sdk.reading.files import writer_dirs
from milepost.sdk.reading.run_files import dropped_calls
from milepost.sdk.syncing import orphan_rings, stored_exporters
from milepost.sdk.terminal import Screen

_COLUMNS = (
    Column("exporter"),
    Column("logged", right=True),
    Column("delivered", right=True),
    Column("pending", right=True),
    Column("filtered", right=True),
    Column("rejected", right=True),
    Column("dropped", right=True),
    Column("behind", right=True, drop=1),
    Column("cursor", drop=3),
    Column("last error", give=True, drop=2),
)
_DAMAGE_MAX = 5


class Checkup(msgspec.Struct, kw_only=True):
    """What was found of one run. promises: what a crash could cost each of its writers."""

    run: Run
    state: str
    writers: int
    logged: int
    journal_bytes: int
    promises: list[str]
    accounts: list[Account]
    damage: list[Problem]
    orphans: int
    stale_calls: int
    findings: list[Finding]


@click.command()
@click.argument("target", required=False, metavar="[DIR_OR_RUN]")
@dir_option
@click.option("--cost", is_flag=True, help="Forecast series, samples a day and log streams instead.")
@json_option
def command(target: str | None, directory: str | None, cost: bool, as_json: bool) -> None:
    """Check the runs in DIR_OR_RUN, and this machine.

    For each run and exporter, in rows: logged = delivered + pending + filtered + rejected + dropped. What was logged and what
    is pending is counted in the journal, the rest by the exporter; a sum that is wrong is a defect, and shown as one.
    Every checksum of every journal is checked.

    Exits with 1 when a problem was found, such as rows that a back end refused or that were dropped. What is merely not
    delivered yet is no problem.
    """
    try:
        where, runs = find_runs(target, directory)
    except RunNotFoundError:
        if target is not None or directory is not None:
            raise
        where, runs = Path.cwd(), []  # nothing was logged here yet: the machine alone
    if cost:
        tell(runs, as_json=as_json)
        return
    with out.progress("checking runs", len(runs)) as advance:
        checkups: list[Checkup] = []
        for run in runs:
            checkups.append(_check(run))
            advance(1)
    machine = examine(where)
    found = [*machine.findings, *(finding for checkup in checkups for finding in checkup.findings)]
    problems = [finding for finding in found if finding.problem]
    if as_json:
        out.say_json(
            {
                "dir": str(where.absolute()),
                "problems": [finding.text for finding in problems],
                "notes": [finding.text for finding in found if not finding.problem],
                "machine": machine.facts,
                "runs": [_as_json(checkup) for checkup in checkups],
            }
        )
    else:
        screen = out.screen()
        for checkup in checkups:
            for line in _block(checkup, screen):
                out.say(line)
        for line in _machine(machine.facts, machine.findings, screen):
            out.say(line)
        out.say(_verdict(problems, screen))
    click.get_current_context().exit(1 if problems else 0)


# Checking.


def _check(run: Run) -> Checkup:
    cursors = {path.name: stored_cursors(path) for path in writer_dirs(run.dir)}
    reader = run.reader()
    damage = [problem for writer in reader.writers for problem in writer.check()]
    books = [each for writer in reader.writers for each in _accounts(writer, cursors.get(writer.id, {}))]
    checkup = Checkup(
        run=run,
        state=run.state,
        writers=len(reader.writers),
        logged=sum(
            logged_rows(writer) + trimmed_rows(writer, cursors.get(writer.id, {}).values()) for writer in reader.writers
        ),
        journal_bytes=sum(path.stat().st_size for path in (run.dir / "journal").glob("*/*.mpj")),
        promises=sorted({str(writer.info.get("promise", "not recorded")) for writer in reader.writers}),
        accounts=books,
        damage=damage,
        orphans=len(orphan_rings(run.dir)),
        stale_calls=dropped_calls(reader).get("stale_step", 0),
        findings=[],
    )
    checkup.findings = list(_findings(checkup))
    return checkup


def _accounts(writer: WriterReader, cursors: Mapping[str, Cursor]) -> list[Account]:
    """One account per exporter that has a cursor, or should have one."""
    missing = sum(last - first + 1 for problem in writer.problems for first, last in problem.missing)
    started = [name for name in stored_exporters(writer) if not any(each.startswith(f"{name}-") for each in cursors)]
    names = dict.fromkeys([*cursors, *started])  # an exporter of several signals has a cursor for each
    trimmed = trimmed_rows(writer, cursors.values())
    return [account(writer, cursors.get(name) or Cursor(exporter=name), missing, trimmed) for name in names]


def _findings(checkup: Checkup) -> Iterator[Finding]:
    path = checkup.run.path
    for book in checkup.accounts:
        who = f"{path} to {book.exporter} (writer {book.writer})"
        if not book.holds:
            yield Finding(True, f"{who}: THE ACCOUNTS ARE WRONG BY {book.difference:+,} ROWS: {_sum(book)}")
        elif book.difference:
            yield Finding(
                False, f"{who}: {book.difference:+,} rows are not accounted for, among those that are damaged"
            )
        if book.last_error and book.behind and not book.live_only:
            told = f"{_number(book.behind, book.of)} {'waits' if book.behind == 1 else 'wait'}"
            yield Finding(not book.alive, f"{who}: {told}: {book.last_error}")
        for fate, reasons in (("rejected", book.rejected), ("dropped", book.dropped)):
            for reason, count in reasons.items():
                kept = _set_aside(checkup.run, book) if fate == "rejected" else ""
                yield Finding(True, f"{who}: {_number(count, book.of)} {fate}: {reason}{kept}")
    for of in ("rows", "files", "events"):
        books = [book for book in checkup.accounts if book.of == of and not book.live_only and not book.alive]
        if waiting := sum(book.behind for book in books):
            told = f"{_number(waiting, of)} {'is' if waiting == 1 else 'are'} not delivered yet"
            yield Finding(False, f"{path}: {told}: milepost sync {checkup.run.dir}")
    if checkup.stale_calls:
        calls = "1 call" if checkup.stale_calls == 1 else f"{checkup.stale_calls:,} calls"
        yield Finding(False, f"{path}: {calls} of log() made no row: the step was behind the run's")
    if checkup.orphans:
        yield Finding(False, f"{path}: rows of a killed program are in shared memory: milepost sync {checkup.run.dir}")
    if checkup.damage:
        lost = sum(last - first + 1 for problem in checkup.damage for first, last in problem.missing)
        yield Finding(True, f"{path}: its journal is damaged in {len(checkup.damage)} places; {lost:,} events are lost")


def _set_aside(run: Run, book: Account) -> str:
    """Where what an exporter's back end refused was set aside."""
    path = run.dir / "journal" / book.writer / f"rejected-{book.exporter}.jsonl"
    return f"; they are set aside in {path}" if path.exists() else ""


def _number(number: int, things: str) -> str:
    """1 row, 3 files."""
    return f"{number:,} {things.removesuffix('s') if number == 1 else things}"


def _sum(book: Account) -> str:
    rejected, dropped = sum(book.rejected.values()), sum(book.dropped.values())
    return (
        f"logged {book.logged:,}, but delivered {book.delivered:,} + pending {book.pending:,} + filtered {book.filtered:,}"
        f" + rejected {rejected:,} + dropped {dropped:,} = {book.logged - book.difference:,}"
    )


# Showing.


def _block(checkup: Checkup, screen: Screen) -> Iterator[str]:
    run = checkup.run
    writers = f"{checkup.writers} writer{'s' * (checkup.writers != 1)}"
    rows = "1 row" if checkup.logged == 1 else f"{checkup.logged:,} rows"
    facts = f"{rows} logged by {writers}, {out.size(checkup.journal_bytes)} of journal"
    state = screen.paint(checkup.state, out.STATES.get(checkup.state, "warn"))
    yield f"{screen.paint(out.shown(run.path), 'bold')}  {state}  {facts}"
    for promise in checkup.promises:
        yield screen.paint(f"  promise: {out.shown(PROMISES.get(promise, promise))}", "dim")
    if checkup.accounts:
        yield out.table(_COLUMNS, [_line(book) for book in _joined(checkup.accounts)], indent=2)
    for problem in checkup.damage[:_DAMAGE_MAX]:
        place = f"{problem.file}:{problem.offset}" if problem.size_bytes else str(problem.file)
        yield screen.paint(f"  damage: {out.shown(place)}: {out.shown(problem.text)}", "bad")
    if len(checkup.damage) > _DAMAGE_MAX:
        yield screen.paint(f"  damage: and {len(checkup.damage) - _DAMAGE_MAX} more places, see --json", "bad")
    yield from _told(checkup.findings, screen, "  ")
    yield ""


def _joined(books: Iterable[Account]) -> list[Account]:
    """The accounts of all writers, one per exporter."""
    found: dict[str, Account] = {}
    for book in books:
        so_far = found.get(book.exporter)
        if so_far is None:
            found[book.exporter] = msgspec.structs.replace(book)
            continue
        for field in ("logged", "delivered", "pending", "filtered", "missing", "waiting"):
            setattr(so_far, field, getattr(so_far, field) + getattr(book, field))
        so_far.rejected = _more(so_far.rejected, book.rejected)
        so_far.dropped = _more(so_far.dropped, book.dropped)
        so_far.lag_s = max((lag for lag in (so_far.lag_s, book.lag_s) if lag is not None), default=None)
        so_far.last_error = book.last_error or so_far.last_error
        so_far.alive = so_far.alive or book.alive
        so_far.cursor = {}
    return list(found.values())


def _more(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {reason: one.get(reason, 0) + other.get(reason, 0) for reason in {**one, **other}}


def _line(book: Account) -> list[Cell | str]:
    rejected, dropped = sum(book.rejected.values()), sum(book.dropped.values())
    cursor = book.cursor
    over = book.exporter in LIVE_ONLY and not book.alive
    return [
        book.exporter,
        f"{book.logged:,}",
        Cell(f"{book.delivered:,}", "good" if book.delivered == book.logged else None),
        Cell(
            f"{book.behind:,}" if book.of == "rows" else _number(book.behind, book.of),
            "warn" if book.behind and not over else None,
        ),
        f"{book.filtered:,}",
        Cell(f"{rejected:,}", "bad" if rejected else None),
        Cell(f"{dropped:,}", "bad" if dropped else None),
        "over" if over and book.pending else "-" if book.lag_s is None else out.took(book.lag_s),
        f"segment {cursor['segment']}, byte {cursor['offset']:,}" if cursor else "several",
        book.last_error,
    ]


def _machine(facts: Mapping[str, Any], findings: Sequence[Finding], screen: Screen) -> Iterator[str]:
    yield screen.paint("this machine", "bold")
    for name, value in facts.items():
        yield f"  {screen.paint(name.replace('_', ' '), 'dim')}: {out.shown(str(value))}"
    yield from _told(findings, screen, "  ")
    yield ""


def _told(findings: Iterable[Finding], screen: Screen, indent: str) -> Iterator[str]:
    for finding in findings:
        label = screen.paint("problem:", "bad") if finding.problem else screen.paint("note:", "warn")
        yield f"{indent}{label} {out.shown(finding.text)}"


def _verdict(problems: Sequence[Finding], screen: Screen) -> str:
    if not problems:
        return screen.paint("no problems found", "good")
    return screen.paint(f"{len(problems)} problem{'s' * (len(problems) > 1)} found", "bad")


def _as_json(checkup: Checkup) -> dict[str, Any]:
    return {
        "path": checkup.run.path,
        "dir": str(checkup.run.dir.absolute()),
        "state": checkup.state,
        "writers": checkup.writers,
        "logged": checkup.logged,
        "journal_bytes": checkup.journal_bytes,
        "promises": checkup.promises,
        "orphan_rings": checkup.orphans,
        "exporters": [
            msgspec.structs.asdict(book) | {"difference": book.difference, "holds": book.holds}
            for book in checkup.accounts
        ],
        "damage": [
            {
                "file": str(p.file),
                "offset": p.offset,
                "size_bytes": p.size_bytes,
                "text": p.text,
                "missing": list(p.missing),
            }
            for p in checkup.damage
        ],
        "findings": [{"problem": finding.problem, "text": finding.text} for finding in checkup.findings],
    }
