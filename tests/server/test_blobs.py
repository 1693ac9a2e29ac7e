"""Contents: sent in pieces, whole or not there, and nobody's but the project's that sent them."""

import hashlib
import os
import socket
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.server.conftest import ADMIN_KEY, Server
from tests.server.sending import event, row, send

Begin = Callable[[], Server]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("blobs") / "data"
    started = Server(["--data", str(data)], {**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY})
    yield started
    started.kill()


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client(ADMIN_KEY) as client:
        yield client


def hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def patch(
    client: httpx.Client, content: bytes, project: str, offset: int = 0, length: int | None = None, sha256: str = ""
) -> httpx.Response:
    """Send the bytes from offset on as a piece of a content of `length` bytes."""
    headers = {"Upload-Offset": str(offset), "Upload-Length": str(len(content) if length is None else length)}
    address = f"/api/v1/blobs/sha256/{sha256 or hash_of(content)}"
    return client.patch(address, params={"project": project}, content=content, headers=headers)


def name(client: httpx.Client, sha256: str, project: str, run: str = "r1") -> httpx.Response:
    return client.put(f"/api/v1/runs/{run}/files/x.bin", json={"project": project, "sha256": sha256, "size": 1})


def key_for(admin: httpx.Client, project: str) -> str:
    answer = admin.post("/api/v1/keys", json={"scopes": ["ingest", "read"], "project": project})
    return str(answer.json()["key"])


def test_who_knows_a_hash_does_not_get_what_another_project_has_under_it(server: Server, client: httpx.Client) -> None:
    content = b"what project b keeps to itself"
    sha256 = hash_of(content)
    assert patch(client, content, "b").status_code == 200
    assert name(client, sha256, "b").status_code == 200

    with server.client(key_for(client, "a")) as other:
        asked = other.head(f"/api/v1/blobs/sha256/{sha256}")
        named = name(other, sha256, "a")
        read = other.get(f"/api/v1/blobs/sha256/{sha256}")
        assert (asked.status_code, named.status_code, read.status_code) == (404, 404, 404)
        assert other.get("/api/v1/runs/a/r1").status_code == 404
        assert name(client, sha256, "a").status_code == 404  # nor can a key of all projects move it there

        assert patch(other, content, "a").status_code == 200  # whoever has the bytes may
        assert other.head(f"/api/v1/blobs/sha256/{sha256}").status_code == 200
        assert name(other, sha256, "a").status_code == 200
        assert other.get("/api/v1/runs/a/r1/files/x.bin").content == content


def test_a_project_that_refers_to_a_content_names_it_again_without_sending_it(client: httpx.Client) -> None:
    content = b"twice in one project"
    assert patch(client, content, "again").status_code == 200
    assert name(client, hash_of(content), "again", "one").status_code == 200

    assert client.head(f"/api/v1/blobs/sha256/{hash_of(content)}?project=again").status_code == 200
    assert name(client, hash_of(content), "again", "two").status_code == 200


def test_a_content_is_for_a_project_that_is_named(client: httpx.Client) -> None:
    content = b"for whom?"
    address = f"/api/v1/blobs/sha256/{hash_of(content)}"
    headers = {"Upload-Offset": "0", "Upload-Length": str(len(content))}

    assert client.head(address).status_code == 400
    for project in ("", "..", "a/b"):
        assert client.patch(address, params={"project": project}, content=content, headers=headers).status_code == 400


def test_pieces_grow_into_a_content_that_nobody_sees_before_it_is_whole(client: httpx.Client) -> None:
    content = os.urandom(3 << 20)
    sha256 = hash_of(content)
    at = 0
    for size in (1, 1 << 20, 70_000):
        answer = patch(client, content[at : at + size], "p", at, len(content), sha256)
        at += size
        assert (answer.status_code, answer.headers["upload-offset"]) == (204, str(at))
        assert client.head(f"/api/v1/blobs/sha256/{sha256}?project=p").headers["upload-offset"] == str(at)
        assert name(client, sha256, "p", "pieces").status_code == 404
    again = patch(client, content[:10], "p", 0, len(content), sha256)
    assert (again.status_code, again.headers["upload-offset"]) == (409, str(at))
    assert patch(client, content[at:] + b"x", "p", at, len(content), sha256).status_code == 409

    assert patch(client, content[at:], "p", at, len(content), sha256).status_code == 200
    assert name(client, sha256, "p", "pieces").status_code == 200
    assert client.get("/api/v1/runs/p/pieces/files/x.bin").content == content


def test_bytes_with_another_hash_are_dropped_and_may_come_again(client: httpx.Client) -> None:
    content = os.urandom(100_000)
    damaged = content[:50_000] + b"?" + content[50_001:]
    sha256 = hash_of(content)

    refused = patch(client, damaged, "p", sha256=sha256)

    assert refused.status_code == 422
    assert hash_of(damaged) in refused.json()["detail"]
    assert client.head(f"/api/v1/blobs/sha256/{sha256}?project=p").headers["upload-offset"] == "0"
    assert patch(client, content, "p", sha256=sha256).status_code == 200


def test_an_empty_content_is_one_too(client: httpx.Client) -> None:
    assert patch(client, b"", "p").status_code == 200
    assert name(client, hash_of(b""), "p", "empty").status_code == 200
    assert client.get("/api/v1/runs/p/empty/files/x.bin").content == b""


