"""For tests of exporters, here and in other distributions: a suite that every exporter passes, and events to feed it.

    from milepost.sdk.testing import ExporterContract

    class TestMyExporter(ExporterContract):
        def make(self, tmp_path):
            return MyExporter(path=tmp_path / "rows.txt")

        def rows_of(self, exporter, tmp_path):
            return [json.loads(line) for line in (tmp_path / "rows.txt").read_text().splitlines()]

pytest runs the claims. For tests of programs that log, see `milepost.exporters.memory.MemoryExporter`.
"""

import copy
import json
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from milepost.sdk.event import Event
from milepost.sdk.exporter import Exporter, ExportResult, RunInfo

TIMEOUT_MILLIS: Final = 1_000
_GRACE_S: Final = 20.0  # on top of a timeout: a busy machine is no defect

WRITER: Final = "00000000000000aa"
_BEGIN_UNIX_NANO: Final = 1_700_000_000_000_000_000

EVENT_VALUES: Final[Mapping[str, dict[str, Any]]] = {
    "run.start": {
        "id": "run1",
        "project": "demo",
        "name": "calm-heron",
        "config": {"lr": 0.1},
        "tags": ["a"],
        "resumed": False,
    },
    "environment": {"python": "3.11", "host": "localhost"},
    "config": {"set": {"lr": 0.01, "model": {"layers": 4}}, "deleted": ["momentum"]},
    "metric": {"name": "val.*", "step_metric": "epoch", "summary": ["max"], "goal": "maximize"},
    "meta": {"name": "calm-heron-2"},
    "row": {"train.loss": 0.5, "epoch": 1, "done": False},
    "part": {"train.loss": 0.25},
    "summary": {"set": {"best.accuracy": 0.9}, "delete": ["train.loss"]},
    "system": {"process.cpu.utilization": 0.5, "process.memory.usage": 1_000_000},
    "console": {"stream": "stdout", "text": "epoch 1 done\n"},
    "alert": {"title": "Loss", "text": "is not a number", "level": "WARN"},
    "rewind": {"step": 1_000_000},
    "gap": {"first": 7, "last": 9, "reason": "disk full"},
    "run.finish": {"state": "finished", "exit_code": 0, "summary": {"train.loss": 0.5}},
}
"""One example of the values of every kind of event."""


def make_event(
    kind: str = "row", values: Mapping[str, Any] | None = None, *, step: int | None = None, seq: int = 0
) -> Event:
    """An event with example values, or those given, and a time that follows from its seq."""
    return Event(
        kind=kind,
        values=copy.deepcopy(EVENT_VALUES[kind]) if values is None else dict(values),
        step=step if step is not None or kind not in ("row", "part") else seq,
        time_unix_nano=_BEGIN_UNIX_NANO + seq * 1_000_000,
        runtime_s=seq / 1000,
        run="demo/run1",
        writer=WRITER,
        seq=-1 if kind == "part" else seq,
    )


def make_rows(count: int, first: int = 0) -> list[Event]:
    """Rows of steps first, first + 1, ...: a loss that falls, an accuracy that rises, and the name of a phase."""
    return [
        make_event(
            values={
                "train.loss": 1 / (1 + step),
                "accuracy": 1 - 1 / (2 + step),
                "phase": "main" if step else "warm up",
            },
            seq=step,
        )
        for step in range(first, first + count)
    ]


def make_run(tmp_path: Path, **changes: Any) -> RunInfo:
    """A run whose directory exists below tmp_path."""
    directory = tmp_path / "runs" / "demo" / "run1"
    directory.mkdir(parents=True, exist_ok=True)
    fields: dict[str, Any] = {"id": "run1", "project": "demo", "name": "calm-heron", "dir": directory, "writer": WRITER}
    return RunInfo(**(fields | changes))


def begin(exporter: Exporter, run: RunInfo, position: Mapping[str, Any] | None = None) -> None:
    """Start an exporter as the delivery does: `start` is optional."""
    start: Callable[..., None] | None = getattr(exporter, "start", None)
    if start is not None:
        start(run, position)


