"""The committed OpenAPI file is that of the code, and names every route."""

import re
from pathlib import Path
from typing import Any

from starlette.routing import Route

from milepost.server.app import create_app, openapi_text

NO_PART: Any = {"/openapi.json", "/api/v1/docs", "/v1/traces"}
"""The description itself, the page that it is shown on, and what is not taken here."""


def test_the_committed_description_is_that_of_the_code(repository: Path) -> None:
    committed = (repository / "server" / "openapi.json").read_text(encoding="utf-8")

    assert committed == openapi_text(), "write it anew with: make reference"


def test_every_route_is_described_with_who_may_ask_and_how_errors_are_told() -> None:
    store: Any = None
    app = create_app(store)
    paths = app.openapi()["paths"]
    served = {
        (method, re.sub(":path", "", route.path))
        for route in app.routes
        if isinstance(route, Route) and not route.path.endswith("{path:path}")
        for method in route.methods or ()
    } | {("PUT", "/api/v1/runs/{run}/files/{path}")}

    described = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    assert {each for each in served if each[1] not in NO_PART and each[0] != "HEAD"} <= described
    public = {path for path, operations in paths.items() if not all("security" in each for each in operations.values())}
    assert public == {"/healthz", "/readyz", "/api/v1/info", "/api/v1/login", "/api/v1/logout"}
    for path, operations in paths.items():
        for method, operation in operations.items():
            told = {status: set(answer.get("content", ())) for status, answer in operation["responses"].items()}
            assert ("security" in operation) == (
                {"401", "403"} <= told.keys() and "x-scope" in operation
            ) or path.endswith("login")
            kinds = (
                {"application/x-protobuf", "application/json", "application/problem+json"}
                if path.startswith("/v1/")
                else {"application/problem+json"}
            )
            assert all(content == kinds for status, content in told.items() if status >= "400" and method != "head")
