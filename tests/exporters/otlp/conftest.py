"""One collector for all tests of a worker that only read what comes out of it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.exporters.otlp.processes import Collector, collector
from tests.exporters.otlp.sink import Sink


@pytest.fixture(scope="session")
def shared_collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Collector, Sink]]:
    """A running collector and what it passes on to."""
    folder: Path = tmp_path_factory.mktemp("collector")
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(Sink())
        yield stack.enter_context(collector(folder, sink.address)), sink


@pytest.fixture
def collecting(shared_collector: tuple[Collector, Sink]) -> tuple[Collector, Sink]:
    """A collector whose sink is empty; a test that reads sets `sink.instance` to its run first."""
    running, sink = shared_collector
    sink.instance = None
    sink.metrics.clear()
    sink.logs.clear()
    return running, sink