def test_what_came_before_a_kill_is_gone_on_with(data_server: Begin) -> None:
    content = os.urandom(200_000)
    sha256 = hash_of(content)
    server = data_server()
    with server.client(ADMIN_KEY) as client:
        assert patch(client, content[:120_000], "p", 0, len(content), sha256).status_code == 204
    server.kill()

    with data_server().client(ADMIN_KEY) as client:
        assert client.head(f"/api/v1/blobs/sha256/{sha256}?project=p").headers["upload-offset"] == "120000"
        assert patch(client, content[120_000:], "p", 120_000, len(content), sha256).status_code == 200
        assert name(client, sha256, "p").status_code == 200
        assert client.get("/api/v1/runs/p/r1/files/x.bin").content == content


def test_large_contents_do_not_wait_for_each_other_nor_batches_for_them(data_server: Begin) -> None:
    """Eight uploads that stall in the middle of a piece, as on slow lines, hold nothing up."""
    server = data_server()
    port = int(server.url.rpartition(":")[2])
    stalled = [_stalled_upload(port, os.urandom(1 << 20)) for _ in range(8)]
    try:
        with server.client(ADMIN_KEY) as client:
            assert send(client, [event(0, "run.start", {}), row(1, {"a": 1})]).status_code == 200
            content = os.urandom(2 << 20)
            assert patch(client, content, "p").status_code == 200
            assert name(client, hash_of(content), "p").status_code == 200
    finally:
        for each in stalled:
            each.close()


def _stalled_upload(port: int, content: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    head = (
        f"PATCH /api/v1/blobs/sha256/{hash_of(content)}?project=p HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_KEY}\r\n"
        f"Upload-Offset: 0\r\nUpload-Length: {len(content)}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    connection.sendall(head.encode() + content[: len(content) // 2])
    return connection


def test_two_who_send_one_content_at_once_end_with_one(client: httpx.Client, server: Server) -> None:
    content = os.urandom(4 << 20)
    results: list[int] = []

    def upload(project: str, key: str) -> None:
        with server.client(key) as mine:
            results.append(patch(mine, content, project).status_code)

    keys = {project: key_for(client, project) for project in ("one", "two", "three")}
    threads = [threading.Thread(target=upload, args=pair) for pair in keys.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [200, 200, 200]
    for project in keys:
        assert name(client, hash_of(content), project).status_code == 200
        assert client.get(f"/api/v1/runs/{project}/r1/files/x.bin").content == content


def test_no_project_gets_a_content_by_a_hash_alone_whatever_is_tried(server: Server, client: httpx.Client) -> None:
    """A content that another project is in the middle of sending is nobody else's either."""
    content = os.urandom(1000)
    sha256 = hash_of(content)
    assert patch(client, content[:500], "b", 0, 1000, sha256).status_code == 204
    with server.client(key_for(client, "a2")) as other:
        assert other.head(f"/api/v1/blobs/sha256/{sha256}").headers["upload-offset"] == "0"
        assert patch(other, content[500:], "a2", 500, 1000, sha256).status_code == 409
        assert name(other, sha256, "a2").status_code == 404
        assert patch(other, b"", "b").status_code == 403


SCRIPT = b"<script>alert(document.cookie)</script>"
INERT = {
    "page.html": (b"<!doctype html>" + SCRIPT, None),
    "drawing.svg": (b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', None),
    "page.xhtml": (b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml">' + SCRIPT, None),
    "script.js": (b"alert(1)", None),
    "paper.pdf": (b"%PDF-1.7 " + SCRIPT, None),
    "archive.png": (b"PK\x03\x04" + SCRIPT, None),
    "text.bmp": (b"BM" + SCRIPT, None),
    "text.webp": (b"textWEBP" + b"WEBP" + SCRIPT, None),
    "png.html": (b"\x89PNG\r\n\x1a\n" + SCRIPT, "image/png"),
    "gif.js": (b"GIF89a/*" + b"\0" * 8 + b"*/=1;alert(1)//", "image/gif"),
    "jpeg.svg": (b"\xff\xd8\xff\xe0" + SCRIPT, "image/jpeg"),
    "wav.html": (b"RIFF\0\0\0\0WAVE" + SCRIPT, "audio/wav"),
    "mp4.html": (b"\0\0\0\x18ftypisom" + SCRIPT, "video/mp4"),
    "webm.html": (b"\x1aE\xdf\xa3" + SCRIPT, "video/webm"),
    "empty.html": (b"", None),
    'x"; filename="evil.html': (SCRIPT, None),
}


@pytest.mark.parametrize("named", INERT)
def test_files_do_nothing_in_a_browser_whatever_they_are_and_are_called(client: httpx.Client, named: str) -> None:
    """Shown in place is only what begins as a picture, a sound or a video does, as that and nothing else; scripts never run."""
    content, kind = INERT[named]
    sha256 = hash_of(content)
    assert patch(client, content, "inert").status_code == 200
    quoted = str(httpx.QueryParams({"q": named}))[2:].replace("+", "%20")
    told = {"project": "inert", "sha256": sha256, "size": len(content)}
    assert client.put(f"/api/v1/runs/r/files/{quoted}", json=told).status_code == 200

    for address in (f"/api/v1/runs/inert/r/files/{quoted}", f"/api/v1/blobs/sha256/{sha256}"):
        for headers in ({}, {"Range": "bytes=0-9"}, {"Accept": "text/html"}):
            answer = client.get(address, headers=headers)
            assert answer.status_code in ((206, 416) if "Range" in headers else (200,))
            if answer.status_code == 416:
                continue
            assert answer.headers["content-type"] == (kind or "application/octet-stream")
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
            disposition = answer.headers["content-disposition"]
            assert disposition.startswith("inline; " if kind else "attachment; ")
            assert '"' not in disposition
