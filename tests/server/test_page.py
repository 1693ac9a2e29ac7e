"""The files of the web page and the headers they are sent with."""

import gzip
import re
from pathlib import Path

import httpx
import pytest

from milepost.server.page import CONTENT_SECURITY_POLICY, Page
from tests.server.conftest import Server, Start


@pytest.fixture
def server(start: Start, tmp_path: Path) -> Server:
    runs = tmp_path / "runs"
    runs.mkdir()
    return start("--runs", runs)


def assets(html: str) -> list[str]:
    return re.findall(r'(?:src|href)="(/assets/[^"]+)"', html)


def test_any_address_of_a_screen_is_the_page(server: Server) -> None:
    with server.client() as client:
        pages = [
            client.get(path) for path in ("/", "/p/digits", "/p/a%2Fb/runs/x/console?x=1", "/p/..%2f..%2fetc/passwd")
        ]

    assert {page.status_code for page in pages} == {200}
    assert {page.headers["content-type"] for page in pages} == {"text/html; charset=utf-8"}
    assert len({page.text for page in pages}) == 1


def test_the_page_allows_nothing_inline_and_no_other_host(server: Server) -> None:
    with server.client() as client:
        page = client.get("/p/digits")

    assert page.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "http" not in CONTENT_SECURITY_POLICY
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "<style" not in page.text
    assert not re.search(r"<script(?![^>]* src=)", page.text)
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page.text)


def test_files_named_by_their_content_are_kept_for_ever_and_the_page_is_asked_for_anew(server: Server) -> None:
    with server.client() as client:
        page = client.get("/")
        files = [client.get(path) for path in assets(page.text)]

    assert page.headers["cache-control"] == "no-cache"
    assert files
    assert all("immutable" in file.headers["cache-control"] for file in files)
    assert {file.headers["content-type"] for file in files} == {
        "text/javascript; charset=utf-8",
        "text/css; charset=utf-8",
    }


def test_an_unchanged_page_is_not_sent_again(server: Server) -> None:
    with server.client() as client:
        etag = client.get("/").headers["etag"]
        again = client.get("/", headers={"If-None-Match": etag})

    assert again.status_code == 304
    assert again.content == b""


def test_text_is_compressed_for_who_takes_it(server: Server) -> None:
    with server.client() as client:
        script = next(path for path in assets(client.get("/").text) if path.endswith(".js"))
        plain = client.get(script, headers={"Accept-Encoding": "identity"})
        with client.stream("GET", script, headers={"Accept-Encoding": "gzip"}) as answer:
            packed = b"".join(answer.iter_raw())

    assert "content-encoding" not in plain.headers
    assert len(packed) < len(plain.content) / 2
    assert gzip.decompress(packed) == plain.content


def test_what_is_not_there_is_said_as_the_api_says_it(server: Server) -> None:
    with server.client() as client:
        answers: list[httpx.Response] = [client.get(path) for path in ("/api/v1/nothing", "/assets/nothing.js")]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}


def test_a_page_that_was_never_built_says_how_to_build_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make page-build"):
        Page(tmp_path)
