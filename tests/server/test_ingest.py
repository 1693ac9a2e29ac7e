"""What is acknowledged is stored, once, and whatever comes again or cut in another way changes nothing."""

import gzip
import hashlib
import json
import math
import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from milepost.sdk import wire
from milepost.sdk.event import Event
from tests.server.conftest import ADMIN_KEY, Server
from tests.server.sending import WRITER, event, row, rows_of, send, wait_until_compacted

Begin = Callable[[], Server]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    data = tmp_path_factory.mktemp("store") / "data"
    server = Server(["--data", str(data)], {**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY})
    with server.client(ADMIN_KEY) as client:
        yield client
    server.kill()


def values(seq: int) -> dict[str, Any]:
    return {
        "loss": math.sin(seq),
        "n": seq,
        **({"note": f"text {seq}"} if seq % 7 == 0 else {}),
        **({"none": None} if seq % 5 == 0 else {}),
    }


EVENTS: list[Event] = [
    event(0, "run.start", {"name": "cut", "config": {"lr": 0.5}}),
    *(row(seq, values(seq)) for seq in range(1, 60)),
    event(60, "summary", {"set": {"best": 3}}),
    *(row(seq, values(seq)) for seq in range(61, 100)),
    event(100, "run.finish", {"state": "finished", "summary": {"loss": 1.0}}),
]
EXPECTED = [
    {"_step": e.step, "_timestamp": e.time_unix_nano / 1e9, "_runtime": e.runtime_s, **e.values}
    for e in EVENTS
    if e.kind == "row"
]
CUTS = st.lists(
    st.tuples(st.integers(0, 100), st.integers(1, 60)).map(lambda cut: (cut[0], min(cut[0] + cut[1], 101))), max_size=12
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=CUTS, order=st.randoms(use_true_random=False), number=st.uuids())
def test_batches_in_any_order_cut_anew_and_repeated_give_one_history(
    client: httpx.Client, cuts: list[tuple[int, int]], order: random.Random, number: Any
) -> None:
    cuts = [*cuts, (0, 40), (40, 101)] * order.choice([1, 2])
    order.shuffle(cuts)
    for first, stop in cuts:
        assert send(client, EVENTS[first:stop], run=number.hex, project="cut").status_code == 200

    told = client.get(f"/api/v1/runs/cut/{number.hex}").json()
    assert rows_of(client, number.hex, "cut") == EXPECTED
    assert (told["rows"], told["last_step"], told["name"], told["config"]) == (98, 99, "cut", {"lr": 0.5})
    assert told["completeness"]["gaps"] == []


def test_batches_that_came_in_any_order_are_one_history_once_they_are_compacted_too(client: httpx.Client) -> None:
    rows = [row(n, {"a": n / 7}) for n in range(2_000)]
    for first, last in ((50, 1_900), (0, 50), (1_900, 2_000)):
        assert send(client, rows[first:last], run="mixed").status_code == 200
    wait_until_compacted(client, "mixed")

    assert [each["a"] for each in rows_of(client, run="mixed")] == [n / 7 for n in range(2_000)]
    again = send(client, [row(n, {"a": -1.0}) for n in range(40, 49)], run="mixed")
    assert again.status_code == 409


def test_a_run_says_how_far_behind_it_is(client: httpx.Client) -> None:
    def lag() -> float:
        told = client.get("/api/v1/runs/p/lag").json()
        assert told["completeness"]["lag"] == max(writer["lag"] for writer in told["writers"])
        return float(told["completeness"]["lag"])

    late = row(1, {"a": 1.0})
    late = msgspec.structs.replace(late, time_unix_nano=time.time_ns() - 3600 * 10**9)
    send(client, [late], run="lag")
    assert 3600 <= lag() < 3700
    send(client, [msgspec.structs.replace(row(2, {"a": 1.0}), time_unix_nano=time.time_ns())], run="lag")
    assert lag() < 100


def test_a_row_that_comes_with_other_values_is_refused_and_nothing_of_its_batch_is_stored(client: httpx.Client) -> None:
    send(client, [row(n, {"a": float(n)}) for n in range(10)], run="other")

    answer = send(client, [row(n, {"a": 1.5 if n == 5 else float(n)}) for n in range(5, 20)], run="other")

    assert answer.status_code == 409
    assert answer.json()["seq"] == 5
    assert [r["a"] for r in rows_of(client, "other")] == [float(n) for n in range(10)]
    assert send(client, [row(5, {"a": 5})], run="other").status_code == 409  # 5 is not 5.0


