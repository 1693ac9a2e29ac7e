"""A run with a memory exporter and nothing else, for tests of what log(), the summary and the config mean."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import milepost
from milepost.exporters.memory import MemoryExporter

CLOCKS = ("_timestamp", "_runtime")
QUIET: dict[str, Any] = {"capture": {"enabled": False}}


class Recorded:
    """A run in progress, and what reached its exporter.

    run:    the run; `log` is its own.
    memory: the exporter.
    """

    def __init__(self, run: milepost.Run, memory: MemoryExporter) -> None:
        self.run = run
        self.memory = memory
        self.log = run.log

    def rows(self) -> list[dict[str, Any]]:
        """Finishes the run; its rows as an exporter got them, without the two clocks."""
        self.run.finish()
        return [without_clocks(row) for row in self.memory.rows]

    def values(self) -> list[dict[str, Any]]:
        """Finishes the run; its rows without step and clocks."""
        return [without_clocks(row, "_step") for row in self.rows()]

    def summary(self) -> dict[str, Any]:
        """The live summary as nested dicts, without step and clocks."""
        return without_clocks(self.run.summary.as_dict(), "_step")


def label(value: Any) -> str:
    """A test's name for a value: its repr without the address, which differs between the processes that share the tests."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def without_clocks(row: Mapping[str, Any], *more: str) -> dict[str, Any]:
    """A row or summary without what differs from one run to the next."""
    return {key: value for key, value in row.items() if key not in (*CLOCKS, *more)}


@contextmanager
def recorded(**arguments: Any) -> Iterator[Recorded]:
    """Start a run, and finish it when the test has not. `settings` are added to those that switch the capture off."""
    memory = MemoryExporter()
    settings = QUIET | dict(arguments.pop("settings", {}))
    keywords: dict[str, Any] = {"project": "tests", "exporters": [memory], **arguments, "settings": settings}
    run = milepost.init(**keywords)
    try:
        yield Recorded(run, memory)
    finally:
        run.finish()


def read_back(run: milepost.Run) -> list[dict[str, Any]]:
    """The rows of a run as `Api` reads them from its journal, without the two clocks."""
    return [without_clocks(row) for row in milepost.Api().run(run.path).scan_history()]
