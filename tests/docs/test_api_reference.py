"""docs/api.md is what the docstrings say."""

from scripts.api_reference import PAGE, reference


def test_the_reference_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run: make reference"
