"""Peers: the servers of MLflow and trackio under milepost's load, each in the form and the size of batch that it takes.

Rows, keys and values are the same; requests are made before anything is measured. This runs under the peer's own Python: standard
library and numpy only.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from bench.benchmark import Task
from bench.measuring import Figures, Usage, directory_bytes
from bench.server import curves
from bench.server.curves import BEGIN, KEYS, NAMES, STEP_NS
from bench.server.sending import Writer, percentile, request

WRITERS: Final = 8
HOST: Final = "127.0.0.1"
TOKEN: Final = "bench"
READY_S: Final = 180


def measure(task: Task) -> Figures:
    """task.size: seconds. Points a second from 8 writers that were answered, waits, and what the server used for them."""
    if task.subject == "milepost":
        from bench.server import batches
        from bench.server.process import serve

        with serve("--data", task.directory) as server:
            bodies = [batches.bodies("float32", n, batches.BATCHES if task.size > 1 else 4) for n in range(WRITERS)]
            requests = [batches.requests(server.host, n, each) for n, each in enumerate(bodies)]
            return _measured(task, server.port, requests, curves.POINTS)
    rows, most_per_s, make, command = _PEERS[task.subject]
    with _serving(task.directory, command) as port:
        requests = [iter(list(make(port, n, rows, task.size * most_per_s))) for n in range(WRITERS)]
        return _measured(task, port, requests, rows * KEYS)


def _measured(task: Task, port: int, requests: list[Iterator[bytes]], points: int) -> Figures:
    before = directory_bytes(task.directory)
    writers = [Writer(HOST, port, each) for each in requests]
    usage = Usage()
    own = time.process_time()
    for writer in writers:
        writer.start()
    time.sleep(task.size)
    for writer in writers:
        writer.stop()
    seconds, own, used = usage.seconds(), time.process_time() - own, usage.cpu_s()
    waits = [wait for writer in writers for wait in writer.waits]
    done = len(waits) * points
    return {
        "points_per_s": done / seconds,
        "ack_p50_ms": percentile(waits, 0.5) * 1e3,
        "ack_p99_ms": percentile(waits, 0.99) * 1e3,
        "points_per_request": points,
        "server_cpu_us_per_point": (used - own) / done * 1e6,
        "bytes_per_point": (directory_bytes(task.directory) - before) / done,
        "load_cores": own / seconds,
    }


def _mlflow(port: int, number: int, rows: int, requests: int) -> Iterator[bytes]:
    """log-batch takes 1,000 metrics at the most."""
    about = {"experiment_id": "0", "start_time": BEGIN // 10**6, "run_name": f"w{number}"}
    run = _posted(port, "/api/2.0/mlflow/runs/create", about)["run"]["info"]["run_id"]
    values = curves.curves("float32", rows * requests, KEYS, number)
    for first in range(0, rows * requests, rows):
        metrics = [
            {"key": NAMES[key], "value": values[key, at], "timestamp": (BEGIN + at * STEP_NS) // 10**6, "step": at}
            for at in range(first, first + rows)
            for key in range(KEYS)
        ]
        body = json.dumps({"run_id": run, "metrics": metrics}).encode()
        yield request(HOST, "/api/2.0/mlflow/runs/log-batch", body, Content_Type="application/json")


def _trackio(_: int, number: int, rows: int, requests: int) -> Iterator[bytes]:
    values = curves.curves("float32", rows * requests, KEYS, number)
    for first in range(0, rows * requests, rows):
        logs: list[dict[str, Any]] = [
            {
                "project": "load",
                "run": f"w{number}",
                "metrics": dict(zip(NAMES, values[:, at].tolist(), strict=True)),
                "step": at,
                "log_id": f"{number}-{at}",
            }
            for at in range(first, first + rows)
        ]
        body = json.dumps({"logs": logs, "hf_token": None}).encode()
        headers = {"Content_Type": "application/json", "X_Trackio_Write_Token": TOKEN}
        yield request(HOST, "/api/bulk_log", body, **headers)


_SHOW: Final = (
    "import sys, trackio; "
    "trackio.show(host='127.0.0.1', server_port=int(sys.argv[1]), open_browser=False, block_thread=True)"
)
_PEERS: Final[dict[str, Any]] = {
    # rows of a request, requests a second of one writer that are made beforehand: some times more than it takes
    "mlflow": (
        10, 20, _mlflow,
        ["-m", "mlflow", "server", "--host", HOST, "--port", "PORT", "--backend-store-uri", "sqlite:///mlflow.db"],
    ),
    "trackio": (100, 6, _trackio, ["-c", _SHOW, "PORT"]),
}  # fmt: skip


@contextmanager
def _serving(directory: Path, command: list[str]) -> Iterator[int]:
    """A peer's server in its directory; the port on which it answers."""
    with socket.socket() as found:
        found.bind((HOST, 0))
        port = int(found.getsockname()[1])
    filled = [str(port) if each == "PORT" else each for each in command]
    more = {
        "TRACKIO_DIR": str(directory),
        "TRACKIO_WRITE_TOKEN": TOKEN,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven processes that have no part in this
        "DO_NOT_TRACK": "1",
    }
    log = (directory.parent / "peer.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, *filled],
        cwd=directory,
        env={**os.environ, **more},
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        until = time.monotonic() + READY_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"it did not start: {Path(log.name).read_text()[-600:]}")
            time.sleep(0.2)
        yield port
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/", timeout=10) as said:
            return bool(said.status == 200)
    except OSError:
        return False


def _posted(port: int, path: str, body: dict[str, Any]) -> Any:
    asked = urllib.request.Request(
        f"http://{HOST}:{port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    for left in (4, 3, 2, 1, 0):  # workers of a server that has just started may close the connection
        try:
            with urllib.request.urlopen(asked, timeout=60) as said:
                return json.loads(said.read())
        except OSError:
            if not left:
                raise
            time.sleep(1)
    return None