class ExporterContract:
    """What every exporter promises. Subclass it as `Test...` and write `make`; pytest runs the rest.

    `rows_of` shows the suite what reached the destination; where that cannot be read back it returns None, and the claims
    about order and repetition are skipped, which the report says.
    """

    def make(self, tmp_path: Path) -> Exporter:
        """A new exporter; called again in the same test it writes to the same destination."""
        raise NotImplementedError("write make(self, tmp_path): it returns the exporter to test")

    def rows_of(self, exporter: Exporter, tmp_path: Path) -> list[Mapping[str, Any]] | None:
        """The rows at the destination, in its order, each with at least `_step`; None where they cannot be read."""
        return None

    def started(self, tmp_path: Path) -> Exporter:
        """A new exporter that knows its run."""
        exporter = self.make(tmp_path)
        begin(exporter, make_run(tmp_path))
        return exporter

    def test_it_is_an_exporter_and_its_name_can_be_part_of_a_file_name(self, tmp_path: Path) -> None:
        """The three methods; `name` is optional, and stands in messages and in the name of its cursor's file."""
        exporter = self.make(tmp_path)
        assert isinstance(exporter, Exporter)
        name = getattr(exporter, "name", "unnamed")
        assert isinstance(name, str)
        assert name
        assert not set(name) & set("/\\\0")

    def test_it_takes_an_empty_batch(self, tmp_path: Path) -> None:
        """Nothing to deliver is a success."""
        self._takes(self.started(tmp_path), [])

    def test_it_takes_every_kind_of_event(self, tmp_path: Path) -> None:
        """Kinds that mean nothing to the destination are passed over; new kinds may come with any version."""
        exporter = self.started(tmp_path)
        for seq, kind in enumerate(EVENT_VALUES):
            self._takes(exporter, [make_event(kind, seq=seq)])
        self._takes(exporter, [make_event(kind, seq=100 + seq) for seq, kind in enumerate(EVENT_VALUES)])
        self._takes(exporter, [make_event("a kind of the future", {"what": "ever"}, seq=200)])

    def test_it_takes_nan_and_infinities(self, tmp_path: Path) -> None:
        """A diverging run must not stop its own delivery."""
        values = {
            "nan": math.nan,
            "up": math.inf,
            "down": -math.inf,
            "listed": [1.0, math.nan],
            "zero": -0.0,
            "tiny": 5e-324,
        }
        self._takes(self.started(tmp_path), [make_event(values=values)])

    def test_it_takes_values_of_every_type(self, tmp_path: Path) -> None:
        """None, text, booleans, integers of 64 bits, lists, media."""
        values: dict[str, Any] = {
            "none": None,
            "text": 'two\nlines, "quotes", \\ and \x1b[31m',
            "empty": "",
            "true": True,
            "large": 2**63 - 1,
            "small": -(2**63),
            "list": [1, "two", None, [3.0]],
            "image": {
                "_type": "image-file",
                "path": "media/images/x.png",
                "sha256": "0" * 64,
                "size": 10,
                "width": 2,
                "height": 2,
            },
            "histogram": {"_type": "histogram", "values": [1, 2], "bins": [0.0, 0.5, 1.0]},
        }
        self._takes(self.started(tmp_path), [make_event(values=values)])

    def test_it_takes_names_in_any_script_and_of_300_characters(self, tmp_path: Path) -> None:
        """Names are text: nothing is promised about what they hold."""
        names = [
            "损失",
            "précision",
            "🚀/speed",
            "a b",
            "tab\t",
            "line\n",
            "\x1b[2J",
            "",
            ".",
            "a..b",
            "../../etc",
            "x" * 300,
            "é" * 300,
        ]
        self._takes(self.started(tmp_path), [make_event(values=dict.fromkeys(names, 1.0))])

    def test_it_takes_text_that_is_no_valid_unicode(self, tmp_path: Path) -> None:
        """A lone surrogate, as Python makes of file names."""
        self._takes(self.started(tmp_path), [make_event(values={"file": "a\udc80b", "surrogate\ud800": 1})])

    def test_it_takes_a_row_of_1000_names(self, tmp_path: Path) -> None:
        """Wide rows are ordinary."""
        self._takes(
            self.started(tmp_path), [make_event(values={f"layer.{index}.norm": index / 7 for index in range(1000)})]
        )

    def test_it_never_changes_an_event(self, tmp_path: Path) -> None:
        """Other exporters get the same objects."""
        events = [make_event(kind, seq=seq) for seq, kind in enumerate(EVENT_VALUES)]
        events.append(make_event(values={"nan": math.nan, "nested": [{"a": [1]}]}, seq=50))
        before = repr(events)
        self._takes(self.started(tmp_path), events)
        assert repr(events) == before

    def test_rows_arrive_once_and_in_order(self, tmp_path: Path) -> None:
        """Over several batches, with events between them."""
        exporter = self.started(tmp_path)
        rows = make_rows(250)
        for batch in (rows[:1], [make_event("alert", seq=1)], rows[1:100], [], rows[100:]):
            self._takes(exporter, batch)
        exporter.force_flush()
        assert self._steps(exporter, tmp_path) == list(range(250))

    def test_a_started_exporter_goes_on_where_its_position_says(self, tmp_path: Path) -> None:
        """After a crash the rows since the last stored cursor come again; with `position` they are not written again."""
        exporter = self.started(tmp_path)
        rows = make_rows(30)
        self._takes(exporter, rows[:10])
        position: Callable[[], Mapping[str, Any]] | None = getattr(exporter, "position", None)
        stored = json.loads(json.dumps(dict(position()))) if position is not None else None
        self._takes(exporter, rows[10:20])

        restarted = self.make(tmp_path)
        begin(restarted, make_run(tmp_path), stored)
        self._takes(restarted, rows[10:20])
        self._takes(restarted, rows[20:])
        restarted.force_flush()

        assert self._steps(restarted, tmp_path)[-20:] == list(range(10, 30))
        if stored is not None:
            assert self._steps(restarted, tmp_path) == list(range(30))

    def test_force_flush_answers_within_its_timeout(self, tmp_path: Path) -> None:
        """Also with nothing to flush, and with no time at all."""
        exporter = self.started(tmp_path)
        self._takes(exporter, make_rows(10))
        assert isinstance(_within(TIMEOUT_MILLIS, lambda: exporter.force_flush(TIMEOUT_MILLIS)), bool)
        assert isinstance(_within(0, lambda: exporter.force_flush(0)), bool)

    def test_shutdown_returns_within_its_timeout_and_twice_is_silent(self, tmp_path: Path) -> None:
        """The end of a program never hangs on an exporter."""
        exporter = self.started(tmp_path)
        self._takes(exporter, make_rows(10))
        for _ in range(2):
            _within(TIMEOUT_MILLIS, lambda: exporter.shutdown(TIMEOUT_MILLIS))

    def test_shutdown_needs_no_start(self, tmp_path: Path) -> None:
        """A run can fail before its exporters begin."""
        exporter = self.make(tmp_path)
        _within(TIMEOUT_MILLIS, lambda: exporter.shutdown(TIMEOUT_MILLIS))

    def test_export_after_shutdown_does_not_raise(self, tmp_path: Path) -> None:
        """It may refuse, with RETRY: the rows stay in the journal."""
        exporter = self.started(tmp_path)
        self._takes(exporter, make_rows(3))
        exporter.shutdown(TIMEOUT_MILLIS)
        assert isinstance(exporter.export(make_rows(3, first=3)), ExportResult)
        assert isinstance(exporter.force_flush(TIMEOUT_MILLIS), bool)

    def _takes(self, exporter: Exporter, batch: Sequence[Event]) -> None:
        """Export the batch as a list and demand success."""
        result = exporter.export(list(batch))
        assert isinstance(result, ExportResult), f"export() returned {result!r}; it must be an ExportResult"
        assert result.outcome == "success", f"export() answered {result.outcome}: {result.reason}"

    def _steps(self, exporter: Exporter, tmp_path: Path) -> list[Any]:
        rows = self.rows_of(exporter, tmp_path)
        if rows is None:
            import pytest

            pytest.skip(
                f"{type(exporter).__name__}: rows_of() is not written, so what reached its destination is not known"
            )
        return [row["_step"] for row in rows]


def _within(timeout_millis: int, call: Callable[[], Any]) -> Any:
    """What the call returned. Fails when it takes much longer than its timeout; errors pass through."""
    outcome: list[Any] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            outcome.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread of the test
            errors.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    thread.join(timeout_millis / 1000 + _GRACE_S)
    if thread.is_alive():
        raise AssertionError(f"still busy {_GRACE_S:.0f} s after its timeout of {timeout_millis} ms")
    if errors:
        raise errors[0]
    return outcome[0]
