"""Runs are grouped by what they share, on the server as on the page."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from milepost.server.grouping import groups_of, mean_of
from milepost.server.records import RunRecord
from tests.server.conftest import ADMIN_KEY, Server
from tests.server.sending import event, row, send

RATES: list[Any] = [0.1, 0.1, 0.01, 1, 1.0, "auto", 'odd "text" \\', None, True, [1, 2], math.nan]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    data = tmp_path_factory.mktemp("groups") / "data"
    server = Server(["--data", str(data)], {"MILEPOST_ADMIN_KEY": ADMIN_KEY})
    with server.client(ADMIN_KEY) as client:
        for n, rate in enumerate(RATES):
            config = {"lr": rate, "seed": n % 2} if rate is not None else {"seed": n % 2}
            start = event(0, "run.start", {"name": f"n{n}", "config": config, "tags": ["a"] if n < 2 else []})
            rows = [row(step + 1, {"loss": float(n + step)}, step) for step in range(0, 10, 1 + n % 2)]
            assert send(client, [start, *rows], run=f"r{n}", writer=f"{n:016x}").status_code == 200
        yield client
    server.kill()


def groups(client: httpx.Client, **asked: Any) -> Any:
    answer = client.get("/api/v1/projects/p/groups", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_groups_have_counts_and_figures(client: httpx.Client) -> None:
    told = groups(client, by="config.lr", columns="summary.loss")

    assert told["runs"] == len(RATES)
    values = [group["by"]["config.lr"] for group in told["groups"]]
    assert values == [True, 0.01, 0.1, 1, "NaN", "auto", 'odd "text" \\', [1, 2], None]
    assert told["total"] == len(values)
    assert [group["runs"] for group in told["groups"]] == [1, 1, 2, 2, 1, 1, 1, 1, 1]
    of_a_tenth = told["groups"][2]
    assert of_a_tenth["states"] == {"running": 2}
    figures = of_a_tenth["columns"]["summary.loss"]  # 0 + 9 and 1 + 8
    assert figures == {"count": 2, "mean": 9.0, "std": 0.0, "min": 9.0, "max": 9.0, "shared": 9.0}


def test_a_groups_filter_finds_its_runs(client: httpx.Client) -> None:
    for group in groups(client, by=["config.lr", "config.seed"])["groups"]:
        if group["filter"] is None:
            assert group["by"]["config.lr"] in ("NaN", [1, 2])
            continue
        page = client.get("/api/v1/projects/p/runs", params={"filter": group["filter"]}).json()
        assert page["total"] == group["runs"], group


def test_the_run_table_has_the_runs_of_every_group_by_its_key(client: httpx.Client) -> None:
    for group in groups(client, by=["config.lr", "tags"], first=1, run_sort="name")["groups"]:
        asked = {"by": ["config.lr", "tags"], "group_key": group["key"], "sort": "name", "order": "asc"}
        page = client.get("/api/v1/projects/p/runs", params=asked).json()
        assert page["total"] == group["runs"], group
        assert {run["group_key"] for run in page["runs"]} == {group["key"]}
        assert [run["id"] for run in group["first"]] == [max(page["runs"], key=lambda run: str(run["name"]))["id"]]
    assert client.get("/api/v1/projects/p/runs", params={"group_key": "[1]"}).status_code == 400


def test_a_group_of_a_value_that_no_address_has_room_for_is_found_by_its_key(client: httpx.Client) -> None:
    for n in range(2):
        start = event(0, "run.start", {"config": {"prompt": "x" * 70_000 + str(n)}})
        assert send(client, [start], run=f"r{n}", project="long", writer=f"{n:016x}").status_code == 200

    told = client.get("/api/v1/projects/long/groups", params={"by": "config.prompt"}).json()["groups"]

    assert [group["filter"] for group in told] == [None, None]
    for group in told:
        asked = {"by": "config.prompt", "group_key": group["key"]}
        page = client.get("/api/v1/projects/long/runs", params=asked).json()
        assert [run["group_key"] for run in page["runs"]] == [group["key"]]


def test_groups_tell_what_all_of_their_runs_share(client: httpx.Client) -> None:
    told = groups(client, by="config.seed", columns=["tags", "state", "config.lr"], filter="config.lr == 0.1")["groups"]
    assert [group["columns"]["state"]["shared"] for group in told] == ["running", "running"]
    assert [group["columns"]["tags"]["shared"] for group in told] == [["a"], ["a"]]
    every = groups(client, by="state", columns="config.lr")["groups"]
    assert [group["columns"]["config.lr"]["shared"] for group in every] == [None]


def test_groups_are_filtered_sorted_and_paged(client: httpx.Client) -> None:
    by_size = groups(client, by="config.lr", sort="runs", order="desc", limit=2)
    assert [group["by"]["config.lr"] for group in by_size["groups"]] == [0.1, 1]
    assert by_size["total"] == 9
    by_loss = groups(client, by="config.seed", columns="summary.loss", sort="summary.loss", order="desc")
    means = [group["columns"]["summary.loss"]["mean"] for group in by_loss["groups"]]
    assert means == sorted(means, reverse=True)
    tagged = groups(client, by="tags", filter="config.lr < 0.5")
    assert [(group["by"]["tags"], group["runs"]) for group in tagged["groups"]] == [(["a"], 2), ([], 1)]


@pytest.mark.parametrize(
    "asked",
    [{}, {"by": "lr"}, {"by": "config.lr", "sort": "summary.loss"}, {"by": "config.lr", "filter": "lr >"}],
    ids=str,
)
def test_what_makes_no_group_is_said(client: httpx.Client, asked: dict[str, str]) -> None:
    answer = client.get("/api/v1/projects/p/groups", params=asked)

    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_curves_of_a_group_are_one_with_a_band(client: httpx.Client) -> None:
    asked = {"runs": ["p/r0", "p/r1", "p/r2", "p/none"], "keys": ["loss", "no"], "group": "config.lr"}
    told = client.post("/api/v1/history", json=asked).json()

    assert told["series"] == []
    hundredth, tenth = told["groups"]
    assert (hundredth["value"], tenth["value"]) == (0.01, 0.1)
    assert tenth["runs"] == ["p/r0", "p/r1"]
    assert tenth["x"] == [float(x) for x in range(10)]  # r1 has every second step, and ends at 8
    assert tenth["mean"][:9] == [x + 0.5 for x in range(9)]
    assert (tenth["min"][:9], tenth["max"][:9]) == ([float(x) for x in range(9)], [x + 1.0 for x in range(9)])
    assert tenth["std"][:9] == [0.5] * 9
    assert (tenth["mean"][9], tenth["std"][9]) == (9.0, 0.0)
    assert tenth["count"] == [2] * 9 + [1]
    assert {each["key"] for each in told["missing"]} == {"loss", "no"}
    refused = client.post("/api/v1/history", json={**asked, "after": {"p/r0": "0;"}})
    assert refused.status_code == 400


def test_the_mean_of_curves_is_that_of_the_page(repository: Path) -> None:
    told = json.loads((repository / "tests/server/grouping.json").read_text())  # curves.test.ts reads it too
    curves = [tuple(np.array(one[name], np.float64) for name in ("x", "y")) for one in told["curves"]]

    found = mean_of(curves, told["places"])  # type: ignore[arg-type]

    for name, values in told["expected"].items():
        np.testing.assert_array_equal(getattr(found, name), np.array(values, np.float64), name)


def test_texts_with_numbers_in_them_are_in_the_order_of_these() -> None:
    runs = [RunRecord(id=name, project="p", name=name) for name in ("run-10", "run-9", "run-", "a", "10")]

    assert [group.values[0] for group in groups_of(runs, ["name"])] == ["10", "a", "run-", "run-9", "run-10"]