def test_a_gap_is_accepted_reported_and_filled(client: httpx.Client) -> None:
    send(client, [row(n, {"a": n}) for n in range(5)], run="gap")
    gapped = send(client, [row(n, {"a": n}) for n in range(8, 10)], run="gap").json()
    told = client.get("/api/v1/runs/p/gap").json()["completeness"]["gaps"]
    asked = client.get(f"/api/v1/runs/gap/writers/{WRITER}?project=p").json()
    filled = send(client, [row(n, {"a": n}) for n in range(4, 9)], run="gap").json()

    assert gapped == asked == {"stored_through": 4, "duplicates": 0, "gaps": [[5, 7]]}
    assert [(gap["first"], gap["last"]) for gap in told] == [(5, 7)]
    assert filled == {"stored_through": 9, "duplicates": 2, "gaps": []}
    assert [r["a"] for r in rows_of(client, "gap")] == list(range(10))


def test_a_heartbeat_says_whether_the_program_lives(client: httpx.Client) -> None:
    def beat(run: str, body: Any) -> int:
        return client.post(f"/api/v1/runs/{run}/writers/{WRITER}/heartbeat", json=body).status_code

    def state() -> str:
        return str(client.get("/api/v1/runs/p/beats").json()["state"])

    assert beat("beats", {"project": "p"}) == 404
    assert beat("beats", {"project": 1}) == 422
    send(client, [event(0, "run.start", {}), row(1, {"x": 1})], run="beats")
    before = client.get("/api/v1/runs/p/beats").json()["heartbeat"]
    assert beat("beats", {"project": "p"}) == 204
    assert client.get("/api/v1/runs/p/beats").json()["heartbeat"] > before
    assert state() == "running"
    assert beat("beats", {"project": "p", "alive": False}) == 204
    assert state() == "crashed"
    assert beat("beats", {"project": "p"}) == 204
    assert state() == "running"
    send(client, [event(2, "run.finish", {"state": "finished"})], run="beats")
    assert beat("beats", {"project": "p", "alive": False}) == 204
    assert state() == "finished"


def test_a_deleted_run_takes_nothing_more_of_its_writers_until_one_begins_anew(client: httpx.Client) -> None:
    def delete() -> None:
        assert client.post("/api/v1/bulk", json={"runs": ["p/deleted"], "delete": True}).json()["changed"] == 1

    start = event(0, "run.start", {"name": "first"})
    send(client, [start, row(1, {"a": 1})], run="deleted")
    send(client, [row(0, {"a": 1})], run="deleted", writer="00000000000000bb")
    delete()

    for writer in (WRITER, "00000000000000bb"):
        answer = send(client, [row(2, {"a": 2})], run="deleted", writer=writer)
        assert answer.status_code == 410
        assert "was deleted on" in answer.json()["detail"]
        assert answer.headers["content-type"] == "application/problem+json"
    assert client.get("/api/v1/runs/p/deleted").status_code == 404
    other = send(client, [row(7, {"a": 7})], run="deleted", writer="00000000000000cc")  # a new program under that id
    assert other.status_code == 200
    assert [r["a"] for r in rows_of(client, "deleted")] == [7]
    delete()
    assert send(client, [start, row(1, {"a": 1}), row(2, {"a": 2})], run="deleted").status_code == 200
    assert send(client, [row(3, {"a": 3})], run="deleted").status_code == 200
    assert [r["a"] for r in rows_of(client, "deleted")] == [1, 2, 3]
    assert client.get("/api/v1/runs/p/deleted").json()["name"] == "first"


def test_a_run_that_is_deleted_while_batches_arrive_is_gone_or_whole(client: httpx.Client) -> None:
    """Whatever comes first, nobody sees a run of which the beginning is missing."""
    stop = threading.Event()
    seen: set[int] = set()

    def sender() -> None:
        batches = iter(range(10**6))
        for n in batches:
            if stop.is_set():
                return
            events = [event(0, "run.start", {"name": "whole"})] if n == 0 else [row(n, {"a": n})]
            seen.add(send(client, events, run="racing").status_code)

    thread = threading.Thread(target=sender)
    thread.start()
    try:
        for _ in range(20):
            time.sleep(0.02)
            client.post("/api/v1/bulk", json={"runs": ["p/racing"], "delete": True})
            answer = client.get("/api/v1/runs/p/racing")
            assert answer.status_code in (200, 404)
            if answer.status_code == 200:
                assert answer.json()["completeness"]["gaps"] == []
    finally:
        stop.set()
        thread.join()
    assert seen == {200, 410}
    assert client.get("/api/v1/runs/p/racing").status_code == 404


