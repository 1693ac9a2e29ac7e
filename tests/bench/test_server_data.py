"""What the bench puts into a data directory is what a server would have stored: every row is read back."""

from pathlib import Path

import pytest

from bench.server_data import main
from milepost.server.store import RowQuery
from milepost.server.store.sqlite import SqliteStore


def test_a_filled_directory_is_read_like_any_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    sizes = ["--runs", "2", "--keys", "3", "--steps", "70000", "--table", "5"]

    assert main([str(data), *sizes]) == 0
    assert main([str(data), *sizes]) == 1

    assert "has a database already" in capsys.readouterr().err
    store = SqliteStore(data)
    store.start()
    try:
        record = store.run("long", "long-1")
        keys = [key.key for key in store.keys("long", "long-1")]
        steps = [row["_step"] for page in store.rows("long", "long-1", RowQuery()) for row in page]
        gaps = store.details("long", "long-1")["completeness"]["gaps"]
        table = store.runs("table")
    finally:
        store.stop()
    assert (record.state, record.rows, record.last_step) == ("finished", 70_000, 69_999)
    assert keys == ["loss", "group_0/key_1", "group_0/key_2"]
    assert steps == list(range(70_000))
    assert not gaps
    assert len(table) == 5
    assert all(len(run.columns()) > 50 for run in table)
