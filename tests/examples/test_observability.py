"""The alert rules and the dashboard: judged by promtool and by a Prometheus that a run was written to."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import milepost
from milepost.exporters.prometheus_remote_write import PrometheusRemoteWriteExporter
from milepost.sdk.event import Event
from milepost.sdk.testing import make_run
from tests.exporters.otlp.processes import missing, prometheus
from tests.exporters.otlp.querying import query, wait_for


@pytest.fixture
def folder(repository: Path) -> Path:
    return repository / "examples" / "observability"


def test_the_alert_rules_fire_when_they_should_and_not_otherwise(folder: Path) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool comes with prometheus; apt-get install prometheus"

    for command in (["check", "rules", "milepost.rules.yml"], ["test", "rules", "milepost.rules.test.yml"]):
        outcome = subprocess.run([promtool, *command], cwd=folder, capture_output=True, text=True, check=False)
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_every_panel_of_the_dashboard_finds_data_of_a_run(folder: Path, tmp_path: Path) -> None:
    dashboard = json.loads((folder / "grafana-dashboard.json").read_text(encoding="utf-8"))
    with prometheus(tmp_path / "prometheus") as backend:
        address = f"{backend.http}/api/v1/write"
        settings: dict[str, Any] = {
            "exporters": [{"prometheus_remote_write": {"endpoint": address}}],
            "capture": False,
            "shipper": {"run_in": "thread"},
        }
        with milepost.init(project="digits", settings=settings) as run:
            for step in range(5):
                run.log({"train.loss": 1 / (1 + step)})
                time.sleep(0.01)
        exporter = PrometheusRemoteWriteExporter(endpoint=address)
        exporter.start(make_run(tmp_path, project="digits", id=run.id, name=run.name), None)
        sampled = {
            "process.cpu.utilization": 0.5, "system.cpu.utilization": 0.5, "hw.gpu.utilization.0": 0.5,
            "process.memory.usage": 1000, "hw.gpu.memory.usage.0": 1000,
        }  # fmt: skip
        told = {"milepost.component.name": "otlp", "milepost.sdk.exporter.lag": 1.0}
        exporter.export([Event(kind="system", values=sampled, time_unix_nano=time.time_ns(), seq=1)])
        exporter.export([Event(kind="sdk", values=told, time_unix_nano=time.time_ns())])
        exporter.shutdown()
        wait_for(backend, f'train_loss{{instance="{run.id}"}}', 5)

        chosen = {"project": "digits", "run": run.id, "metric": "train_loss", "__range": "1h"}
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                expression = re.sub(r"\$(\w+)", lambda found: chosen[found[1]], target["expr"])
                assert query(backend, expression), f"{panel['title']}: {expression}"


def test_the_demo_shows_the_curve_and_the_rows(repository: Path) -> None:
    if (text := missing()).startswith("rotel"):
        pytest.skip(text)
    assert not text
    script = [sys.executable, str(repository / "scripts" / "demo_otlp.py"), "--epochs", "2"]

    outcome = subprocess.run(script, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)

    assert outcome.returncode == 0, outcome.stderr
    assert "got 68 rows of 68, each once, every value as logged" in outcome.stdout
    assert 'points of train_loss{job="digits"}, each with the value and the step that were logged' in outcome.stdout
    assert re.search(r"Next:\n +\.venv/bin/milepost show digits/\w+\n", outcome.stdout)
    assert "milepost_step" in outcome.stdout