def test_numbers_that_were_filtered_are_accounted_for(client: httpx.Client) -> None:
    answer = send(client, [row(3, {"a": 1})], run="filtered", first=0, last=9)

    assert answer.json() == {"stored_through": 9, "duplicates": 0, "gaps": []}


def test_json_is_taken_too(client: httpx.Client) -> None:
    group = {
        "keys": ["a", "b"],
        "seq": 0,
        "time": [1, 2],
        "runtime": [0, 1],
        "step": [0, 1],
        "values": [[1, 2.5], ["NaN", 1.0]],
    }
    body = {"project": "p", "writer": WRITER, "first": 0, "last": 1, "groups": [group]}
    for encoding, content in (("", json.dumps(body).encode()), ("gzip", gzip.compress(json.dumps(body).encode()))):
        headers = {"Content-Type": "application/json", **({"Content-Encoding": encoding} if encoding else {})}
        answer = client.post("/api/v1/runs/as-json/batches", content=content, headers=headers)
        assert answer.status_code == 200, answer.text

    assert [(r["a"], r["b"]) for r in rows_of(client, "as-json")] == [(1, "NaN"), (2.5, 1.0)]


def test_two_writers_of_one_run_stay_apart_and_the_lower_rank_speaks(client: httpx.Client) -> None:
    for rank in (1, 0):
        send(client, [row(n, {"a": rank * 100 + n}) for n in range(3)], run="ranks", writer=f"{rank:016x}", rank=rank)

    assert [r["a"] for r in rows_of(client, "ranks")] == [0, 1, 2]
    assert [(r["_rank"], r["a"]) for r in rows_of(client, "ranks", writer="all")] == [
        (rank, rank * 100 + n) for n in range(3) for rank in sorted((0, 1), key=lambda r: f"{r:016x}")
    ]
    told = client.get("/api/v1/runs/p/ranks").json()
    assert (told["summary"], told["rows"]) == ({"a": 2}, 3)


def test_a_resumed_run_that_steps_back_hides_what_it_replaced(client: httpx.Client) -> None:
    send(client, [row(n, {"a": n}) for n in range(10)], run="rewound", started=1)
    later = [
        event(0, "run.start", {}),
        event(1, "rewind", {"step": 6}),
        *(row(n, {"a": n * 10}, step=n + 4) for n in range(2, 4)),
    ]
    send(client, later, run="rewound", writer="00000000000000bb", started=2)

    told = client.get("/api/v1/runs/p/rewound").json()
    asked = {"runs": ["p/rewound"], "keys": ["a"]}
    curve = client.post("/api/v1/history", json=asked).json()["series"][0]
    hidden = client.post("/api/v1/history", json={**asked, "rewound": True}).json()["series"][0]

    assert [r["a"] for r in rows_of(client, "rewound")] == [0, 1, 2, 3, 4, 5, 20, 30]
    assert curve["last"] == [0, 1, 2, 3, 4, 5, 20, 30]
    assert (hidden["x"], hidden["last"]) == ([6, 7, 8, 9], [6, 7, 8, 9])
    assert (told["rows"], told["last_step"], told["summary"]) == (8, 7, {"a": 30})


def test_aggregates_that_were_asked_for_stand_in_the_summary(client: httpx.Client) -> None:
    asked = event(1, "metric", {"name": "loss", "summary": ["min", "mean"]})
    send(
        client, [event(0, "run.start", {}), asked, *(row(n, {"loss": float(n % 5)}) for n in range(2, 12))], run="best"
    )
    send(client, [event(12, "metric", {"name": "loss", "summary": ["min", "max"]})], run="best")

    assert client.get("/api/v1/runs/p/best").json()["summary"] == {"loss": {"min": 0.0, "max": 4.0}}


