"""The files in deploy/ work as they stand: only addresses, ports and paths of certificates are put in their place."""

import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme

from tests.server.conftest import ADMIN_KEY, Server
from tests.server.nginx import Nginx
from tests.server.sending import row, rows_of, send

SITE = "milepost.example.org"


class Site:
    """A server behind the nginx of deploy/nginx.conf, with a certificate of an authority of its own."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self.server = Server(["--data", str(folder / "data")], {**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY})
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", SITE)
        certificate.private_key_pem.write_to_path(folder / "key")
        certificate.cert_chain_pems[0].write_to_path(folder / "certificate")
        authority.cert_pem.write_to_path(folder / "authority")
        self.authority = folder / "authority"
        text = (repository / "deploy/nginx.conf").read_text()
        for theirs, ours in (
            (r"listen 80;", f"listen unix:{folder}/plain.sock;"),
            (r"listen 443 ", "listen 127.0.0.1:PORT "),
            (r"/etc/ssl/milepost.pem", str(folder / "certificate")),
            (r"/etc/ssl/milepost.key", str(folder / "key")),
            (r"http://127.0.0.1:8550", self.server.url),
        ):
            text, count = re.subn(re.escape(theirs), ours, text)
            assert count == 1, theirs
        self.plain = folder / "plain.sock"
        self.nginx = Nginx(folder / "nginx", text.replace("server_name milepost.example.org", "server_name localhost"))
        self.url = f"https://localhost:{self.nginx.port}"

    def client(self, key: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        trusted = ssl.create_default_context(cafile=self.authority)
        return self.nginx.client(base_url=self.url, verify=trusted, headers=headers)

    def environment(self) -> dict[str, str]:
        """Of a program that sends its runs there."""
        return {
            **os.environ,
            "MILEPOST_URL": self.url,
            "MILEPOST_API_KEY": ADMIN_KEY,
            "SSL_CERT_FILE": str(self.authority),
        }


@pytest.fixture(scope="module")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    found = Site(repository, tmp_path_factory.mktemp("deploy"))
    yield found
    found.nginx.stop()
    found.server.kill()


def test_a_program_sends_its_run_through_tls(site: Site, tmp_path: Path) -> None:
    program = (
        "import milepost; milepost.init(project='tls', id='r')\n"
        "for n in range(50): milepost.log({'loss': 1 / (n + 1)})\n"
        "milepost.finish()"
    )
    subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=site.environment(), check=True, capture_output=True
    )
    read = (
        f"import milepost; run = milepost.Api({site.url!r}).run('tls/r')\n"
        "print(run.state, len(list(run.scan_history())), run.summary['loss'])"
    )
    told = subprocess.run(
        [sys.executable, "-c", read], cwd=tmp_path, env=site.environment(), check=True, capture_output=True, text=True
    )

    assert told.stdout.split() == ["finished", "50", "0.02"]


def test_events_pass_the_proxy_as_they_happen(site: Site) -> None:
    with site.client(ADMIN_KEY) as client, client.stream("GET", "/api/v1/events", params={"project": "live"}) as events:
        lines = events.iter_lines()
        assert next(lines) == ": milepost"
        began = time.monotonic()
        send(client, [row(1, {"a": 1.0})], run="r", project="live")
        told = next(line for line in lines if line.startswith("data:"))
        assert '"project":"live"' in told
        assert time.monotonic() - began < 30  # the proxy would hold it back until the stream ends, an hour later


def test_the_largest_body_passes(site: Site) -> None:
    with site.client(ADMIN_KEY) as client:
        limit = client.get("/api/v1/limits").json()["body_bytes"]
        headers = {"Content-Type": "application/vnd.milepost.v1+msgpack", "Content-Encoding": "zstd"}
        answer = client.post("/api/v1/runs/r/batches", content=bytes(limit), headers=headers)
        assert "this is not zstd" in answer.json()["detail"]


def test_a_body_that_is_too_large_is_told_so_through_the_proxy(site: Site) -> None:
    with site.client(ADMIN_KEY) as client:
        limit = client.get("/api/v1/limits").json()["body_bytes"]
        answer = client.post("/api/v1/runs/r/batches", content=bytes(limit + 1))
        assert (answer.status_code, answer.json()["limit"]) == (413, limit)
    with site.client() as nobody:
        assert nobody.post("/api/v1/runs/r/batches", content=bytes(limit)).status_code == 401


def test_a_browsers_login_is_for_tls_only_and_its_changes_are_its_own(site: Site) -> None:
    with site.client() as browser, site.client(ADMIN_KEY) as program:
        login = browser.post("/api/v1/login", json={"key": ADMIN_KEY})
        assert "secure" in login.headers["set-cookie"].lower()
        assert login.headers["strict-transport-security"] == "max-age=31536000"
        send(program, [row(1, {"a": 1.0})], run="edited", project="live")
        edit = {"runs": ["live/edited"], "add_tags": ["seen"]}
        assert browser.post("/api/v1/bulk", json=edit, headers={"Origin": site.url}).status_code == 200
        assert browser.post("/api/v1/bulk", json=edit, headers={"Origin": "https://localhost"}).status_code == 403
        number = browser.get("/api/v1/projects").headers["X-Request-Id"]
        assert re.fullmatch("[0-9a-f]{32}", number)  # nginx gave it


def test_who_comes_without_tls_is_sent_to_it(site: Site) -> None:
    transport = httpx.HTTPTransport(uds=str(site.plain))
    with httpx.Client(transport=transport) as client:
        answer = client.post("http://localhost/api/v1/bulk?a=b", json={})

    assert (answer.status_code, answer.headers["location"]) == (308, "https://localhost/api/v1/bulk?a=b")


def test_systemd_takes_the_unit_and_its_command_is_one_of_the_server(repository: Path, tmp_path: Path) -> None:
    text = (repository / "deploy/milepost.service").read_text()
    unit = tmp_path / "milepost.service"
    unit.write_text(text.replace("/opt/milepost/bin/milepost", sys.executable))

    done = subprocess.run(["systemd-analyze", "verify", str(unit)], check=False, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
    command = re.search(r"ExecStart=/opt/milepost/bin/milepost server --data /var/lib/milepost (.*)", text)
    assert command is not None
    started = Server(
        ["--data", str(tmp_path / "data"), *command[1].split()], {**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY}
    )
    with started.client() as client:
        assert client.get("/readyz").status_code == 200
    assert started.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a read-only root")
def test_the_command_of_the_image_runs_without_a_privilege_on_a_read_only_root(
    repository: Path, tmp_path: Path
) -> None:
    text = (repository / "deploy/Dockerfile").read_text().replace("\\\n", "")
    entry = re.search(r"^ENTRYPOINT \[(.*)\]$", text, re.MULTILINE)
    health = re.search(r'^HEALTHCHECK CMD \["/opt/milepost/bin/python", "-c", "(.*)"\]$', text, re.MULTILINE)
    assert entry is not None
    assert health is not None
    program, *arguments = re.findall(r'"([^"]*)"', entry[1])
    assert (program, arguments[:3]) == ("/opt/milepost/bin/milepost", ["server", "--data", "/data"])
    assert arguments[3:7] == ["--host", "0.0.0.0", "--port", "8550"]
    data = tmp_path / "volume"
    data.mkdir()
    # As `docker run --read-only --cap-drop ALL --security-opt no-new-privileges`, without docker. Another user is not tried:
    # the interpreter of a developer may be where only the developer can read.
    script = f"""
        mount --make-rprivate / && mount --bind {data} {data} && mount -o remount,bind,ro /
        exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all \\
            {sys.executable} -m milepost server --data {data} --host 0.0.0.0 --port 0 {" ".join(arguments[7:])}
    """
    environment = {"MILEPOST_ADMIN_KEY": ADMIN_KEY, "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script], cwd="/", env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    said = process.stdout.readline()
    found = re.search(r"http://0.0.0.0:(\d+)", said)
    assert found is not None, said + process.stdout.read()
    with httpx.Client(
        base_url=f"http://127.0.0.1:{found[1]}", headers={"Authorization": f"Bearer {ADMIN_KEY}"}, trust_env=False
    ) as client:
        send(client, [row(n, {"a": n}) for n in range(10)])
        assert [r["a"] for r in rows_of(client)] == list(range(10))
    check = health[1].replace("8550", found[1])
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
    process.terminate()
    assert process.wait(60) == 0
    process.stdout.close()


@pytest.mark.gate
@pytest.mark.timeout(900)
def test_the_build_step_of_the_image_makes_a_server(repository: Path, tmp_path: Path) -> None:
    text = (repository / "deploy/Dockerfile").read_text()
    step = re.search(r"^RUN (python -m venv /opt/milepost && .*)$", text, re.MULTILINE)
    assert step is not None
    source = tmp_path / "source"  # as COPY makes it: what is committed, without what .dockerignore leaves out
    source.mkdir()
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=repository, check=True, capture_output=True)
    subprocess.run(["tar", "x"], cwd=source, input=archive.stdout, check=True)
    command = step[1].replace("/opt/milepost", str(tmp_path / "venv")).replace("python ", f"{sys.executable} ", 1)

    subprocess.run(command, shell=True, cwd=source, check=True, capture_output=True)

    program = tmp_path / "venv/bin/milepost"
    process = subprocess.Popen(
        [program, "server", "--data", str(tmp_path / "data"), "--port", "0"],
        env={"MILEPOST_ADMIN_KEY": ADMIN_KEY, "PATH": os.environ["PATH"]}, cwd=tmp_path, text=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    found = re.search(r"http://\S+", process.stdout.readline())
    assert found is not None
    assert httpx.get(f"{found[0]}/readyz", trust_env=False).json() == {"status": "ready"}
    assert "<title>milepost" in httpx.get(found[0], trust_env=False).text  # the page came with it
    answer = httpx.get(f"{found[0]}/api/v1/projects", headers={"Authorization": f"Bearer {ADMIN_KEY}"}, trust_env=False)
    assert answer.json() == {"projects": []}
    process.terminate()
    assert process.wait(60) == 0
    process.stdout.close()
