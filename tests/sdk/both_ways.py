"""Calls that the fast path takes in C, and the same calls in Python."""

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from milepost.sdk.fastpath import Fast

CAN_COMPILE = (
    bool(shutil.which(os.environ.get("CC", "cc"))) and Path(sysconfig.get_paths()["include"], "Python.h").exists()
)
"""Whether the C part is to be expected: then a test that does not find it fails."""


@contextmanager
def in_python() -> Iterator[None]:
    """All calls take the Python way meanwhile, as where nothing is compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fast, "log", Fast.plain)
        yield


@pytest.fixture
def no_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a program without OpenTelemetry, which another test may have loaded: with it no call takes the fast path."""
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