def deep(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def _batch(**changes: Any) -> dict[str, Any]:
    group = {"keys": ["a"], "seq": 0, "time": [1], "runtime": [0], "step": [0], "values": [[1]]}
    return {
        "project": "p",
        "writer": WRITER,
        "first": 0,
        "last": 0,
        "groups": [group | changes.pop("group", {})],
    } | changes


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (_batch(writer="../../etc"), "writer: 16 hexadecimal digits"),
        (_batch(project="../x"), "project: 1 to 200 characters"),
        (_batch(project="p\x00"), "project: 1 to 200 characters"),
        (_batch(project=""), "project: 1 to 200 characters"),
        (_batch(first=5, last=4), "0 <= first <= last"),
        (_batch(first=1, last=4), "leave the interval"),
        (_batch(group={"values": []}), "1 keys and 0 columns"),
        (_batch(group={"values": [[1, 2]]}), "1 times, but 2 values"),
        (_batch(group={"keys": [""]}), "a key has 1 to"),
        (_batch(group={"keys": ["a" * 5000]}), "a key has 1 to"),
        (_batch(group={"keys": ["a", "a"], "values": [[1], [1]]}), "a key comes twice"),
        (_batch(group={"step": [-1]}), "whole numbers from 0"),
        (_batch(group={"time": [1.5]}), "whole numbers"),
        (_batch(group={"seq": [2**70]}), "64 bits"),
        (_batch(groups=7), "Expected `array`"),
        (_batch(events=[[0, 1, 2, None, "row", {}]], groups=[]), "rows stand in groups"),
        (_batch(events=[[0, 1, 2, None, "gap", {}]], groups=[]), "gap 0 says first and last"),
        (_batch(events=[[0, 1, 2, None, "config", {}]]), "comes twice"),
        (_batch(created=2**63), "created: a whole number of 64 bits"),
        (_batch(events=[[0, 2**63, 2, None, "config", {}]], groups=[]), "events: time: a whole number of 64 bits"),
        (_batch(group={"values": [[deep(300)]]}), "groups[0], 'a': nested deeper than 256 levels"),
        (_batch(events=[[0, 1, 2, None, "config", {"b": deep(300)}]], groups=[]), "events, 'config' 0: nested deeper"),
    ],
)
def test_a_batch_that_is_none_is_refused_with_what_is_wrong(
    client: httpx.Client, batch: dict[str, Any], said: str
) -> None:
    for kind, body in (("msgpack", msgspec.msgpack.encode), ("json", msgspec.json.encode)):
        if kind == "msgpack" and batch["groups"] and batch["groups"] != 7 and batch["groups"][0]["seq"] == [2**70]:
            continue  # msgpack cannot say it
        answer = client.post(
            "/api/v1/runs/wrong/batches",
            content=body(batch),
            headers={"Content-Type": f"application/vnd.milepost.v1+{kind}"},
        )
        assert answer.status_code == 422, answer.text
        assert said in answer.json()["detail"]
    assert client.get("/api/v1/runs/p/wrong").status_code == 404


def test_a_file_is_named_in_a_run_that_can_be_asked_for(client: httpx.Client) -> None:
    content = b"what a run refers to"
    sha256 = hashlib.sha256(content).hexdigest()
    address = f"/api/v1/blobs/sha256/{sha256}"
    size = {"Upload-Offset": "0", "Upload-Length": str(len(content))}
    assert client.patch(address, params={"project": "files"}, content=content, headers=size).status_code == 200

    def named(project: str, run: str) -> int:
        told = {"project": project, "sha256": sha256, "size": len(content)}
        return client.put(f"/api/v1/runs/{run}/files/notes.txt", json=told).status_code

    assert [named(*wrong) for wrong in (("", "r"), ("..", "r"), ("a/b", "r"), ("files", "%0A"))] == [422] * 4
    assert named("files", "r") == 200
    assert client.get(address).content == content
    projects = {each["name"] for each in client.get("/api/v1/projects").json()["projects"]}
    assert projects.isdisjoint(("", "..", "a/b"))


@pytest.mark.parametrize(
    "changes",
    [
        {"started": 2**63},
        {"attempt": 2**63},
        {"groups": [], "events": [[0, 1, 2, None, "config", {"set": {"a": 2**70}}]]},
    ],
    ids=["started", "attempt", "event"],
)
def test_a_number_that_has_no_place_is_refused_and_not_asked_for_again(
    client: httpx.Client, changes: dict[str, Any]
) -> None:
    body = msgspec.json.encode(_batch(**changes))
    answer = client.post(
        "/api/v1/runs/large/batches", content=body, headers={"Content-Type": "application/vnd.milepost.v1+json"}
    )

    assert answer.status_code == 422, answer.text
    assert client.get("/api/v1/runs/p/large").status_code == 404


