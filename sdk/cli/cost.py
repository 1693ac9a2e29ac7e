"""`milepost doctor --cost`: what the runs cost a metrics and a log back end, per run and per day."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from milepost.sdk.api import Run
from milepost.sdk.cli import out
from milepost.sdk.cli.out import Cell, Column
from milepost.sdk.forecast import Forecast, forecast

MANY_SERIES: Final = 1_000
_COLUMNS: Final = (
    Column("run", give=True),
    Column("rows", right=True, drop=2),
    Column("series", right=True),
    Column("samples", right=True),
    Column("samples a day", right=True),
    Column("log records a day", right=True),
    Column("log bytes a day", right=True, drop=1),
    Column("log streams", right=True),
)


def tell(runs: Sequence[Run], *, as_json: bool) -> None:
    """Print the forecast of each run, and what follows from it."""
    with out.progress("counting runs", len(runs)) as advance:
        found: list[Forecast] = []
        for run in runs:
            found.append(forecast(run))
            advance(1)
    if as_json:
        out.say_json({"runs": [msgspec.structs.asdict(each) for each in found], "notes": list(_notes(found))})
        return
    if found:
        out.say(out.table(_COLUMNS, [_line(each) for each in found]))
    for text in _notes(found):
        out.say(out.shown(text))


def _line(each: Forecast) -> list[Cell | str]:
    return [
        Cell(each.run, "bold"),
        f"{each.rows:,}",
        Cell(f"{each.series:,}", "warn" if each.series > MANY_SERIES else None),
        f"{each.samples:,}",
        _rate(each.samples_per_day),
        _rate(each.log_records_per_day),
        "-" if each.log_bytes_per_day is None else out.size(int(each.log_bytes_per_day)),
        f"{each.log_streams:,}",
    ]


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + "s" * (number != 1)


def _rate(number: float | None) -> str:
    return "-" if number is None else f"{number:,.0f}"


def _notes(found: Sequence[Forecast]) -> Iterator[str]:
    """What somebody who pays for series and samples should know."""
    if not found:
        yield "there are no runs to count"
        return
    series, streams = sum(each.series for each in found), sum(each.log_streams for each in found)
    yield (
        f"{_count(len(found), 'run')} made {series:,} series and {_count(streams, 'log stream')}; each further run adds its own. "
        "Samples a day are those of a run that goes on as it did from its first row to its last."
    )
    for each in found:
        if each.series > MANY_SERIES:
            yield (
                f"{each.run}: {each.series:,} series ({each.gauges:,} numbers, {each.histograms:,} histograms, {each.writers:,} "
                "writers): a filter in the exporter's processors, define_metric(hidden=True) or its max_series make it fewer"
            )
