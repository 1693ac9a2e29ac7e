"""Reading back from Prometheus and what speaks its language: every sample of a series, with its exact time."""

import json
import time
import urllib.parse
import urllib.request
from typing import Any

from tests.exporters.otlp.processes import Backend

Samples = list[tuple[float, float]]
WAIT_S = 60.0


def query(backend: Backend, expression: str, at: float | None = None) -> list[dict[str, Any]]:
    """The result of an instant query."""
    asked: dict[str, str] = {"query": expression} | ({"time": f"{at:.3f}"} if at is not None else {})
    with urllib.request.urlopen(f"{backend.http}/api/v1/query?{urllib.parse.urlencode(asked)}", timeout=10) as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return found


def samples(backend: Backend, selector: str, back: str = "1h", at: float | None = None) -> Samples:
    """Time in seconds and value of every sample of the one series that the selector finds."""
    found = query(backend, f"{selector}[{back}]", at)
    assert len(found) < 2, [each["metric"] for each in found]
    return [(float(when), float(value)) for each in found for when, value in each["values"]]


def series(backend: Backend, selector: str, at: float | None = None) -> list[dict[str, str]]:
    """The labels of every series that the selector finds."""
    return [each["metric"] for each in query(backend, f"last_over_time({selector}[1h])", at)]


def wait_for(backend: Backend, selector: str, count: int, at: float | None = None) -> Samples:
    """The samples of a series, once there are so many: VictoriaMetrics shows them about a second later."""
    deadline = time.monotonic() + WAIT_S
    time.sleep(backend.settle_s)
    while len(found := samples(backend, selector, at=at)) < count:
        assert time.monotonic() < deadline, f"{selector}: {len(found)} of {count} samples after {WAIT_S:.0f} s"
        time.sleep(0.1)
    return found