def test_what_is_as_deep_as_may_be_is_read_again(client: httpx.Client) -> None:
    batch = _batch(group={"values": [[deep(190)]]})
    assert client.post("/api/v1/runs/deep/batches", json=batch).status_code == 200

    assert client.get("/api/v1/runs/p/deep").json()["summary"] == {"a": deep(190)}
    for form in ("json", "msgpack", "jsonl", "csv", "parquet", "arrow"):
        assert client.get("/api/v1/runs/p/deep/rows", params={"format": form}).status_code == 200, form


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", {}, 422),
        (b"\xc1", {"Content-Type": "application/msgpack"}, 422),
        (b"x", {"Content-Type": "text/plain"}, 415),
        (b"{}", {"Content-Type": "application/vnd.milepost.v9+json"}, 415),
        (b"x", {"Content-Encoding": "br"}, 415),
        (b"x", {"Content-Encoding": "zstd"}, 400),
        (b"x", {"Content-Encoding": "gzip"}, 400),
        (gzip.compress(b"{}") * 2, {"Content-Encoding": "gzip"}, 400),
        (gzip.compress(b"{}"), {"Content-Encoding": "X-GZip"}, 422),
        (gzip.compress(bytes(200 << 20), 1), {"Content-Encoding": "gzip"}, 413),
        (zstandard.compress(bytes(1 << 30)), {"Content-Encoding": "zstd"}, 413),
        (b"[" * 100_000 + b"]" * 100_000, {}, 422),
        (b'{"writer":' + b"[" * 5000 + b"]" * 5000 + b"}", {}, 422),
    ],
    ids=[
        "json",
        "msgpack",
        "type",
        "version",
        "encoding",
        "zstd",
        "gzip",
        "two-gzips",
        "gzip-by-another-name",
        "gzip-bomb",
        "zstd-bomb",
        "deep",
        "deep-inside",
    ],
)
def test_bodies_that_are_none_are_refused(
    client: httpx.Client, content: bytes, headers: dict[str, str], status: int
) -> None:
    answer = client.post(
        "/api/v1/runs/wrong/batches", content=content, headers={"Content-Type": "application/json", **headers}
    )

    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_without_end_is_cut_at_the_limit(client: httpx.Client) -> None:
    sent = 0

    def endless() -> Any:
        nonlocal sent
        while sent < 1 << 30:
            sent += 1 << 20
            yield bytes(1 << 20)

    try:
        answer = client.post(
            "/api/v1/runs/wrong/batches", content=endless(), headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 413
    except httpx.WriteError:
        pass  # closed while we were sending
    assert sent < 200 << 20


def test_a_long_curve_is_the_same_before_and_after_compaction_and_a_restart(data_server: Begin) -> None:
    server = data_server()
    rng = np.random.default_rng(1)
    values = rng.normal(size=30_000).astype(np.float32).astype(float)
    values[777] = math.nan

    def asked(client: httpx.Client) -> Any:
        answers = [
            client.post("/api/v1/history", json={"runs": ["p/r1"], "keys": ["v"], "x": x, **more}).json()
            for x in ("_step", "_runtime", "n")
            for more in ({"buckets": 10}, {"buckets": 50, "range": [5, 9] if x == "_runtime" else [5000, 9000]})
        ]
        for answer in answers:
            answer["series"][0]["aggregated"].pop("block_points")
            answer.pop("watermarks")
            if (
                answer["x"] != "n" and answer["range"][0] == 0
            ):  # rows stand in blocks: those at the edges of buckets move
                (curve,) = answer["series"]
                sums = [sum(curve["count"]), round(float(np.dot(curve["mean"], curve["count"])))]
                answer["series"] = [min(curve["min"]), max(curve["max"]), curve["last"][-1], *sums]
        return answers

    with server.client(ADMIN_KEY) as client:
        for first in range(0, 30_000, 3000):
            some = [row(n, {"v": float(values[n]), "n": n}) for n in range(first, first + 3000)]
            assert send(client, some).status_code == 200
        fresh = asked(client)
        wait_until_compacted(client)
        compacted = asked(client)
        rows = rows_of(client)
    assert server.stop() in (0, -15)
    with data_server().client(ADMIN_KEY) as client:
        again = asked(client)
        rows_again = rows_of(client, min_step=29_990)
        table = client.get("/api/v1/projects/p/runs?columns=*").json()["runs"]

    assert [r["n"] for r in rows] == list(range(30_000))
    assert rows[777]["v"] == "NaN"
    assert [r["v"] for r in rows if r["v"] != "NaN"] == [v for v in values.tolist() if v == v]
    assert fresh == compacted == again
    assert rows_again == rows[-10:]
    assert table[0]["columns"] == {"summary.v": values[-1], "summary.n": 29_999}


def test_nothing_of_a_deleted_run_is_in_the_curves_of_the_next(data_server: Begin) -> None:
    curve: dict[str, Any] = {}
    with data_server().client(ADMIN_KEY) as client:
        for run, stride in (("old", 1), ("new", 7)):
            n = np.arange(25_000)
            clocks = {"time": {"i8": (n + 10**18).tobytes()}, "runtime": {"i8": n.tobytes()}}
            group = wire.Group(
                keys=["v"], seq=0, step={"i8": (n * stride).tobytes()}, values=[{"f8": (n / 3).tobytes()}], **clocks
            )
            batch = wire.WireBatch(writer=WRITER, first=0, last=24_999, project="p", groups=[group])
            headers = {"Content-Type": wire.MEDIA_TYPE, "Content-Encoding": "zstd"}
            assert client.post(f"/api/v1/runs/{run}/batches", content=wire.encode(batch), headers=headers).is_success
            wait_until_compacted(client, run)
            body = {"runs": [f"p/{run}"], "keys": ["v"], "buckets": 100}
            curve = client.post("/api/v1/history", json=body).json()["series"][0]
            if run == "old":
                assert client.post("/api/v1/bulk", json={"runs": ["p/old"], "delete": True}).json()["changed"] == 1

    assert curve["aggregated"]["block_points"] == 64
    assert curve["x"][-1] == 24_999 * 7
    assert [mean * 3 * 7 for mean in curve["mean"]] == pytest.approx(curve["x"], abs=1500)


def test_a_killed_server_holds_exactly_what_it_acknowledged(data_server: Begin) -> None:
    acknowledged = [0, 0]
    for _ in range(3):
        server = data_server()
        stop = threading.Event()

        def work(writer: int, server: Server = server, stop: threading.Event = stop) -> None:
            with server.client(ADMIN_KEY) as client:
                while not stop.is_set():
                    first = acknowledged[writer]
                    rows = [row(n, {"n": n, "f": math.sin(n)}) for n in range(first, first + 200)]
                    try:
                        answer = send(client, rows, run=f"w{writer}", writer=f"{writer:016x}")
                    except httpx.TransportError:
                        return
                    if answer.status_code == 200:
                        acknowledged[writer] = answer.json()["stored_through"] + 1

        threads = [threading.Thread(target=work, args=(writer,)) for writer in (0, 1)]
        before = list(acknowledged)
        for thread in threads:
            thread.start()
        until = time.monotonic() + 60
        while any(a == b for a, b in zip(acknowledged, before, strict=True)) and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.5))
        server.kill()
        stop.set()
        for thread in threads:
            thread.join()
        assert all(a > b for a, b in zip(acknowledged, before, strict=True))

    with data_server().client(ADMIN_KEY) as client:
        for writer in (0, 1):
            told = client.get(f"/api/v1/runs/p/w{writer}").json()
            lines = client.get(f"/api/v1/runs/p/w{writer}/rows?format=jsonl").text.splitlines()
            rows = [json.loads(line) for line in lines]
            assert (
                acknowledged[writer] <= len(rows) <= acknowledged[writer] + 700
            )  # the last may be stored and not told
            assert [r["n"] for r in rows] == list(range(len(rows)))
            assert [r["f"] for r in rows] == [math.sin(n) for n in range(len(rows))]
            assert told["rows"] == len(rows)
            assert told["summary"]["n"] == len(rows) - 1


def test_the_wire_holds_every_value_exactly() -> None:
    events = [
        row(0, {"a": 2**70, "b": -0.0, "c": [1, "x"], "d": {"_type": "x"}}),
        row(1, {"a": 1, "b": 1, "c": None, "d": True}),
    ]

    batch = wire.batch_of(events, 0, 1, project="p", writer=WRITER)

    assert batch.groups[0].values == [[2**70, 1], [-0.0, 1], [[1, "x"], None], [{"_type": "x"}, True]]
