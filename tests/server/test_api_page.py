"""The page of the API names every route, needs nothing from elsewhere, and its curl lines are ones that work."""

import os
import re
import subprocess
from html import unescape

from tests.server.conftest import ADMIN_KEY, Start
from tests.server.sending import event, row, send


def test_the_page_has_every_route_and_needs_nothing_else(start: Start) -> None:
    server = start("--data", "data", environment={**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY})
    with server.client() as anybody:
        answer = anybody.get("/api/v1/docs")
        described = anybody.get("/openapi.json").json()

    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert "<script" not in answer.text
    assert not re.search(r'(src|href)="(?!#|/openapi.json)', answer.text)
    for path, operations in described["paths"].items():
        for method in operations:
            assert f'<span class="method">{method.upper()}</span>{path}<' in answer.text
    assert len(re.findall('<span class="method">', answer.text)) == sum(map(len, described["paths"].values()))
    targets = set(re.findall(r'href="#([^"]+)"', answer.text))
    assert targets <= set(re.findall(r'id="([^"]+)"', answer.text))


def test_the_curl_lines_of_the_page_work(start: Start) -> None:
    environment = {**os.environ, "MILEPOST_ADMIN_KEY": ADMIN_KEY}
    server = start("--data", "data", environment=environment)
    with server.client(ADMIN_KEY) as client:
        send(client, [event(0, "run.start", {"name": "r1"}), row(1, {"loss": 0.5})], run="r1", project="mine")
        page = client.get("/api/v1/docs").text
    lines = [unescape(line) for line in re.findall(r"<h4>curl</h4><pre>(.*?)</pre>", page)]
    asked = [line for line in lines if not re.search(r" (-X|-d|--head|--data-binary) |events", line)]
    assert len(asked) > 12
    environment |= {"MILEPOST_URL": server.url, "MILEPOST_API_KEY": ADMIN_KEY}
    wanting = {"/groups": "?by=config.lr"}
    for line in asked:
        ours = line.replace("/projects/project", "/projects/mine").replace("/runs/project/run", "/runs/mine/r1")
        ours = ours.replace("/runs/run/", "/runs/r1/").replace("/sha256/hash", f"/sha256/{'0' * 64}")
        more = next((query for end, query in wanting.items() if ours.endswith(f'{end}"')), "")
        ours = f'{ours[:-1]}{more}" --silent --output /dev/null --write-out "%{{http_code}}"'
        done = subprocess.run(["sh", "-c", ours], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout in ("200", "404" if re.search("/name|/view|/sha256", ours) else "200"), ours
