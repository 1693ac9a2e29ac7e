"""Runs that ended are kept in little memory, and nobody can tell: they say the same, and rows that come still count once."""

import contextlib
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.server.datasets import table
from milepost.sdk.errors import RunNotFoundError
from milepost.sdk.wire import batch_of
from milepost.server.packed import Packed
from milepost.server.records import RunRecord
from milepost.server.store import RowQuery, ingest, known
from milepost.server.store.ingest import Job, Receipt
from milepost.server.store.parts import parts_of
from milepost.server.store.sqlite import SqliteStore
from tests.server.sending import WRITER, event, row

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.lists(st.integers())
)


@given(st.dictionaries(st.text(), VALUES))
def test_packed_columns_are_what_they_were(columns: dict[str, Any]) -> None:
    packed = Packed(columns)

    assert list(packed.unpacked().items()) == list(columns.items())
    assert all(type(packed.get(name)) is type(value) for name, value in columns.items())
    assert packed.get("\x00no such name") is None


def test_a_line_says_what_its_record_does() -> None:
    record = RunRecord(id="r", project="p", name="n", config={"lr": 0.5, "model": {"layers": 3}}, summary={"a": 1e9})
    line = record.line()

    assert line.as_json() == record.as_json()
    assert line.columns() == record.columns() == {"config.lr": 0.5, "config.model.layers": 3, "summary.a": 1e9}
    assert [line.value(name) for name in ("config.lr", "summary.a", "summary.b", "name")] == [0.5, 1e9, None, "n"]


def test_a_run_of_fifty_keys_takes_two_kilobytes_when_it_ended(tmp_path: Path) -> None:
    runs = 400
    table(tmp_path, runs)
    with started(tmp_path):
        pass  # what is loaded once is not counted
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    with started(tmp_path) as store:
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert len(store.runs("table")) == runs
    assert (after - before) / runs < 2048


@contextlib.contextmanager
def started(data: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(data)
    store.start()
    try:
        yield store
    finally:
        store.stop()


def sent(store: SqliteStore, run: str, first: int, last: int) -> Receipt:
    kinds = {0: event(0, "run.start", {"name": run}), 1: event(1, "run.finish", {"state": "finished"})}
    batch = batch_of(
        [kinds[n] if n in kinds else row(n, {"n": n, "x": n / 3}) for n in range(first, last)],
        first, last - 1, project="p", writer=WRITER,
    )  # fmt: skip
    parts = parts_of(batch)
    batch.groups = [part.group() for part in parts]
    return store.ingest.submit(Job("p", run, batch, parts, None)).result(60)


def test_rows_that_come_for_runs_at_rest_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run is put to rest as soon as it is stored, and another is looked at."""
    monkeypatch.setattr(known, "MOST_AWAKE", 1)
    monkeypatch.setattr(ingest, "FLUSH_S", 0.01)
    names = [f"run-{n}" for n in range(4)]
    with started(tmp_path) as store, ThreadPoolExecutor(1) as pool:
        looks = pool.submit(lambda: [store.run("p", names[n % 4]).rows for n in range(400) if has(store, names[n % 4])])
        for at in range(0, 600, 20):
            for name in names:
                sent(store, name, at, at + 20)
        assert all(rows <= 598 for rows in looks.result(60))
        for name in names:
            told = store.run("p", name)
            assert (told.rows, told.last_step, told.summary["n"], told.state) == (598, 599, 599, "finished")
            assert [each["n"] for page in store.rows("p", name, RowQuery()) for each in page] == list(range(2, 600))
            assert [(key.key, key.count, key.min, key.max) for key in store.keys("p", name)] == [
                ("n", 598, 2.0, 599.0),
                ("x", 598, 2 / 3, 599 / 3),
            ]
        assert store.project_keys("p", None) == {"n": ("scalar", 4), "x": ("scalar", 4)}
        store.edit("p", names[0], lambda _: {"tags": ["kept"]})
        store.delete("p", names[1])
        for name in names[2:]:
            store.run("p", name)
        assert store.run("p", names[0]).tags == ["kept"]
        with pytest.raises(RunNotFoundError):
            store.run("p", names[1])

    with started(tmp_path) as again:
        lines = {line.id: line for line in again.runs("p")}
        assert {name: lines[name].rows for name in lines} == {names[0]: 598, names[2]: 598, names[3]: 598}
        assert (lines[names[0]].tags, lines[names[0]].value("summary.n")) == (["kept"], 599)


def has(store: SqliteStore, name: str) -> bool:
    return any(line.id == name for line in store.runs("p"))
