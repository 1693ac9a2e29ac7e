"""`history` and `scan_history`: which rows, in which order, and what a sample says of itself."""

import logging
import math
from pathlib import Path
from typing import Any

import pandas
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import milepost
from milepost.sdk.api import History, Run
from milepost.sdk.errors import UsageError
from milepost.sdk.reading import result
from tests.sdk.journals import Journalist, own_shared_memory
from tests.sdk.runs import recorded

__all__ = ["own_shared_memory"]

pytestmark = pytest.mark.usefixtures("own_shared_memory")

RUN_DIR = Path("milepost-runs") / "digits" / "r"


@pytest.fixture
def run() -> Run:
    """100 rows: "loss" in each, "val" in every tenth, "epoch" in every fifth."""
    journal = Journalist(RUN_DIR)
    journal.rows(
        [
            {"loss": n / 2, **({"val": n} if n % 10 == 0 else {}), **({"epoch": n // 5} if n % 5 == 0 else {})}
            for n in range(100)
        ]
    )
    journal.finish()
    return Run(RUN_DIR)


def rows(run: Run, **options: Any) -> list[dict[str, Any]]:
    return list(run.scan_history(**options))


def steps(found: Any) -> list[int]:
    return [row["_step"] for row in found]


def test_scan_history_gives_every_row_in_order_and_again(run: Run) -> None:
    scan = run.scan_history()

    assert steps(scan) == list(range(100))
    assert steps(scan) == list(range(100))
    assert list(next(iter(scan)))[:4] == ["_step", "_timestamp", "_runtime", "loss"]


def test_a_scan_begun_again_sees_what_was_logged_since() -> None:
    journal = Journalist(RUN_DIR)
    journal.row(n=0)
    scan = Run(RUN_DIR).scan_history()
    assert len(list(scan)) == 1
    journal.row(n=1)
    assert len(list(scan)) == 2
    journal.close()


ODD_NAMES = [
    "",
    "a b",
    "it's",
    'say "hi"',
    "back\\slash",
    "{x}",
    "%s",
    "new\nline",
    "ünï",
    "\x00",
    "__class__",
    "lambda",
    "v0",
    "v1",
    "\u2028",
]


def test_any_text_is_a_name() -> None:
    journal = Journalist(RUN_DIR)
    logged = [dict.fromkeys(ODD_NAMES, n) for n in range(3)]
    journal.rows(logged)
    journal.rows([{f"k{n}": n for n in range(2000)}])
    journal.finish()
    run = Run(RUN_DIR)

    assert [{key: row[key] for key in ODD_NAMES} for row in rows(run, max_step=3)] == logged
    assert rows(run, keys=ODD_NAMES) == logged
    assert rows(run, keys=["k1999"]) == [{"k1999": 1999}]


def test_min_step_is_inclusive_and_max_step_exclusive(run: Run) -> None:
    assert steps(run.scan_history(min_step=10, max_step=13)) == [10, 11, 12]
    assert steps(run.scan_history(min_step=98)) == [98, 99]
    assert steps(run.scan_history(max_step=2)) == [0, 1]
    assert rows(run, min_step=50, max_step=50) == []
    assert len(rows(run, min_step=-5, max_step=10**30)) == 100


def test_keys_choose_rows_that_hold_all_of_them(run: Run) -> None:
    assert rows(run, keys=["val"]) == [{"val": n} for n in range(0, 100, 10)]
    assert rows(run, keys=["loss", "epoch"])[:2] == [{"loss": 0.0, "epoch": 0}, {"loss": 2.5, "epoch": 1}]
    assert rows(run, keys=("_step", "val"))[1] == {"_step": 10, "val": 10}
    assert len(rows(run, keys=["_step"])) == 100
    assert len(rows(run, keys=[])) == 100


def test_require_any_gives_rows_that_hold_at_least_one(run: Run) -> None:
    journal = Journalist(RUN_DIR.with_name("apart"))
    journal.row(a=1)
    journal.row(b=2)
    journal.row(c=3)
    journal.finish()
    apart = Run(RUN_DIR.with_name("apart"))

    assert rows(apart, keys=["a", "b"]) == []
    assert rows(apart, keys=["a", "b"], require="any") == [{"a": 1}, {"b": 2}]
    assert apart.history(keys=["a", "b"], pandas=False, require="any") == [{"_step": 0, "a": 1}, {"_step": 1, "b": 2}]


def test_an_empty_answer_says_why(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journalist(RUN_DIR.with_name("apart"))
    journal.row(**{"train.loss": 1, "a": 1})
    journal.row(b=2)
    journal.finish()
    apart = Run(RUN_DIR.with_name("apart"))

    assert apart.history(keys=["train.los"], pandas=False).note == (
        "no row of digits/apart: 'train.los' was never logged (near it: 'train.loss')"
    )
    assert "'train' was never logged (near it: 'train.loss')" in apart.history(keys=["train"], pandas=False).note
    assert 'use require="any"' in apart.history(keys=["a", "b"], pandas=False).note
    assert "in these steps" in result.why_empty(apart.reader().select(), result.wish(["a"]), "r")
    with caplog.at_level(logging.WARNING, "milepost"):
        assert rows(apart, keys=["nothing"]) == []
    assert "'nothing' was never logged" in caplog.text


def test_a_sample_is_even_keeps_both_ends_and_says_that_it_is_one(run: Run) -> None:
    found = run.history(samples=12, pandas=False)

    assert isinstance(found, History)
    assert steps(found) == [n * 99 // 11 for n in range(12)]
    assert (found.sampled, found.total_rows) == (True, 100)
    assert found.note == "12 of 100 rows, evenly spaced; samples=None or scan_history() gives all"
    assert found == run.history(samples=12, pandas=False)


def test_a_history_that_holds_all_rows_says_so(run: Run) -> None:
    for samples in (None, 100, 500):
        found = run.history(samples=samples, pandas=False)
        assert (len(found), found.sampled, found.total_rows, found.note) == (100, False, 100, "")
    assert steps(run.history(samples=1, pandas=False)) == [99]
    assert steps(run.history(samples=2, pandas=False)) == [0, 99]


def test_a_sample_of_some_keys_counts_the_rows_that_hold_them(run: Run) -> None:
    found = run.history(keys=["val"], samples=3, pandas=False)

    assert found == [{"_step": 0, "val": 0}, {"_step": 40, "val": 40}, {"_step": 90, "val": 90}]
    assert found.total_rows == 10


def test_history_is_a_data_frame_that_says_whether_it_is_sampled(run: Run) -> None:
    table = run.history(keys=["loss"], samples=10)

    assert isinstance(table, pandas.DataFrame)
    assert list(table.columns) == ["_step", "loss"]
    assert table.attrs["sampled"] == {"rows": 100, "samples": 10}
    assert run.history().attrs["sampled"] is None
    assert math.isnan(run.history()["val"][1])
    assert list(run.history(keys=["never"]).columns) == ["_step", "never"]


def test_without_pandas_history_is_a_list(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)

    assert isinstance(run.history(), History)


def test_another_x_axis_comes_with_the_keys(run: Run) -> None:
    assert run.history(keys=["loss"], x_axis="epoch", pandas=False)[1] == {"epoch": 1, "loss": 2.5}
    assert len(run.history(keys=["loss"], x_axis="epoch", pandas=False)) == 20
    assert list(run.history(keys=["loss"], x_axis="_runtime").columns) == ["_runtime", "loss"]
    assert len(run.history(keys=["loss"], x_axis="epoch", require="any", pandas=False)) == 100


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"keys": "loss"}, 'keys must be a list of names such as ["loss"'),
        ({"keys": [1]}, "keys must be a list of names"),
        ({"keys": {"loss": 1}}, "keys must be a list of names"),
        ({"require": "some"}, 'require must be "all"'),
        ({"writer": 1.5}, "writer must be None"),
        ({"writer": "nobody"}, "has no writer 'nobody'; its writers:"),
        ({"writer": 7}, "has no writer 7; its ranks: none"),
    ],
)
def test_wrong_arguments_are_named(run: Run, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        run.scan_history(**options)
    assert said in str(caught.value)
    with pytest.raises(UsageError):
        run.history(**options)
    if "writer" not in options:
        assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "options", [{"page_size": 0}, {"page_size": "x"}, {"min_step": 1.5}, {"max_step": "9"}, {"min_step": True}]
)
def test_wrong_numbers_of_a_scan_are_value_errors(run: Run, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be a"):
        run.scan_history(**options)


@pytest.mark.parametrize("options", [{"samples": 0}, {"samples": 2.5}, {"samples": True}, {"x_axis": 1}])
def test_wrong_arguments_of_a_history_are_value_errors(run: Run, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be a"):
        run.history(**options)


def test_a_timestamp_of_the_user_stays() -> None:
    journal = Journalist(RUN_DIR)
    journal.row(_timestamp=12.5, a=1)
    journal.finish()

    (row,) = Run(RUN_DIR).scan_history()

    assert row["_timestamp"] == 12.5


def test_a_million_keys_of_rows_that_carry_them_are_found_by_key() -> None:
    journal = Journalist(RUN_DIR)
    journal.rows([{f"k{n}": n, "even" if n % 2 == 0 else "odd": n} for n in range(1100)])
    journal.finish()
    run = Run(RUN_DIR)

    assert rows(run, keys=["k1099"]) == [{"k1099": 1099}]
    assert len(rows(run, keys=["even"])) == 550
    assert run.history(keys=["even"], samples=10, pandas=False).total_rows == 550
    assert run.summary["k1099"] == 1099
    assert run.summary["even"] == 1098
    assert "no row of digits/r holds 'never' in these steps" in run.history(keys=["never"], pandas=False).note


# Writers


@pytest.fixture
def ranks() -> Run:
    """Ranks 0 and 1 with 10 rows each, and a child process of rank 0 with 5."""
    first = Journalist(RUN_DIR, rank=0, started=100)
    second = Journalist(RUN_DIR, rank=1, started=50)
    child = Journalist(RUN_DIR, rank=0, parent=first.id, step=3, started=200)
    for n in range(10):
        first.row(n=n, of="rank 0")
        second.row(n=n, of="rank 1")
    for n in range(5):
        child.row(n=n, of="child")
    for journal in (child, second, first):
        journal.finish()
    return Run(RUN_DIR)


def test_the_lowest_rank_is_read_by_default_without_child_processes(ranks: Run) -> None:
    assert {row["of"] for row in ranks.scan_history()} == {"rank 0"}
    assert ranks.lastHistoryStep == 9


def test_another_rank_or_writer_is_read_when_asked_for(ranks: Run) -> None:
    assert {row["of"] for row in ranks.scan_history(writer=1)} == {"rank 1"}
    assert {row["of"] for row in ranks.scan_history(writer=0)} == {"rank 0"}
    (child,) = [writer.id for writer in ranks.reader().writers if writer.parent]
    assert [row["of"] for row in ranks.history(writer=child, pandas=False)] == ["child"] * 5
    with pytest.raises(UsageError, match="has no writer 5; its ranks: 0, 1"):
        ranks.scan_history(writer=5)


def test_all_writers_come_by_step_with_their_marks(ranks: Run) -> None:
    found = rows(ranks, writer="all")

    assert len(found) == 25
    assert steps(found) == sorted(steps(found))
    assert {(row["_rank"], row["of"]) for row in found} == {(0, "rank 0"), (1, "rank 1"), (0, "child")}
    assert {row["_writer"] for row in found} == {writer.id for writer in ranks.reader().writers}
    assert [row["n"] for row in rows(ranks, writer="all", keys=["n"])] == [row["n"] for row in found]
    assert list(rows(ranks, writer="all", keys=["n"])[0]) == ["n", "_writer", "_rank"]


def test_a_sample_of_all_writers_is_by_step_too(ranks: Run) -> None:
    every = ranks.history(writer="all", pandas=False)
    some = ranks.history(writer="all", samples=7, pandas=False)

    assert every == rows(ranks, writer="all")
    assert steps(some) == sorted(steps(some))
    assert (some.total_rows, len(some)) == (25, 7)
    assert "_rank" in ranks.history(keys=["n"], writer="all").columns


def test_rows_of_child_processes_are_shown_where_the_program_logged_none() -> None:
    parent = Journalist(RUN_DIR)
    child = Journalist(RUN_DIR, parent=parent.id)
    child.row(n=1)
    child.finish()
    parent.finish()

    assert [row["n"] for row in Run(RUN_DIR).scan_history()] == [1]


def test_a_run_without_ranks_is_rank_0(run: Run) -> None:
    assert len(rows(run, writer=0)) == 100


# Rewinds and order


def test_rewinds_compose_over_writers_and_within_one() -> None:
    first = Journalist(RUN_DIR, started=1)
    for n in range(10):
        first.row(n, w=1)
    first.close()
    second = Journalist(RUN_DIR, started=2)
    second.event("rewind", {"step": 8})
    for n in range(8, 20):
        second.row(n, w=2)
    second.event("rewind", {"step": 15})
    for n in range(15, 18):
        second.row(n, w=3)
    second.close()
    third = Journalist(RUN_DIR, started=3)
    third.event("rewind", {"step": 4})
    for n in range(4, 6):
        third.row(n, w=4)
    third.close()
    run = Run(RUN_DIR)

    assert [(row["_step"], row["w"]) for row in run.scan_history()] == [(0, 1), (1, 1), (2, 1), (3, 1), (4, 4), (5, 4)]
    assert steps(run.history(samples=3, pandas=False)) == [0, 2, 5]
    assert run.last_step == 5
    everything = rows(run, superseded=True)
    assert len(everything) == 10 + 12 + 3 + 2
    assert sum("_superseded" in row for row in everything) == 6 + 12 + 3


def test_a_rewind_of_one_rank_hides_nothing_of_another() -> None:
    old, other, new = (Journalist(RUN_DIR, rank=rank, started=n) for n, rank in enumerate((0, 1, 0), start=1))
    for n in range(5):
        old.row(n)
        other.row(n)
    new.event("rewind", {"step": 1})
    new.row(1)
    for journal in (old, other, new):
        journal.close()

    assert steps(Run(RUN_DIR).scan_history()) == [0, 1]
    assert steps(Run(RUN_DIR).scan_history(writer=1)) == [0, 1, 2, 3, 4]


def test_an_unordered_run_is_read_by_step() -> None:
    journal = Journalist(RUN_DIR, settings={"steps": "unordered"})
    for n in (5, 1, 3, 3, 0):
        journal.row(n, n=n)
    journal.part(2, n=2)
    journal.die()
    run = Run(RUN_DIR)

    assert steps(run.scan_history()) == [0, 1, 2, 3, 3, 5]
    assert steps(run.history(samples=3, pandas=False)) == [0, 2, 5]
    assert steps(run.scan_history(min_step=1, max_step=3)) == [1, 2]
    assert run.last_step == 5


# The summary, live and read back

NAMES = st.sampled_from(["a", "b", "n.x", "n.y", "train.loss"])
VALUES = st.one_of(
    st.integers(-5, 5), st.floats(allow_nan=False, width=32), st.none(), st.text(max_size=3), st.booleans()
)
ACTIONS = st.one_of(
    st.tuples(st.just("log"), st.dictionaries(NAMES, VALUES, max_size=3)),
    st.tuples(st.just("hold"), st.dictionaries(NAMES, VALUES, max_size=2)),
    st.tuples(st.just("set"), st.tuples(NAMES, st.integers(0, 9))),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(
        st.just("define"),
        st.tuples(
            st.sampled_from(["a", "n.*", "train.loss", "*"]), st.sampled_from(["min", "max,mean", "none", "first,last"])
        ),
    ),
)


@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.generate],  # a failing list is short as it is, and shrinking it would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(ACTIONS, max_size=12))
def test_the_summary_read_back_is_the_live_one(tmp_path: Path, actions: list[tuple[str, Any]]) -> None:
    run = milepost.init(
        project="p", dir=tmp_path, exporters=[], settings={"capture": {"environment": False, "system_metrics": False}}
    )
    try:
        for name, what in actions:
            if name == "log":
                run.log(what)
            elif name == "hold":
                run.log(what, commit=False)
            elif name == "set":
                run.summary[what[0]] = what[1]
            elif name == "delete" and what in run.summary:
                del run.summary[what]
            elif name == "define":
                run.define_metric(what[0], summary=what[1])
            assert Run(Path(run.dir)).summary == run.summary.as_dict()
    finally:
        run.finish()
    assert Run(Path(run.dir)).state == "finished"


def test_an_x_axis_that_was_never_logged_is_an_error_also_without_keys() -> None:
    with recorded() as recording:
        run = milepost.Api().run(recording.run.path)
        recording.run.flush()
        assert len(run.history(x_axis="epoch", pandas=False)) == 0  # nothing was logged yet
        for epoch in range(3):
            recording.log({"epoch": epoch, "loss": 0.5})
        recording.run.flush()
        assert len(run.history(x_axis="epoch", pandas=False)) == 3
        with pytest.raises(milepost.Error, match=r"x_axis='epcoh'.*near it: 'epoch'"):
            run.history(x_axis="epcoh")
