"""console: quiet while the run goes on, one readable page when it ends; every N-th row on request.

The page is for a terminal or a notebook. Where standard output goes elsewhere, to a file or another program, one line on
standard error says how the run ended and what shows the rest, so that a loop of runs does not fill a log.

Only the primary writer prints, so the ranks of a job do not talk at once. Nothing is printed when MILEPOST_SILENT or
WANDB_SILENT is true, and a stream that is closed or gone is no error.
"""

import os
import sys
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Final, TextIO

import msgspec

from milepost.exporters.console_rows import Format, formatter
from milepost.exporters.console_summary import Ending, line, page
from milepost.exporters.series import Series
from milepost.sdk.batch import Rows, parts
from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event
from milepost.sdk.exporter import ExportResult, Position, RunInfo
from milepost.sdk.terminal import Screen

SERIES_LIMIT: Final = 500
"""Metrics whose course is remembered: those logged first, and more than a page can show."""


class ConsoleExporter:
    """Prints rows and the page at the end of a run.

    every:  print each N-th row, from the first on; None prints no rows.
    format: of these rows: "table" (columns that fit the terminal), "plain" (step 12  loss 0.1) or "json" (an object each).
            With "json" the page goes to sys.stderr.
    stream: where to print, the page too; by default sys.stdout as it is at that moment.
    """

    name = "console"
    wants = frozenset(("row", "meta", "run.finish"))
    takes_rows = True
    shows_end = True
    """The page is printed also where the end of the run found no room in the journal."""
    _run: RunInfo | None

    def __init__(self, every: int | None = None, format: Format = "table", stream: TextIO | None = None) -> None:
        if every is not None and (type(every) is not int or every < 1):
            raise ConfigurationError(
                f"console exporter: every is {every!r}; it can be a whole number >= 1, or null for no rows"
            )
        if format not in ("table", "plain", "json"):
            raise ConfigurationError(f'console exporter: format is {format!r}; it can be "table", "plain" or "json"')
        self._every = every
        self._format: Format = format
        self._stream = stream
        self._begin(None)

    def start(self, run: RunInfo, position: Position | None) -> None:
        """Note which run it is. A new one starts with nothing remembered."""
        self._begin(run)

    def export(self, batch: Sequence[Event]) -> ExportResult:
        """Print what is to be printed and remember the rest. Always SUCCESS: nobody wants a row printed later."""
        if self._quiet or self._closed:
            return ExportResult.SUCCESS
        for part in parts(batch):
            rows = part if isinstance(part, Rows) else [event for event in part if event.kind == "row"]
            if rows:
                if self._every is not None:
                    self._print_rows(rows, self._every)
                self._remember(rows)
                self._rows += len(rows)
            if len(rows) < len(part):
                for event in part:
                    if event.kind == "run.finish":
                        self._print_page(event)
                    elif event.kind == "meta" and self._run is not None:
                        self._run = msgspec.structs.replace(self._run, name=event.values.get("name", self._run.name))
        return ExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held back."""
        return True

    def shutdown(self, timeout_millis: int = 30_000) -> None:
        """Print nothing more."""
        self._closed = True

    def _begin(self, run: RunInfo | None) -> None:
        self._run = run
        self._quiet = silenced() or (run is not None and not run.primary)
        self._closed = False
        self._rows = 0
        self._series: dict[str, Series] = {}
        self._text_of_rows: Callable[[Sequence[Event], Screen], str] = formatter(self._format)

    def _print_rows(self, rows: Sequence[Event], every: int) -> None:
        chosen = rows[-self._rows % every :: every]
        if chosen:
            screen = self._screen()
            self._show(screen, self._text_of_rows(chosen, screen))

    def _print_page(self, event: Event) -> None:
        if self._run is None:
            return
        values = event.values
        screen, whole = self._screen_for_people()
        ending = Ending(
            run=self._run,
            state=str(values.get("state", "finished")),
            exit_code=int(values.get("exit_code") or 0),
            runtime_s=event.runtime_s,
            rows=int(values.get("rows", self._rows)),
            summary=values.get("summary") or {},
            series=self._series,
            accounting=values.get("accounting") or {},
        )
        self._show(screen, page(ending, screen) if whole else line(ending, screen))

    def _screen(self) -> Screen:
        return Screen(self._stream or sys.stdout)

    def _screen_for_people(self) -> tuple[Screen, bool]:
        """Where the page goes, and whether there is somebody to look at all of it. Never between JSON lines, for programs."""
        if self._format != "json":
            screen = self._screen()
            if self._stream is not None or screen.is_terminal or "ipykernel" in sys.modules:
                return screen, True
        screen = Screen(sys.stderr)
        return screen, screen.is_terminal and self._format == "json"

    def _show(self, screen: Screen, text: str) -> None:
        if not screen.show(text):
            self._quiet = True

    def _remember(self, rows: Sequence[Event]) -> None:
        """Add the rows' numbers to the courses, column by column over rows of the same names: so the loops run in C."""
        if isinstance(rows, Rows):
            for name, column in zip(rows.keys, rows.columns[4:], strict=True):
                self._add(name, column)
            return
        for names, alike in groupby(rows, key=_names):
            columns = zip(*(row.values.values() for row in alike), strict=True)
            for name, column in zip(names, columns, strict=True):
                self._add(name, column)

    def _add(self, name: str, column: Sequence[Any]) -> None:
        numbers: Sequence[float] = column
        if not (type(column[0]) is type(column[-1]) is float and _all_numbers(column)):
            numbers = [value for value in column if type(value) is float or type(value) is int]
        series = self._series.get(name)
        if series is None and numbers and len(self._series) < SERIES_LIMIT:
            series = self._series[name] = Series()
        if series is not None and numbers:
            series.extend(numbers)


def _names(row: Event) -> tuple[str, ...]:
    return tuple(row.values)


def _all_numbers(column: Sequence[Any]) -> bool:
    """Whether the values can be added up: cheaper than a look at each type, and a boolean among floats does no harm."""
    try:
        sum(column)
    except (TypeError, OverflowError):  # the latter of an integer beyond what a float holds
        return False
    return True


def silenced() -> bool:
    """Whether the environment asks for no output."""
    return any(
        os.environ.get(name, "").strip().lower() in ("1", "true", "yes", "on")
        for name in ("MILEPOST_SILENT", "WANDB_SILENT")
    )
