"""The pages for each stack: PromQL runs against a Prometheus that a run was written to, its config passes promtool, and every
page says what it ran against."""

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from milepost.exporters.prometheus_remote_write import PrometheusRemoteWriteExporter
from milepost.sdk.event import Event
from milepost.sdk.testing import make_run
from tests.docs.blocks import blocks
from tests.exporters.otlp.processes import prometheus, victoria_metrics
from tests.exporters.otlp.querying import query, wait_for

REPOSITORY = Path(__file__).resolve().parents[2]
STACKS = sorted((REPOSITORY / "docs" / "stacks").glob("*.md"))
PROMETHEUS = REPOSITORY / "docs" / "stacks" / "prometheus.md"


def rows(now: int, count: int) -> list[Event]:
    """Rows of a run that still goes on."""
    begin = Event(kind="run.start", values={}, seq=0, time_unix_nano=now - count * 10_000_000)
    return [begin] + [
        Event(
            kind="row", values={"train/loss": 1 / seq}, step=seq, seq=seq,
            time_unix_nano=now - (count - seq) * 10_000_000, run="digits/run1",
        )
        for seq in range(1, count + 1)
    ]  # fmt: skip


@pytest.mark.parametrize("where", ["prometheus", "victoria-metrics"])
def test_every_query_of_the_prometheus_page_finds_the_run(where: str, tmp_path: Path) -> None:
    queries = [block.code.strip() for block in blocks(PROMETHEUS) if block.language == "promql"]
    start = prometheus if where == "prometheus" else victoria_metrics
    with start(tmp_path / where) as backend:
        exporter = PrometheusRemoteWriteExporter(endpoint=f"{backend.http}/api/v1/write")
        exporter.start(make_run(tmp_path, project="digits"), None)
        result = exporter.export(rows(time.time_ns(), 20))
        exporter.shutdown()
        assert result.outcome == "success", result.reason
        wait_for(backend, 'train_loss{job="digits"}', 20, at=time.time() + 1)

        assert len(queries) >= 5
        for each in queries:
            assert query(backend, each, time.time() + 1), each


def test_the_config_of_prometheus_passes_its_own_check(tmp_path: Path) -> None:
    (config,) = [block for block in blocks(PROMETHEUS) if block.title == "prometheus.yml"]
    (tmp_path / "prometheus.yml").write_text(config.code, encoding="utf-8")
    promtool = shutil.which("promtool")
    assert promtool, "promtool comes with prometheus; apt-get install prometheus"

    outcome = subprocess.run(
        [promtool, "check", "config", str(tmp_path / "prometheus.yml")], capture_output=True, check=False
    )

    assert outcome.returncode == 0, outcome.stderr


@pytest.mark.parametrize("page", [path.stem for path in STACKS])
def test_a_page_of_a_stack_says_first_what_it_ran_against(page: str) -> None:
    text = (REPOSITORY / "docs" / "stacks" / f"{page}.md").read_text(encoding="utf-8")

    assert re.match(r"# \S+\n\n(Ran here|Not run)", text)
