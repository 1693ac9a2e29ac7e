"""sqlite: the numbers of every run in one SQLite file, one line per metric and row, for everything that speaks SQL."""

import contextlib
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event
from milepost.sdk.exporter import ExportResult

SCHEMA = """
    CREATE TABLE IF NOT EXISTS metric (
        run TEXT, writer TEXT, seq INTEGER, name TEXT, step INTEGER, time REAL, value NUMERIC,
        PRIMARY KEY (run, writer, seq, name)
    ) WITHOUT ROWID
"""


class SqliteExporter:
    """Write rows to the table `metric`. Text, lists and media are left out; NaN is NULL, as SQLite has no NaN.

    path: the database file; any number of runs share it.
    Raises ConfigurationError when path is empty.
    """

    name = "sqlite"
    wants = frozenset(("row",))

    def __init__(self, path: str) -> None:
        if not path:
            raise ConfigurationError("sqlite: path is empty; it must name a file such as metrics.db")
        self._path = Path(path)

    def export(self, batch: Sequence[Event]) -> ExportResult:
        """Insert the batch in one transaction. A row that is there already, from a delivery before a crash, stays one."""
        points = [point for event in batch if event.kind == "row" for point in _points(event)]
        try:
            with self._database() as database:
                database.executemany("INSERT OR IGNORE INTO metric VALUES (?, ?, ?, ?, ?, ?, ?)", points)
        except sqlite3.OperationalError as error:  # locked, full, not there: later it may be better
            return ExportResult.retry(f"{self._path}: {error}")
        return ExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held back."""
        return True

    def shutdown(self, timeout_millis: int = 30_000) -> None:
        """Nothing is open."""

    @contextlib.contextmanager
    def _database(self) -> Generator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self._path, timeout=1.0)) as database, database:
            database.execute(SCHEMA)
            yield database


def _points(event: Event) -> Iterator[tuple[object, ...]]:
    time = event.time_unix_nano / 1e9
    for name, value in event.values.items():
        if isinstance(value, (int, float)):
            text = name.encode("utf-8", "replace").decode()
            yield event.run, event.writer, event.seq, text, event.step, time, value
