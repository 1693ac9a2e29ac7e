"""Requests made from the committed OpenAPI file, by the thousand: never a 5xx, and no answer that is not described."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.server.conftest import ADMIN_KEY, Server
from tests.server.sending import event, row, send

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.mark.gate
def test_no_request_of_the_described_form_is_an_error_of_the_server_and_answers_are_as_described(
    data_server: Callable[[], Server], repository: Path
) -> None:
    server = data_server()
    with server.client(ADMIN_KEY) as client:
        send(
            client,
            [event(0, "run.start", {"name": "x"}), *(row(n, {"a": n / 2, "b": "t"}) for n in range(1, 50))],
            run="0",
        )

    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("st")), "run", str(repository / "server" / "openapi.json"),
            "--url", server.url, "-H", f"Authorization: Bearer {ADMIN_KEY}", "--checks", CHECKS,
            "--max-examples", "100", "--exclude-path-regex", "events|login", "--no-color",
        ],
        check=False, capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-5000:]
