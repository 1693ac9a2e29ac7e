"""RELIABILITY D9, D10, G8, G9, G11: what the server promises, tried in the sizes that are asked for.

Figures are printed by `pytest -s`. The long forms are behind the marker gate.
"""

import contextlib
import http.client
import json
import math
import os
import random
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from milepost.sdk.event import Event
from milepost.sdk.wire import batch_of
from milepost.server.filters import MAX_LENGTH, compile_filter
from milepost.server.records import RunRecord
from milepost.server.store import RowQuery
from milepost.server.store.ingest import Conflict, Job, Receipt
from milepost.server.store.parts import parts_of, pressed
from milepost.server.store.sqlite import SqliteStore
from tests.server.conftest import ADMIN_KEY, Server
from tests.server.sending import WRITER, event, row, rows_of, send

Begin = Callable[[], Server]


def values(writer: int, n: int) -> dict[str, Any]:
    return {"n": n, "f": math.sin(n * (writer + 1)), **({"t": f"w{writer} {n}"} if n % 5 == 0 else {})}


class Writers:
    """Programs that send to a server that comes and goes, each its own run, and note what was acknowledged."""

    def __init__(self, count: int, most: int) -> None:
        self.acknowledged = [0] * count
        self.most = most
        self.server: Server | None = None
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(n,)) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def _send(self, writer: int) -> None:
        rng = random.Random(writer)
        while not self._stop.is_set() and self.acknowledged[writer] < self.most:
            server = self.server
            if server is None:
                time.sleep(0.01)
                continue
            with server.client(ADMIN_KEY) as client, contextlib.suppress(httpx.TransportError):
                while not self._stop.is_set() and self.acknowledged[writer] < self.most and self.server is server:
                    done = self.acknowledged[writer]
                    first = max(done - rng.randint(0, 20), 0)  # cut anew, so that it overlaps what is stored
                    last = min(first + rng.randint(1, 200), self.most)
                    events = [row(n, values(writer, n)) for n in range(first, last)]
                    answer = send(client, events, run=f"w{writer}", writer=f"{writer:016x}")
                    if answer.status_code == 200:
                        self.acknowledged[writer] = max(done, answer.json()["stored_through"] + 1)

    def stop(self) -> list[int]:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return self.acknowledged

    def wait(self, seconds: float) -> None:
        """Until the time is over, or all is acknowledged."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and min(self.acknowledged) < self.most:
            time.sleep(0.01)


def check(client: httpx.Client, acknowledged: list[int], most: int) -> int:
    """Acknowledged, as a set, is within what is stored, which is within what was sent: each row once, in order."""
    lost = 0
    for writer, count in enumerate(acknowledged):
        text = client.get(f"/api/v1/runs/p/w{writer}/rows?format=jsonl").text
        rows = [json.loads(line) for line in text.splitlines()]
        assert [r["n"] for r in rows] == list(range(len(rows)))  # none doubled, no hole
        assert all({k: v for k, v in r.items() if k[0] != "_"} == values(writer, n) for n, r in enumerate(rows))
        assert len(rows) <= most
        lost += max(count - len(rows), 0)
        told = client.get(f"/api/v1/runs/p/w{writer}").json()
        assert (told["rows"], told["summary"]["n"]) == (len(rows), len(rows) - 1)
        assert told["completeness"]["gaps"] == []
    return lost


def killed_again_and_again(begin: Begin, kills: int, writers: int, most: int, pause_s: tuple[float, float]) -> None:
    load = Writers(writers, most)
    try:
        for _ in range(kills):
            before = sum(load.acknowledged)
            server = load.server = begin()
            until = time.monotonic() + 60
            while sum(load.acknowledged) == before:  # on a busy machine that takes a while
                assert time.monotonic() < until
                time.sleep(0.01)
            time.sleep(random.uniform(*pause_s))
            load.server = None
            server.kill()
        acknowledged = list(load.stop())
        with begin().client(ADMIN_KEY) as client:
            assert check(client, acknowledged, most) == 0
            fresh = acknowledged[0]  # one more row lands
            answer = send(client, [row(fresh, values(0, fresh))], run="w0", writer="0" * 16)
            assert answer.status_code == 200
        print(f"D9: {kills} kills, {sum(acknowledged):,} rows acknowledged, 0 lost, 0 doubled")
    finally:
        load.stop()


def test_d9_a_server_that_is_killed_again_and_again_holds_exactly_what_it_acknowledged(data_server: Begin) -> None:
    killed_again_and_again(data_server, kills=8, writers=2, most=10**6, pause_s=(0.05, 0.4))


@pytest.mark.gate
def test_d9_killed_thirty_times(data_server: Begin) -> None:
    killed_again_and_again(data_server, kills=30, writers=2, most=10**6, pause_s=(0.05, 0.4))


@pytest.mark.gate
def test_d9_killed_every_two_seconds_under_eight_writers(data_server: Begin) -> None:
    killed_again_and_again(data_server, kills=30, writers=8, most=10**7, pause_s=(1.5, 2.5))


D10_EVENTS: list[Event] = [
    event(0, "run.start", {"name": "d10", "config": {"lr": 0.5}}),
    *(row(n, values(0, n)) for n in range(1, 40)),
    event(40, "summary", {"set": {"best": 3}}),
    *(row(n, values(0, n)) for n in range(41, 60)),
    event(60, "run.finish", {"state": "finished"}),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path_factory.mktemp("d10") / "data")
    made.ingest.start()
    yield made
    made.ingest.stop()


def submit(store: SqliteStore, run: str, events: list[Event], writer: str = WRITER, **facts: Any) -> Future[Receipt]:
    batch = batch_of(events, events[0].seq, events[-1].seq, project="d10", writer=writer, **facts)
    parts = parts_of(batch)
    batch.groups = [part.group() for part in parts]
    return store.ingest.submit(Job("d10", run, batch, parts, pressed(batch) if not batch.events else None))


SENDS = st.lists(st.tuples(st.integers(0, 59), st.integers(1, 40)), max_size=8)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=SENDS, times=st.integers(1, 3), order=st.randoms(use_true_random=False), run=st.uuids(), stale=SENDS)
def test_d10_batches_sent_one_to_three_times_in_any_order_with_stale_writers(
    store: SqliteStore,
    cuts: list[tuple[int, int]],
    times: int,
    order: random.Random,
    run: Any,
    stale: list[tuple[int, int]],
) -> None:
    pieces = [(at, min(at + size, 61)) for at, size in [*cuts, (0, 30), (30, 61)]] * times
    order.shuffle(pieces)
    waiting = [submit(store, run.hex, D10_EVENTS[at:stop]) for at, stop in pieces]
    for (
        at,
        size,
    ) in stale:  # an earlier attempt that is still sending, and one that says something else under the same name
        old = [row(n, {"n": -n}) for n in range(at, at + size)]
        submit(store, run.hex, old, "00000000000000ff", attempt=0).result(60)
        wrong = submit(store, run.hex, [row(max(at, 1), {"n": -1})])
        waiting_done = [each.result(60) for each in waiting]
        assert waiting_done
        with pytest.raises(Conflict):
            wrong.result(60)
    assert all(each.result(60) for each in waiting)

    rows = [each for page in store.rows("d10", run.hex, RowQuery()) for each in page]
    assert [{k: v for k, v in r.items() if k[0] != "_"} for r in rows] == [
        e.values for e in D10_EVENTS if e.kind == "row"
    ]
    told = store.run("d10", run.hex)
    assert (told.rows, told.name, told.config, told.state) == (58, "d10", {"lr": 0.5}, "finished")
    assert told.summary["best"] == 3
    assert store.receipt("d10", run.hex, WRITER).gaps == []


# G8: the filter language against a model of it


FIELDS: dict[str, Any] = {"config.lr": 0.5, "config.n": 3, "config.s": "O'Brien; DROP TABLE run--", "state": "running"}
RECORD = RunRecord(
    id="r", project="p", name="Te%st_1", config={"lr": 0.5, "n": 3, "s": FIELDS["config.s"]}, tags=["a", "b;"]
)
SQL = [
    "'",
    '"',
    "; DROP TABLE run; --",
    "' OR 1=1 --",
    "%",
    "_",
    "\\",
    "UNION SELECT * FROM api_key",
    "\x00",
    "é",
    "%27",
]
LEAVES: list[tuple[str, bool]] = [
    ("config.lr > 0.4", True),
    ("config.n <= 2", False),
    ("config.none == 1", False),
    ("config.none != 1", True),
    ('tags has "a"', True),
    ('tags has "c"', False),
    ('name like "te%st*"', True),
    ('name like "te?st"', False),
    ('name contains "%ST_"', True),
    ("config.n in [1, 2, 3]", True),
    ("config.n not in [1, 2, 3]", False),
    ("config.lr", True),
    ("archived", False),
    *(
        (f'config.s contains "{text}"', text.casefold() in FIELDS["config.s"].casefold())
        for text in SQL
        if '"' not in text and "\\" not in text
    ),
]


def tree(rng: random.Random, depth: int = 0) -> tuple[str, bool]:
    """A filter, and what it is of `RECORD`."""
    kind = rng.random()
    if depth > 4 or kind < 0.3:
        return rng.choice(LEAVES)
    one = tree(rng, depth + 1)
    if kind < 0.5:
        return f"not ({one[0]})", not one[1]
    two = tree(rng, depth + 1)
    if kind < 0.75:
        return f"({one[0]}) and ({two[0]})", one[1] and two[1]
    return f"({one[0]}) or ({two[0]})", one[1] or two[1]


@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False))
def test_g8_filters_agree_with_a_model_of_them(rng: random.Random) -> None:
    for _ in range(30):
        text, expected = tree(rng)
        if len(text) <= MAX_LENGTH:
            assert compile_filter(text)(RECORD) is expected, text


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("g9")
    (folder / "outside.txt").write_text(OUTSIDE)
    started = Server(["--data", str(folder / "data")], {**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY})
    with started.client(ADMIN_KEY) as client:
        send(client, [event(0, "run.start", {"name": "x"}), row(1, {"a": 1.0})])
    yield started
    started.kill()


OUTSIDE = "what lies outside"


def test_g8_sql_in_every_name_is_a_name(server: Server) -> None:
    routes = [
        "/api/v1/projects/p/runs?filter={}",
        "/api/v1/projects/p/runs?sort={}",
        "/api/v1/projects/p/runs?columns=config.{}",
        "/api/v1/projects/p/keys?search={}&kind={}",
        "/api/v1/projects/{}/runs",
        "/api/v1/runs/p/{}",
        "/api/v1/runs/p/r1/rows?keys={}",
        "/api/v1/runs/p/r1/rows?writer={}",
        "/api/v1/runs/p/r1/media?key={}",
        "/api/v1/events?project={}&after=x",
        "/api/v1/runs/r1/writers/{}?project={}",
    ]
    with server.client(ADMIN_KEY) as client:
        for text in [*SQL, "a' AND '1'='1", "1) OR (1=1", "*/", "`", "a" * 900, "😀", "\u202e", "..", "%00"]:
            quoted = httpx.QueryParams({"q": text})
            for route in routes:
                answer = client.get(route.replace("{}", str(quoted)[2:].replace("+", "%20")))
                assert answer.status_code < 500, (route, text, answer.text)
        assert client.get("/api/v1/runs/p/r1").json()["rows"] == 1
        assert client.get("/api/v1/keys").status_code == 200


def traversals() -> list[str]:
    """Addresses that lead, or led in other servers, out of where files are."""
    ups = ["../" * n for n in (1, 2, 3, 5, 8)] + [
        "..%2f" * 3,
        "%2e%2e/" * 3,
        "%252e%252e%252f" * 3,
        "..\\" * 3,
        "..%5c" * 3,
    ]
    ups += [
        "....//" * 3,
        "..;/" * 3,
        "%c0%ae%c0%ae/" * 3,
        ".%00./" * 3,
        "/",
        "//",
        "file:///",
        "#/../../",
        "?/../../",
        "./../",
    ]
    targets = [
        "outside.txt",
        "data/secret",
        "milepost.db",
        "etc/passwd",
        "proc/self/root/etc/passwd",
        "proc/self/environ",
    ]
    places = ["/api/v1/runs/p/r1/files/", "/assets/", "/", "/api/v1/blobs/sha256/"]
    found = [place + up + target for place in places for up in ups for target in targets]
    found += [f"/api/v1/runs/{up}{target}/files/x" for up in ups[:10] for target in targets[:3]]
    return found


def test_g9_no_address_leads_out(server: Server) -> None:
    """Sent as they are: clients tidy addresses before they send them."""
    walked = traversals()
    assert len(walked) >= 300
    connection = http.client.HTTPConnection("127.0.0.1", int(server.url.rpartition(":")[2]), timeout=30)
    database = Path("/etc/passwd").read_bytes()[:20]
    for path in walked:
        connection.putrequest("GET", path, skip_host=False)
        connection.putheader("Authorization", f"Bearer {ADMIN_KEY}")
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status < 500, path
        for secret in (OUTSIDE.encode(), database, b"SQLite format", b"MILEPOST_ADMIN_KEY"):
            assert secret not in body, path
    connection.close()


def test_g9_no_name_that_is_given_becomes_a_path(server: Server) -> None:
    names = [
        "../x",
        "/etc/x",
        "a/../../x",
        "..",
        "a\\..\\x",
        "a\x00b",
        "a" * 300,
        "CON",
        "／etc／passwd",
        "%2e%2e%2fx",
        "-rf",
    ]
    before = sorted(Path("/tmp").glob("x")) + sorted(Path("/etc").glob("x"))
    with server.client(ADMIN_KEY) as client:
        for name in names:
            quoted = str(httpx.QueryParams({"q": name}))[2:]
            for run, project in ((name, "p"), ("r2", name)):
                events = [event(0, "run.start", {"name": name}), row(1, {name: 1})]
                address = str(httpx.QueryParams({"q": run}))[2:]
                assert send(client, events, run=address, project=project).status_code in (200, 404, 405, 422)
            told = {"project": "p", "sha256": "0" * 64, "size": 1}
            assert client.put(f"/api/v1/runs/r1/files/{quoted}", json=told).status_code in (404, 405, 422)
    assert sorted(Path("/tmp").glob("x")) + sorted(Path("/etc").glob("x")) == before


@pytest.mark.parametrize("trials", [2, pytest.param(10, marks=pytest.mark.gate)])
def test_g11_a_disk_that_fails_acknowledges_nothing_and_reading_goes_on(data_server: Begin, trials: int) -> None:
    """EIO for every write, or every sync, of the database from some moment on, by strace, and then no more."""
    if shutil.which("strace") is None or os.geteuid() != 0:
        pytest.skip("needs root and strace: errors of the disk are injected")
    server = data_server()
    taken = 0
    with server.client(ADMIN_KEY) as client:
        for _ in range(5):
            assert send(client, [row(n, values(0, n)) for n in range(taken, taken + 100)]).status_code == 200
            taken += 100
        for trial in range(trials):
            call = ("pwrite64", "fdatasync")[trial % 2]
            tracer = subprocess.Popen(
                [
                    "strace",
                    "-f",
                    "-qq",
                    "-o",
                    "/dev/null",
                    "-e",
                    f"inject={call}:error=EIO",
                    "-p",
                    str(server.process.pid),
                ],
                stderr=subprocess.PIPE,
            )
            until = time.monotonic() + 60
            refused = None
            while refused is None and time.monotonic() < until:
                answer = send(client, [row(n, values(0, n)) for n in range(taken, taken + 100)])
                if answer.status_code == 200:
                    taken += 100  # not traced yet
                else:
                    refused = answer
            assert refused is not None
            assert refused.status_code in (503, 507), refused.text
            assert "retry-after" in refused.headers
            assert [r["n"] for r in rows_of(client)] == list(range(taken))  # readers are served
            tracer.terminate()
            tracer.wait(60)
            assert tracer.stderr is not None
            tracer.stderr.close()
            answer = send(client, [row(n, values(0, n)) for n in range(taken, taken + 100)])
            assert answer.status_code == 200, answer.text
            taken += 100
    server.kill()
    with contextlib.closing(sqlite3.connect("data/milepost.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    with data_server().client(ADMIN_KEY) as client:
        assert [r["n"] for r in rows_of(client)] == list(range(taken))
