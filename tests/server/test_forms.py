"""What is large is answered in the form that a client accepts, with the same values in each."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from tests.server.conftest import ADMIN_KEY, Server
from tests.server.sending import event, row, send

ARROW = "application/vnd.apache.arrow.stream"
MSGPACK = "application/msgpack"
ROWS = 3000
pyarrow: Any = import_module("pyarrow")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    data = tmp_path_factory.mktemp("forms") / "data"
    server = Server(["--data", str(data)], {**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY})
    with server.client(ADMIN_KEY) as client:
        for run in ("r1", "r2"):
            rows = [row(n + 1, values(n), n) for n in range(ROWS)]
            send(client, [event(0, "run.start", {"name": run, "config": {"lr": 0.1}}), *rows], run=run)
        yield client
    server.kill()


def values(n: int) -> dict[str, Any]:
    found: dict[str, Any] = {"loss": 1 / (n + 1), "big": 2**60 + n, "flag": n % 2 == 0}
    if n % 1000 == 0:
        found |= {"loss": [math.nan, math.inf, -math.inf][n // 1000], "text": f"t{n}", "list": [1, "a"], "none": None}
    return found


def history(client: httpx.Client, accept: str, **asked: Any) -> httpx.Response:
    wanted = {"runs": ["p/r1", "p/r2", "p/r3"], "keys": ["loss", "big"], "buckets": 100, **asked}
    answer = client.post("/api/v1/history", json=wanted, headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == accept
    assert answer.headers["vary"] == "Accept"
    return answer


def unpacked(column: dict[str, bytes]) -> list[Any]:
    ((kind, data),) = column.items()
    return [None if value != value else value for value in np.frombuffer(data, f"<{kind}").tolist()]


@pytest.mark.parametrize("group", [None, "config.lr"])
def test_curves_are_the_same_in_every_form(client: httpx.Client, group: str | None) -> None:
    as_json = history(client, "application/json", group=group).json()
    packed = msgspec.msgpack.decode(history(client, MSGPACK, group=group).content)
    table = pyarrow.ipc.open_stream(history(client, ARROW, group=group).content).read_all()

    which, who = ("groups", "value") if group else ("series", "run")
    assert len(as_json[which]) == (2 if group else 4)
    for found in packed[which]:
        for name, column in found.items():
            found[name] = unpacked(column) if isinstance(column, dict) and {"f8", "i8"} & column.keys() else column
    assert packed == as_json
    rest = json.loads(table.schema.metadata[b"milepost"])
    names = {"x", "mean", "min", "max", "count", *(("std",) if group else ("last",))}
    rest[which] = [
        own
        | {name: column_of(table, who, json.dumps(own[who]) if group else own[who], own["key"], name) for name in names}
        for own in rest[which]
    ]
    assert rest == as_json


def column_of(table: Any, who: str, name: str, key: str, column: str) -> list[Any]:
    frame = table.to_pydict()
    return [
        value
        for owner, of, value in zip(frame[who], frame["key"], frame[column], strict=True)
        if (owner, of) == (name, key)
    ]


def test_exact_rows_are_the_same_in_every_form(client: httpx.Client) -> None:
    def get(accept: str = "*/*", **query: Any) -> httpx.Response:
        answer = client.get("/api/v1/runs/p/r1/rows", params={"limit": 10_000, **query}, headers={"Accept": accept})
        assert answer.status_code == 200, answer.text
        return answer

    packed = msgspec.msgpack.decode(get(MSGPACK).content)
    table = pyarrow.ipc.open_stream(get(ARROW).content).read_all().to_pydict()
    as_json = get().json()

    assert packed["next"] is as_json["next"] is None
    assert len(packed["rows"]) == ROWS
    for n, found in enumerate(packed["rows"]):
        wanted = values(n)
        assert repr({key: found[key] for key in wanted}) == repr(wanted)
        assert (table["big"][n], table["flag"][n], repr(table["loss"][n])) == (
            wanted["big"], wanted["flag"], repr(wanted["loss"])
        )  # fmt: skip
    assert (table["text"][0], table["list"][0], table["text"][1]) == ("t0", '[1,"a"]', None)
    assert as_json["rows"][0]["loss"] == "NaN"
    assert get(format="arrow").content == get(ARROW).content
    assert get("text/csv").headers["content-type"] == "text/csv; charset=utf-8"
    assert get("application/vnd.apache.parquet").content.startswith(b"PAR1")
    assert len(get("application/x-ndjson").text.splitlines()) == ROWS


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("application/json;q=0.5, application/x-msgpack", MSGPACK),
        (f"{ARROW};q=0.1, {MSGPACK};q=0.2, application/json;q=0", MSGPACK),
        ("application/*;q=0.3, application/json;q=0.2", MSGPACK),
    ],
)
def test_a_client_says_what_it_likes_best(client: httpx.Client, accept: str, kind: str) -> None:
    answer = client.get("/api/v1/runs/p/r1/rows", params={"limit": 1}, headers={"Accept": accept})

    assert answer.headers["content-type"] == kind


@pytest.mark.parametrize("accept", ["image/png", "application/json;q=0", "application/json;q=x"])
def test_what_nobody_can_answer_is_said(client: httpx.Client, accept: str) -> None:
    for answer in (
        client.get("/api/v1/runs/p/r1/rows", headers={"Accept": accept}),
        client.post("/api/v1/history", json={"runs": ["p/r1"], "keys": ["loss"]}, headers={"Accept": accept}),
    ):
        assert answer.status_code == 406
        assert "application/msgpack" in answer.json()["detail"]


WITHOUT_PYARROW = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pyarrow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Nothing())
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "pyarrow" else find(name, package)
"""


def test_without_pyarrow_the_answer_names_the_command(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_PYARROW)
    (tmp_path / "runs").mkdir()
    log = "import milepost; milepost.init(project='p', id='r', dir='runs'); milepost.log({'a': 1}); milepost.finish()"
    subprocess.run([sys.executable, "-c", log], cwd=tmp_path, check=True, capture_output=True)
    server = Server(["--runs", str(tmp_path / "runs")], {**os.environ, "PYTHONPATH": str(tmp_path)})
    with server.client() as client:
        path = "/api/v1/runs/p/r/rows"
        for answer in (
            client.get(path, params={"format": "arrow"}),
            client.get(path, params={"format": "parquet"}),
            client.get(path, headers={"Accept": ARROW}),
            client.post("/api/v1/history", json={"runs": ["p/r"], "keys": ["a"]}, headers={"Accept": ARROW}),
        ):
            assert answer.status_code == 501
            assert 'pip install "milepost[parquet]"' in answer.json()["detail"]
        second_best = client.get(path, headers={"Accept": f"{ARROW}, {MSGPACK};q=0.5"})
        assert msgspec.msgpack.decode(second_best.content)["rows"][0]["a"] == 1
    server.kill()
