"""Requests made up from the committed description of the API get an answer, whatever is in them: never a 5xx."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import ADMIN_KEY, Start
from tests.server.sending import event, row, send
from tests.server.test_operation import send_file

THERE = {"project": "p", "run": "r1", "name": "media/x.bin"}
"""What the parameters of paths are set to, so that requests get beyond "there is no such run"."""


def description(repository: Path) -> dict[str, Any]:
    """server/openapi.json, of a server that has one run."""
    told: dict[str, Any] = json.loads((repository / "server/openapi.json").read_text())
    del told["paths"]["/api/v1/events"]  # a stream has no end
    for operations in told["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path" and parameter["name"] in THERE:
                    parameter["schema"] = {"const": THERE[parameter["name"]]}
                if parameter["name"] in ("by", "columns", "sort"):
                    words = ["config.lr", "summary.loss", "created", "tags", "config.no", "x"]
                    parameter["schema"] = (
                        {"enum": words} if parameter["name"] == "sort" else {"type": "array", "items": {"enum": words}}
                    )
    asked = told["components"]["schemas"]["HistoryRequest"]["properties"]
    asked["runs"] = {"type": "array", "items": {"enum": ["p/r1", "p/none"]}, "minItems": 1, "maxItems": 3}
    asked["keys"] = {"type": "array", "items": {"enum": ["loss", "odd", "text", "_step"]}, "minItems": 1, "maxItems": 3}
    edited = told["components"]["schemas"]["BulkEdit"]["properties"]
    edited["runs"] = {"type": "array", "items": {"enum": ["p/r2", "p/none"]}, "minItems": 1, "maxItems": 3}
    return told


@pytest.mark.timeout(300)
def test_made_up_requests_find_no_mistake_of_the_server(repository: Path, start: Start, tmp_path: Path) -> None:
    server = start("--data", "data", environment={**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY})
    with server.client(ADMIN_KEY) as client:
        for run in ("r1", "r2"):
            began = event(0, "run.start", {"name": "r", "config": {"lr": 0.1}, "tags": ["a"]})
            rows = [
                row(n, {"loss": 1 / n, "odd": [float("nan"), float("inf")][n % 2], "text": "t"}) for n in range(1, 300)
            ]
            send(client, [began, *rows], run=run)
            send_file(client, run, b"weights")
    (tmp_path / "openapi.json").write_text(json.dumps(description(repository)))
    options = {
        "--url": server.url, "-H": f"Authorization: Bearer {ADMIN_KEY}", "--checks": "not_a_server_error", "--max-examples": "10",
        "--phases": "fuzzing", "--request-timeout": "60", "--seed": "1",
    }  # fmt: skip
    program = Path(sys.executable).with_name("schemathesis")
    words = [str(program), "run", "openapi.json", *(word for option in options.items() for word in option)]

    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=280)

    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    with server.client(ADMIN_KEY) as client:
        assert client.get("/api/v1/runs/p/r1").json()["rows"] == 299
