"""RELIABILITY G5: bodies that are too large, or become so, are refused before they take the server's memory."""

import gzip
import http.client
import os
import re
import socket
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import psutil
import pytest
import zstandard

from tests.server.conftest import ADMIN_KEY, Server
from tests.server.sending import WRITER, row, send

BATCHES = "/api/v1/runs/large/batches"
MSGPACK = "application/vnd.milepost.v1+msgpack"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("limits") / "data"
    started = Server(["--data", str(data)], {**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY})
    yield started
    started.kill()


def gzip_bomb() -> bytes:
    """10 GB of zeros in 10 MB: a deflate block that stands on its own, many times over."""
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(64 << 20)
    first = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(zeros) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + again * 159


def loose(column: bytes) -> bytes:
    """A batch whose one column is what it says."""
    head = {"writer": WRITER, "project": "p", "first": 0, "last": 0}
    group = {"keys": ["a"], "seq": 0, "time": [1], "runtime": [0], "step": [0], "values": [msgspec.Raw(column)]}
    return msgspec.msgpack.encode({**head, "groups": [group]})


def wide(count: int) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big")


BOMBS: dict[str, Callable[[], tuple[str, dict[str, str], bytes]]] = {
    "gzip": lambda: (BATCHES, {"Content-Type": MSGPACK, "Content-Encoding": "gzip"}, gzip_bomb()),
    "zstd": lambda: (
        BATCHES,
        {"Content-Type": MSGPACK, "Content-Encoding": "zstd"},
        zstandard.compress(bytes(256 << 20)),
    ),
    "lists": lambda: (
        BATCHES,
        {"Content-Type": MSGPACK, "Content-Encoding": "zstd"},
        zstandard.compress(loose(wide(40 << 20) + b"\x90" * (40 << 20))),
    ),
    "columns": lambda: (
        BATCHES,
        {"Content-Type": MSGPACK, "Content-Encoding": "zstd"},
        zstandard.compress(
            msgspec.msgpack.encode(
                {
                    "writer": WRITER,
                    "first": 0,
                    "last": 0,
                    "groups": [{"values": msgspec.Raw(wide(50 << 20) + b"\xc0" * (50 << 20))}],
                }
            )
        ),
    ),
    "json": lambda: (
        BATCHES,
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        gzip.compress(b"[" + b"[]," * (8 << 20) + b"[]]", 1),
    ),
    "otlp-gzip": lambda: (
        "/v1/metrics",
        {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"},
        gzip_bomb(),
    ),
    "otlp-resources": lambda: (
        "/v1/logs",
        {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"},
        gzip.compress(b"\x0a\x00" * (1 << 20), 1),
    ),
    "otlp-scopes": lambda: (
        "/v1/metrics",
        {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"},
        gzip.compress(nested(1, 2), 1),
    ),
    "otlp-points": lambda: (
        "/v1/metrics",
        {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"},
        gzip.compress(nested(1, 2, 2, 5, 1), 1),
    ),
    "otlp-json": lambda: (
        "/v1/logs",
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        gzip.compress(b'{"resourceLogs":[' + b"{}," * (8 << 20) + b"{}]}", 1),
    ),
    "piece": lambda: (
        f"/api/v1/blobs/sha256/{'0' * 64}?project=p",
        {"Upload-Offset": "0", "Upload-Length": str(1 << 30)},
        bytes(17 << 20),
    ),
    "login": lambda: ("/api/v1/login", {"Content-Type": "application/json"}, b" " * (40 << 20)),
    "history": lambda: ("/api/v1/history", {"Content-Type": "application/json"}, b" " * (40 << 20)),
}


def peak(pid: int) -> int:
    """The most bytes that a process had."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) << 10


def nested(*around: int) -> bytes:
    """Millions of empty messages in the fields of messages."""
    found = bytes((around[-1] << 3 | 2, 0)) * 4_000_000
    for number in reversed(around[:-1]):
        size = len(found)
        length = b""
        while size > 127:
            length += bytes((size & 127 | 128,))
            size >>= 7
        found = bytes((number << 3 | 2,)) + length + bytes((size,)) + found
    return found


def test_a_small_request_that_is_slow_to_look_through_is_refused_at_once(server: Server) -> None:
    endless = gzip.compress(b"\xff" * (4 << 20))
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
    with server.client(ADMIN_KEY) as client:
        answer = client.post("/v1/metrics", content=endless, headers=headers, timeout=60)
        assert answer.status_code == 400, answer.text


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_would_become_too_large_is_refused_and_takes_no_memory(server: Server, bomb: str) -> None:
    path, headers, body = BOMBS[bomb]()
    process = psutil.Process(server.process.pid)
    with server.client(ADMIN_KEY) as client:
        send(client, [row(0, {"a": 1})], run="warm")
        before = process.memory_info().rss
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # the peak counts from here
        try:
            answer = client.request(
                "PATCH" if bomb == "piece" else "POST", path, content=body, headers=headers, timeout=60
            )
            assert answer.status_code in (400, 413, 422), answer.text
            assert answer.status_code == 413
        except httpx.WriteError:
            pass  # it was refused, and closed, while it was being sent
        assert send(client, [row(1, {"a": 1})], run="warm").status_code == 200
    assert peak(process.pid) - before < 64 << 20


@pytest.mark.parametrize(
    "raw",
    [
        b"POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 99999999999\r\n\r\n",
        b"POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: -1\r\n\r\n",
        b"POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFF\r\n",
        b"POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"POST %s" + b"?" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n",
    ],
    ids=["length", "negative", "chunk", "header", "address"],
)
def test_heads_that_make_no_sense_are_refused_at_once(server: Server, raw: bytes) -> None:
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        filled = raw.replace(b"%s", BATCHES.encode(), 1).replace(b"%s", ADMIN_KEY.encode())
        try:
            connection.sendall(filled)
            for _ in range(40):
                connection.sendall(bytes(1 << 20))
            answer = connection.recv(1 << 16)
        except (ConnectionError, BrokenPipeError):
            answer = b""  # closed
    assert not answer or answer.split(b" ")[1] in (b"400", b"411", b"413", b"414", b"415", b"431")
    with server.client(ADMIN_KEY) as client:
        assert send(client, [row(0, {"a": 1})], run="after").status_code == 200


def test_what_is_no_request_is_told_in_the_form_of_every_other_mistake(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=30) as connection:
        connection.sendall(b"GET /api/v1/pro\x00jects HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        told = msgspec.json.decode(answer.read())

    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
    assert (told["title"], told["status"]) == ("malformed request", 400)


@pytest.mark.parametrize(
    "path", ["/api/v1/bulk", "/api/v1/runs/p/batches/read", "/api/v1/runs/p/writers/read", "/v1/a/b"]
)
def test_a_body_that_no_route_asks_for_is_refused_at_its_limit(server: Server, path: str) -> None:
    with server.client(ADMIN_KEY) as client:
        try:
            assert client.post(path, content=bytes(9 << 20)).status_code == 413
        except httpx.WriteError:
            pass  # it was refused, and closed, while it was being sent
