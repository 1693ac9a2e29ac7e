"""The committed OpenAPI file is that of the code."""

from pathlib import Path

from milepost.server.app import openapi_text


def test_the_committed_description_is_that_of_the_code(repository: Path) -> None:
    committed = (repository / "server" / "openapi.json").read_text(encoding="utf-8")

    assert committed == openapi_text(), "write it anew with: make reference"
