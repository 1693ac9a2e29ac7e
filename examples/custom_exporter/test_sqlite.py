"""How to test an exporter: the suite that the built-in ones pass, then what is special about this one."""

import contextlib
import math
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from milepost_sqlite import SqliteExporter

from milepost.sdk import plugins
from milepost.sdk.errors import ConfigurationError
from milepost.sdk.exporter import Exporter
from milepost.sdk.testing import ExporterContract, make_event, make_rows


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchall()


class TestContract(ExporterContract):
    """Twenty claims that every exporter keeps."""

    def make(self, tmp_path: Path) -> SqliteExporter:
        """A new exporter; in one test always for the same file."""
        return SqliteExporter(path=str(tmp_path / "metrics.db"))

    def rows_of(self, exporter: Exporter, tmp_path: Path) -> list[Mapping[str, Any]]:
        """What the file holds."""
        found = query(tmp_path / "metrics.db", "SELECT DISTINCT seq, step FROM metric ORDER BY seq")
        return [{"_step": step} for _, step in found]


def test_numbers_are_stored_and_text_is_not(tmp_path: Path) -> None:
    exporter = SqliteExporter(path=str(tmp_path / "metrics.db"))
    exporter.export([make_event(values={"loss": 0.5, "epoch": 3, "nan": math.nan, "phase": "main"}, step=7)])
    stored = query(tmp_path / "metrics.db", "SELECT name, step, value FROM metric ORDER BY name")
    assert stored == [("epoch", 7, 3), ("loss", 7, 0.5), ("nan", 7, None)]


def test_a_batch_that_comes_twice_is_stored_once(tmp_path: Path) -> None:
    exporter = SqliteExporter(path=str(tmp_path / "metrics.db"))
    for _ in range(2):
        exporter.export(make_rows(10))
    assert query(tmp_path / "metrics.db", "SELECT count(*) FROM metric WHERE name = 'accuracy'") == [(10,)]


def test_a_locked_database_is_tried_again(tmp_path: Path) -> None:
    exporter = SqliteExporter(path=str(tmp_path / "metrics.db"))
    exporter.export([])
    with contextlib.closing(sqlite3.connect(tmp_path / "metrics.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        result = exporter.export(make_rows(1))
    assert (result.outcome, result.reason) == ("retry", f"{tmp_path / 'metrics.db'}: database is locked")
    assert exporter.export(make_rows(1)).outcome == "success"


def test_an_empty_path_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="path is empty"):
        SqliteExporter(path="")


def test_the_config_file_finds_it_by_name(tmp_path: Path) -> None:
    assert "sqlite" in plugins.names("exporter")
    assert isinstance(plugins.build("exporter", "sqlite", {"path": "metrics.db"}), SqliteExporter)
