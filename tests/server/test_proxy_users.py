"""Users whom a proxy recognises are users when the proxy says so, and nobody when anybody else does."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import milepost
from milepost.sdk.cli.server import command
from tests.server.conftest import ADMIN_KEY, Server, Start
from tests.server.nginx import LOCATION, Nginx
from tests.server.sending import row, send

USERS = {"reader": "r", "boss": "b", "Zoë": "z"}
HEADER = "X-Forwarded-User"
OWN = {"Sec-Fetch-Site": "same-origin"}


class Site:
    """A server, and an nginx on 127.0.0.2 before it that asks for name and password: stands for oauth2-proxy."""

    def __init__(self, folder: Path) -> None:
        arguments = ["--data", str(folder / "data"), "--trust-proxy-user", HEADER, "--trusted-proxies", "127.0.0.2"]
        environment = {**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY}
        self.server = Server([*arguments, "--proxy-admins", "boss,other"], environment)
        folder.joinpath("users").write_text("".join(f"{name}:{{PLAIN}}{word}\n" for name, word in USERS.items()))
        location = LOCATION.format(url=self.server.url)
        self.nginx = Nginx(
            folder / "nginx",
            f"""server {{ listen 127.0.0.1:PORT; location / {{
                auth_basic on; auth_basic_user_file {folder}/users;
                proxy_bind 127.0.0.2; proxy_set_header {HEADER} $remote_user; {location} }} }}""",
        )
        with self.server.client(ADMIN_KEY) as admin:
            send(admin, [row(1, {"a": 1.0})])

    def as_user(self, name: str) -> httpx.Client:
        return self.nginx.client(auth=(name.encode(), USERS[name]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    found = Site(tmp_path_factory.mktemp("proxy"))
    yield found
    found.nginx.stop()
    found.server.kill()


def test_a_user_of_the_proxy_reads_without_a_key(site: Site) -> None:
    with site.as_user("reader") as reader:
        assert reader.get("/api/v1/runs/p/r1").json()["rows"] == 1
        auth = reader.get("/api/v1/info").json()["auth"]
        assert auth == {"required": True, "user": "reader", "scopes": ["read"], "project": None}
        assert reader.post("/api/v1/keys", json={"scopes": ["admin"]}, headers=OWN).status_code == 403
        answer = reader.post("/api/v1/bulk", json={"runs": ["p/r1"], "name": "x"}, headers=OWN)
        assert answer.status_code == 403
        assert "the user 'reader' lacks the scope 'ingest'" in answer.json()["detail"]
    with site.as_user("Zoë") as reader:
        assert reader.get("/api/v1/info").json()["auth"]["user"] == "Zoë"


def test_admins_are_named(site: Site) -> None:
    with site.as_user("boss") as boss:
        assert boss.get("/api/v1/keys").status_code == 200
        edit = {"runs": ["p/r1"], "add_tags": ["seen"]}
        assert boss.post("/api/v1/bulk", json=edit, headers=OWN).json()["changed"] == 1


def test_other_pages_cannot_make_a_users_browser_change_things(site: Site) -> None:
    edit = {"runs": ["p/r1"], "name": "taken"}
    with site.as_user("boss") as boss:
        own = f"http://127.0.0.1:{site.nginx.port}"
        for headers, status in (
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Sec-Fetch-Site": "same-site", "Origin": own}, 403),
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({}, 403),
            ({"Origin": own}, 200),  # browsers without Sec-Fetch-Site, or a server without TLS
        ):
            assert boss.post("/api/v1/bulk", json=edit, headers=headers).status_code == status, headers


def test_the_header_of_anybody_else_is_ignored_and_counted(site: Site) -> None:
    def ignored(client: httpx.Client) -> int:
        told = re.search(
            r"^milepost_server_ignored_user_headers_total (\d+)$", client.get("/metrics").text, re.MULTILINE
        )
        assert told is not None
        return int(told[1])

    with site.server.client(ADMIN_KEY) as admin, site.server.client() as anybody:
        before = ignored(admin)
        for headers in ({HEADER: "boss"}, {HEADER: "boss", "X-Forwarded-For": "127.0.0.2"}):
            assert anybody.get("/api/v1/projects", headers=headers).status_code == 401
            assert anybody.get("/api/v1/info", headers=headers).json()["auth"]["user"] is None
        assert ignored(admin) == before + 4
        assert admin.get("/api/v1/projects", headers={HEADER: "reader"}).status_code == 200  # its key says who it is


def test_the_proxy_replaces_what_a_client_sends(site: Site) -> None:
    with site.as_user("reader") as reader:
        auth = reader.get("/api/v1/info", headers={HEADER: "boss"}).json()["auth"]
        assert auth["user"] == "reader"


def test_a_key_goes_before_the_user(site: Site) -> None:
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(base_url=site.server.url, transport=transport, headers={HEADER: "reader"}) as proxy:
        key = {"Authorization": f"Bearer {ADMIN_KEY}"}
        assert proxy.get("/api/v1/keys", headers=key).status_code == 200
        assert proxy.get("/api/v1/projects", headers={"Authorization": f"Bearer {ADMIN_KEY}x"}).status_code == 401
        id_token = {"Authorization": "Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln"}  # what gateways put there for others
        assert proxy.get("/api/v1/projects", headers=id_token).status_code == 200


def test_names_that_cannot_be_told_apart_are_refused(site: Site) -> None:
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(base_url=site.server.url, transport=transport) as proxy:
        twice = [(HEADER, "reader"), (HEADER, "boss")]
        assert proxy.get("/api/v1/projects", headers=twice).status_code == 400
        assert proxy.get("/api/v1/projects", headers={HEADER: "x" * 400}).status_code == 400
        assert proxy.get("/api/v1/projects", headers={HEADER: ""}).status_code == 401


def test_a_runs_directory_behind_a_proxy_asks_everybody_else_for_a_key(start: Start, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    server = start("--runs", tmp_path / "runs", "--trust-proxy-user", HEADER, "--trusted-proxies", "127.0.0.0/29")
    with server.client() as client:
        assert client.get("/api/v1/projects").status_code == 401
        assert client.get("/api/v1/projects", headers={HEADER: "anna"}).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--trust-proxy-user", HEADER], "name the addresses"),
        (["--trusted-proxies", "127.0.0.1"], "name the header"),
        (["--trust-proxy-user", "Cookie", "--trusted-proxies", "127.0.0.1"], "that the proxy alone sets"),
        (["--trust-proxy-user", HEADER, "--trusted-proxies", "0.0.0.0/0"], "would let anybody be any user"),
        (["--trust-proxy-user", HEADER, "--trusted-proxies", "localhost"], "'localhost' does not appear to be"),
        (["--trust-proxy-user", HEADER, "--trusted-proxies", "10.0.0.1/8"], "has host bits set"),
    ],
    ids=["no-proxies", "no-header", "cookie", "everybody", "name", "bits"],
)
def test_wrong_options_are_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(milepost.Error, match=re.escape(said)):
        command.main(["--data", "data", *arguments], standalone_mode=False)
    assert not Path("data").exists()
