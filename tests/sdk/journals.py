"""Run directories for tests, written by the real writer; a helper can leave them as SIGKILL would."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from milepost.sdk.writer import Writer


@pytest.fixture
def own_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rings go below the test's directory, so that what a killed writer leaves behind goes with it."""
    (tmp_path / "shm").mkdir()
    monkeypatch.setenv("MILEPOST_SHM", str(tmp_path / "shm"))


class Journalist:
    """Writes one run's events as a process would, without the rest of the SDK."""

    def __init__(
        self,
        run_dir: Path,
        *,
        rank: int | None = None,
        attempt: int = 1,
        parent: str | None = None,
        config: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        step: int = 0,
        use_ring: bool = False,
        started: int | None = None,
    ) -> None:
        self.writer = Writer(run_dir, rank=rank, attempt=attempt, parent=parent, use_ring=use_ring, min_free=0)
        if started is not None:
            self.writer.started_unix_nano = started
            self.writer._describe()
        self.id = self.writer.id
        self.dir = self.writer.directory
        self.step = step
        start = {
            "id": run_dir.name,
            "project": run_dir.parent.name,
            "config": dict(config or {}),
            "settings": dict(settings or {}),
        }
        self.event("run.start", start | {"rank": rank, "attempt": attempt})

    def row(self, step: int | None = None, /, **values: Any) -> None:
        self.rows([values], step)

    def rows(self, rows: list[dict[str, Any]], step: int | None = None) -> None:
        for values in rows:
            self.step = self.step if step is None else step
            self.writer.row(values, self.step, time.time_ns(), self.step * 1000, None)
            self.step += 1

    def part(self, step: int, /, **values: Any) -> None:
        self.writer.part(values, step, time.time_ns(), step * 1000)

    def event(self, kind: str, values: Mapping[str, Any]) -> None:
        self.writer.event(kind, values, None, time.time_ns(), 0)

    def finish(self, state: str = "finished", summary: Mapping[str, Any] | None = None) -> None:
        self.event(
            "run.finish", {"state": state, "exit_code": 0, **({} if summary is None else {"summary": dict(summary)})}
        )
        self.close()

    def close(self) -> None:
        self.writer.close()

    def die(self) -> None:
        """Leave everything as it is, as after SIGKILL: nothing is drained, and the locks are free."""
        self.writer.forget()


def write_run_json(run_dir: Path, **facts: Any) -> None:
    run_dir.mkdir(parents=True, exist_ok=True)
    known = {"format": 1, "id": run_dir.name, "project": run_dir.parent.name, "name": run_dir.name, "state": "finished"}
    (run_dir / "run.json").write_text(json.dumps(known | {"created_unix_nano": time.time_ns()} | facts))


def segment_files(run_dir: Path) -> list[Path]:
    return sorted(run_dir.glob("journal/*/[0-9]*.mpj"))
