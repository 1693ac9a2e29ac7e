"""Real back ends as processes, on free ports of the loopback: a collector, Prometheus, VictoriaMetrics."""

import contextlib
import importlib.util
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

READY_S = 60.0


def free_port() -> int:
    """A port that nothing listens on now. Taken by another program meanwhile, the start fails and is tried again."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Backend:
    """A started program. http: its address without a path. settle_s: when to ask first for what was written."""

    settle_s = 0.0

    def __init__(self, command: Callable[[int], Sequence[str]], ready: str, log: Path, cwd: Path) -> None:
        self.log = log
        for attempt in range(3):
            self.port = free_port()
            with log.open("ab") as out:
                self.process = subprocess.Popen(command(self.port), stdout=out, stderr=out, cwd=cwd)
            if self._await(ready):
                return
            self.close()
            if attempt == 2:
                raise AssertionError(f"{command(0)[0]} did not start:\n{log.read_text()[-3000:]}")

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _await(self, ready: str) -> bool:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError):
                if not ready:
                    socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                    return True
                with urllib.request.urlopen(f"{self.http}{ready}", timeout=2.0) as answer:
                    if answer.status == 200:
                        return True
            time.sleep(0.05)
        return False

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def rotel() -> str | None:
    """The collector's program, out of its wheel; None where there is no wheel for this machine."""
    found = importlib.util.find_spec("rotel")
    return None if found is None or found.origin is None else str(Path(found.origin).with_name("rotel-agent"))


def missing() -> str:
    """What is not installed of a collector and Prometheus, with the command that installs it; "" for nothing."""
    if rotel() is None:
        return "rotel has no wheel for this Python or machine: it needs Linux on x86-64 and Python 3.11 to 3.13"
    return (
        "" if shutil.which("prometheus") else "prometheus is not installed; install it with: apt-get install prometheus"
    )


@contextlib.contextmanager
def collector(folder: Path, sink: str) -> Iterator["Collector"]:
    """A collector that passes everything on to `sink`, an address that takes OTLP over HTTP."""
    started = Collector(folder, sink)
    try:
        yield started
    finally:
        started.close()


class Collector(Backend):
    """rotel: OTLP in over HTTP at `http` and gRPC at `grpc`; OTLP out, to the sink."""

    grpc_port = 0

    def __init__(self, folder: Path, sink: str) -> None:
        program = rotel()
        if program is None:
            pytest.skip("rotel has no wheel for this Python or machine")

        def command(port: int) -> Sequence[str]:
            self.grpc_port = free_port()
            return [
                program, "start",
                "--pid-file", str(folder / "rotel.pid"),
                "--otlp-grpc-endpoint", f"127.0.0.1:{self.grpc_port}",
                "--otlp-http-endpoint", f"127.0.0.1:{port}",
                "--exporter", "otlp",
                "--otlp-exporter-protocol", "http",
                "--otlp-exporter-endpoint", sink,
                "--otlp-exporter-retry-initial-backoff", "100ms",
                "--batch-timeout", "100ms",
            ]  # fmt: skip

        super().__init__(command, "", folder / "rotel.log", folder)

    @property
    def grpc(self) -> str:
        return f"http://127.0.0.1:{self.grpc_port}"


@contextlib.contextmanager
def prometheus(folder: Path, window: str = "") -> Iterator[Backend]:
    """Debian's Prometheus with the remote-write receiver; window: its out_of_order_time_window, or none."""
    program = shutil.which("prometheus")
    assert program, "prometheus is not installed; apt-get install prometheus"
    folder.mkdir(exist_ok=True)
    storage = f"storage: {{tsdb: {{out_of_order_time_window: {window}}}}}\n" if window else ""
    (folder / "prometheus.yml").write_text(f"global: {{scrape_interval: 1h}}\n{storage}", encoding="utf-8")

    def command(port: int) -> Sequence[str]:
        return [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-remote-write-receiver",
            "--log.level=warn",
        ]

    started = Backend(command, "/-/ready", folder / "prometheus.log", folder)
    try:
        yield started
    finally:
        started.close()


@contextlib.contextmanager
def victoria_metrics(folder: Path) -> Iterator[Backend]:
    """Debian's VictoriaMetrics."""
    program = shutil.which("victoria-metrics")
    assert program, "victoria-metrics is not installed; apt-get install victoria-metrics"
    folder.mkdir(exist_ok=True)

    def command(port: int) -> Sequence[str]:
        return [
            program,
            f"-storageDataPath={folder / 'data'}",
            f"-httpListenAddr=127.0.0.1:{port}",
            "-retentionPeriod=100y",
            "-loggerLevel=WARN",
            "-search.latencyOffset=1ms",
        ]

    started = Backend(command, "/health", folder / "victoria-metrics.log", folder)
    started.settle_s = 2.0  # new series show after a second, and that there are none is remembered for ten
    try:
        yield started
    finally:
        started.close()
