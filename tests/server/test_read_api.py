"""A server over a runs directory answers what the directory holds, live, and nothing else."""

import csv
import io
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas
import pytest

import milepost
from tests.server.conftest import Server, Start

NAN = float("nan")


def log_run(rows: list[dict[str, Any]], **arguments: Any) -> str:
    run = milepost.init(project="digits", dir="runs", exporters=[], **arguments)
    for row in rows:
        milepost.log(row)
    milepost.finish()
    return run.id


def get(client: httpx.Client, path: str, **parameters: Any) -> Any:
    answer = client.get(f"/api/v1{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def history(client: httpx.Client, **asked: Any) -> Any:
    answer = client.post("/api/v1/history", json=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_run_table_is_filtered_sorted_and_paged(start: Start) -> None:
    for n in range(5):
        log_run(
            [{"acc": n / 10}],
            name=f"run-{n}",
            config={"lr": 10.0**-n, "net": {"depth": n}},
            tags=["even"] * (n % 2 == 0),
        )

    with start("--runs", "runs").client() as client:
        projects = get(client, "/projects")["projects"]
        page = get(
            client,
            "/projects/digits/runs",
            filter="config.lr < 0.5 and summary.acc <= 0.3",
            sort="summary.acc",
            order="desc",
            limit=2,
            columns=["config.net.depth", "summary.acc", "config.none"],
        )
        tagged = get(client, "/projects/digits/runs", filter='tags has "even"')
        columns = get(client, "/projects/digits/columns", search="depth")

    assert [(p["name"], p["runs"], p["running"]) for p in projects] == [("digits", 5, 0)]
    assert page["total"] == 3
    assert [(run["name"], run["columns"]) for run in page["runs"]] == [
        ("run-3", {"config.net.depth": 3, "summary.acc": 0.3}),
        ("run-2", {"config.net.depth": 2, "summary.acc": 0.2}),
    ]
    assert {run["state"] for run in page["runs"]} == {"finished"}
    assert tagged["total"] == 3
    assert columns == {"total": 1, "columns": [{"name": "config.net.depth", "kind": "number", "runs": 5}]}


def test_rows_come_back_exact_in_every_form(start: Start) -> None:
    logged: list[dict[str, Any]] = [
        {"a": 1, "b": 0.1, "c": "text", "d": True, "e": None},
        {"a": 2**60, "b": NAN, "h": milepost.Histogram([1, 2, 3], num_bins=2)},
        {"a": -3, "b": math.inf, "nested": {"x": 1}},
    ]
    run = log_run(logged)
    expected = list(milepost.Api("runs").run(f"digits/{run}").scan_history())

    with start("--runs", "runs").client() as client:
        path = f"/runs/digits/{run}/rows"
        first = get(client, path, limit=2)
        rest = get(client, path, offset=first["next"])
        lines = client.get(f"/api/v1{path}?format=jsonl").text.splitlines()
        table = list(csv.DictReader(io.StringIO(client.get(f"/api/v1{path}?format=csv").text)))
        parquet = client.get(f"/api/v1{path}?format=parquet").content
        some = get(client, path, keys=["_step", "a"], min_step=1, max_step=2)

    rows = [*first["rows"], *rest["rows"]]
    assert [{k: v for k, v in row.items() if k != "b"} for row in rows] == [
        {k: v for k, v in row.items() if k != "b"} for row in expected
    ]
    assert [row["b"] for row in rows] == [0.1, "NaN", "Infinity"]
    assert rest["next"] is None
    assert [json.loads(line) for line in lines] == rows
    assert [row["a"] for row in table] == ["1", str(2**60), "-3"]
    assert list(pandas.read_parquet(io.BytesIO(parquet))["a"]) == [1, 2**60, -3]
    assert some["rows"] == [{"_step": 1, "a": 2**60}]


def test_a_short_curve_is_exact_and_marks_what_is_no_number(start: Start) -> None:
    run = log_run([{"loss": value} for value in (3.0, NAN, 1.0, math.inf, -math.inf, 2.0)])

    with start("--runs", "runs").client() as client:
        answer = history(client, runs=[f"digits/{run}"], keys=["loss", "none"])

    (curve,) = answer["series"]
    assert curve["x"] == [0, 1, 2, 3, 4, 5]
    assert curve["min"] == curve["max"] == curve["mean"] == curve["last"] == [3.0, None, 1.0, None, None, 2.0]
    assert curve["marks"] == {"nan": [[1.0, 1]], "inf": [[3.0, 1]], "-inf": [[4.0, 1]]}
    assert curve["aggregated"]["exact"]
    assert answer["missing"] == [{"run": f"digits/{run}", "key": "none", "why": "no points"}]


@pytest.mark.parametrize("rows", [900, 30_000])
def test_buckets_hold_what_the_rows_hold(start: Start, rows: int) -> None:
    values = np.random.default_rng(0).normal(size=rows)
    values[rows // 2] = 1000.0
    run = log_run([{"v": value} for value in values.tolist()])

    with start("--runs", "runs").client() as client:
        answer = history(client, runs=[f"digits/{run}"], keys=["v"], buckets=20)

    (curve,) = answer["series"]
    width = answer["width"]
    assert sum(curve["count"]) == rows
    assert 10 <= len(curve["x"]) <= 21
    assert max(curve["max"]) == 1000.0
    assert min(curve["min"]) == values.min()
    assert curve["last"][-1] == values[-1]
    assert np.dot(curve["mean"], curve["count"]) == pytest.approx(values.sum())
    if curve["aggregated"]["block_points"] == 1:
        for n, x in enumerate(curve["x"]):
            inside = values[[i for i in range(rows) if i // width == x // width]]
            assert (curve["min"][n], curve["max"][n], curve["count"][n]) == (inside.min(), inside.max(), len(inside))


def test_any_key_can_be_the_axis(start: Start) -> None:
    run = log_run([{"epoch": 3.0, "loss": 1.0}, {"loss": 9.0}, {"epoch": 1.0, "loss": 5.0}, {"epoch": 2.0}])

    with start("--runs", "runs").client() as client:
        answer = history(client, runs=[f"digits/{run}"], keys=["loss"], x="epoch")
        clock = history(client, runs=[f"digits/{run}"], keys=["loss"], x="_timestamp")

    (curve,) = answer["series"]
    assert list(zip(curve["x"], curve["last"], strict=True)) == [(1.0, 5.0), (3.0, 1.0)]
    assert abs(clock["series"][0]["x"][0] - time.time()) < 600


LIVE = """
import sys, milepost
run = milepost.init(project="digits", dir="runs", id="live", exporters=[])
for line in sys.stdin:
    for n in range(int(line)):
        milepost.log({"n": n})
    run.flush()
    print("logged", flush=True)
milepost.finish()
"""


def test_what_is_logged_is_told_and_given_as_a_delta(start: Start) -> None:
    Path("runs").mkdir()
    server = start("--runs", "runs")
    program = subprocess.Popen([sys.executable, "-c", LIVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert program.stdin is not None
    assert program.stdout is not None

    def log(rows: int) -> None:
        print(rows, file=program.stdin, flush=True)
        assert program.stdout is not None
        while program.stdout.readline() != "logged\n":
            pass

    with server.client() as client, server.client() as other, other.stream("GET", "/api/v1/events") as stream:
        events = stream.iter_lines()
        log(10)
        assert next(line for line in events if line.startswith("event:")) == "event: run"
        told = next(json.loads(line[6:]) for line in events if '"rows":10,' in line)
        first = history(client, runs=["digits/live"], keys=["n"])
        log(5)
        more = next(json.loads(line[6:]) for line in events if '"rows":15,' in line)
        second = history(client, runs=["digits/live"], keys=["n"], after=first["watermarks"], width=first["width"])
        program.stdin.close()
        program.wait(60)
        assert any('"state":"finished"' in line for line in events)
    program.stdout.close()

    assert (told["run"], told["rows"], more["rows"]) == ("live", 10, 15)
    assert first["series"][0]["x"] == list(range(10))
    assert second["series"][0]["delta"]
    assert second["series"][0]["x"] == list(range(10, 15))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    runs = tmp_path_factory.mktemp("served") / "runs"
    run = milepost.init(project="digits", dir=str(runs), id="one", exporters=[])
    milepost.log({"loss": 1.0})
    run.finish()
    (runs / "digits" / "one" / "notes.html").write_text("<script>alert(1)</script>")
    (runs / "digits" / "one" / "dot.png").write_bytes(b"\x89PNG\r\n\x1a\n....")
    (runs / "secret.txt").write_text("secret")
    served = Server(["--runs", str(runs)])
    yield served
    served.kill()


@pytest.mark.parametrize(
    "path",
    [
        "../../secret.txt", "..%2f..%2fsecret.txt", "%2e%2e/%2e%2e/secret.txt", "....//....//secret.txt", "/etc/passwd",
        "//etc/passwd", "%2fetc%2fpasswd", "..\\..\\secret.txt", "..%5c..%5csecret.txt", "%252e%252e%252fsecret.txt",
        "//proc/self/root/etc/passwd", "#/../../secret.txt", "%00", "notes.html%00.png", "journal", "../one/../../secret.txt",
    ],
)  # fmt: skip
def test_no_path_leads_out_of_the_run(server: Server, path: str) -> None:
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        answer = client.get(f"/api/v1/runs/digits/one/files/{path}")

    assert answer.status_code in (400, 404)
    assert "secret" not in answer.text.replace("secret.txt", "")
    assert "root:" not in answer.text


def test_files_are_inert(server: Server) -> None:
    with server.client() as client:
        page = client.get("/api/v1/runs/digits/one/files/notes.html")
        picture = client.get("/api/v1/runs/digits/one/files/dot.png")

    assert page.headers["content-type"] == "application/octet-stream"
    assert page.headers["content-disposition"].startswith("attachment")
    assert picture.headers["content-type"] == "image/png"
    assert picture.headers["content-disposition"].startswith("inline")
    for answer in (page, picture):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing", None, 404),
        ("GET", "/projects/none/runs", None, 404),
        ("GET", "/runs/digits/none", None, 404),
        ("GET", "/runs/digits/one/files/none", None, 404),
        ("GET", "/projects/digits/runs?filter=lr>1", None, 400),
        ("GET", "/projects/digits/runs?sort=lr", None, 400),
        ("GET", "/projects/digits/runs?limit=0", None, 422),
        ("GET", "/runs/digits/one/rows?writer=nobody", None, 400),
        ("POST", "/history", "{", 422),
        ("POST", "/history", '{"runs": ["digits/one"], "keys": ["loss"], "colour": 1}', 422),
        ("POST", "/history", '{"runs": ["digits/one"], "keys": ["loss"], "range": [2, 1]}', 400),
        ("POST", "/history", '{"runs": ["digits/one"], "keys": ["loss"], "range": [0, 1e9], "width": 1e-9}', 400),
        ("POST", "/bulk", '{"runs": ["digits/one"], "delete": true}', 409),
        ("DELETE", "/projects", None, 403),
    ],
)
def test_every_error_has_one_shape(server: Server, method: str, path: str, body: str | None, status: int) -> None:
    headers = {"Content-Type": "application/json"} if body else {}
    with server.client() as client:
        answer = client.request(method, f"/api/v1{path}", content=body, headers=headers)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert answer.json()["title"]


def test_the_server_ends_at_sigterm_and_says_where_it_was(start: Start) -> None:
    Path("runs").mkdir()
    server = start("--runs", "runs")
    with server.client() as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").json() == {"status": "ready"}

    assert server.stop() in (0, -15)
    assert server.said[0].startswith("milepost: serving ")


def test_a_key_whose_summary_is_a_set_of_aggregates_is_a_scalar(start: Start) -> None:
    milepost.init(project="p", dir="runs", id="r")
    milepost.define_metric("acc", summary="best,last", goal="maximize")
    for n in range(5):
        milepost.log({"acc": n / 5, "text": "x"})
    milepost.finish()
    with start("--runs", "runs").client() as client:
        for path in ("/api/v1/projects/p/keys", "/api/v1/runs/p/r/keys"):
            found = {each["key"]: each["kind"] for each in client.get(path).json()["keys"]}
            assert found == {"acc": "scalar", "text": "text"}
