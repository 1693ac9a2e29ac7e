"""The files of a run: history.jsonl, summary.json, config.yaml."""

import json
import math
import os
import resource
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from milepost.exporters import snapshots
from milepost.exporters.file import FileExporter
from milepost.sdk.errors import ConfigurationError
from milepost.sdk.event import Event
from milepost.sdk.exporter import ExportResult, RunInfo
from milepost.sdk.testing import make_event, make_rows, make_run

CHECKED = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
OLD, NEW = "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"


def started(run: RunInfo, position: Mapping[str, Any] | None = None) -> FileExporter:
    exporter = FileExporter()
    exporter.start(run, position)
    return exporter


def deliver(exporter: FileExporter, *events: Event) -> None:
    assert exporter.export(events) == ExportResult.SUCCESS


def history(run: RunInfo, name: str = "history.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.dir / name).read_text(encoding="utf-8").split("\n") if line]


def steps(run: RunInfo, name: str = "history.jsonl") -> list[int]:
    return [row["_step"] for row in history(run, name)]


def summary(run: RunInfo) -> Any:
    return json.loads((run.dir / "summary.json").read_bytes())


# history.jsonl


def test_a_row_is_one_object_with_its_clocks_first(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    deliver(started(run), make_event(values={"train.loss": 0.5, "epoch": 3}, step=2))
    assert (run.dir / "history.jsonl").read_text(encoding="utf-8") == (
        '{"_step":2,"_timestamp":1700000000.0,"_runtime":0.0,"train.loss":0.5,"epoch":3}\n'
    )


def test_nan_and_infinities_are_text_and_none_is_null(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    values = {"nan": math.nan, "up": math.inf, "listed": [-math.inf, None], "none": None, "text": "null"}
    deliver(started(run), make_rows(1)[0], make_event(values=values, seq=1), make_rows(1, first=2)[0])
    row = history(run)[1]
    assert [row[name] for name in values] == ["NaN", "Infinity", ["-Infinity", None], None, "null"]


def test_integers_are_exact_and_text_that_is_no_unicode_does_not_break_the_line(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    values = {"large": 2**63 - 1, "larger": 10**40, "small": -(2**63), "half": "a\ud800b", "line": "a\nb", "\udc80": 1}
    deliver(started(run), make_event(values=values))
    row = history(run)[0]
    assert [row["large"], row["larger"], row["small"]] == [2**63 - 1, 10**40, -(2**63)]
    assert (row["half"], row["line"], row["\ufffd"]) == ("a\ufffdb", "a\nb", 1)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=8
)


@CHECKED
@given(st.lists(st.dictionaries(st.text(), VALUES, max_size=5), max_size=5))
def test_every_line_is_strict_json_whatever_was_logged(rows: list[dict[str, Any]]) -> None:
    from milepost.exporters.jsonl import lines

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text = lines(make_event(values=values, seq=seq) for seq, values in enumerate(rows)).decode()
    assert text.count("\n") == len(rows)
    for values, line in zip(rows, text.split("\n")[:-1], strict=True):
        read = json.loads(line, parse_constant=refuse)
        for name, value in values.items():
            if type(value) in (int, bool, type(None)):
                assert read[name] == value


def test_a_value_that_json_does_not_know_becomes_a_placeholder(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    deliver(started(run), make_event(values={"odd": object(), "deep": deep, "fine": 1}))
    row = history(run)[0]
    assert row["odd"] == {"_type": "placeholder", "type": "object", "reason": "not a value that JSON knows"}
    assert row["fine"] == 1


def test_ranks_and_children_have_files_of_their_own(tmp_path: Path) -> None:
    main = make_run(tmp_path)
    rank = make_run(tmp_path, writer=OLD, rank=3, primary=False)
    child = make_run(tmp_path, writer=NEW, primary=False)
    for run in (rank, child, main):
        deliver(started(run), *make_rows(2), make_event("run.finish", seq=2))
    names = sorted(path.name for path in main.dir.iterdir() if not path.name.startswith("."))
    assert names == ["config.yaml", f"history-{NEW}.jsonl", "history-rank-3.jsonl", "history.jsonl", "summary.json"]


def test_another_folder_keeps_runs_apart(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    exporter = FileExporter(dir=tmp_path / "exports")
    exporter.start(run, None)
    deliver(exporter, *make_rows(1))
    assert (tmp_path / "exports/demo/run1/history.jsonl").exists()
    assert not (run.dir / "history.jsonl").exists()


def test_an_unknown_format_is_named_with_the_known_one() -> None:
    with pytest.raises(ConfigurationError, match=r"format is 'csv'; it can be \"jsonl\""):
        FileExporter(format="csv")  # type: ignore[arg-type]


# Exactly once


def test_a_resumed_run_appends(tmp_path: Path) -> None:
    first, second = make_run(tmp_path, writer=OLD), make_run(tmp_path, writer=NEW, resumed=True)
    deliver(started(first), *make_rows(3))
    deliver(started(second), *make_rows(2, first=3))
    assert steps(first) == [0, 1, 2, 3, 4]


def test_what_was_written_after_the_last_cursor_is_cut_and_written_again(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    exporter = started(run)
    deliver(exporter, *make_rows(3))
    position = exporter.position()
    deliver(exporter, *make_rows(4, first=3))

    restarted = started(run, position)
    assert steps(run) == [0, 1, 2]
    deliver(restarted, *make_rows(5, first=3))
    assert steps(run) == list(range(8))


def test_a_line_that_a_killed_process_left_half_written_is_cut(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    exporter = started(run)
    deliver(exporter, *make_rows(3))
    with (run.dir / "history.jsonl").open("ab") as file:
        file.write(b'{"_step":3,"_times')

    deliver(started(run, exporter.position()), *make_rows(2, first=3))
    assert steps(run) == [0, 1, 2, 3, 4]


def test_rows_of_a_dead_writer_that_come_after_its_successor_has_begun_are_written_once(tmp_path: Path) -> None:
    dead, alive = make_run(tmp_path, writer=OLD), make_run(tmp_path, writer=NEW, resumed=True)
    exporter = started(dead)
    deliver(exporter, *make_rows(3))
    position = exporter.position()
    deliver(exporter, *make_rows(2, first=3))  # in the file, but the process dies before its cursor says so
    successor = started(alive)
    deliver(successor, *make_rows(2, first=100))

    late = started(dead, position)
    deliver(late, *make_rows(1, first=3))
    deliver(late, *make_rows(4, first=4))  # of these, steps 5 to 7 are new
    deliver(successor, *make_rows(1, first=102))

    assert sorted(steps(dead)) == [*range(8), 100, 101, 102]
    again = started(dead, position)
    deliver(again, *make_rows(5, first=3))
    assert sorted(steps(dead)) == [*range(8), 100, 101, 102]


def test_late_rows_of_a_dead_writer_leave_the_summary_and_config_of_its_successor(tmp_path: Path) -> None:
    dead = make_run(tmp_path, writer=OLD, config={"lr": 0.1})
    alive = make_run(tmp_path, writer=NEW, resumed=True, config={"lr": 0.2})
    for started_unix_nano, run in enumerate((dead, alive)):
        journal = run.dir / "journal" / run.writer
        journal.mkdir(parents=True)
        card = {"rank": None, "attempt": 1, "parent": None, "started_unix_nano": started_unix_nano}
        (journal / "writer.json").write_text(json.dumps(card), encoding="utf-8")
    deliver(started(alive), *make_rows(3, first=100), make_event("run.finish", {"summary": {"loss": 7}}))

    late = started(dead)
    deliver(late, *make_rows(2, first=98))
    late.shutdown()

    assert summary(dead)["loss"] == 7
    assert "lr: 0.2" in (dead.dir / "config.yaml").read_text(encoding="utf-8")
    assert sorted(steps(dead)) == [98, 99, 100, 101, 102]


def test_rows_that_went_down_with_the_machine_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = make_run(tmp_path)
    exporter = started(run)
    deliver(exporter, *make_rows(10))
    path = run.dir / "history.jsonl"
    os.truncate(path, path.stat().st_size // 2)

    restarted = started(run, exporter.position())
    assert "lacks 5 rows that were written to it; the journal has them" in caplog.text
    deliver(restarted, *make_rows(2, first=10))
    position = restarted.position()
    deliver(restarted, *make_rows(3, first=12))
    deliver(started(run, position), *make_rows(3, first=12))
    assert steps(run) == [*range(5), *range(10, 15)]


def test_a_lost_ledger_costs_no_row(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    exporter = started(run)
    deliver(exporter, *make_rows(3))
    (run.dir / ".history.jsonl.ledger").write_bytes(b"\x00 not JSON")
    deliver(exporter, *make_rows(2, first=3))
    assert steps(run) == [0, 1, 2, 3, 4]


def test_a_history_deleted_by_hand_comes_back_with_the_next_rows(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    exporter = started(run)
    deliver(exporter, *make_rows(3))
    (run.dir / "history.jsonl").unlink()
    deliver(exporter, *make_rows(2, first=3))
    assert steps(run) == [3, 4]


def test_many_changes_of_the_writer_keep_the_ledger_small(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, writer=OLD), make_run(tmp_path, writer=NEW)]
    exporters = [started(run) for run in runs]
    for step in range(300):
        deliver(exporters[step % 2], *make_rows(1, first=step))
    assert steps(runs[0]) == list(range(300))
    assert (runs[0].dir / ".history.jsonl.ledger").stat().st_size < 4096


# Rewinds and attempts


def rewind(step: int) -> Event:
    return make_event("rewind", {"step": step}, seq=0)


def test_a_rewind_takes_out_the_rows_of_earlier_writers_from_its_step_on(tmp_path: Path) -> None:
    first, second = make_run(tmp_path, writer=OLD), make_run(tmp_path, writer=NEW, resumed=True)
    deliver(started(first), *make_rows(10))
    exporter = started(second)
    deliver(exporter, rewind(6), *make_rows(3, first=6))
    assert steps(first) == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    deliver(exporter, *make_rows(1, first=9))
    assert steps(first) == list(range(10))


def test_a_rewind_delivered_twice_takes_nothing_of_its_own_writer(tmp_path: Path) -> None:
    first, second = make_run(tmp_path, writer=OLD), make_run(tmp_path, writer=NEW, resumed=True)
    deliver(started(first), *make_rows(10))
    deliver(started(second), rewind(6), *make_rows(4, first=6))

    deliver(started(second, None), rewind(6), *make_rows(6, first=6))
    assert steps(first) == list(range(12))


def test_three_preemptions_leave_each_step_once(tmp_path: Path) -> None:
    deliver(started(make_run(tmp_path, writer="a" * 16)), *make_rows(10))
    deliver(started(make_run(tmp_path, writer="b" * 16, resumed=True)), rewind(8), *make_rows(5, first=8))
    deliver(started(make_run(tmp_path, writer="c" * 16, resumed=True)), rewind(4), *make_rows(5, first=4))
    deliver(started(make_run(tmp_path, writer="d" * 16, resumed=True)), rewind(9), *make_rows(2, first=9))
    assert steps(make_run(tmp_path)) == list(range(11))


def test_rows_that_a_rewind_superseded_stay_out_when_they_come_late(tmp_path: Path) -> None:
    dead, alive = make_run(tmp_path, writer=OLD), make_run(tmp_path, writer=NEW, resumed=True)
    exporter = started(dead)
    deliver(exporter, *make_rows(5))
    position = exporter.position()
    deliver(exporter, *make_rows(3, first=5))
    successor = started(alive)
    deliver(successor, rewind(7), *make_rows(5, first=7))

    late = started(dead, position)
    deliver(late, *make_rows(10, first=5))  # 5 and 6 are in the file, the others superseded
    deliver(successor, *make_rows(1, first=12))
    assert steps(dead) == list(range(13))
    assert late.position()["rows"] == 7


def test_a_rewind_takes_out_rows_that_came_late_too(tmp_path: Path) -> None:
    dead, alive = make_run(tmp_path, writer=OLD), make_run(tmp_path, writer=NEW, resumed=True)
    exporter = started(dead)
    deliver(exporter, *make_rows(5))
    successor = started(alive)
    deliver(started(dead, exporter.position()), *make_rows(5, first=5))
    deliver(successor, rewind(8), *make_rows(3, first=8))
    assert steps(dead) == list(range(11))


def test_a_new_attempt_moves_the_files_of_the_one_before(tmp_path: Path) -> None:
    first, second = make_run(tmp_path, writer=OLD), make_run(tmp_path, writer=NEW, attempt=2)
    exporter = started(first)
    deliver(exporter, *make_rows(3), make_event("run.finish", {"summary": {"loss": 1}}))
    deliver(started(second), *make_rows(2))

    assert steps(second) == [0, 1]
    kept = first.dir / "attempts" / "1"
    assert sorted(path.name for path in kept.iterdir() if not path.name.startswith(".")) == [
        "config.yaml",
        "history.jsonl",
        "summary.json",
    ]
    assert [
        json.loads(line)["_step"] for line in (kept / "history.jsonl").read_text(encoding="utf-8").splitlines()
    ] == [0, 1, 2]

    late = started(first, exporter.position())  # rows of the first attempt that come late go to its own file
    deliver(late, *make_rows(1, first=3))
    assert steps(second) == [0, 1]
    assert (kept / "history.jsonl").read_text(encoding="utf-8").count("\n") == 4


def test_a_history_without_a_ledger_belongs_to_the_attempt_before(tmp_path: Path) -> None:
    run = make_run(tmp_path, attempt=2)
    (run.dir / "history.jsonl").write_text('{"_step":0}\n', encoding="utf-8")
    deliver(started(run), *make_rows(2))
    assert steps(run) == [0, 1]
    assert (run.dir / "attempts/1/history.jsonl").exists()


# Disks that fail


def test_where_nothing_can_be_written_the_answer_is_retry_with_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    run = make_run(tmp_path, dir=tmp_path / "file" / "run1")
    result = started(run).export(make_rows(1))
    assert result.outcome == "retry"
    assert result.reason.startswith(f"cannot write {tmp_path / 'file' / 'run1'}: ")


def test_a_full_disk_is_tried_again_and_leaves_whole_lines(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    exporter = started(run)
    deliver(exporter, *make_rows(5))
    with _Full(run.dir / "history.jsonl", more_bytes=150):
        outcomes = [exporter.export(make_rows(5, first=5)).outcome for _ in range(3)]
    assert outcomes == ["retry"] * 3
    assert steps(run) == [0, 1, 2, 3, 4]
    deliver(exporter, *make_rows(5, first=5))
    assert steps(run) == list(range(10))
    assert exporter.position()["rows"] == 10


def test_a_batch_that_fails_in_its_middle_is_taken_back_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path)
    exporter = started(run)
    deliver(exporter, *make_rows(2))

    def refuse(path: Path, content: bytes) -> None:
        raise OSError(28, os.strerror(28), str(path))

    batch = [*make_rows(2, first=2), make_event("config", {"set": {"lr": 1}}), *make_rows(2, first=4)]
    with monkeypatch.context() as patch:
        patch.setattr(snapshots, "write_whole", refuse)
        result = exporter.export(batch)
    assert result.outcome == "retry"
    assert result.reason == f"cannot write {run.dir / 'config.yaml'}: No space left on device"
    assert steps(run) == [0, 1]
    deliver(exporter, *batch)
    assert steps(run) == list(range(6))


class _Full:
    """A disk on which files can grow by so many bytes: the write that goes beyond is cut short by the system, the next fails."""

    def __init__(self, path: Path, more_bytes: int) -> None:
        self._limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        self._handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + more_bytes, self._limits[1]))

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)
        signal.signal(signal.SIGXFSZ, self._handler)


# summary.json


def test_the_summary_of_a_finished_run_is_its_own_nested(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    values = {"train.loss": 0.25, "val": {"accuracy": {"max": 0.9}}, "diverged": math.nan}
    deliver(
        started(run), *make_rows(3), make_event("run.finish", {"state": "finished", "exit_code": 0, "summary": values})
    )
    assert summary(run) == {
        "_step": 2,
        "_timestamp": make_rows(3)[-1].time_unix_nano / 1e9,
        "_runtime": 0.002,
        "val": {"accuracy": {"max": 0.9}},
        "diverged": "NaN",
        "train": {"loss": 0.25},
    }


def test_a_killed_run_has_a_summary_of_its_last_values(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    deliver(started(run), *make_rows(3), make_event(values={"train.loss": None}, seq=3))  # and no more
    assert summary(run)["train"] == {"loss": 1 / 3}
    assert summary(run)["_step"] == 3


def test_while_the_run_goes_on_the_summary_is_written_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("milepost.exporters.snapshots.monotonic", lambda: now[0])
    run = make_run(tmp_path)
    exporter = started(run)
    seen = []
    for step in range(7):
        deliver(exporter, *make_rows(1, first=step))
        seen.append(summary(run)["_step"])
        now[0] += 2
    assert seen == [0, 0, 0, 3, 3, 3, 6]
    exporter.shutdown()
    assert summary(run)["_step"] == 6


def test_values_set_by_hand_and_aggregates_stand_in_the_live_summary(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    exporter = started(run)
    deliver(
        exporter,
        make_event("metric", {"name": "accuracy", "summary": ["min", "max"]}),
        make_event("summary", {"set": {"phase": "by hand", "best.step": 7}}),
        *make_rows(3),
        make_event("summary", {"delete": ["train"]}),
    )
    exporter.force_flush()
    told = summary(run)
    assert told["accuracy"] == {"min": 0.5, "max": 0.75}
    assert (told["phase"], told["best"]) == ("by hand", {"step": 7})
    assert "train" not in told


def test_a_resumed_run_goes_on_from_the_stored_summary(tmp_path: Path) -> None:
    run = make_run(tmp_path, writer=OLD)
    deliver(
        started(run),
        make_event(values={"only.before": 1, "both": 1}),
        make_event("run.finish", {"summary": {"only.before": 1}}),
    )
    deliver(started(make_run(tmp_path, writer=NEW, resumed=True)), make_event(values={"both": 2}, seq=1))
    told = summary(run)
    assert (told["only"], told["both"]) == ({"before": 1}, 2)


def test_a_mean_counts_each_row_once_while_the_run_goes_on(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    exporter = started(run)
    deliver(exporter, make_event("metric", values={"name": "loss", "summary": ["mean"]}))
    deliver(exporter, *(make_event(values={"loss": float(i)}, step=i) for i in range(5)))
    exporter.force_flush()
    assert summary(run)["loss"] == {"mean": 2.0}


# config.yaml


def test_the_config_is_plain_yaml_from_the_start_on(tmp_path: Path) -> None:
    config = {
        "lr": 0.001,
        "model": {"layers": 4, "name": "größe"},
        "steps": [1, 2],
        "clip": math.inf,
        "off": False,
        "seed": None,
    }
    run = make_run(tmp_path, config=config)
    started(run)
    text = (run.dir / "config.yaml").read_text(encoding="utf-8")
    assert text == (
        "lr: 0.001\nmodel:\n  layers: 4\n  name: größe\nsteps:\n- 1\n- 2\nclip: .inf\noff: false\nseed: null\n".replace(
            "off:", "'off':"
        )
    )
    assert yaml.safe_load(text) == config


def test_the_config_follows_its_changes(tmp_path: Path) -> None:
    run = make_run(tmp_path, config={"lr": 0.1, "momentum": 0.9})
    deliver(started(run), make_event("config", {"set": {"lr": 0.2, "model": {"layers": 2}}, "deleted": ["momentum"]}))
    assert yaml.safe_load((run.dir / "config.yaml").read_text(encoding="utf-8")) == {"lr": 0.2, "model": {"layers": 2}}


@CHECKED
@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_any_config_can_be_written_and_read_safely(config: dict[str, Any]) -> None:
    assert isinstance(yaml.safe_load(snapshots.yaml_text(config)), dict)


@pytest.mark.parametrize(
    "text", ["1e5", "1E5", "-2e-3", "+.5e1", "0o17", "0x1F", "1.", "08", "12", "true", "no", "~", "1_000"]
)
def test_config_text_that_reads_as_something_else_in_either_yaml_is_quoted(text: str) -> None:
    written = snapshots.yaml_text({"a": text, "b": 1e5, "c": 1e300, "plain": "resnet50"})
    assert written.startswith((f"a: '{text}'\n", f'a: "{text}"\n'))
    assert "plain: resnet50\n" in written
    assert yaml.safe_load(written) == {"a": text, "b": 1e5, "c": 1e300, "plain": "resnet50"}


def test_config_text_cannot_become_anything_else(tmp_path: Path) -> None:
    config: dict[str, Sequence[str] | str] = {
        "a": "!!python/object:os.system",
        "b": "1e5",
        "c": "yes",
        "d": "\ud800",
        "e": ["- x: &a *a"],
    }
    run = make_run(tmp_path, config=config)
    started(run)
    read = yaml.safe_load((run.dir / "config.yaml").read_text(encoding="utf-8"))
    assert read == config | {"d": "\ufffd"}
