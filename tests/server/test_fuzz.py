"""RELIABILITY G7: bodies that were changed at random are never an error of the server."""

import http.client
import json
import random
from collections import Counter
from collections.abc import Callable

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from milepost.sdk import wire
from tests.server.conftest import ADMIN_KEY, Server
from tests.server.sending import WRITER, event, row, rows_of, send

Begin = Callable[[], Server]


def bodies() -> list[tuple[str, str, bytes]]:
    """Route, type and body of requests that are right."""
    import msgspec

    batch = wire.batch_of(
        [
            event(0, "run.start", {"name": "x", "config": {"lr": 0.5}}),
            *(row(n, {"a": n / 2, "t": "x"}) for n in range(1, 9)),
        ],
        0,
        8,
        project="fuzz",
        writer=WRITER,
    )
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add()
    metric.name = "loss"
    point = metric.gauge.data_points.add()
    point.time_unix_nano, point.as_double = 5, 0.5
    gauge = b'{"name":"a","gauge":{"dataPoints":[{"timeUnixNano":"1","asInt":"1"}]}}'
    otlp = b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[' + gauge + b"]}]}]}"
    plain = msgspec.json.encode(
        {
            "project": "fuzz", "writer": WRITER, "first": 0, "last": 1,
            "groups": [{"keys": ["a"], "seq": 0, "time": [1, 2], "runtime": [0, 1], "step": [0, 1], "values": [[1, 2.5]]}],
        }
    )  # fmt: skip
    return [
        ("/api/v1/runs/r/batches", wire.MEDIA_TYPE, msgspec.msgpack.encode(batch)),
        ("/api/v1/runs/s/batches", wire.JSON_TYPE, plain),
        ("/v1/metrics", "application/x-protobuf", request.SerializeToString()),
        ("/v1/metrics", "application/json", otlp),
        (
            "/api/v1/history",
            "application/json",
            b'{"runs":["fuzz/r"],"keys":["a"],"x":"_step","range":[0,10],"buckets":50}',
        ),
        ("/api/v1/bulk", "application/json", b'{"runs":["fuzz/none"],"add_tags":["a"],"name":"n","archive":false}'),
        ("/api/v1/runs/fuzz/kept/read", "application/json", b'{"keys":["a"],"low":0,"high":9,"samples":5}'),
    ]


def changed(rng: random.Random, body: bytes) -> bytes:
    data = bytearray(body)
    for _ in range(
        rng.choice((1, 1, 1, 2, 3, 6))
    ):  # after one, some are still right: what is behind decoding is met, too
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(6)
        if kind == 0 and at < len(data):
            data[at] = rng.randrange(256)
        elif kind == 5 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at:at] = rng.randbytes(rng.randint(1, 8))
        elif kind == 2:
            del data[at : at + rng.randint(1, 8)]
        elif kind == 3:
            data[at:at] = rng.choice(
                [b"-1", b"1e999", b"9" * 40, b"null", b"NaN", b"\x00", b"[" * 50, b"\xff\xff\xff\xff", b'"']
            )
        else:  # some of itself once more
            data[at:at] = data[rng.randrange(len(data) + 1) :][: rng.randint(1, 30)]
    return bytes(data)


def fuzz(server: Server, count: int) -> None:
    """Send so many bodies, over a connection that costs less than the server does."""
    seed = random.randrange(2**32)
    rng, known = random.Random(seed), bodies()
    statuses: Counter[int] = Counter()
    with server.client(ADMIN_KEY) as client:
        send(client, [row(n, {"a": n}) for n in range(10)], run="kept", project="fuzz")
    connection = http.client.HTTPConnection("127.0.0.1", int(server.url.rpartition(":")[2]), timeout=60)
    for n in range(count):
        route, kind, body = known[n % len(known)]
        sent = changed(rng, body) if n >= len(known) else body
        connection.request("POST", route, sent, {"Content-Type": kind, "Authorization": f"Bearer {ADMIN_KEY}"})
        answer = connection.getresponse()
        said = answer.read()
        statuses[answer.status] += 1
        assert answer.status < 500, (seed, n, route, sent, said)
        assert n >= len(known) or answer.status == 200, said
        if answer.status >= 400 and not route.startswith("/v1/"):
            assert answer.headers["content-type"] == "application/problem+json"
            assert json.loads(said)["status"] == answer.status
    connection.close()
    with server.client(ADMIN_KEY) as client:
        assert [r["a"] for r in rows_of(client, "kept", "fuzz")] == list(range(10))
    print(f"G7: {count:,} bodies, no answer of 5xx: {dict(sorted(statuses.items()))}")


def test_bodies_that_were_changed_at_random_are_no_error_of_the_server(data_server: Begin) -> None:
    fuzz(data_server(), 2_000)


@pytest.mark.gate
@pytest.mark.parametrize("part", range(20))
def test_a_million_bodies_that_were_changed_at_random(data_server: Begin, part: int) -> None:
    fuzz(data_server(), 50_000)
